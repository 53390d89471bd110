"""Find the dict and the name prefix in a file that match the most weights of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from .inert import RefusedError, Stub, UnreadableTensor, what_is

# Keys under which training scripts store a state dict, in search order: averaged weights last.
_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
    "generator",
    "ema", "ema_state_dict", "model_ema", "ema_model", "state_dict_ema", "model_state_dict_ema", "params_ema",
    "swa_state_dict", "swa_model", "averaged_model", "shadow",
)  # fmt: skip
_DEPTH = 3  # {"checkpoint keys": {"ema": {"module": weights}}}
_EMA_NAME = re.compile(r"(^|[._])(ema|swa|averaged|shadow)([._]|$)")

# Name parts inserted by DataParallel and AveragedModel, torch.compile, FSDP and activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

_SHOWN = 8  # names of each kind in an error message
_LONGEST = 2000  # characters of a name of which prefixes are tried

Shape = tuple[int, ...] | None  # None: not a tensor


class Reading(NamedTuple):
    """One way to find the weights of a model in a file."""

    where: tuple[str, ...]  # keys that lead to the dict
    prefix: str  # before the model's names
    names: dict[str, str]  # names without wrapper parts, with prefix -> names in the dict
    table: Mapping[str, object]  # the dict
    fits: int  # weights of the right name and shape
    named: int  # weights of the right name

    @property
    def averaged(self) -> bool:
        """Whether these are averaged weights, judging by names."""
        path = ".".join((*self.where, self.prefix))
        return bool(_EMA_NAME.search(path)) or self.prefix + "n_averaged" in self.names


def best_reading(content: object, state: Mapping[str, object], prefer: str, path: str | os.PathLike[str]) -> Reading:
    """The reading with the most matching weights; one of the preferred kind wins with at least half as many."""
    try:
        readings = [reading for where, table in _tables(content) for reading in _readings(where, table, state)]
    except RefusedError as error:
        raise error.of(path) from error
    if not readings:
        keys = list(content) if isinstance(content, Mapping) else []
        objects = ", ".join(sorted({value.name for value in _stubs(content)}))
        unread = f" Only its own code could read: {objects[:300]}; it was not run." if objects else ""
        raise ValueError(
            f"{path} holds no dict of tensors, at the top or under a usual key such as 'state_dict'; it is a "
            f"{what_is(content)}{f' with {listed(keys)}' if keys else ''}.{unread} "
            "torch.save(model.state_dict(), path) writes what is needed."
        )
    most = max(reading.fits for reading in readings)
    near = [reading for reading in readings if 2 * reading.fits >= most]
    return max(near, key=lambda reading: (reading.averaged == (prefer == "ema"), reading.fits, reading.named))


def _tables(content: object, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, object]]]:
    """Dicts that hold tensors, and pickled modules, with the keys that lead to them, outermost first."""
    if isinstance(content, Stub):
        content = content.table()
    if not isinstance(content, Mapping):
        return
    if any(isinstance(value, (Tensor, UnreadableTensor)) for value in content.values()):
        yield where, {str(name): value for name, value in content.items() if not isinstance(name, Stub)}
    if len(where) < _DEPTH:
        for key in _KEYS:
            yield from _tables(content.get(key), (*where, key))


def _stubs(content: object) -> Iterator[Stub]:
    """Objects of unknown classes at the top, or under a usual key."""
    below = [content.get(key) for key in _KEYS] if isinstance(content, Mapping) else []
    yield from (value for value in (content, *below) if isinstance(value, Stub))


def _readings(where: tuple[str, ...], table: Mapping[str, object], state: Mapping[str, object]) -> list[Reading]:
    """One reading per prefix found before a name of the model, shortest first; always includes the empty prefix."""
    wanted, names = plain_names(state), plain_names(table)
    counts = {"": (0, 0)}
    for long, name in names.items():
        for prefix, short in _splits(long):
            if short in wanted:
                fits, named = counts.get(prefix, (0, 0))
                fit = shape_of(table[name]) == shape_of(state[wanted[short]])
                counts[prefix] = fits + fit, named + 1
    order = sorted(counts, key=lambda prefix: (len(prefix), prefix))
    return [Reading(where, prefix, names, table, *counts[prefix]) for prefix in order]


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Names without wrapper parts -> original names; unchanged if two names would collide."""
    names = list(names)
    plain = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All prefixes of a name and their remainders: ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    dots = [dot.end() for dot in re.finditer(r"\.", name)] if len(name) <= _LONGEST else []
    for start in (0, *dots):
        yield name[:start], name[start:]


def shape_of(value: object) -> Shape:
    """The shape of a tensor; None for anything else."""
    return tuple(value.shape) if isinstance(value, (Tensor, UnreadableTensor)) else None


def listed(names: Sequence[object]) -> str:
    """The first few names, for an error message."""
    more = len(names) - _SHOWN
    return ", ".join(f"{name!s:.100}" for name in names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
