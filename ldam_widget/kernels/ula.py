"""ULA: the textbook unadjusted Langevin algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.target import Info, Noise, State, Target
from .moves import coast, plus, root

_STEP_SIZE = Parameter(
    "step_size", 1e-6, 1e3, 0.02, "h: pixels move h times the gradient, plus noise √(2hT).", log=True
)


@dataclass(frozen=True)
class ULA:
    """Euler step of overdamped Langevin dynamics, p(x) ∝ exp(E/T) as h → 0.

        x' = x + h ∇E(x) + √(2hT) ξ

    On a quadratic of curvature Λ the variance is T/Λ · 1/(1 − hΛ/2): too warm by hΛ/2. For teaching and testing;
    `LeimkuhlerMatthews` costs the same without that error. Bounded pixels are reflected.

    Cost: one gradient per step. Source: Roberts & Tweedie, Bernoulli 2 (1996), 341.

    Args:
        step_size: h > 0, in squared pixels per energy; live.
    """

    step_size: float = _STEP_SIZE.default

    name: ClassVar[str] = "ULA"
    calibrated: ClassVar[bool] = True
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, TEMPERATURE)

    def __post_init__(self) -> None:
        _STEP_SIZE.check(self.step_size)

    def init(self, x: Tensor, target: Target) -> State:
        return State(x, target.evaluate(x), 0)

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        h = self.step_size
        drift = target.drift(target.complete(state.evaluation, state.x), state.x)
        move = plus(h * drift, root(2 * h * target.kinetic_temperature), noise.normal())
        x, _ = coast(state.x, move, 1.0, target.bounds)
        return State(x, target.evaluate(x), state.step + 1), Info()

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        return target.temperature

    def note(self, target: Target, step: int = 0) -> str:
        return f"samples {target.law()} as the step size goes to 0; warmer at a finite one"
