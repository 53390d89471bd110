"""How closely models agree on a neuron."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.tables import Row, Table, number


class Agreement(NamedTuple):
    """How closely the models agree on one neuron. With more than two, each is compared with the first."""

    key: str  # of the neuron in the first model
    name: str  # class name or ""
    activation: tuple[float, ...]  # one per model, mean over chains
    gap: float  # activation of the other model minus the first's; the largest of several; NaN if one is unknown
    correlation: float  # between averages, over pixels: 1 is the same picture; the least of several; NaN if one is flat
    difference: float  # mean |difference of the averages|, in pixel units; the mean of several
    change: float = math.nan  # of the averages' coarse structure, beyond chance, see `change_of`; NaN unless ranked
    error: float = math.nan  # standard error of `change`
    noise: float = math.nan  # `change` exceeds this in 5 % of the neurons that did not change

    @property
    def within_noise(self) -> bool:
        """Whether chance alone may give this `change`. False if it is not known."""
        return self.change <= self.noise

    @property
    def label(self) -> str:
        return f"{self.key} {self.name}".rstrip()


class AgreementTable(Table, list[Agreement]):
    """One `Agreement` per neuron; prints as a table."""

    def table(self) -> tuple[Row, list[Row]]:
        """One row per neuron."""
        head: Row = ("neuron", "activations", "gap", "correlation", "difference of averages")
        rows: list[Row] = [
            (
                row.label, " | ".join(map(number, row.activation)), number(row.gap), number(row.correlation),
                number(row.difference),
            )
            for row in self
        ]  # fmt: skip
        if all(math.isnan(row.change) for row in self):
            return head, rows
        said = (f"{number(row.change)} ± {number(row.error)}" for row in self)
        noise = ("within the noise" if row.within_noise else "" for row in self)
        return (*head, "change", ""), [(*row, *more) for row, *more in zip(rows, said, noise, strict=True)]


def agreement_of(labels: Iterable[tuple[str, str]], averages: Tensor, activations: Tensor) -> AgreementTable:
    """One row per neuron.

    Args:
        labels: key and name of every neuron.
        averages: average pictures, (models, N, *image).
        activations: (models, N).
    """
    differences = (averages[1:] - averages[:1]).abs().flatten(2).mean(2).mean(0)
    found = AgreementTable()
    for n, (key, name) in enumerate(labels):
        activation = tuple(activations[:, n].tolist())
        gaps = [value - activation[0] for value in activation[1:]]
        alike = (correlation(averages[0, n], other[n]) for other in averages[1:])
        furthest = or_nan(lambda values: max(values, key=abs), gaps)
        found.append(Agreement(key, name, activation, furthest, or_nan(min, alike), float(differences[n])))
    return found


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation over pixels; 1 for equal pictures, even flat ones; otherwise NaN if one is flat."""
    if torch.equal(a, b):
        return 1.0
    # the mean of a flat float32 picture is exact in float64, so its norm is exactly 0
    a, b = ((image - image.mean()).flatten() for image in (a.double(), b.double()))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm else math.nan


def or_nan(choose: Callable[[list[float]], float], values: Iterable[float]) -> float:
    """`choose(values)`, e.g. `min`; NaN if any value is NaN, which `min` and `max` would ignore."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else choose(found)
