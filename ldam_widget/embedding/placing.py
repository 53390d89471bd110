"""Places new points in a finished map, in the frozen field of its points.

As in Poličar, Stražar & Zupan, "Embedding to reference t-SNE space addresses batch effects", Machine Learning 112
(2023), a new point is drawn to its nearest neighbours and pushed away by all points of the map; new points do not
influence each other. The field is interpolated from a grid that is made once, so a step does not depend on the size of
the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .affinities import conditional
from .field import Field
from .neighbours import nearest
from .space import Space, distinct

NEIGHBOURS = 15
_PERPLEXITY = 5.0
_STEPS = 10
_SPEED = 0.5  # share of the way to where the attraction alone would be in balance with the present repulsion
_LONGEST = 0.02  # step, in units of the map's width
_SAME = 1e-3  # distance of points that count as the same, in units of the usual distance of nearest neighbours
_LOOKED_AT = 2000  # real points, for their own range
_TOGETHER = 4096  # new points whose neighbours are compared with each other at once
_USUAL = 0.9  # share of the real points that is in their range


@dataclass(frozen=True, eq=False)
class Placed:
    """m new points on the map of n real ones."""

    positions: npt.NDArray[np.float32]  # (m, 2)
    distance: npt.NDArray[np.float32]  # (m,), to the nearest real point, at least; in units of the features
    spread: npt.NDArray[np.float32]  # (m,), mean distance on the map from the position to the 15 nearest real points
    solid: npt.NDArray[np.bool_]  # (m,), whether both are at most what they are for 90 % of the real points
    neighbours: npt.NDArray[np.int64]  # (m, 15), indices of the nearest real points, nearest first

    def __len__(self) -> int:
        return len(self.positions)


class Placing:
    """The frozen map.

    Args:
        points: (n, 2), the real points' positions.
        space: their features.
    """

    def __init__(self, points: Tensor, space: Space) -> None:
        self._points, self._space = points, space
        self._k = min(NEIGHBOURS, len(points))
        self._field = Field(points.T.contiguous())
        self._longest = _LONGEST * float((points.amax(0) - points.amin(0)).max())
        self._usual, self.distance, self.spread = self._of_real_points()

    def _of_real_points(self) -> tuple[float, float, float]:
        """Usual distance of nearest neighbours; the upper ends of the real points' range of distance and spread."""
        first, _ = distinct(self._space.points)  # copies of a point say nothing of how far apart points are
        n = len(first)
        if n == 1:
            return 0.0, 0.0, 0.0
        points, beyond, places = self._space.points[first], self._space.beyond[first], self._points[first]
        own = torch.linspace(0, n - 1, min(n, _LOOKED_AT), dtype=torch.float64).long().to(places.device)
        found, distances = nearest(points, min(n, self._k + 1), points[own])
        found, distances = found[:, 1:], distances[:, 1:]  # the first is the point itself
        apart = torch.hypot(distances, beyond[found] - beyond[own].unsqueeze(1)).amin(1)
        spread = _spread(places[own], places[found])
        return float(apart.median()), float(apart.quantile(_USUAL)), float(spread.quantile(_USUAL))

    def __call__(self, features: Tensor, start: Tensor | None = None) -> Placed:
        """Features (m, d); `start` (m, 2), where rows with NaN are as without it."""
        found, distances = nearest(self._space.points, self._k, self._space.project(features))
        pull = conditional(distances, min(_PERPLEXITY, max(1.0, self._k / 3)))
        off = self._space.beyond[found] - self._space.outside(features).unsqueeze(1)
        distances, order = torch.hypot(distances, off).sort(dim=1, stable=True)
        found, pull = found.gather(1, order), pull.gather(1, order)
        around = self._points[found]  # (m, k, 2)
        y = _central(pull, around)
        if start is not None:
            y = torch.where(start.isfinite().all(1, keepdim=True), start, y)
        for _ in range(_STEPS):
            y = self._moved(y, pull, around)
        same = distances[:, :1] <= _SAME * self._usual
        y = torch.where(same, around[:, 0], y)
        spread = _spread(y, around)
        solid = (distances[:, 0] <= self.distance) & (spread <= self.spread)
        return Placed(
            *(_array(part) for part in (y, distances[:, 0] * self._space.unit, spread, solid, found)),
        )

    def _moved(self, y: Tensor, pull: Tensor, around: Tensor) -> Tensor:
        """One step down −Σ p log w + log Σ w, divided by the curvature of an upper bound of its first term."""
        w = pull / (1 + (around - y.unsqueeze(1)).square().sum(2))
        total = w.sum(1, keepdim=True)
        field = self._field.read(y.T.contiguous())
        push = (field[1:] / field[0].clamp(min=1e-6)).T
        step = _SPEED * ((w.unsqueeze(2) * around).sum(1) + push) / total - _SPEED * y
        length = torch.linalg.vector_norm(step, dim=1, keepdim=True)
        return torch.addcmul(y, step, (self._longest / length.clamp(min=1e-12)).clamp(max=1))


def _central(pull: Tensor, around: Tensor) -> Tensor:
    """(m, k), (m, k, 2) -> (m, 2): the neighbour at which the attraction costs least.

    The mean of neighbours in two clusters lies in neither, and often stays there: the cost has several minima.
    """
    found = []
    for p, places in zip(torch.split(pull, _TOGETHER), torch.split(around, _TOGETHER), strict=True):
        apart = (places.unsqueeze(2) - places.unsqueeze(1)).square_().sum(3)
        cost = (apart.log1p_() @ p.unsqueeze(2)).squeeze(2)
        found.append(places.take_along_dim(cost.argmin(1).view(-1, 1, 1), 1).squeeze(1))
    return torch.cat(found)


def _spread(y: Tensor, around: Tensor) -> Tensor:
    """(m, 2), (m, k, 2) -> (m,)."""
    distances: Tensor = torch.linalg.vector_norm(around - y.unsqueeze(1), dim=2)
    return distances.mean(1)


def _array(values: Tensor) -> Any:
    return values.cpu().numpy()
