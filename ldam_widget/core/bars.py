"""`Bars`: a histogram to be drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bars(NamedTuple):
    """How often values lie between one edge and the next."""

    edges: tuple[float, ...]  # ascending, one more than counts
    counts: tuple[float, ...]


def bars(values: Tensor, bins: int = 64) -> Bars:
    """Equal bins from the smallest to the largest of the finite values; no bins if there are none."""
    finite = values.detach().flatten().double().cpu()
    finite = finite[finite.isfinite()]
    if not len(finite):
        return Bars((), ())
    edges = even_edges(float(finite.min()), float(finite.max()), bins)
    low, high = edges[0], edges[-1]
    inside = ((finite - low) * (bins / (high - low))).long().clamp_(0, bins - 1)
    return Bars(edges, tuple(map(float, torch.bincount(inside, minlength=bins).tolist())))


def even_edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    """Edges of equal bins; around a single value, bins of some width."""
    if not high > low:
        around = abs(low) / 2 or 0.5
        low, high = low - around, low + around
    return tuple(low + (high - low) * i / bins for i in range(bins + 1))
