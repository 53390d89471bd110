"""BAOAB: underdamped Langevin dynamics, with a splitting that is accurate for positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.precision import double
from ..core.target import Info, Noise, State, Target, is_zero
from .moves import FRICTION, coast, exp, plus, refitted, refresh

_STEP_SIZE = Parameter("step_size", 1e-4, 1e2, 1.0, "Time step h: pixels move h times their velocity.", log=True)
FIRST = 0.15  # initial step size of the search in white coordinates, where the prior alone has curvature 1
_SHORTEST, _LONGEST = 0.05, 0.7
_WARMTH = 0.008  # tolerated relative excess of the velocities' temperature; that of pictures is about four times larger
_GAIN = 0.2


@dataclass(frozen=True)
class BAOAB:
    """Langevin dynamics with velocities, p(x) ∝ exp(E/T): one gradient per step, and the fastest mixing of all kernels.

        v += h/2 ∇E;  x += h/2 v;  v = c v + √((1 − c²) T) ξ;  x += h/2 v;  v += h/2 ∇E,   c = exp(−friction · h)

    Exact on quadratics for any stable h (h² Λ < 4, Λ the largest curvature of −E), otherwise accurate to O(h²); the
    thermometer shows the error. Bounded pixels bounce off elastic walls. In white coordinates E/T stands for the whole
    log density, prior included, and T for τ² (see `Target`).

    Cost: one gradient per step. Source: Leimkuhler & Matthews, Robust and efficient configurational molecular sampling
    via Langevin dynamics, J. Chem. Phys. 138 (2013), 174102.

    Args:
        step_size: h > 0, in pixels per √energy; live. None: chosen automatically; in white coordinates every chain
            tunes its own during the warm-up, at which it runs 5 % too warm, and keeps it.
        friction: > 0, per unit of h; live.
    """

    step_size: float | None = _STEP_SIZE.default
    friction: float = FRICTION.default

    name: ClassVar[str] = "BAOAB"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE, FRICTION)

    def __post_init__(self) -> None:
        if self.step_size is not None:
            _STEP_SIZE.check(self.step_size)
        FRICTION.check(self.friction)

    def init(self, x: Tensor, target: Target) -> State:
        own = x.new_full((len(x),), FIRST)
        return State(x, target.evaluate(x), 0, (torch.zeros_like(x), own))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        velocity, own = state.memory
        h = own if self.step_size is None else self.step_size
        kept = exp(-self.friction * h)
        velocity = plus(velocity, h / 2, target.drift(target.complete(state.evaluation, state.x), state.x))
        x, velocity = coast(state.x, velocity, h / 2, target.bounds)
        velocity = refresh(velocity, kept, target.kinetic_temperature, noise.normal())
        x, velocity = coast(x, velocity, h / 2, target.bounds)
        evaluation = target.evaluate(x)
        velocity = plus(velocity, h / 2, target.drift(evaluation, x))
        return State(x, evaluation, state.step + 1, (velocity, own)), Info()

    def adapt(self, state: State, info: Info, count: int, target: Target) -> State:
        """Adapt step sizes towards velocities 0.8 % too hot; unchanged if the step size is given, or T = 0."""
        if self.step_size is not None or is_zero(target.kinetic_temperature):
            return state
        velocity, own = state.memory
        return state._replace(memory=(velocity, own * _correction(state, target, count).to(own.dtype)))

    def step_size_of(self, state: State) -> Tensor:
        """Tuned step sizes, (chain,)."""
        own: Tensor = state.memory[1]
        return own

    def rescaled(self, state: State, found: Tensor, factor: float) -> State:
        """The state with tuned step sizes `found` (chain,), refitted to a neuron weaker by `factor`²."""
        velocity, _ = state.memory
        return state._replace(memory=(velocity, refitted(found, factor, _LONGEST)))

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()}, up to the error of a finite step"


def _correction(state: State, target: Target, count: int) -> Tensor:
    """Factor for the step sizes, (chain,), by Robbins & Monro's rule (1951) on the logarithm.

    Too long a step heats the velocities where the gradient jumps (a rectifier's kinks). Velocities decorrelate within
    1/friction, long before slow modes equilibrate, so they reveal the error while the chain is still burning in. Their
    temperature in one chain of D pixels fluctuates only by √(2/D).
    """
    velocity, own = state.memory
    excess = double(velocity.flatten(1)).square().mean(1) / target.kinetic_temperature - 1
    unit = max(_WARMTH, (8 / velocity[0].numel()) ** 0.5)
    push = ((_WARMTH - excess) / unit).nan_to_num(-1.0).clamp(-1, 1)
    factor: Tensor = (_GAIN / (1 + count / 10) ** 0.6 * push).exp()
    correction: Tensor = (own * factor).clamp(_SHORTEST, _LONGEST) / own
    return correction
