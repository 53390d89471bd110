"""What a unit is driven by, and what it drives: contributions of units in the layers next to it.

The contribution of a unit a to a unit b is a · ∂b/∂a, summed over a's map: for piecewise linear networks without
biases, the contributions of a layer add up to b. Unlike weights, they exist across convolutions of any size, poolings
and branches, and are those of given images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .addresses import Address, replace, select
from .capture import STOP, Call, listen
from .trace import LayerOutput
from .traced import Traced

_SCALED = 0.01  # by so much is a unit reduced to see what follows
_NOTHING = 1e-6  # of the largest change: rounding
_FAR = 24  # outputs before or after the layer that are looked at


class Contribution(NamedTuple):
    """Of one unit, or to one unit, on average over the images."""

    layer: str
    unit: int
    value: float
    units: int  # of its layer
    name: str = ""  # of its class; "" if it is none of the model's output


class Connections(NamedTuple):
    """The strongest ones, by size; () if there are none."""

    inputs: tuple[Contribution, ...]
    outputs: tuple[Contribution, ...]


@torch.inference_mode(False)
def connections(
    traced: Traced, layer: str, unit: int, images: Tensor, k: int = 6, class_names: Sequence[str] = ()
) -> Connections:
    """What a unit is driven by and what it drives, in the nearest layers with weights where these are several units.

    Separate normalisations, activations and poolings, in which a unit depends on one unit alone, are passed over.

    Args:
        traced: of a private view.
        layer, unit: a name as in `ldam.layers`, and a number.
        images: (n, *image) in pixel range, such as the unit's top images. Of a map, the unit's value is the largest.
        k: of each, at most.
        class_names: of the units of the model's output; other layers have none, however many units they have.

    Raises:
        ValueError: no such layer.
    """
    outputs = traced.trace.outputs
    own = next((i for i, each in enumerate(outputs) if str(each.address) == layer), None)
    if own is None:
        raise ValueError(f"layer {layer!r} is not run by the model's forward pass; choose one of layers(model)")
    below = [each for each in reversed(outputs[max(0, own - _FAR) : own]) if _has_weights(each)]
    above = [each for each in outputs[own + 1 : own + 1 + _FAR] if _has_weights(each)]
    inputs = _inputs(traced, outputs[own], unit, images, below)
    driven = _outputs(traced, outputs[own], unit, images, above)
    answer = traced.trace.own.address

    def strongest(found: tuple[LayerOutput, Tensor] | None) -> tuple[Contribution, ...]:
        if found is None:
            return ()
        output, values = found
        named = output.address == answer and len(class_names) == len(values)
        return _strongest(output, values, k, class_names if named else ())

    return Connections(strongest(inputs), strongest(driven))


def _has_weights(output: LayerOutput) -> bool:
    """Of its own; not only in modules inside it, whose outputs are looked at themselves."""
    return output.listed and next(output.module.parameters(recurse=False), None) is not None


def _inputs(
    traced: Traced, own: LayerOutput, unit: int, images: Tensor, below: list[LayerOutput]
) -> tuple[LayerOutput, Tensor] | None:
    kept: dict[Address, Tensor] = {}
    made: list[Any] = []
    wanted = {each.address for each in below}

    def hear(call: Call) -> object:
        if call.address == own.address._replace(keys=()):
            made.append(select(call.output, own.address))
            return STOP
        output = call.output
        for address in wanted:
            if address._replace(keys=()) == call.address:
                kept[address] = part = select(output, address)
                output = replace(output, address.keys, part.clone())  # what follows may change it in place
        return output if output is not call.output else None

    with torch.enable_grad():
        x = images.detach().clone().requires_grad_(True)
        listen(_modules(traced, [own, *below]), hear, lambda: traced.run(x))
        if not made or not made[0].requires_grad:
            return None
        value = _units(made[0], own.axis)[unit].reshape(len(images), -1).amax(1).sum()
        usable = [each for each in below if each.address in kept and kept[each.address].requires_grad]
        if not usable:
            return None
        sources = [kept[each.address] for each in usable]
        grads: list[Tensor | None] = [*torch.autograd.grad(value, sources, allow_unused=True)]
    for each, grad in zip(usable, grads, strict=True):
        if grad is None:
            continue
        total = _units(kept[each.address].detach().double() * grad, each.axis).flatten(1).sum(1) / len(images)
        if int((_units(grad, each.axis).flatten(1).abs().sum(1) > 0).sum()) > 1:
            return each, total
    return None


def _outputs(
    traced: Traced, own: LayerOutput, unit: int, images: Tensor, above: list[LayerOutput]
) -> tuple[LayerOutput, Tensor] | None:
    if not above:
        return None
    with torch.no_grad():
        before, after = (_means(traced, own, unit, images, above, factor) for factor in (1.0, 1 - _SCALED))
    for each in above:
        if each.address not in before or each.address not in after:
            continue
        change = (before[each.address] - after[each.address]) / _SCALED
        if int((change.abs() > _NOTHING * max(1e-12, float(before[each.address].abs().max()))).sum()) > 1:
            return each, change
    return None


def _means(
    traced: Traced, own: LayerOutput, unit: int, images: Tensor, above: list[LayerOutput], factor: float
) -> dict[Address, Tensor]:
    """Mean over images and positions of every unit, in double precision, with the unit's own map times a factor."""
    found: dict[Address, Tensor] = {}

    def hear(call: Call) -> object:
        for each in above:
            if each.address._replace(keys=()) == call.address:
                part = select(call.output, each.address)
                found[each.address] = _units(part.double(), each.axis).flatten(1).mean(1)
        if call.address != own.address._replace(keys=()):
            return None
        changed = select(call.output, own.address).clone()
        _units(changed, own.axis)[unit] *= factor
        return replace(call.output, own.address.keys, changed)

    listen(_modules(traced, [own, *above]), hear, lambda: traced.run(images))
    return found


def _units(output: Tensor, axis: int) -> Tensor:
    """A view with the units first, (units, images, *positions)."""
    return output.movedim(axis, 0)


def _strongest(output: LayerOutput, values: Tensor, k: int, names: Sequence[str]) -> tuple[Contribution, ...]:
    chosen = values.abs().nan_to_num(0.0).topk(min(k, len(values))).indices.tolist()
    return tuple(
        Contribution(output.layer.name, unit, float(values[unit]), len(values), names[unit] if names else "")
        for unit in chosen
    )


def _modules(traced: Traced, outputs: list[LayerOutput]) -> dict[str, torch.nn.Module]:
    modules = dict(traced.view.named_modules(remove_duplicate=False))
    return {each.address.module: modules[each.address.module] for each in outputs}
