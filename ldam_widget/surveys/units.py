"""All units of a layer in a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.tables import Row, Table, number
from . import statistics
from .tally import Tally


class UnitRow(NamedTuple):
    """A unit, over the images of a survey; NaN where nothing can be said."""

    unit: int
    name: str  # for `Sampler(neurons=[…])`: "layer3:17"
    dead: bool  # no image makes it positive
    mean: float
    max: float
    zero_share: float  # of images for which it is exactly 0
    best_class: str  # with the largest mean; "" without labels
    selectivity: float  # for that class, 0 … 1
    partner: int  # the unit that correlates most with it, with either sign; −1: none
    correlation: float  # with its partner


class UnitTable(Table, list[UnitRow]):
    """The units of a layer; prints as a table."""

    def by(self, column: str, *, ascending: bool = False) -> UnitTable:
        """Sorted by a column, largest first; NaN last, ties by unit. Raises ValueError for an unknown column."""
        if column not in UnitRow._fields:
            raise ValueError(f"column must be one of {', '.join(UnitRow._fields)}; got {column!r}")
        at = UnitRow._fields.index(column)
        known = [row for row in self if row[at] == row[at]]
        key: Callable[[UnitRow], object] = lambda row: row[at]  # noqa: E731
        rows = sorted(known, key=key, reverse=not ascending)  # type: ignore[arg-type]  # stable, with reverse, too
        return UnitTable([*rows, *(row for row in self if row[at] != row[at])])

    def csv(self, path: str | os.PathLike[str]) -> None:
        """Write a file that spreadsheets and pandas read; UTF-8, numbers in full, "nan" where there is none."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(UnitRow._fields)
            writer.writerows(self)

    def table(self) -> tuple[Row, list[Row]]:
        """One row per unit."""
        head = ("unit", "dead", "mean", "max", "zero", "class", "selectivity", "partner", "correlation")
        return head, [
            (
                row.name,
                "dead" if row.dead else "",
                number(row.mean),
                number(row.max),
                "–" if row.zero_share != row.zero_share else f"{row.zero_share:.0%}",
                row.best_class,
                number(row.selectivity),
                str(row.partner) if row.partner >= 0 else "–",
                number(row.correlation),
            )
            for row in self
        ]


def table_of(layer: str, tally: Tally, class_names: Sequence[str]) -> UnitTable:
    """All units of a layer, in order."""
    maxima, zeros = statistics.maxima(tally), tally.counts[:, 2] / tally.counts[:, 0]
    best, selectivity = statistics.selectivity(tally)
    partner, correlation = statistics.partners(tally)
    names = [*class_names, *map(str, range(len(class_names), int(best.max()) + 1)), ""]  # −1 is the last one
    columns = (maxima <= 0, statistics.means(tally), maxima, zeros, best, selectivity, partner, correlation)
    return UnitTable(
        UnitRow(unit, f"{layer}:{unit}", dead, mean, most, zero, names[label], chosen, other, shared)
        for unit, (dead, mean, most, zero, label, chosen, other, shared) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        )
    )
