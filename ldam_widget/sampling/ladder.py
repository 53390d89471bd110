"""Replica exchange: hot copies of every chain find the modes and pass them down to the cold one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter
from ..core.target import Evaluation, Noise, State, Target
from ..diagnostics.results import LadderReport


@dataclass(frozen=True)
class Ladder:
    """Temperatures of the copies of a chain, as multiples of T.

    Every chain becomes len(factors) copies in one batch; neighbours swap by the Metropolis rule, so that each rung
    keeps its own law exactly, p ∝ exp(E/(factor · T)). The first, coldest rung is displayed. With the natural prior
    only the neuron and the other terms are heated and the prior stays, p(z) ∝ N(z; 0, τ²I) exp(E/(factor · T)); the
    last factor may then be infinite, which is the prior itself. Every rung finds its own step size, if the kernel's is
    None; without a Metropolis test the chains of a neuron share it, so that its error is the same for all.
    Source: Hukushima & Nemoto, J. Phys. Soc. Jpn. 65 (1996), 1604.

    Args:
        factors: ascending from 1, at least two, e.g. (1, 2, 4, 8).
        every: steps between two rounds of swaps, ≥ 1.
        swap_rate: 0.05 to 0.9: in the warm-up the rungs are moved until neighbours swap at this rate, or more often if
            the hottest rung then is at the last factor, see `auto`. None: the factors stay as given.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    factors: Sequence[float] = (1.0, 1.5, 2.2, 3.3, 5.0)
    every: int = 10
    swap_rate: float | None = None

    def __post_init__(self) -> None:
        try:
            factors = tuple(float(factor) for factor in self.factors)
        except (TypeError, ValueError):
            raise TypeError(f"ladder factors must be numbers, e.g. (1, 2, 4, 8); got {self.factors!r}") from None
        rising = all(a < b for a, b in itertools.pairwise(factors))
        if len(factors) < 2 or factors[0] != 1 or not rising:
            raise ValueError(f"ladder factors must rise from 1, at least two, e.g. (1, 2, 4, 8); got {self.factors!r}")
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"ladder every must be an integer ≥ 1; got {self.every!r}")
        if self.swap_rate is not None:
            object.__setattr__(self, "swap_rate", _SWAP_RATE.check(self.swap_rate))
        object.__setattr__(self, "factors", factors)

    @classmethod
    def auto(cls, rungs: int = 24, top: float = 100.0, *, swap_rate: float = 0.35, every: int = 10) -> Ladder:
        """A ladder that places its rungs in the warm-up, for each neuron on its own, and then keeps them.

        Neighbours then swap equally often: at `swap_rate`, so that the hottest rung is as hot as this number of rungs
        allows, at most `top`; or more often, if `top` needs fewer rungs. `diagnostics().ladder` has the factors that
        were found, the swap rates and round trips. The warm-up takes 1,000 steps, if `warm_up=` does not say otherwise.
        The factors suit its temperature and weights: after large changes of these, restart the sampler.

        The shipped LeNet's digit 5 needs 21 rungs from its default temperature to 100 times that; from a hotter one
        fewer do (benchmarks/RESULTS.md, "Ladders on the neuron alone").

        Args:
            rungs: copies of every chain, ≥ 2; a step costs as many gradients.
            top: the largest factor wanted, > 1; with the natural prior also ``math.inf``, the prior itself.
            swap_rate: 0.05 to 0.9. Chains travel the ladder fastest, for the same number of gradients, near 0.35.
            every: steps between two rounds of swaps, ≥ 1.

        Raises:
            TypeError, ValueError: an argument of the wrong type or out of range.
        """
        if isinstance(rungs, bool) or not isinstance(rungs, int) or rungs < 2:
            raise ValueError(f"ladder rungs must be an integer ≥ 2; got {rungs!r}")
        if isinstance(top, bool) or not isinstance(top, (int, float)) or not top > 1:
            raise ValueError(f"ladder top must be a number > 1; got {top!r}")
        lowest = 1 / top
        coldness = [1 - (1 - lowest) * rung / (rungs - 1) for rung in range(rungs - 1)]  # a first guess
        return cls((*(1 / each for each in coldness), float(top)), every, _SWAP_RATE.check(swap_rate))


_SWAP_RATE = Parameter("ladder swap_rate", 0.05, 0.9, 0.35, "Swaps between neighbouring rungs that are accepted.")


class SwapRecord(NamedTuple):
    """Replica positions and swap statistics. Never modified in place."""

    replica: Tensor  # (chains, rungs): which copy is on the rung
    from_top: Tensor  # (chains, rungs) bool: whether that copy has been on the hottest rung since it was on the coldest
    tried: Tensor  # (chains, rungs − 1): swap attempts between neighbours
    done: Tensor  # (chains, rungs − 1): sum of their acceptance probabilities
    arrivals: Tensor  # (chains,): how often a different copy reached the coldest rung
    round_trips: Tensor  # (chains,): how often one reached it that had been on the hottest rung meanwhile
    rounds: int = 0

    @classmethod
    def start(cls, chains: int, rungs: int, device: torch.device) -> SwapRecord:
        """Every copy on its own rung."""
        none = torch.zeros(chains, rungs - 1, dtype=torch.float64, device=device)
        own = torch.arange(rungs, device=device).expand(chains, rungs)
        count = torch.zeros(chains, dtype=torch.long, device=device)
        return cls(own, torch.zeros_like(own, dtype=torch.bool), none, none, count, count)

    def regrouped(self, rows: Tensor, kept: Tensor) -> SwapRecord:
        """For other chains: those in `kept` (chains,) continue from the given rows of the present ones."""
        begun = SwapRecord.start(len(rows), self.replica.shape[1], rows.device)

        def merged(old: Tensor, new: Tensor) -> Tensor:
            return torch.where(kept.view(-1, *(1,) * (old.ndim - 1)), old[rows], new)

        return SwapRecord(
            merged(self.replica, begun.replica), merged(self.from_top, begun.from_top),
            merged(self.tried, begun.tried), merged(self.done, begun.done), merged(self.arrivals, begun.arrivals),
            merged(self.round_trips, begun.round_trips), self.rounds,
        )  # fmt: skip

    def counted_anew(self, chains: Tensor) -> SwapRecord:
        """Without the statistics of some chains, (chains,) bool."""
        return self.regrouped(torch.arange(len(chains), device=chains.device), ~chains)

    def report(self, factors: Tensor) -> LadderReport:
        """Rates are NaN where no swap was tried.

        Args:
            factors: of every neuron, (N, rungs).
        """
        neurons, rungs = factors.shape
        tried, done = (each.view(neurons, -1, rungs - 1).sum(1) for each in (self.tried, self.done))
        return LadderReport(
            factors=factors.tolist(),
            swap_acceptance=(done.sum(0) / tried.sum(0)).tolist(),
            swap_acceptance_each=(done / tried).tolist(),
            arrivals=self.arrivals.tolist(),
            round_trips=self.round_trips.tolist(),
            rounds=self.rounds,
        )


def gains(state: State, target: Target, rungs: int) -> Tensor:
    """Log of the ratio by which neighbours swap, (chains, rungs − 1): (1/T_i − 1/T_j)(E_j − E_i) for T_i < T_j.

    The base measure of a natural prior is the same on all rungs and cancels.
    """
    assert isinstance(target.temperature, Tensor), "a ladder gives every rung its temperature"
    energy = target.terms_energy(target.complete(state.evaluation, state.x)).view(-1, rungs)
    beta = target.temperature.reciprocal().view(-1, rungs)
    return (beta[:, :-1] - beta[:, 1:]) * (energy[:, 1:] - energy[:, :-1])


def exchange(state: State, swaps: SwapRecord, target: Target, noise: Noise) -> tuple[State, SwapRecord]:
    """One round of swaps between neighbours, alternating between even and odd pairs.

    Pictures are swapped and velocities stay: their law depends on the rung alone, so the joint law is preserved.
    Swapping is accepted with probability min(1, exp(gain)), see `gains`.
    """
    chains, rungs = swaps.replica.shape
    evaluation = target.complete(state.evaluation, state.x)
    low = torch.arange(swaps.rounds % 2, rungs - 1, 2, device=state.x.device)
    gain = gains(state._replace(evaluation=evaluation), target, rungs)[:, low]
    chance = torch.nan_to_num(gain, nan=-torch.inf).clamp_max(0).exp()
    swap = noise.uniform().view(chains, rungs)[:, low] < chance

    order = torch.arange(rungs, device=low.device).expand(chains, rungs).clone()
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
    tried[:, low] += 1
    done[:, low] += chance
    from_top = swaps.from_top.gather(1, order)
    from_top[:, -1] = True
    home = from_top[:, 0].clone()
    from_top[:, 0] = False
    return moved, SwapRecord(
        swaps.replica.gather(1, order), from_top, tried, done, swaps.arrivals + (order[:, 0] != 0),
        swaps.round_trips + home, swaps.rounds + 1,
    )  # fmt: skip


def coldest(tensor: Tensor, rungs: int) -> Tensor:
    """(chains · rungs, …) -> (chains, …), the first rung of each chain."""
    return tensor if rungs == 1 else tensor[::rungs]
