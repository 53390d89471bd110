"""All units of a layer in a table."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import torch

from ..core.tables import Row, Table, number
from . import statistics
from .change import change, kept
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
    change: float = math.nan  # of the mean in another checkpoint, in standard deviations; see `Survey.table`
    kept: float = math.nan  # share of its top images that are among those of the other checkpoint


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

    def find(self, text: str) -> UnitTable:
        """Rows that hold every word of a text in the name, the class or the word "dead"; case does not matter.

        A number is looked for as the number of a unit: "17" finds unit 17 only.
        """
        words = text.lower().split()
        return UnitTable(row for row in self if all(_holds(row, word) for word in words))

    def csv(self, path: str | os.PathLike[str]) -> None:
        """Write a file that spreadsheets and pandas read; UTF-8, numbers in full, "nan" where there is none."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            self.write(file)

    def write(self, file: TextIO) -> None:
        """Like `csv`, into an open file."""
        writer = csv.writer(file)
        writer.writerow(UnitRow._fields)
        writer.writerows(self)

    def table(self) -> tuple[Row, list[Row]]:
        """One row per unit."""
        compared = any(not math.isnan(row.change) or not math.isnan(row.kept) for row in self)
        head = ("unit", "dead", "mean", "max", "zero", "class", "selectivity", "partner", "correlation")
        return (*head, "change", "kept") if compared else head, [
            (
                row.name,
                "dead" if row.dead else "",
                number(row.mean),
                number(row.max),
                _share(row.zero_share),
                row.best_class,
                number(row.selectivity),
                str(row.partner) if row.partner >= 0 else "–",
                number(row.correlation),
                *((number(row.change), _share(row.kept)) if compared else ()),
            )
            for row in self
        ]


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"


def _holds(row: UnitRow, word: str) -> bool:
    if word.isdecimal():
        return row.unit == int(word)
    return word in row.name.lower() or word in row.best_class.lower() or (row.dead and word in "dead")


def table_of(layer: str, tally: Tally, class_names: Sequence[str], other: Tally | None = None) -> UnitTable:
    """All units of a layer, in order; with what has changed in another checkpoint."""
    maxima, zeros = statistics.maxima(tally), tally.counts[:, 2] / tally.counts[:, 0]
    best, selectivity = statistics.selectivity(tally)
    partner, correlation = statistics.partners(tally)
    names = [*class_names, *map(str, range(len(class_names), int(best.max()) + 1)), ""]  # −1 is the last one
    unknown = torch.full((tally.units,), torch.nan)
    changed = (unknown, unknown) if other is None else (change(tally, other), kept(tally, other))
    columns = (maxima <= 0, statistics.means(tally), maxima, zeros, best, selectivity, partner, correlation, *changed)
    return UnitTable(
        UnitRow(unit, f"{layer}:{unit}", dead, mean, most, zero, names[label], *rest)
        for unit, (dead, mean, most, zero, label, *rest) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        )
    )
