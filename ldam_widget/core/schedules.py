"""Step sizes that decay with the step number."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import overload

from torch import Tensor


@dataclass(frozen=True)
class PolynomialDecay:
    """β_t = a (b + t)^−µ (paper, section 3.2; Welling & Teh 2011).

    With constant noise this anneals: the hidden temperature of `Algorithm1` falls with β_t, so averages are taken at a
    falling temperature. A constant step size samples at a fixed temperature.

    Args:
        a: scale, > 0, pixels per unit of gradient.
        b: offset in steps, > 0.
        mu: exponent, ≥ 0; Welling & Teh's conditions require 0.5 < µ ≤ 1.

    Raises:
        TypeError, ValueError: a or b is not a positive number, or µ is negative.
    """

    a: float
    b: float = 1.0
    mu: float = 0.55

    def __post_init__(self) -> None:
        message = f"PolynomialDecay needs finite numbers a > 0, b > 0, mu >= 0; got {self}"
        values = (self.a, self.b, self.mu)
        if not all(isinstance(value, numbers.Real) for value in values):
            raise TypeError(message)
        if not (self.a > 0 and self.b > 0 and self.mu >= 0 and all(map(math.isfinite, values))):
            raise ValueError(message)

    @overload
    def at(self, step: int) -> float: ...
    @overload
    def at(self, step: int | Tensor) -> float | Tensor: ...
    def at(self, step: int | Tensor) -> float | Tensor:
        """β at step t = 0, 1, …"""
        value = self.a * (self.b + step) ** -self.mu
        return value if isinstance(value, Tensor) else float(value)
