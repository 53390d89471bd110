"""Which chains stay when other neurons are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..network.units import Neuron
from ..objectives.neuron import Neurons


def same_neurons(before: Neurons, after: Neurons) -> list[int | None]:
    """For each neuron in `after`, its index in `before`; None if it is not there."""
    if before.layer != after.layer:
        return [None] * len(after.neurons)
    left = list(range(len(before.neurons)))
    places: list[int | None] = []
    for neuron in after.neurons:
        found = next((place for place in left if _same(before.neurons[place], neuron)), None)
        places.append(found)
        if found is not None:
            left.remove(found)
    return places


def _same(one: Neuron, other: Neuron) -> bool:
    a, b = one.readout, other.readout
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return one.key == other.key and a.shape == b.shape and torch.equal(a, b)
    return one.key == other.key and type(a) is type(b) and bool(a == b)  # the key of an expression says all of it


def rows_of(places: Sequence[int | None], per_neuron: int, device: torch.device) -> Tensor:
    """Batch rows (chain · rung,) that the neurons had, given their former places; −1 for new ones."""
    first = torch.tensor([-1 if place is None else place * per_neuron for place in places], device=device)
    each = torch.arange(per_neuron, device=device)
    return torch.where(first[:, None] < 0, -1, first[:, None] + each).flatten()


def select_rows(values: Any, rows: Tensor) -> Any:
    """Select rows of every tensor in nested tuples and dicts."""
    if isinstance(values, Tensor):
        return values[rows]
    if isinstance(values, dict):
        return {name: select_rows(value, rows) for name, value in values.items()}
    return tuple(select_rows(value, rows) for value in values) if isinstance(values, tuple) else values
