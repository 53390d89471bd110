"""A leaky backward pass: rectifiers keep their values but pass part of the gradient where they are inactive.

A chain that starts where all of a neuron's rectifiers are inactive has no gradient and moves only by noise. The leak
gives it a direction, but the result is no longer the gradient of the activation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .rectifiers import Bounds, Rectifiers


def check_leaky(leaky: Any) -> float:
    """Raises ValueError unless 0 ≤ leaky < 1."""
    if isinstance(leaky, bool) or not isinstance(leaky, (int, float)) or not 0 <= leaky < 1:
        raise ValueError(f"leaky is a slope from 0 (the true gradient) to less than 1, e.g. 0.1; got {leaky!r}")
    return float(leaky)


class Leaky(Rectifiers):
    """Inside the context, inactive rectifiers have the derivative `slope` instead of 0.

    Args:
        slope: 0 < slope < 1.
    """

    def __init__(self, slope: float) -> None:
        super().__init__(_Leak(slope))


class _Leak:
    def __init__(self, slope: float) -> None:
        self._slope = slope

    def kept(self, x: Tensor, bounds: Bounds) -> Tensor:
        passes = bounds.passes(x)
        return passes.to(x.dtype).masked_fill_((x <= 0) & ~passes, self._slope)

    def back(self, grad: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return grad * kept
