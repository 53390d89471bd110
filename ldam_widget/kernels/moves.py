"""Shared by the calibrated kernels: sums, walls, noise amplitudes."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ..core.parameters import Parameter
from ..core.target import per_image

FRICTION = Parameter(
    "friction", 1e-3, 1e2, 0.1, "How fast a chain forgets its velocity: low coasts far, high walks at random.",
    log=True,
)  # fmt: skip
Bounds = tuple[float, float] | None


def plus(x: Tensor, factor: float | Tensor, y: Tensor) -> Tensor:
    """x + factor · y, for a number or one number per chain."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, per_image(factor, x), y)
    return torch.add(x, y, alpha=factor)


def add(x: Tensor, factor: float | Tensor, y: Tensor) -> Tensor:
    """`plus`, in place."""
    if isinstance(factor, Tensor):
        return x.addcmul_(per_image(factor, x), y)
    return x.add_(y, alpha=factor)


def add_quotient(x: Tensor, factor: float | Tensor, y: Tensor, divisor: Tensor) -> Tensor:
    """x + factor · y / divisor in place; the divisor may be overwritten."""
    if isinstance(factor, Tensor):
        return x.addcdiv_(y, divisor.div_(per_image(factor, x)))
    return x.addcdiv_(y, divisor, value=factor)


def root(value: float | Tensor) -> float | Tensor:
    """√value of a number, or of one number per chain."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def exp(value: float | Tensor) -> float | Tensor:
    """exp(value) of a number, or of one number per chain."""
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


def refitted(time: Tensor, factor: float, longest: float) -> Tensor:
    """Tuned time steps (chain,), refitted to a neuron softer by factor² under an unchanged prior.

    Curvatures add up, and a time step is inversely proportional to their root: 1/h² = 1/longest² + the neuron's part.
    That part is taken as at least a tenth of 1/h², for steps about as long as the prior allows.
    """
    own = time.square().reciprocal()
    neuron = (own - longest**-2).maximum(0.1 * own)
    fitted: Tensor = ((own - neuron) + neuron / factor**2).rsqrt()
    return fitted


def thermal(temperature: float | Tensor, numbers: Tensor) -> Tensor:
    """Velocities of temperature T and unit mass from standard normal numbers."""
    return numbers * per_image(root(temperature), numbers)


def refresh(velocity: Tensor, kept: float | Tensor, temperature: float | Tensor, numbers: Tensor) -> Tensor:
    """c v + √((1 − c²) T) ξ: partially refresh the velocity."""
    return plus(velocity * per_image(kept, velocity), root((1 - kept**2) * temperature), numbers)


def coast(x: Tensor, velocity: Tensor, time: float | Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Move at constant velocity; elastic walls reflect pixels and reverse their velocity.

    Reflection preserves volume and is reversible, so kernels built on it keep their distribution inside the box
    (reference/algorithm.md, section 1.5). Clamping would pile pixels up at the walls.
    """
    x = plus(x, time, velocity)
    if bounds is None:
        return x, velocity
    low, high = bounds
    width = high - low
    # Unfolded, the motion continues without walls through mirror images of the box, with a period of two widths: the
    # distance to the nearest image of `low`, -width … width, gives the position, and its sign whether it is mirrored.
    # In place, and without `where`, which alone costs as much as all of this; it runs twice per step.
    from_low = x.sub_(low)
    periods = (from_low * (0.5 / width)).add_(0.5).floor_()
    from_low.add_(periods, alpha=-2 * width)
    turned = torch.copysign(_one(velocity.dtype, velocity.device), from_low).mul_(velocity)
    # the clamp only corrects rounding
    return from_low.abs_().add_(low).clamp_(low, high), turned


@functools.lru_cache(maxsize=8)
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones((), dtype=dtype, device=device)
