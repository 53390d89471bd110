"""How well a map keeps neighbourhoods: trustworthiness and neighbours kept.

Venna & Kaski, "Neighborhood preservation in nonlinear projection methods", ICANN 2001.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .neighbours import smallest

_LOOKED_AT = 2000  # points, evenly spread over the map's
_PAIRS = 1 << 22  # distances held at once


class MapQuality(NamedTuple):
    """`trust` is 1 if all neighbours on the map are neighbours among the features, about 0.5 if they are random."""

    trust: float
    kept: float  # share of the k nearest neighbours that are among the k nearest on the map


def quality(features: Tensor, points: Tensor, k: int = 15) -> MapQuality:
    """Measured on 2,000 of the points, evenly spaced, against all others.

    Args:
        features: (n, d).
        points: (n, 2).
        k: neighbours looked at; at most (n − 1) / 2 of them are. For fewer than three points both numbers are NaN.
    """
    n, points = len(features), points - points.mean(0)  # as far from 0, squares would be rounded
    k = min(k, (n - 1) // 2)
    if k < 1:
        return MapQuality(math.nan, math.nan)
    looked_at = torch.linspace(0, n - 1, min(n, _LOOKED_AT), dtype=torch.float64).long().to(features.device)
    worse, kept = 0.0, 0
    for own in torch.split(looked_at, max(1, _PAIRS // n)):
        apart = _squared(features, own)
        near_on_map = smallest(_squared(points, own), k)
        near = smallest(apart, k)
        shared = (near.unsqueeze(2) == near_on_map.unsqueeze(1)).any(1)  # (rows, k), of those near on the map
        kept += int(shared.sum())
        limits = apart.gather(1, near_on_map)
        ranks = torch.stack([(apart < limit.unsqueeze(1)).sum(1) for limit in limits.unbind(1)], 1) + 1
        worse += float(((ranks - k).clamp(min=0) * ~shared).sum())
    rows = len(looked_at)
    return MapQuality(1 - 2 * worse / (rows * k * (2 * n - 3 * k - 1)), kept / (rows * k))


def _squared(points: Tensor, own: Tensor) -> Tensor:
    """Squared distances (rows, n), infinite to the point itself."""
    squares = points.square().sum(1)
    squared = torch.addmm(squares, points[own], points.T, alpha=-2)
    squared[torch.arange(len(own), device=own.device), own] = math.inf
    return squared
