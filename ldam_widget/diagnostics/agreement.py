"""How far models agree on a neuron."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.tables import Row, Table, number


class Agreement(NamedTuple):
    """How far the models agree on one neuron. With more than two, the others are held against the first."""

    key: str  # of the neuron in the first model
    name: str  # class name or ""
    activation: tuple[float, ...]  # a model, mean over chains
    gap: float  # activation of the other model minus that of the first; of several, the largest; NaN: one is not known
    correlation: float  # of the averages over pixels: 1 is the same picture; of several, the least; NaN: one is flat
    difference: float  # mean |difference of the averages|, in units of the pixels; of several, the mean

    @property
    def label(self) -> str:
        return f"{self.key} {self.name}".rstrip()


class AgreementTable(Table, list[Agreement]):
    """An `Agreement` a neuron; prints as a table."""

    def table(self) -> tuple[Row, list[Row]]:
        """A row a neuron."""
        head = ("neuron", "activations", "gap", "correlation", "difference of averages")
        return head, [
            (
                row.label, " | ".join(map(number, row.activation)), number(row.gap), number(row.correlation),
                number(row.difference),
            )
            for row in self
        ]  # fmt: skip


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, over pixels; 1 for equal pictures, flat ones included, NaN if another one is flat."""
    if torch.equal(a, b):
        return 1.0
    # a flat picture of single-precision pixels has an exact mean in double precision: its norm is exactly 0
    a, b = ((image - image.mean()).flatten() for image in (a.double(), b.double()))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm else math.nan


def or_nan(choose: Callable[[list[float]], float], values: Iterable[float]) -> float:
    """`choose(values)`, such as the least; NaN if one of them is, which `min` and `max` would pass over."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else choose(found)
