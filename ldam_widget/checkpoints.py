"""Weights from files: whatever a training script wrote, put into a copy of the user's model; and means of several.

A file is only ever read as tensors. One that would run code while it is loaded is refused.
"""

from __future__ import annotations

import copy
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_swa_avg_fn, update_bn

from .models import LDAMWarning, choose_device, unwrap

# Where training scripts put a state dict, in the order in which they are looked for.
_RAW_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
             "generator")  # fmt: skip
_EMA_KEYS = ("ema", "ema_state_dict", "model_ema", "ema_model", "state_dict_ema", "model_state_dict_ema", "params_ema",
             "swa_state_dict", "swa_model", "averaged_model", "shadow")  # fmt: skip
_DEPTH = 3  # {"checkpoint keys": {"ema": {"module": weights}}}
_EMA_NAME = re.compile(r"(^|[._])(ema|swa|averaged|shadow)([._]|$)")

# What DataParallel and AveragedModel, torch.compile, FSDP and activation checkpointing insert into a name.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

_SHOWN = 8  # names in an error message, of each sort

_Shape = tuple[int, ...] | None  # None: not a tensor
_Mismatch = tuple[str, _Shape, _Shape]  # name, shape in the file, shape in the model


class CheckpointError(ValueError):
    """The weights in a file are not those of the model.

    Attributes:
        missing: names that the model has and the file has not.
        unexpected: names that the file has and the model has not, as they are written in the file.
        mismatched: (name in the model, shape in the file, shape in the model); None for what is no tensor.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mismatched: Sequence[_Mismatch] = (),
    ) -> None:
        super().__init__(message)
        self.missing, self.unexpected, self.mismatched = list(missing), list(unexpected), list(mismatched)


def load_checkpoint(
    model_or_factory: nn.Module | Callable[[], nn.Module],
    path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    strict: bool = True,
    prefer: Literal["raw", "ema"] = "raw",
) -> nn.Module:
    """A model with the weights of a file, in eval mode.

    The weights may be the file itself or lie under one of the usual keys, up to three deep: ``state_dict``,
    ``model_state_dict``, ``model_state``, ``model``, ``net``, ``network``, ``module``, ``weights``, ``params``,
    ``generator``, then those of averaged weights: ``ema``, ``ema_state_dict``, ``model_ema``, ``ema_model``,
    ``state_dict_ema``, ``model_state_dict_ema``, ``params_ema``, ``swa_state_dict``, ``swa_model``,
    ``averaged_model``, ``shadow``. What wrappers insert into names (``module.``, ``_orig_mod.``, …) is ignored in
    the file and in the model, and any prefix before the model's names is stripped (``model.``, ``net.``, …). Of all
    such readings, the one counts that gives the most weights of the right name and shape; the earlier key and the
    shorter prefix where several give as many.

    A weight that the file lacks is not missing if it shares its memory with one that was loaded (tied weights, which
    safetensors writes once) or if it is a `num_batches_tracked` (which old files do not have; it plays no part in
    eval mode). The `n_averaged` of `torch.optim.swa_utils.AveragedModel` is dropped. Weights of another dtype are
    converted to that of the model.

    Args:
        model_or_factory: a model, which is copied and not changed; or a callable without arguments that makes one,
            for instance its class. That one is then loaded and returned; the global CPU generator stays as it was.
        path: `.safetensors`, or what `torch.save` wrote. Never a pickle with code in it.
        device: where the model shall be; None: where it is.
        strict: raise an error unless all names and shapes agree. Else load what agrees, with an `LDAMWarning` that
            lists the rest.
        prefer: for a file with both, the "raw" weights or their average over training, "ema". The other kind is
            taken where those preferred are not there (for "ema" with an `LDAMWarning`), or give less than half as
            many weights.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        CheckpointError: the weights are not those of this model; or, whatever `strict` is, not a single one fits.
        ValueError: the file would run code, is damaged, or holds no weights; a weight is not finite, or is quantised,
            sparse or without data; the model has no memory for its weights; an option is none of those above.
        TypeError: `model_or_factory` is no model and makes none, or cannot be copied; `path` is no path.
    """
    if prefer not in ("raw", "ema"):
        raise ValueError(f"prefer={prefer!r}: there is 'raw' and 'ema'")
    content = _read(path)
    model = _own_model(model_or_factory)
    module = unwrap(model)
    _check_has_memory(module)
    reading = _best_reading(content, module.state_dict(), prefer, path)
    if prefer == "ema" and not reading.averaged:
        warnings.warn(f"{path} has no averaged weights; its raw ones were loaded", LDAMWarning, stacklevel=2)
    fit = _compare(reading, module.state_dict())
    if fit.missing or fit.unexpected or fit.mismatched:
        if strict or not fit.values:
            raise CheckpointError(_complaint(path, module, reading, fit), fit.missing, fit.unexpected, fit.mismatched)
        warnings.warn(_complaint(path, module, reading, fit), LDAMWarning, stacklevel=2)
    _check_values(path, fit.values, module.state_dict())
    _put(path, fit.values, module)
    return (model if device is None else model.to(choose_device(model, device))).eval()


def average_checkpoints(
    sources: Iterable[nn.Module | str | os.PathLike[str]],
    model_or_factory: nn.Module | Callable[[], nn.Module] | None = None,
    *,
    loader: Iterable[Any] | None = None,
    decay: float | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """A model whose weights are the mean of several, in eval mode: Izmailov et al. 2018 (arXiv:1803.05407).

    Floating-point weights and buffers are averaged, in their own dtype; integer buffers are those of the last source.
    The models given are not changed, and the generators of the CPU and of the model's device stay as they were.

    Args:
        sources: two or more models or paths (see `load_checkpoint`) with the same weights by name, shape and order.
        model_or_factory: the model that the files are for; only for paths.
        loader: batches from which the statistics of batch norm are taken anew, in training mode as in
            `torch.optim.swa_utils.update_bn`: inputs (N, …), or tuples that begin with them.
        decay: in (0, 1): an exponential moving average in the order given, decay · average + (1 - decay) · next,
            which begins with the first. None: the plain mean.
        device: where the model shall be; None: where the first source is.

    Raises:
        TypeError, ValueError: an argument is none of those above, the sources are not of one architecture, a weight
            is not finite, `loader` is empty.
        FileNotFoundError, IsADirectoryError, CheckpointError, ValueError: see `load_checkpoint`.
    """
    given = _check_sources(sources, model_or_factory)
    if decay is not None and not (isinstance(decay, float) and 0 < decay < 1):
        raise ValueError(f"decay={decay!r} must lie between 0 and 1, for instance 0.9; None gives the plain mean")
    if loader is not None and (isinstance(loader, Tensor) or not isinstance(loader, Iterable)):
        raise TypeError(f"loader must give batches, for instance a DataLoader or [batch]; got {type(loader).__name__}")
    base = None if model_or_factory is None else _own_model(model_or_factory)
    models = _models(given, base)
    first = next(models)
    where = next(first.parameters(), torch.empty(0)).device if device is None else choose_device(first, device)
    average = AveragedModel(_copied(first).to(where), avg_fn=_averaging(decay), use_buffers=True)
    average.update_parameters(first)
    for model in models:
        average.update_parameters(model)
    _refresh_batch_norm(average.module, loader, where)
    _check_finite("the average", average.module)
    return average.module.eval()


# ---- reading ---------------------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> object:
    """What a file holds, on the CPU."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be the path of a file; got {type(path).__name__}")
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; give the file with the weights that lies in it")
    if not file.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {file}")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty; was it copied while it was being written?")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)


def _read_safetensors(file: Path) -> object:
    try:
        return load_file(file)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{file} is damaged, or no safetensors file: {error}") from error


def _read_torch(file: Path) -> object:
    try:
        zipped = zipfile.is_zipfile(file)
        torchscript = zipped and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(file).namelist())
        if not torchscript:
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipped)
    except OSError:
        raise
    except Exception as error:  # of any type: a damaged file can hold anything
        culprit = _code_in(file, error)
        if culprit:
            raise ValueError(
                f"{file} is refused: it is a pickle that asks for {culprit}, and to load it would run code. Nothing "
                f"of it was run. Save the weights alone where you trust the file: {_SAFE}"
            ) from error
        # torch's advice for a pickle that it cannot read is weights_only=False, which is not ours
        why = "its pickle cannot be read" if isinstance(error, pickle.UnpicklingError) else f"{error!r:.300}"
        raise ValueError(f"{file} is damaged, or was not written by torch.save: {why}") from error
    raise ValueError(
        f"{file} is a TorchScript archive, which is a program and no weights. Save the weights alone where you trust "
        "it: torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
    )


_SAFE = (
    "torch.save(model.state_dict(), 'weights.pt') or "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)


def _code_in(file: Path, error: Exception) -> str:
    """The first function or class that a pickle asks for and must not have; "" where there is none to be seen."""
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    named = re.search(r"(?:GLOBAL|class) (\S+)", str(error))
    return named[1] if named else _first_global(file.read_bytes())


def _first_global(data: bytes) -> str:
    """The same for a bare pickle of a protocol that torch does not read. It is taken apart here and not run."""
    if not data.startswith(b"\x80"):  # the mark of a pickle: nearly any bytes can be read as a few instructions of one
        return ""
    strings: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if code.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    except ValueError:  # the end of what can be read
        pass
    return ""


# ---- finding the weights ---------------------------------------------------------------------------------------------


class _Reading(NamedTuple):
    """One way to find the weights of a model in a file."""

    where: tuple[str, ...]  # keys of the dict that holds them
    prefix: str  # before the names of the model
    names: dict[str, str]  # names in the model's style, with prefix, to those in the dict
    table: Mapping[str, object]  # the dict
    fits: int  # weights of the right name and shape
    named: int  # weights of the right name

    @property
    def averaged(self) -> bool:
        path = ".".join((*self.where, self.prefix))
        return bool(_EMA_NAME.search(path)) or self.prefix + "n_averaged" in self.names


def _best_reading(content: object, state: Mapping[str, object], prefer: str, path: str | os.PathLike[str]) -> _Reading:
    readings = [reading for where, table in _tables(content) for reading in _readings(where, table, state)]
    if not readings:
        keys = list(content) if isinstance(content, Mapping) else []
        raise ValueError(
            f"{path} holds no dict of tensors, at the top or under a usual key such as 'state_dict'; it is a "
            f"{type(content).__name__}{f' with {_listed(keys)}' if keys else ''}. "
            "torch.save(model.state_dict(), path) writes what is needed."
        )
    most = max(reading.fits for reading in readings)
    near = [reading for reading in readings if 2 * reading.fits >= most]
    return max(near, key=lambda reading: (reading.averaged == (prefer == "ema"), reading.fits, reading.named))


def _tables(content: object, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, object]]]:
    """Dicts that hold tensors and the keys that lead to them, the outermost first."""
    if not isinstance(content, Mapping):
        return
    if any(isinstance(value, Tensor) for value in content.values()):
        yield where, {str(name): value for name, value in content.items()}
    if len(where) < _DEPTH:
        for key in (*_RAW_KEYS, *_EMA_KEYS):
            yield from _tables(content.get(key), (*where, key))


def _readings(where: tuple[str, ...], table: Mapping[str, object], state: Mapping[str, object]) -> list[_Reading]:
    """A reading for every prefix that stands before a name of the model, the shortest first; at least for none."""
    wanted, names = _plain(state), _plain(table)
    counts = {"": (0, 0)}
    for long, name in names.items():
        for prefix, short in _splits(long):
            if short in wanted:
                fits, named = counts.get(prefix, (0, 0))
                fit = _shape(table[name]) == _shape(state[wanted[short]])
                counts[prefix] = fits + fit, named + 1
    order = sorted(counts, key=lambda prefix: (len(prefix), prefix))
    return [_Reading(where, prefix, names, table, *counts[prefix]) for prefix in order]


def _plain(names: Iterable[str]) -> dict[str, str]:
    """Names without what wrappers inserted, to the names themselves; unchanged where two would become the same."""
    names = list(names)
    plain = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """All prefixes of a name and what they leave: ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
        yield name[:start], name[start:]


def _shape(value: object) -> _Shape:
    return tuple(value.shape) if isinstance(value, Tensor) else None


# ---- comparing with the model ----------------------------------------------------------------------------------------


class _Fit(NamedTuple):
    """A reading beside a model."""

    values: dict[str, object]  # by the names of the model: what can be loaded
    missing: list[str]
    unexpected: list[str]
    mismatched: list[_Mismatch]


def _compare(reading: _Reading, state: Mapping[str, object]) -> _Fit:
    wanted, start = _plain(state), len(reading.prefix)
    known, unexpected = {}, []
    for long, name in reading.names.items():
        if long.startswith(reading.prefix) and long[start:] in wanted:
            known[wanted[long[start:]]] = reading.table[name]
        elif long != reading.prefix + "n_averaged":
            unexpected.append(name)
    mismatched = [(name, _shape(value), _shape(state[name])) for name, value in known.items()
                  if _shape(value) != _shape(state[name])]  # fmt: skip
    wrong = {name for name, _, _ in mismatched}
    values = {name: value for name, value in known.items() if name not in wrong}
    filled = {_memory(state[name]) for name in values}
    missing = [name for name in state if name not in known and _memory(state[name]) not in filled
               and name.rpartition(".")[2] != "num_batches_tracked"]  # fmt: skip
    return _Fit(values, missing, unexpected, mismatched)


def _memory(value: object) -> object:
    """Equal for tensors that are one and the same."""
    if isinstance(value, Tensor) and value.numel():
        return value.device, value.data_ptr(), value.shape, value.stride()
    return id(value)


def _complaint(path: str | os.PathLike[str], module: nn.Module, reading: _Reading, fit: _Fit) -> str:
    """All that does not agree, in one sentence or two."""
    place = [f"under {'.'.join(reading.where)!r}"] * bool(reading.where)
    place += [f"with the prefix {reading.prefix!r}"] * bool(reading.prefix)
    verdict = "does not fit" if fit.values else "has not a single weight that fits"
    wrong = [
        f"{name} {_shape_text(there)} in the file, {_shape_text(here)} in the model"
        for name, there, here in fit.mismatched
    ]
    lists = {"missing in the file": fit.missing, "unexpected in the file": fit.unexpected, "of another shape": wrong}
    parts = [f"{len(names)} {what}: {_listed(names)}" for what, names in lists.items() if names]
    hint = f". {len(fit.values)} of its weights fit, which strict=False loads" if fit.values else ""
    found = f" (weights found {' '.join(place)})" if place else ""
    return f"{path}{found} {verdict} {type(module).__name__}: {'; '.join(parts)}{hint}"


def _listed(names: Sequence[object]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(map(str, names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _shape_text(shape: _Shape) -> str:
    return "no tensor" if shape is None else str(shape)


def _check_values(path: str | os.PathLike[str], values: Mapping[str, object], state: Mapping[str, object]) -> None:
    seen: dict[object, tuple[str, Tensor]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            new = _converted(f"{path}: weight {name!r}", value, cast(Tensor, state[name]).dtype)
            twin, other = seen.setdefault(_memory(state[name]), (name, new))
            if not torch.equal(new, other):
                raise ValueError(f"{path}: {twin!r} and {name!r} are one weight in the model, but differ in the file")


def _converted(what: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """As it will be in the model: finite there, too."""
    if value.is_meta:
        raise ValueError(f"{what} was saved from the meta device and has no data; save the model after it is loaded")
    if value.is_quantized:
        raise ValueError(f"{what} is quantised ({value.dtype}); save it after .dequantize()")
    if value.layout is not torch.strided:
        raise ValueError(f"{what} is sparse ({value.layout}); save it after .to_dense()")
    if value.is_complex() and not dtype.is_complex:
        raise ValueError(f"{what} is complex, and real in the model ({dtype})")
    value = value.to(dtype)
    _check_numbers(what, value)
    return value


def _check_numbers(what: str, value: Tensor) -> None:
    if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise ValueError(
            f"{what} holds {count} NaN or infinite value{'s' if count > 1 else ''} of {value.numel()} in the model's "
            f"{value.dtype}. Did training diverge? Take an earlier checkpoint."
        )


def _put(path: str | os.PathLike[str], values: Mapping[str, object], module: nn.Module) -> None:
    # Filled into the model's own state dict: that carries the versions of its layers, so that none takes the weights
    # for those of an older version and converts them.
    state = module.state_dict()
    for name in list(state):
        if name in values:
            state[name] = values[name]
        else:
            del state[name]
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{path} fits {type(module).__name__} by names and shapes, but not otherwise: {error}"
        ) from error


# ---- models ----------------------------------------------------------------------------------------------------------


def _own_model(model_or_factory: object) -> nn.Module:
    if isinstance(model_or_factory, nn.Module):
        return _copied(model_or_factory)
    model: object = None
    if callable(model_or_factory):
        with torch.random.fork_rng(devices=[]):  # its initial weights are to be replaced
            model = model_or_factory()
    if not isinstance(model, nn.Module):
        got = f"{model_or_factory!r:.80}" + (f", which made {model!r:.80}" if callable(model_or_factory) else "")
        raise TypeError(f"model_or_factory must be a torch.nn.Module or a callable that makes one; got {got}")
    return model


_Module = TypeVar("_Module", bound=nn.Module)


def _copied(model: _Module) -> _Module:
    # tensors that are plain attributes, such as a pruned weight, belong to a graph that deepcopy refuses to copy
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor)
    }
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise TypeError(
            f"{type(model).__name__} cannot be copied with copy.deepcopy: {error!r}. Keep locks, open files and "
            "generators out of its attributes, or give a callable that makes the model"
        ) from error


def _check_has_memory(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(f"model weight {name!r} has no shape yet; pass a batch through the lazy model first")
        if tensor.is_meta:
            raise ValueError(
                f"model weight {name!r} is on the meta device; make the model on a real one, such as 'cpu'"
            )


# ---- averages --------------------------------------------------------------------------------------------------------


def _check_sources(sources: object, model_or_factory: object) -> list[nn.Module | str | os.PathLike[str]]:
    single = isinstance(sources, (str, os.PathLike, nn.Module))  # a text and a Sequential could be iterated, too
    if single or not isinstance(sources, Iterable):
        raise TypeError(f"sources must be a list of models or paths; got {sources!r:.80}")
    given = list(sources)
    if len(given) < 2:
        raise ValueError(f"sources must have two members or more; got {len(given)}")
    for index, source in enumerate(given):
        if not isinstance(source, (str, os.PathLike, nn.Module)):
            raise TypeError(f"sources[{index}] must be a torch.nn.Module or a path; got {source!r:.80}")
    paths = [source for source in given if not isinstance(source, nn.Module)]
    if paths and model_or_factory is None:
        raise ValueError(f"model_or_factory must be given, to load {paths[0]}")
    if model_or_factory is not None and not paths:
        raise ValueError("model_or_factory is for paths, and sources has models only; leave it out")
    return given


def _models(sources: Sequence[nn.Module | str | os.PathLike[str]], base: nn.Module | None) -> Iterator[nn.Module]:
    """One after the other, so that no more than one file is in memory at a time; checked against the first."""
    layout: list[tuple[str, _Shape]] = []
    for index, source in enumerate(sources):
        loaded = source if isinstance(source, nn.Module) else load_checkpoint(cast(nn.Module, base), source)
        model = unwrap(loaded)
        _check_has_memory(model)
        _check_finite(f"sources[{index}]", model)
        own: list[tuple[str, _Shape]] = [(name, _shape(tensor)) for name, tensor in _tensors(model)]
        layout = layout or own
        if own != layout:
            raise ValueError(f"sources[{index}] and sources[0] are not of one architecture: {_difference(own, layout)}")
        yield model


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers in the order in which AveragedModel goes through them."""
    return [*model.named_parameters(), *model.named_buffers()]


def _difference(own: list[tuple[str, _Shape]], first: list[tuple[str, _Shape]]) -> str:
    """The first weight in which two models differ."""
    at = next((i for i, (a, b) in enumerate(zip(own, first, strict=False)) if a != b), min(len(own), len(first)))
    here, there = (
        f"{all_[at][0]} {_shape_text(all_[at][1])}" if at < len(all_) else "nothing" for all_ in (own, first)
    )
    return f"their weight {at} is {here} and {there}"


def _averaging(decay: float | None) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    mean: Callable[[Tensor, Tensor, Tensor | int], Tensor]
    mean = get_swa_avg_fn() if decay is None else get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        # counters and tables of indices have no mean, and would lose digits on the way through float32
        return mean(average, current, count) if average.is_floating_point() or average.is_complex() else current

    return update


def _refresh_batch_norm(model: nn.Module, loader: Iterable[Any] | None, device: torch.device) -> None:
    norms = [module for module in model.modules()
             if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]  # fmt: skip
    if norms and loader is None:
        warnings.warn(
            f"the statistics of {len(norms)} batch-norm layer{'s' if len(norms) > 1 else ''} were averaged like "
            "weights and may be off; loader=batches of training images takes them anew",
            LDAMWarning,
            stacklevel=3,
        )
    if loader is None:
        return
    if not norms:
        warnings.warn("loader was not used: the model has no batch norm with statistics", LDAMWarning, stacklevel=3)
        return
    # dropout draws from the generators in training mode, and a DataLoader from that of the CPU
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        update_bn(loader, model, device)
    if not any(int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None):
        raise ValueError("loader gave no batch, or was used up before; give a DataLoader or a list of batches")


def _check_finite(what: str, model: nn.Module) -> None:
    for name, tensor in _tensors(model):
        _check_numbers(f"{what}: weight {name!r}", tensor.detach())
