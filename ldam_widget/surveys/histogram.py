"""The distribution of a unit's values."""

from __future__ import annotations

import math
from typing import NamedTuple


class Histogram(NamedTuple):
    """A unit's values over the images.

    The 64 bins divide the range of the first 1,024 images evenly (for a unit that is constant there, a range as wide as
    the widest of its layer); each includes its lower edge, the last one also the
    upper.
    """

    edges: tuple[float, ...]  # 65
    counts: tuple[int, ...]  # 64
    below: int  # values below the first edge
    above: int  # values above the last one
    zeros: int  # values that are exactly 0; they are in their bin, too
    not_finite: int  # images for which the unit was NaN or infinite; counted nowhere else
    finite: int  # images for which it was
    lowest: float
    mean: float
    top: tuple[float, ...]  # the largest values, descending

    @property
    def zero_share(self) -> float:
        """The share of values that are exactly 0."""
        return self.zeros / self.finite if self.finite else math.nan

    def percentile(self, value: float) -> float:
        """How many per cent of the values are smaller, with half of those that are equal; see `Survey.percentile`.

        Raises:
            ValueError: the value is NaN.
        """
        if math.isnan(value):
            raise ValueError("value must be a number; got nan")
        return 100 * self._below(value) / self.finite if self.finite else math.nan

    def _below(self, value: float) -> float:
        if self.lowest == self.top[0]:  # constant
            return self.finite * (0.5 if value == self.lowest else float(value > self.lowest))
        if value > self.top[-1] or self.finite == len(self.top):
            return self.finite - sum((top > value) + 0.5 * (top == value) for top in self.top)
        if value < self.lowest:
            return 0.0
        if value == 0 and self.lowest >= 0:
            return self.zeros / 2
        found = self.zeros * (0.5 if value == 0 else 1.0 if value > 0 else 0.0)
        ends = [min(self.lowest, self.edges[0]), *self.edges, max(self.top[0], self.edges[-1])]
        zeros_in = self._bin_of_zero()
        for i, count in enumerate((self.below, *self.counts, self.above)):
            others = count - (self.zeros if i == zeros_in else 0)
            low, high = ends[i], ends[i + 1]
            if value >= high:
                found += others
            elif value > low:
                found += others * (value - low) / (high - low)
        return found

    def _bin_of_zero(self) -> int:
        """Among all 66, counted as a tally does."""
        low, high = self.edges[0], self.edges[-1]
        if low > 0:
            return 0
        if high < 0:
            return len(self.counts) + 1
        return min(int((0 - low) * (len(self.counts) / (high - low))), len(self.counts) - 1) + 1
