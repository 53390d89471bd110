"""MALA: the Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.target import Info, Noise, State, Target
from .metropolis import accepted, adapted, choose, choose_evaluation
from .moves import coast, plus, refitted, root, thermal

_STEP_SIZE = Parameter(
    "step_size", 1e-8, 1e3, 0.02, "h: pixels move h times the gradient, plus noise √(2hT).", log=True
)
WANTED = 0.574  # acceptance of the best step in many dimensions: Roberts & Rosenthal, J. R. Stat. Soc. B 60 (1998), 255

_WHITE = 1.7  # time step √(2h) of that acceptance on the prior alone, times the sixth root of its pixels


@dataclass(frozen=True)
class MALA:
    """Langevin proposals that are accepted or rejected, chain by chain: exactly p(x) ∝ exp(E/T).

        x* = x + h ∇E(x) + √(2hT) ξ,   accepted with probability min(1, p(x*) q(x|x*) / (p(x) q(x*|x)))

    Computed as one leapfrog step of Hamiltonian dynamics with time step √(2h) and fresh velocities, which is the same
    (Neal, Handbook of MCMC, 2011, section 5.2): log of the ratio = the loss of E + ½|v|² over T. Elastic walls keep
    volume and are reversible, so it is exact in a box, too.

    Cost: one gradient a step. Law: exact. Source: Besag, J. R. Stat. Soc. B 56 (1994), 591; Roberts & Tweedie (1996).

    Args:
        step_size: h > 0, in squared pixels per energy; live. None: every chain finds its own during the warm-up, so
            that 57 % is accepted, and keeps it.
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
        """The state with step sizes nearer to the wanted acceptance; unchanged if the step size is given."""
        assert info.acceptance is not None
        if self.step_size is not None:
            return state
        return state._replace(memory=(adapted(state.memory[0], info.acceptance, WANTED, count),))

    def step_size_of(self, state: State) -> Tensor:
        """Step sizes the chains have found, (chain,)."""
        own: Tensor = state.memory[0]
        return own

    def rescaled(self, state: State, found: Tensor, factor: float) -> State:
        """The state with step sizes that were found (chain,), now that the neuron pulls less by `factor`²."""
        longest = _WHITE * state.x[0].numel() ** (-1 / 6)
        return state._replace(memory=(refitted((2 * found).sqrt(), factor, longest).square() / 2,))

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()}, exactly"

    def _step(self, state: State) -> float | Tensor:
        return self.step_size_of(state) if self.step_size is None else self.step_size


def kinetic(velocity: Tensor) -> Tensor:
    """½|v|² of every chain, (chain,), summed in float64: single precision is too coarse for large pictures."""
    return velocity.flatten(1).double().square().sum(1) / 2
