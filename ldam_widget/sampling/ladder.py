"""Replica exchange: hot copies of every chain find the modes and pass them down to the cold one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.target import Evaluation, Noise, State, Target


@dataclass(frozen=True)
class Ladder:
    """Temperatures of the copies of a chain, as multiples of T.

    Every chain becomes len(factors) copies in one batch; neighbours swap by the Metropolis rule, so that each rung
    keeps its own law exactly, p(x) ∝ exp(E/(factor · T)). The first, coldest rung is displayed.
    Source: Hukushima & Nemoto, J. Phys. Soc. Jpn. 65 (1996), 1604.

    Args:
        factors: ascending from 1, at least two, e.g. (1, 2, 4, 8).
        every: steps between two rounds of swaps, ≥ 1.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    factors: Sequence[float] = (1.0, 1.5, 2.2, 3.3, 5.0)
    every: int = 10

    def __post_init__(self) -> None:
        try:
            factors = tuple(float(factor) for factor in self.factors)
        except (TypeError, ValueError):
            raise TypeError(f"ladder factors must be numbers, e.g. (1, 2, 4, 8); got {self.factors!r}") from None
        rising = all(a < b for a, b in itertools.pairwise(factors))
        if len(factors) < 2 or factors[0] != 1 or not rising or factors[-1] == float("inf"):
            raise ValueError(f"ladder factors must rise from 1, at least two, e.g. (1, 2, 4, 8); got {self.factors!r}")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"ladder every must be an integer ≥ 1; got {self.every!r}")
        object.__setattr__(self, "factors", factors)

    def temperatures(self, temperature: float, chains: int, device: torch.device) -> Tensor:
        """T of every image in the batch, (chains · rungs,); the rungs of a chain are adjacent."""
        return torch.tensor(self.factors, dtype=torch.float64, device=device).mul(temperature).repeat(chains)


class SwapRecord(NamedTuple):
    """Replica positions and swap statistics. Never modified in place."""

    replica: Tensor  # (chains, rungs): which copy is on the rung
    tried: Tensor  # (rungs − 1,): swap attempts between neighbours
    done: Tensor  # (rungs − 1,): sum of their acceptance probabilities
    arrivals: Tensor  # (chains,): how often a different copy reached the coldest rung
    rounds: int = 0

    @classmethod
    def start(cls, chains: int, rungs: int, device: torch.device) -> SwapRecord:
        """Every copy on its own rung."""
        none = torch.zeros(rungs - 1, dtype=torch.float64, device=device)
        own = torch.arange(rungs, device=device).expand(chains, rungs)
        return cls(own, none, none, torch.zeros(chains, dtype=torch.long, device=device))

    def regrouped(self, rows: Tensor, kept: Tensor) -> SwapRecord:
        """For other chains: those in `kept` (chains,) continue from the given rows of the present ones."""
        own = torch.arange(self.replica.shape[1], device=rows.device)
        return self._replace(
            replica=torch.where(kept[:, None], self.replica[rows], own), arrivals=self.arrivals[rows] * kept
        )

    def report(self) -> dict[str, Any]:
        """Swap acceptance between neighbouring rungs, NaN if none was tried; arrivals per chain."""
        return {
            "swap_acceptance": (self.done / self.tried).tolist(),
            "arrivals": self.arrivals.tolist(),
            "rounds": self.rounds,
        }


def exchange(state: State, swaps: SwapRecord, target: Target, noise: Noise) -> tuple[State, SwapRecord]:
    """One round of swaps between neighbours, alternating between even and odd pairs.

    Pictures are swapped and velocities stay: their law depends on the rung alone, so the joint law is preserved.
    Swapping pictures x_i, x_j at T_i < T_j is accepted with probability min(1, exp((1/T_i − 1/T_j)(E_j − E_i))).
    """
    assert isinstance(target.temperature, Tensor), "a ladder gives every rung its temperature"
    chains, rungs = swaps.replica.shape
    evaluation = target.complete(state.evaluation, state.x)
    energy = target.terms_energy(evaluation).view(chains, rungs)
    beta = 1 / target.temperature.view(chains, rungs)
    first = swaps.rounds % 2
    low = torch.arange(first, rungs - 1, 2, device=energy.device)
    gain = (beta[:, low] - beta[:, low + 1]) * (energy[:, low + 1] - energy[:, low])
    chance = torch.nan_to_num(gain, nan=-torch.inf).clamp_max(0).exp()
    swap = noise.uniform().view(chains, rungs)[:, low] < chance

    order = torch.arange(rungs, device=energy.device).expand(chains, rungs).clone()
    order[:, low] = torch.where(swap, low + 1, low)
    order[:, low + 1] = torch.where(swap, low, low + 1)
    rows = (order + rungs * torch.arange(chains, device=order.device)[:, None]).flatten()
    moved = State(
        state.x[rows],
        Evaluation(
            {name: value[rows] for name, value in evaluation.values.items()},
            {name: grad[rows] for name, grad in evaluation.grads.items()},
        ),
        state.step,
        state.memory,
    )
    tried, done = swaps.tried.clone(), swaps.done.clone()
    tried[low] += chains
    done[low] += chance.sum(0)
    arrivals = swaps.arrivals + (order[:, 0] != 0)
    return moved, SwapRecord(swaps.replica.gather(1, order), tried, done, arrivals, swaps.rounds + 1)


def coldest(tensor: Tensor, rungs: int) -> Tensor:
    """(chains · rungs, …) -> (chains, …), the first rung of each chain."""
    return tensor if rungs == 1 else tensor[::rungs]
