"""Which units carry an activation, and whether real images ever use them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...network.capture import Call, listen
from ...objectives.neuron import Interpolated, Neurons

ACTIVE = 0.01  # of a unit's size in the samples: above it, a real image uses the unit
RARELY = 0.01  # a unit that a smaller share of the real images uses counts as silent


class Carried(NamedTuple):
    """What the units that one layer reads contribute to a neuron, in some pictures."""

    size: Tensor  # (units,) mean size of each unit's activation
    share: Tensor  # (units,) of the positive contributions, gradient times activation; sums to 1


def weighted_modules(view: nn.Module) -> dict[str, nn.Module]:
    """Modules with weights of their own, such as convolutions and dense layers, by name."""
    return {
        name: module
        for name, module in view.named_modules()
        if any(p.ndim > 1 for p in module.parameters(recurse=False))
    }


def carried(neurons: Neurons | Interpolated, view: nn.Module, x: Tensor) -> dict[str, Carried]:
    """The units that carry a neuron's activation, by the module (and call) that reads them, in execution order.

    Args:
        neurons: of one neuron, with one chain.
        view: its network.
        x: pictures (chain, *image).

    A unit is a channel of a map, or one number of a vector. The picture itself is left out. Contributions are gradient
    times activation: for rectifier networks without biases they add up to the activation.
    """
    inputs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    pixels = x[0].numel()

    def hear(call: Call) -> None:
        read = _read(call, pixels)
        if read is not None and read.requires_grad:
            keep = functools.partial(_keep, inputs.setdefault(str(call.address), []), read.detach().clone())
            read.register_hook(keep)  # type: ignore[no-untyped-call]

    for image in torch.split(x, 1):  # one by one, as passes with several calls of a module are counted
        listen(weighted_modules(view), hear, functools.partial(neurons.evaluate, image))
    found = {}
    for name, parts in inputs.items():
        if not parts:
            continue
        values, grads = (torch.cat(each) for each in zip(*parts, strict=True))
        share = _per_unit(values * grads, torch.sum).double().mean(0).clamp_min(0)
        if float(share.sum()) > 0:
            size = _per_unit(values.abs(), torch.amax).double().mean(0)
            found[name] = Carried(size.cpu(), (share / share.sum()).cpu())
    return found


class Silence:
    """Counts how many real images use the units that carry some neurons.

    Args:
        view: the network.
        carriers: for every neuron, from `carried`.
    """

    def __init__(self, view: nn.Module, carriers: Sequence[Mapping[str, Carried]]) -> None:
        self._carriers = carriers
        names = {name for each in carriers for name in each}
        self._modules = {n: m for n, m in weighted_modules(view).items() if any(_module(name) == n for name in names)}
        self._used = [{name: torch.zeros_like(c.size) for name, c in each.items()} for each in carriers]
        self._images = 0

    def activations(self, neurons: Neurons | Interpolated, x: Tensor) -> Tensor:
        """`neurons.activations(x)` of some real images; counts the units that they use."""

        def hear(call: Call) -> None:
            read = _read(call, x[0].numel())
            if read is None:
                return
            size, name = _per_unit(read.detach().abs(), torch.amax).double().cpu(), str(call.address)
            for used, carriers in zip(self._used, self._carriers, strict=True):
                if name in used and size.shape[1:] == used[name].shape:
                    used[name] += (size > ACTIVE * carriers[name].size).sum(0)

        found: list[Tensor] = []
        objective = neurons.neurons if isinstance(neurons, Interpolated) else neurons
        for part in objective.in_batches(x):
            activation = listen(self._modules, hear, functools.partial(neurons.activations, part))
            assert activation is not None, "nothing stops the pass"
            found.append(activation)
        self._images += len(x)
        return torch.cat(found)

    def shares(self, index: int) -> dict[str, float]:
        """Share of a neuron's activation that silent units carry, 0…1, by the module that reads them."""
        least = RARELY * self._images
        return {
            name: float(each.share[self._used[index][name] < least].sum())
            for name, each in self._carriers[index].items()
        }


def _keep(parts: list[tuple[Tensor, Tensor]], values: Tensor, grad: Tensor) -> None:
    parts.append((values, grad.detach()))


def _module(address: str) -> str:
    return address.partition("#")[0]


def _read(call: Call, pixels: int) -> Tensor | None:
    """What a module reads, (image, …); None for the picture itself, and for what is no tensor."""
    read = call.inputs[0] if call.inputs else None
    if not isinstance(read, Tensor) or not read.is_floating_point() or read.ndim < 2:
        return None
    return None if math.prod(read.shape[1:]) == pixels else read


def _per_unit(values: Tensor, reduce: object) -> Tensor:
    """(image, unit, …) over positions -> (image, unit); tokens (image, token, feature) have their features last."""
    if values.ndim == 3:
        values = values.movedim(2, 1)
    return reduce(values.flatten(2), 2) if values.ndim > 2 else values  # type: ignore[operator]
