"""Where chains have been on a map: pure functions of positions. "Near" always means at most `radius` apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PAIRS = 1 << 22  # distances held at once
_LOOKED_AT = 2000  # points, evenly spaced, of many

Positions = npt.NDArray[Any]  # (…, 2)


def visited(points: Positions, positions: Positions, radius: float) -> npt.NDArray[np.bool_]:
    """Which points (n, 2) have one of the positions (p, 2) near them: (n,). Positions with NaN are near nothing."""
    found = np.zeros(len(points), dtype=bool)
    for some in _in_pieces(positions, max(1, _PAIRS // max(1, len(points)))):
        found |= (_squared(points, some) <= radius**2).any(1)
    return found


def usual_gap(points: Positions, neighbours: int = 15) -> float:
    """Median distance from a point to its 15th nearest on the map, from 2,000 points; 0 for a single one."""
    k = min(neighbours, len(points) - 1)
    if k < 1:
        return 0.0
    found = []
    for some in _in_pieces(_evenly(points), max(1, _PAIRS // len(points))):
        found.append(np.partition(_squared(some, points), k, axis=1)[:, k])  # the first is the point itself
    return float(np.sqrt(np.median(np.concatenate(found))))


def stays(trail: Positions, radius: float) -> float:
    """How often a chain is near where it was: the share of all pairs of moments of its trail (moments, 2).

    1: it never leaves; moments with NaN do not count. NaN for fewer than two moments.
    """
    known = trail[np.isfinite(trail).all(1)]
    if len(known) < 2:
        return float("nan")
    near = _squared(known, known)[np.triu_indices(len(known), 1)] <= radius**2
    return float(near.mean())


def meets(trails: Positions, radius: float) -> float:
    """How often two chains are near each other at the same moment: trails (moments, chains, 2).

    NaN if no two chains have a position at the same moment.
    """
    a, b = np.triu_indices(trails.shape[1], 1)
    apart = ((trails[:, a] - trails[:, b]) ** 2).sum(2)
    known = np.isfinite(apart)
    return float((apart[known] <= radius**2).mean()) if known.any() else float("nan")


def by_chance(points: Positions, radius: float) -> float:
    """How often two of the points (n, 2) are near each other, from 2,000 of them; NaN for fewer than two."""
    return stays(_evenly(points), radius)


def places(positions: Positions, radius: float) -> npt.NDArray[np.int64]:
    """Group positions (p, 2) into connected places: (p,), numbered by size, the largest first.

    Positions in the same or in touching squares of side `radius` are connected. Those with NaN get −1.
    """
    labels = np.full(len(positions), -1, dtype=np.int64)
    known = np.isfinite(positions).all(1)
    if not known.any():
        return labels
    squares = np.floor(positions[known] / radius).astype(np.int64)
    cells, cell = np.unique(squares, axis=0, return_inverse=True)
    number = {(column, row): i for i, (column, row) in enumerate(cells.tolist())}
    touching = [
        (i, other)
        for (column, row), i in number.items()
        for right, up in ((1, -1), (1, 0), (1, 1), (0, 1))
        if (other := number.get((column + right, row + up))) is not None
    ]
    one, other = np.array(touching, dtype=np.int64).reshape(-1, 2).T
    group = np.arange(len(cells))
    while True:  # the smallest number spreads over everything that touches
        lower = group.copy()
        np.minimum.at(lower, one, group[other])
        np.minimum.at(lower, other, group[one])
        lower = lower[lower]
        if (lower == group).all():
            break
        group = lower
    _, group = np.unique(group[cell.ravel()], return_inverse=True)
    by_size = np.argsort(-np.bincount(group), kind="stable")
    labels[known] = np.argsort(by_size)[group]
    return labels


def _evenly(points: Positions) -> Positions:
    chosen = np.linspace(0, len(points) - 1, min(len(points), _LOOKED_AT)).astype(int)
    found: Positions = points[chosen]
    return found


def _squared(a: Positions, b: Positions) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = (a[:, None, 0] - b[:, 0]) ** 2 + (a[:, None, 1] - b[:, 1]) ** 2
    return found


def _in_pieces(rows: Positions, size: int) -> list[Positions]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]
