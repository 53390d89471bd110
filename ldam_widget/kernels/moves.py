"""What the calibrated kernels share: adding up, walls, noise amplitudes."""

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
    """x + factor · y with a number, or one number a chain."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, per_image(factor, x), y)
    return torch.add(x, y, alpha=factor)


def add(x: Tensor, factor: float | Tensor, y: Tensor) -> Tensor:
    """`plus`, in place."""
    if isinstance(factor, Tensor):
        return x.addcmul_(per_image(factor, x), y)
    return x.add_(y, alpha=factor)


def add_quotient(x: Tensor, factor: float | Tensor, y: Tensor, divisor: Tensor) -> Tensor:
    """x + factor · y / divisor in place; the divisor is new, and is used up."""
    if isinstance(factor, Tensor):
        return x.addcdiv_(y, divisor.div_(per_image(factor, x)))
    return x.addcdiv_(y, divisor, value=factor)


def root(value: float | Tensor) -> float | Tensor:
    """√value of a number, or of one number a chain."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def exp(value: float | Tensor) -> float | Tensor:
    """exp(value) of a number, or of one number a chain."""
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


def refitted(time: Tensor, factor: float, longest: float) -> Tensor:
    """Time steps (chain,) that were found, after a neuron has become softer by factor²; its prior stays as it is.

    Curvatures add up, and a time step goes with one over their root: 1/h² = 1/longest² + a part of the neuron's. That
    part is taken for a tenth at least where steps are about as long as the prior allows.
    """
    own = time.square().reciprocal()
    neuron = (own - longest**-2).maximum(0.1 * own)
    fitted: Tensor = ((own - neuron) + neuron / factor**2).rsqrt()
    return fitted


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
    width = high - low
    # Unfolded, the motion goes on without walls through mirror images of the box and repeats after two widths: the
    # distance to the nearest image of `low`, -width … width, tells the place, and by its sign whether it is mirrored.
    # In place, and without `where`, which alone costs as much as all of this: it is done twice a step.
    from_low = x.sub_(low)
    periods = (from_low * (0.5 / width)).add_(0.5).floor_()
    from_low.add_(periods, alpha=-2 * width)
    turned = torch.copysign(_one(velocity.dtype, velocity.device), from_low).mul_(velocity)
    # the clamp undoes rounding alone
    return from_low.abs_().add_(low).clamp_(low, high), turned


@functools.lru_cache(maxsize=8)
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones((), dtype=dtype, device=device)
