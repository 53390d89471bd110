"""Compare a reading of a file with a model, and describe the differences."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from .inert import Stub, what_is
from .matching import Reading, Shape, listed, plain_names, shape_of

Mismatch = tuple[str, Shape, Shape]  # name, shape in the file, shape in the model


class CheckpointError(ValueError):
    """The weights in a file do not match the model.

    Attributes:
        missing: names in the model but not in the file.
        unexpected: names in the file but not in the model, as written in the file.
        mismatched: (name in the model, shape in the file, shape in the model); a shape is None for a non-tensor.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Sequence[Mismatch] = (),
    ) -> None:
        super().__init__(message)
        self.missing, self.unexpected, self.mismatched = list(missing), list(unexpected), list(mismatched)


class Fit(NamedTuple):
    """A reading compared with a model."""

    values: dict[str, object]  # loadable values, by the model's names
    missing: list[str]
    unexpected: list[str]
    mismatched: list[Mismatch]
    unread: dict[str, str]  # weights that are objects of unknown classes


def compare(reading: Reading, state: Mapping[str, object]) -> Fit:
    """Compare a reading with a model's state dict."""
    wanted, start = plain_names(state), len(reading.prefix)
    known, unexpected = {}, []
    for long, name in reading.names.items():
        if long.startswith(reading.prefix) and long[start:] in wanted:
            known[wanted[long[start:]]] = reading.table[name]
        elif long != reading.prefix + "n_averaged":
            unexpected.append(name)
    mismatched = [(name, shape_of(value), shape_of(state[name])) for name, value in known.items()
                  if shape_of(value) != shape_of(state[name]) or isinstance(value, Stub)]  # fmt: skip
    wrong = {name for name, _, _ in mismatched}
    values = {name: value for name, value in known.items() if name not in wrong}
    filled = {memory_of(state[name]) for name in values}
    missing = [name for name in state if name not in known and memory_of(state[name]) not in filled
               and name.rpartition(".")[2] != "num_batches_tracked"]  # fmt: skip
    unread = {name: what_is(value) for name, value in known.items() if isinstance(value, Stub)}
    return Fit(values, missing, unexpected, mismatched, unread)


def memory_of(value: object) -> object:
    """A key that is equal for tensors sharing the same memory and layout."""
    if isinstance(value, Tensor) and value.numel():
        return value.device, value.data_ptr(), value.shape, value.stride()
    return id(value)


def complaint(path: str | os.PathLike[str], module: nn.Module, reading: Reading, fit: Fit) -> str:
    """An error message listing all mismatches."""
    place = [f"under {'.'.join(reading.where)!r}"] * bool(reading.where)
    place += [f"with the prefix {reading.prefix!r}"] * bool(reading.prefix)
    verdict = "does not fit" if fit.values else "has no weight that fits"
    wrong = [
        f"{name} a {fit.unread[name]}, which only its own code could read, in the file"
        if name in fit.unread
        else f"{name} {shape_text(there)} in the file, {shape_text(here)} in the model"
        for name, there, here in fit.mismatched
    ]
    lists = {"missing in the file": fit.missing, "unexpected in the file": fit.unexpected, "of another shape": wrong}
    parts = [f"{len(names)} {what}: {listed(names)}" for what, names in lists.items() if names]
    hint = f". strict=False loads the {len(fit.values)} weights that fit" if fit.values else ""
    found = f" (weights found {' '.join(place)})" if place else ""
    return f"{path}{found} {verdict} {type(module).__name__}: {'; '.join(parts)}{hint}"


def shape_text(shape: Shape) -> str:
    """A shape as shown in error messages."""
    return "no tensor" if shape is None else str(shape)
