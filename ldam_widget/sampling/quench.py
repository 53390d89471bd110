"""Climb to the nearest maximum of E: which mode does a sample belong to?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.target import Target, per_image

_FIRST_MOVE = 0.05  # root mean square of a pixel's first move, in standard deviations of the picture


def quench(x: Tensor, target: Target, steps: int) -> Tensor:
    """Gradient ascent on U (see `Target`) from x (chain, *image), every chain with a step size of its own; like x.

    A step that gains is taken and the next one is longer, one that loses is not and the next is half as long, so that E
    never falls. What is left after many steps is the sample without its heat, its inherent structure (Stillinger &
    Weber, Science 225 (1984), 983). Bounded pixels stop at the walls: this looks for a maximum and samples nothing.

    Cost: one gradient a step.
    """
    evaluation = target.evaluate(x)
    energy, drift = target.energy(evaluation, x), target.drift(evaluation, x)
    size = _FIRST_MOVE * x.flatten(1).std(1) / drift.flatten(1).square().mean(1).sqrt().clamp_min(1e-20)
    for _ in range(steps):
        there = x + per_image(size, x) * drift
        if target.bounds is not None:
            there = there.clamp_(*target.bounds)
        evaluation = target.evaluate(there)
        gained = target.energy(evaluation, there)
        better = gained > energy
        energy = torch.where(better, gained, energy)
        x = torch.where(per_image(better, x), there, x)
        drift = torch.where(per_image(better, x), target.drift(evaluation, there), drift)
        size = torch.where(better, 1.3 * size, 0.5 * size)
    return x
