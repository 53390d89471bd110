"""MALA: the Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.precision import double
from ..core.target import Info, Noise, State, Target
from .metropolis import accepted, adapted, choose, choose_evaluation
from .moves import coast, plus, refitted, root, thermal

_STEP_SIZE = Parameter(
    "step_size", 1e-8, 1e3, 0.02, "h: pixels move h times the gradient, plus noise √(2hT).", log=True
)
WANTED = 0.574  # optimal acceptance in high dimension: Roberts & Rosenthal, J. R. Stat. Soc. B 60 (1998), 255

_WHITE = 1.7  # time step √(2h) with that acceptance on the prior alone, times the sixth root of its number of pixels


@dataclass(frozen=True)
class MALA:
    """Langevin proposals accepted or rejected per chain: exactly p(x) ∝ exp(E/T).

        x* = x + h ∇E(x) + √(2hT) ξ,   accepted with probability min(1, p(x*) q(x|x*) / (p(x) q(x*|x)))

    Computed as the equivalent leapfrog step of Hamiltonian dynamics with time step √(2h) and fresh velocities (Neal,
    Handbook of MCMC, 2011, section 5.2): log of the ratio = decrease of H = ½|v|² − E over T. Elastic walls preserve
    volume and are reversible, so it is exact in a box too.

    Cost: one gradient per step. Accuracy: exact. Source: Besag, J. R. Stat. Soc. B 56 (1994), 591; Roberts & Tweedie
    (1996).

    Args:
        step_size: h > 0, in squared pixels per energy; live. None: every chain tunes its own during the warm-up
            to 57 % acceptance, and keeps it.
    """

    step_size: float | None = None

    name: ClassVar[str] = "MALA"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE)

    def __post_init__(self) -> None:
        if self.step_size is not None:
            _STEP_SIZE.check(self.step_size)

    def init(self, x: Tensor, target: Target) -> State:
        own = x.new_full((len(x),), _STEP_SIZE.default)
        return State(x, target.evaluate(x), 0, (own,))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        here = target.complete(state.evaluation, state.x)
        time = root(2 * self._step(state))
        start = thermal(target.kinetic_temperature, noise.normal())
        velocity = plus(start, time / 2, target.drift(here, state.x))
        x, velocity = coast(state.x, velocity, time, target.bounds)
        there = target.evaluate(x)
        velocity = plus(velocity, time / 2, target.drift(there, x))
        gain = target.energy(there, x) - target.energy(here, state.x) - kinetic(velocity) + kinetic(start)
        moves, acceptance = accepted(gain, target.kinetic_temperature, noise)
        evaluation = choose_evaluation(moves, there, here)
        return State(choose(moves, x, state.x), evaluation, state.step + 1, state.memory), Info(acceptance)

    def adapt(self, state: State, info: Info, count: int, target: Target) -> State:
        """Adapt step sizes towards the target acceptance; unchanged if the step size is given."""
        assert info.acceptance is not None
        if self.step_size is not None:
            return state
        return state._replace(memory=(adapted(state.memory[0], info.acceptance, WANTED, count),))

    def step_size_of(self, state: State) -> Tensor:
        """Tuned step sizes, (chain,)."""
        own: Tensor = state.memory[0]
        return own

    def rescaled(self, state: State, found: Tensor, factor: float) -> State:
        """The state with tuned step sizes `found` (chain,), refitted to a neuron weaker by `factor`²."""
        longest = _WHITE * state.x[0].numel() ** (-1 / 6)
        return state._replace(memory=(refitted((2 * found).sqrt(), factor, longest).square() / 2,))

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()}, exactly"

    def _step(self, state: State) -> float | Tensor:
        return self.step_size_of(state) if self.step_size is None else self.step_size


def kinetic(velocity: Tensor) -> Tensor:
    """½|v|² of every chain, (chain,), summed in float64: single precision is too coarse for large images."""
    return double(velocity.flatten(1)).square().sum(1) / 2
