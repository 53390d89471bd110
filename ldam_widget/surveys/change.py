"""How a layer's units differ between two checkpoints, over the same images."""

from __future__ import annotations

import torch
from torch import Tensor

from . import statistics
from .tally import Tally


def change(tally: Tally, other: Tally) -> Tensor:
    """Mean in the other checkpoint less mean here, in standard deviations (root mean square of both), (units,) float64.

    Cohen's d (1988) for groups of equal size. 0 for units that are constant and equal; NaN for constants that differ.
    """
    apart = statistics.means(other) - statistics.means(tally)
    spread = ((statistics.spreads(tally) ** 2 + statistics.spreads(other) ** 2) / 2).sqrt()
    return torch.where((apart == 0) & (spread == 0), 0.0, apart / spread).masked_fill(
        (spread == 0) & (apart != 0), torch.nan
    )


def kept(tally: Tally, other: Tally) -> Tensor:
    """The share of a unit's top images that are also among those of the other checkpoint, (units,) float64.

    NaN for units without top images in one of them.
    """
    here, there = (each.largest.tensors()["image"].tolist() for each in (tally, other))
    found = []
    for mine, theirs in zip(here, there, strict=True):
        a, b = ({image for image in images if image >= 0} for images in (mine, theirs))
        found.append(len(a & b) / min(len(a), len(b)) if a and b else torch.nan)
    return torch.tensor(found, dtype=torch.float64)
