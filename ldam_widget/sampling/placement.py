"""Places the rungs of a ladder so that neighbours swap at one rate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_ROUNDS = 5  # each as long as all before it, so that its start, where chains follow the previous move, weighs little
_IGNORED = 1 / 3  # of every round
_SELDOM = 0.02  # a lower swap rate is not known well enough to measure a distance


@dataclass(frozen=True)
class Placement:
    """The places of the rungs while they are being found; immutable, every step returns the next one.

    The distance of two neighbours is the d at which Gaussian energies of equal variance swap at the rate erfc(d/2)
    (Kofke, J. Chem. Phys. 117 (2002), 6911). Distances of small steps add up, so rungs are placed at equal distances
    along the ladder, in rounds of doubling length (Syed et al., J. R. Stat. Soc. B 84 (2022), 321).

    Attributes:
        coldness: 1/factor of every rung, (N, rungs) float64, from 1 downwards.
        spacing: the distance of neighbours at the wanted swap rate. It is smaller where the rungs then reach the top.
        lowest: coldness of the hottest rung allowed.
        length: steps in total.
    """

    coldness: Tensor
    spacing: float
    lowest: float
    length: int
    count: int = 0
    rate: Tensor | None = None  # sum over the steps of this round, (N, rungs − 1)
    gap: Tensor | None = None  # likewise, of Δ(1/T) · ΔE, the squared distance if energies are Gaussian
    seen: int = 0

    @classmethod
    def begun(cls, coldness: Tensor, swap_rate: float, lowest: float, length: int) -> Placement:
        """Before the first step, with the rungs at a first guess."""
        return cls(coldness, spacing_of(swap_rate), lowest, length)

    @property
    def factors(self) -> Tensor:
        """Multiples of T, (N, rungs)."""
        return self.coldness.reciprocal()

    def after(self, gain: Tensor, free: Tensor | None = None) -> Placement:
        """After one more step.

        Args:
            gain: log of the ratio by which neighbours would swap, (chain, rungs − 1), see `ladder.gains`.
            free: (N,) bool, the neurons whose rungs may move; None: all.
        """
        rounds = [max(1, self.length >> k) for k in range(_ROUNDS)]  # where each ends, the last one first
        count = self.count + 1
        begin, end = max([0, *(r for r in rounds if r < count)]), min([r for r in rounds if r >= count], default=0)
        now = replace(self, count=count)
        if count > begin + _IGNORED * (end - begin):
            each = gain.nan_to_num(0.0, -torch.inf, torch.inf).view(len(self.coldness), -1, gain.shape[-1])
            rate, gap = each.clamp_max(0).exp().mean(1), (-each).clamp(-1e12, 1e12).mean(1)
            rate, gap = (rate, gap) if now.rate is None or now.gap is None else (now.rate + rate, now.gap + gap)
            now = replace(now, rate=rate, gap=gap, seen=now.seen + 1)
        if count != end or now.rate is None or now.gap is None:
            return now
        placed = now._placed(now.rate / now.seen, now.gap / now.seen)
        if free is not None:
            placed = torch.where(free[:, None], placed, now.coldness)
        return replace(now, coldness=placed, rate=None, gap=None, seen=0)

    def _placed(self, rate: Tensor, gap: Tensor) -> Tensor:
        """Coldness (N, rungs) at equal distances, interpolated between the present rungs and on to the top."""
        here, rungs = self.coldness, self.coldness.shape[1]
        far = gap.clamp_min(spacing_of(_SELDOM) ** 2).sqrt()
        distance = torch.where(rate > _SELDOM, 2 * torch.erfinv(1 - rate.clamp_max(0.9999)), far)
        density = distance / (here[:, :-1] - here[:, 1:])
        beyond = density[:, -1] * (here[:, -1] - self.lowest)  # where the rungs do not reach the top yet
        along = torch.cat([torch.zeros_like(here[:, :1]), distance, beyond[:, None]], 1).cumsum(1)
        step = (along[:, -1:] / (rungs - 1)).clamp_max(self.spacing)
        wanted = step * torch.arange(rungs, device=here.device)
        part = torch.searchsorted(along[:, 1:-1].contiguous(), wanted, right=True).clamp_max(rungs - 1)
        density = torch.cat([density, density[:, -1:]], 1)
        found = here.gather(1, part) - (wanted - along.gather(1, part)) / density.gather(1, part)
        return found.clamp_min(self.lowest)


def spacing_of(swap_rate: float) -> float:
    """The distance at which neighbours swap at a rate in (0, 1)."""
    return float(2 * torch.erfinv(torch.tensor(1 - swap_rate, dtype=torch.float64)))
