"""GHMC: underdamped Langevin dynamics with a Metropolis test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.target import Info, Noise, State, Target
from .mala import kinetic
from .metropolis import accepted, adapted, choose, choose_evaluation
from .moves import FRICTION, coast, exp, plus, refitted, refresh

_STEP_SIZE = Parameter("step_size", 1e-5, 1e2, 0.15, "Time step h: pixels move h times their velocity.", log=True)
WANTED = 0.9  # higher than for MALA, since a rejection reverses the velocity; 0.9 beat 0.55 when measured

_WHITE = 1.0  # time step with that acceptance on the prior alone, times the sixth root of its number of pixels


@dataclass(frozen=True)
class GHMC:
    """Generalised hybrid Monte Carlo: exactly p(x) ∝ exp(E/T), with velocities that persist across steps.

        v = c v + √((1 − c²) T) ξ;   one leapfrog step of time h, accepted with probability min(1, exp(−ΔH/T)),
        else v is reversed;   v = c v + √((1 − c²) T) ξ',   c = exp(−friction · h / 2),   H = ½|v|² − E

    The exact reference kernel. Elastic walls preserve volume and are reversible, so it is exact in a box too.

    Cost: one gradient per step. Source: Horowitz, Phys. Lett. B 268 (1991), 247; Neal (2011), section 5.3.

    Args:
        step_size: h > 0, in pixels per √energy; live. None: every chain tunes its own during the warm-up to
            90 % acceptance, and keeps it.
        friction: > 0, per unit of h; live.
    """

    step_size: float | None = None
    friction: float = FRICTION.default

    name: ClassVar[str] = "GHMC"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE, FRICTION)

    def __post_init__(self) -> None:
        if self.step_size is not None:
            _STEP_SIZE.check(self.step_size)
        FRICTION.check(self.friction)

    def init(self, x: Tensor, target: Target) -> State:
        own = x.new_full((len(x),), _STEP_SIZE.default)
        return State(x, target.evaluate(x), 0, (torch.zeros_like(x), own))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        here = target.complete(state.evaluation, state.x)
        velocity, own = state.memory
        h = own if self.step_size is None else self.step_size
        kept = exp(-self.friction / 2 * h)
        start = refresh(velocity, kept, target.kinetic_temperature, noise.normal())
        velocity = plus(start, h / 2, target.drift(here, state.x))
        x, velocity = coast(state.x, velocity, h, target.bounds)
        there = target.evaluate(x)
        velocity = plus(velocity, h / 2, target.drift(there, x))
        gain = target.energy(there, x) - target.energy(here, state.x) - kinetic(velocity) + kinetic(start)
        moves, acceptance = accepted(gain, target.kinetic_temperature, noise)
        velocity = refresh(choose(moves, velocity, -start), kept, target.kinetic_temperature, noise.normal())
        evaluation = choose_evaluation(moves, there, here)
        return State(choose(moves, x, state.x), evaluation, state.step + 1, (velocity, own)), Info(acceptance)

    def adapt(self, state: State, info: Info, count: int, target: Target) -> State:
        """Adapt step sizes towards the target acceptance; unchanged if the step size is given."""
        assert info.acceptance is not None
        if self.step_size is not None:
            return state
        velocity, own = state.memory
        return state._replace(memory=(velocity, adapted(own, info.acceptance, WANTED, count)))

    def step_size_of(self, state: State) -> Tensor:
        """Tuned step sizes, (chain,)."""
        own: Tensor = state.memory[1]
        return own

    def rescaled(self, state: State, found: Tensor, factor: float) -> State:
        """The state with tuned step sizes `found` (chain,), refitted to a neuron weaker by `factor`²."""
        velocity, _ = state.memory
        longest = _WHITE * velocity[0].numel() ** (-1 / 6)
        return state._replace(memory=(velocity, refitted(found, factor, longest)))

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()}, exactly"
