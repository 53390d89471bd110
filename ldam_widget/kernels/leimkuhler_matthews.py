"""Leimkuhler–Matthews: overdamped Langevin dynamics with noise averaged over two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.target import Info, Noise, State, Target
from .moves import coast, plus, root, thermal

_STEP_SIZE = Parameter("step_size", 1e-6, 1e3, 0.1, "h: pixels move h times the gradient, plus noise √(2hT).", log=True)


@dataclass(frozen=True)
class LeimkuhlerMatthews:
    """Overdamped Langevin dynamics, p(x) ∝ exp(E/T), exact on quadratics.

        x' = x + h ∇E(x) + √(2hT) (ξ + ξ')/2,   ξ' is the next step's ξ

    It is computed as BAOAB with infinite friction and time step √(2h): the velocity carries half of the noise to the
    next step, and is reversed at an elastic wall. Reflecting only x would be wrong by a quarter of the variance
    (reference/algorithm.md, section 1.5).

    Cost: one gradient per step. Accuracy: exact on quadratics for hΛ < 2, otherwise O(h²). Source: Leimkuhler &
    Matthews, Rational construction of stochastic numerical methods for molecular sampling, AMRX 2013, Eq. 1.3.

    Args:
        step_size: h > 0, in squared pixels per energy; live.
    """

    step_size: float = _STEP_SIZE.default

    name: ClassVar[str] = "Leimkuhler–Matthews"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE)

    def __post_init__(self) -> None:
        _STEP_SIZE.check(self.step_size)

    def init(self, x: Tensor, target: Target) -> State:
        return State(x, target.evaluate(x), 0, (torch.zeros_like(x),))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        time = root(2 * self.step_size)
        (velocity,) = state.memory
        velocity = plus(velocity, time / 2, target.drift(target.complete(state.evaluation, state.x), state.x))
        x, _ = coast(state.x, velocity, time / 2, target.bounds)
        x, velocity = coast(x, thermal(target.kinetic_temperature, noise.normal()), time / 2, target.bounds)
        evaluation = target.evaluate(x)
        # after the half kick, the velocity's distribution does not depend on x: replica exchange leaves it in place
        velocity = plus(velocity, time / 2, target.drift(evaluation, x))
        return State(x, evaluation, state.step + 1, (velocity,)), Info()

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()}, up to the error of a finite step"
