"""Climb to the nearest maximum of E: which mode does a sample belong to?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.target import Target, per_image

_FIRST_MOVE = 0.05  # root mean square of a pixel's first move, as a share of `_contrast`


def quench(x: Tensor, target: Target, steps: int) -> Tensor:
    """Gradient ascent on U (see `Target`) from x (chain, *image), every chain with a step size of its own; like x.

    A step that gains is taken and the next one is longer, one that loses is not and the next is half as long, so that E
    never falls. What is left after many steps is the sample without its heat, its inherent structure (Stillinger &
    Weber, Science 225 (1984), 983). Bounded pixels stop at the walls: this looks for a maximum and samples nothing.

    Cost: one gradient a step.
    """
    evaluation = target.evaluate(x)
    energy, drift = target.energy(evaluation, x), target.drift(evaluation, x)
    size = _FIRST_MOVE * _contrast(x, target.bounds) / drift.flatten(1).square().mean(1).sqrt().clamp_min(1e-20)
    for _ in range(steps):
        there = x + per_image(size, x) * drift
        if target.bounds is not None:
            there = there.clamp_(*target.bounds)
        evaluation = target.evaluate(there)
        gained = target.energy(evaluation, there)
        better = (gained > energy) & gained.isfinite()
        energy = torch.where(better, gained, energy)
        x = torch.where(per_image(better, x), there, x)
        drift = torch.where(per_image(better, x), target.drift(evaluation, there), drift)
        size = torch.where(better, 1.3 * size, 0.5 * size)
    return x


def _contrast(x: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """How much a pixel of each picture varies, (chain,), and never 0: the standard deviation of its pixels.

    A single pixel has none, and one colour has 0. There it is a quarter of the pixel range, or the size of a pixel.
    """
    flat = x.flatten(1)
    size = (
        flat.abs().mean(1).clamp_min(1e-3) if bounds is None else flat.new_full((len(x),), (bounds[1] - bounds[0]) / 4)
    )
    if flat.shape[1] == 1:
        return size
    spread = flat.std(1)
    return torch.where(spread > 1e-6 * size, spread, size)  # one colour leaves no more than rounding
