"""What the calibrated kernels share: adding up, walls, noise amplitudes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..parameters import Parameter
from ..target import per_image

FRICTION = Parameter(
    "friction", 1e-3, 1e2, 0.1, "How fast a chain forgets its velocity: low coasts far, high walks at random.",
    log=True,
)  # fmt: skip
Bounds = tuple[float, float] | None


def plus(x: Tensor, factor: float | Tensor, y: Tensor) -> Tensor:
    """x + factor · y with a number, or one number a chain."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, per_image(factor, x), y)
    return torch.add(x, y, alpha=factor)


def root(value: float | Tensor) -> float | Tensor:
    """√value of a number, or of one number a chain."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def exp(value: float | Tensor) -> float | Tensor:
    """exp(value) of a number, or of one number a chain."""
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


def thermal(temperature: float | Tensor, numbers: Tensor) -> Tensor:
    """Velocities of temperature T and unit mass from standard normal numbers."""
    return numbers * per_image(root(temperature), numbers)


def refresh(velocity: Tensor, kept: float | Tensor, temperature: float | Tensor, numbers: Tensor) -> Tensor:
    """c v + √((1 − c²) T) ξ: forget a part of the velocity and take as much at random."""
    return plus(velocity * per_image(kept, velocity), root((1 - kept**2) * temperature), numbers)


def coast(x: Tensor, velocity: Tensor, time: float | Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Move at constant velocity; elastic walls throw pixels back and turn their velocity round.

    The motion with walls is that of a ball between two mirrors: it keeps volume and is reversible, so kernels made of
    it keep their law inside the box (reference/algorithm.md, section 1.5). Clamping would pile pixels up on the walls.
    """
    x = plus(x, time, velocity)
    if bounds is None:
        return x, velocity
    low, high = bounds
    place = (x - low) / (high - low)
    crossings = place.floor()
    turned = crossings.remainder(2) == 1
    place -= crossings
    place = torch.where(turned, 1 - place, place)
    # the clamp undoes rounding alone
    return (low + (high - low) * place).clamp_(low, high), torch.where(turned, -velocity, velocity)


def law(temperature: float | Tensor) -> str:
    """T as the panel names it."""
    return f"T = {temperature:.3g}" if isinstance(temperature, (int, float)) else "a ladder of temperatures"
