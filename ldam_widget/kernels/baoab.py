"""BAOAB: underdamped Langevin dynamics, split so that its error is small where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..parameters import TEMPERATURE, Parameter
from ..target import Target
from ..types import Info, Noise, State
from .moves import FRICTION, coast, exp, law, plus, refresh

_STEP_SIZE = Parameter("step_size", 1e-4, 1e2, 1.0, "Time step h: pixels move h times their velocity.", log=True)


@dataclass(frozen=True)
class BAOAB:
    """Langevin dynamics with velocities, p(x) ∝ exp(E/T): one gradient a step, and the best mixing of all.

        v += h/2 ∇E;  x += h/2 v;  v = c v + √((1 − c²) T) ξ;  x += h/2 v;  v += h/2 ∇E,   c = exp(−friction · h)

    Exact on quadratics for any stable h (h² Λ < 4, Λ the largest curvature of −E), elsewhere wrong by O(h²) at most;
    the thermometer shows by how much. Bounded pixels bounce off elastic walls.

    Cost: one gradient a step. Source: Leimkuhler & Matthews, Robust and efficient configurational molecular sampling
    via Langevin dynamics, J. Chem. Phys. 138 (2013), 174102.

    Args:
        step_size: h > 0, in pixels per √energy; live.
        friction: > 0, per unit of h; live.
    """

    step_size: float = _STEP_SIZE.default
    friction: float = FRICTION.default

    name: ClassVar[str] = "BAOAB"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE, FRICTION)

    def __post_init__(self) -> None:
        _STEP_SIZE.check(self.step_size)
        FRICTION.check(self.friction)

    def init(self, x: Tensor, target: Target) -> State:
        return State(x, target.evaluate(x), 0, (torch.zeros_like(x),))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        h, kept = self.step_size, exp(-self.friction * self.step_size)
        (velocity,) = state.memory
        velocity = plus(velocity, h / 2, target.drift(target.complete(state.evaluation, state.x)))
        x, velocity = coast(state.x, velocity, h / 2, target.bounds)
        velocity = refresh(velocity, kept, target.temperature, noise.normal())
        x, velocity = coast(x, velocity, h / 2, target.bounds)
        evaluation = target.evaluate(x)
        velocity = plus(velocity, h / 2, target.drift(evaluation))
        return State(x, evaluation, state.step + 1, (velocity,)), Info()

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples p ∝ exp(E/T) at {law(target.temperature)}, up to the error of a finite step"
