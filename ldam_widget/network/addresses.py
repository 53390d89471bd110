"""Addresses of a layer's units: which call of a module, which tensor of its output, and which axis of that tensor.

A layer is written as the dotted name of its module, plus a suffix where needed::

    conv2              the output of the first call of `conv2`
    same#2             of the second call in one forward pass
    lstm[0]            the first tensor of a tuple
    encoder[hidden][1] by key, then by position
    (output)           what the model itself returns, where no module returns it
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

OUTPUT = "(output)"  # the model's own output; no module can be called so
_WRAPPERS = {"module", "_orig_mod"}  # name components added by DataParallel and torch.compile


class Address(NamedTuple):
    """One tensor of a forward pass."""

    module: str  # dotted; "" is the model itself
    call: int = 1  # counted from 1
    keys: tuple[str, ...] = ()  # into a tuple, list, dict or dataclass

    def __str__(self) -> str:
        return (
            (self.module or OUTPUT)
            + (f"#{self.call}" if self.call > 1 else "")
            + "".join(f"[{key}]" for key in self.keys)
        )


def parse(text: str, names: Mapping[str, str]) -> Address | None:
    """Parse a layer name; None if it names no module.

    Args:
        text: as above, "" is the model's own output; may contain the "module." and "_orig_mod." of wrappers.
        names: from `module_names`.
    """
    text = text.removeprefix(OUTPUT)
    for pattern in (r"(?P<name>.*)", r"(?P<name>.*?)(?:#(?P<call>[1-9]\d*))?(?P<keys>(?:\[[^\[\]]+\])*)"):
        match = re.fullmatch(pattern, text, re.DOTALL)
        if match is None:
            continue
        bare = ".".join(part for part in match["name"].split(".") if part not in _WRAPPERS)
        for name in (match["name"], bare):
            if name in names:
                found = match.groupdict()
                keys = tuple(re.findall(r"\[([^\[\]]+)\]", found.get("keys") or ""))
                return Address(names[name], int(found.get("call") or 1), keys)
    return None


def module_names(network: nn.Module) -> dict[str, str]:
    """Every name of every module -> its listed name; a shared module has several names."""
    listed = {module: name for name, module in network.named_modules()}
    return {name: listed[module] for name, module in network.named_modules(remove_duplicate=False)}


# ---- tensors within tuples and dicts ---------------------------------------------------------------------------------


def parts(output: Any) -> dict[str, Any] | None:
    """The parts of a layer's output, by key or position; None if it is not a container."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return {str(i): value for i, value in enumerate(output)}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return None


def tensors(output: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """All tensors in an output with their keys, in order."""
    if isinstance(output, Tensor):
        yield keys, output
    for key, value in (parts(output) or {}).items():
        yield from tensors(value, (*keys, key))


def select(output: Any, address: Address) -> Any:
    """The part of an output that an address's keys select.

    Raises:
        ValueError: a missing key; the message suggests layers that exist.
    """
    for depth, key in enumerate(address.keys):
        inside = parts(output)
        so_far = address._replace(keys=address.keys[:depth])
        if inside is None:
            raise ValueError(f"layer {str(so_far)!r} returns {describe(output)}; [{key}] cannot be chosen in it")
        if key not in inside and key in getattr(output, "_fields", ()):  # a named tuple
            key = str(output._fields.index(key))
        if key not in inside:
            raise ValueError(
                f"layer {str(so_far)!r} returns {describe(output)}, without [{key}]; choose {example(so_far, output)}"
            )
        output = inside[key]
    return output


def replace(output: Any, keys: tuple[str, ...], value: Any) -> Any:
    """A copy of an output with one part replaced."""
    if not keys:
        return value
    inside = parts(output)
    assert inside is not None, "select() has been there"
    changed = replace(inside[keys[0]], keys[1:], value)
    if isinstance(output, Mapping):
        new: Any = dict(output)
        new[next(key for key in output if str(key) == keys[0])] = changed
        return new
    if isinstance(output, (tuple, list)):
        items = [changed if str(i) == keys[0] else item for i, item in enumerate(output)]
        if hasattr(output, "_fields"):
            return type(output)(*items)
        return tuple(items) if isinstance(output, tuple) else items
    return dataclasses.replace(output, **{keys[0]: changed})


def describe(output: Any) -> str:
    """Describe an output, for error messages."""
    if isinstance(output, Tensor):
        return f"one tensor of shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a dict with keys {[str(key) for key in output]}"
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    inside = parts(output)
    return type(output).__name__ if inside is None else f"a {type(output).__name__} with fields {list(inside)}"


def example(address: Address, output: Any) -> str:
    """Valid layers within this output, for error messages."""
    inner = [str(address._replace(keys=(*address.keys, *keys))) for keys, tensor in tensors(output) if tensor.ndim > 1]
    if not inner:
        return "a layer inside or before it"
    return " or ".join(f"layer={name!r}" for name in inner[:4]) + (", …" if len(inner) > 4 else "")


# ---- axes ------------------------------------------------------------------------------------------------------------

_UNITS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,  # batch and instance norm
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
)


class AxisHint(NamedTuple):
    """The axis on which a module that ran puts its units."""

    first: bool  # units on axis 1; else on the last one
    features: int | None  # how many
    ndim: int  # of its output


def axis_hint(module: nn.Module, output: Any) -> AxisHint | None:
    """None: the module does not determine the axis (activation, dropout, a block), or there is only one candidate."""
    tensor = next(iter(tensors(output)), ((), None))[1]
    if tensor is None or tensor.ndim < 3:
        return None
    if isinstance(module, _UNITS_FIRST):
        return AxisHint(True, getattr(module, "out_channels", getattr(module, "num_features", None)), tensor.ndim)
    shape = getattr(module, "normalized_shape", None)  # LayerNorm, RMSNorm and their like
    if shape is not None:
        return AxisHint(False, int(shape[0]), tensor.ndim) if len(shape) == 1 else None
    if isinstance(module, nn.RNNBase):
        width = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
        return AxisHint(False, width, tensor.ndim)
    for name, kind in (("out_features", nn.Module), ("embed_dim", nn.MultiheadAttention), ("embedding_dim", nn.Module)):
        features = getattr(module, name, None)
        if isinstance(module, kind) and isinstance(features, int):
            return AxisHint(False, features, tensor.ndim)
    return None


def unit_axis(output: Tensor, last: AxisHint | None) -> int:
    """Which axis of (batch, …) holds the units.

    Convolutions, batch norms and pooling put them on axis 1; linear layers, layer norms, attention and recurrent
    layers on the last. Anything else (an activation, a block, a Swin stage) follows the last of these modules that ran
    before it returned:

    * after the second kind: the axis (1 or last) with that module's number of features, since a block may move it
      (ConvNeXt). If both match, the one that is contiguous in memory, as the linear layer wrote it. If neither
      matches, the last of three axes, or axis 1 of more.
    * after the first kind: axis 1; but the last axis if it has the channels and either a map was flattened to three
      axes (the tokens of a patch embedding) or the axes were permuted, as the strides show.

    Args:
        output: (batch, …), at least two axes.
        last: the latest hint from `axis_hint`; None means axis 1.
    """
    end = output.ndim - 1
    if end == 1 or last is None:
        return 1
    if last.first:
        tokens = end == 2 and last.ndim > 3
        permuted = output.shape[1] != last.features and output.stride(end) != 1
        return end if output.shape[end] == last.features and (tokens or permuted) else 1
    fits = [axis for axis in (1, end) if output.shape[axis] == last.features]
    if len(fits) == 1:
        return fits[0]
    if fits:
        return 1 if output.stride(1) == 1 and output.stride(end) != 1 else end
    return end if end == 2 else 1
