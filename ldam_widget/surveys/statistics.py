"""Numbers that follow from a tally."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.bars import Bars, even_edges
from .histogram import Histogram
from .tally import BINS, Tally


class TopImage(NamedTuple):
    """An image that drives a unit."""

    value: float  # the largest on the unit's map
    image: int  # its number in the images
    place: int  # of that value on the map, flat; 0 if the unit has no map


def top_of(tally: Tally, unit: int) -> list[TopImage]:
    """The images of a unit, largest value first."""
    tensors = tally.largest.tensors()
    rows = zip(*(tensors[key][unit].tolist() for key in ("value", "image", "place")), strict=True)
    return [TopImage(*row) for row in rows if row[1] >= 0]


def maxima(tally: Tally) -> Tensor:
    """The largest value of each unit, (units,) float32; NaN: it was never finite."""
    return tally.largest.tensors()["value"][:, 0]


def means(tally: Tally) -> Tensor:
    """(units,) float64."""
    return tally.sums.double() / tally.scale / tally.counts[:, 0]


def spreads(tally: Tally) -> Tensor:
    """Standard deviation of each unit, (units,) float64; NaN: it was never finite.

    From the sums for correlations, over images for which the whole layer is finite; without them from the histogram,
    with values outside the bins taken to be the unit's smallest or largest.
    """
    constant = maxima(tally) == tally.low
    if bool(tally.correlated) and bool(tally.complete > 0):
        n, sums = tally.complete.double(), tally.product_sums.double()
        variance = (tally.products.diagonal().double() / n - (sums / n) ** 2) / tally.steps**2
    else:
        variance = _variance_in_bins(tally)
    return variance.clamp(min=0).sqrt().masked_fill(constant, 0)


def _variance_in_bins(tally: Tally) -> Tensor:
    low, high = tally.edges.double().unbind(1)
    inside = low[:, None] + (high - low)[:, None] * (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    at = torch.cat([torch.minimum(tally.low.double(), low)[:, None], inside, maxima(tally).double()[:, None]], 1)
    counts = tally.bins.double()
    at = at.masked_fill(counts == 0, 0)  # NaN where nothing was counted
    mean = (counts * at).sum(1) / counts.sum(1)
    return (counts * (at - mean[:, None]) ** 2).sum(1) / counts.sum(1)


def distribution(tally: Tally) -> Bars:
    """Values of all units together, in 64 bins; spread evenly within each unit's own bins."""
    largest = maxima(tally)
    known = largest.isfinite()
    if not bool(known.any()):
        return Bars((), ())
    edges = np.array(even_edges(float(tally.low[known].min()), float(largest[known].max()), BINS))
    below = np.zeros(BINS + 1)  # values smaller than each edge; all are smaller than the last one
    for unit in known.nonzero()[:, 0].tolist():
        low, high = tally.edges[unit].tolist()
        ends = np.linspace(low, high, BINS + 1)
        ends = np.concatenate([[min(float(tally.low[unit]), low)], ends, [max(float(largest[unit]), high)]])
        ends = ends.clip(float(tally.low[unit]), float(largest[unit]))  # bins may be wider than what lies in them
        counted = tally.bins[unit].double().cumsum(0).numpy()
        below[:-1] += np.interp(edges[:-1], ends, np.concatenate([[0], counted]), left=0)
        below[-1] += counted[-1]
    below[0] = 0
    return Bars(tuple(edges.tolist()), tuple(np.diff(below).tolist()))


def histogram(tally: Tally, unit: int) -> Histogram:
    """The distribution of a unit's values."""
    low, high = tally.edges[unit].tolist()
    below, *inside, above = tally.bins[unit].tolist()
    finite, not_finite, zeros = tally.counts[unit].tolist()
    return Histogram(
        edges=tuple(low + (high - low) * i / BINS for i in range(BINS + 1)),
        counts=tuple(inside),
        below=below,
        above=above,
        zeros=zeros,
        not_finite=not_finite,
        finite=finite,
        lowest=float(tally.low[unit]),
        mean=float(means(tally)[unit]),
        top=tuple(entry.value for entry in top_of(tally, unit)),
    )


def correlation(tally: Tally) -> Tensor:
    """(units, units) float64; NaN for units that are constant."""
    n, sums = tally.complete.double(), tally.product_sums.double()
    covariance = n * tally.products.double() - sums[:, None] * sums
    spread = covariance.diagonal().sqrt()
    found = (covariance / spread[:, None] / spread).clamp(-1, 1)
    found.fill_diagonal_(1.0)
    constant = spread == 0
    return found.masked_fill_(constant[:, None] | constant, torch.nan)


def class_means(tally: Tally) -> Tensor:
    """(classes, units) float64; NaN for classes without images for which the unit is finite."""
    return tally.class_sums.double() / tally.scale / tally.class_counts


def selectivity(tally: Tally) -> tuple[Tensor, Tensor]:
    """The class with the largest mean a, and (a − b)/(|a| + |b|) with b the mean over the other classes, (units,) each.

    As Morcos et al. (2018), whose units are never negative; between 0 and 1 for others, too. NaN, with class −1, for
    fewer than two classes with images.
    """
    of_class, classes = class_means(tally), (tally.class_counts > 0).sum(0)
    if not len(of_class):
        return torch.full((tally.units,), -1), torch.full((tally.units,), torch.nan, dtype=torch.float64)
    largest, best = of_class.nan_to_num(-torch.inf).max(0)
    others = (of_class.nansum(0) - largest) / (classes - 1)
    size = largest.abs() + others.abs()
    found = torch.where(size > 0, (largest - others) / size, 0.0)
    return best.masked_fill(classes < 2, -1), found.masked_fill(classes < 2, torch.nan)


def partners(tally: Tally) -> tuple[Tensor, Tensor]:
    """The unit that correlates most with each, with either sign, and their correlation; −1 and NaN: there is none."""
    nothing = torch.full((tally.units,), -1), torch.full((tally.units,), torch.nan, dtype=torch.float64)
    if not bool(tally.correlated) or tally.units < 2:
        return nothing
    found = correlation(tally)
    strength = found.abs().fill_diagonal_(-1).nan_to_num_(-1)
    best = strength.argmax(1)
    known = strength.amax(1) >= 0
    values = found.gather(1, best[:, None])[:, 0]
    return torch.where(known, best, nothing[0]), torch.where(known, values, nothing[1])
