"""What is sampled if nothing is said: kernel, scale, temperature and warm-up, for samplers and widgets alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .. import kernels
from ..core.target import Kernel
from ..kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from . import checks

Scale = Literal["none", "frozen"]
Unit = Literal["plain", "scaled", "normalized"]


def size_of(input_shape: Sequence[int], pixel_range: tuple[float, float] | None) -> tuple[float, float]:
    """(side, width): √pixels, and the width of their range, 1 if they are unbounded."""
    low, high = pixel_range or (0.0, 1.0)
    return math.sqrt(math.prod(input_shape)), high - low


def kernel_for(size: tuple[float, float], *, natural: bool) -> Kernel:
    """The kernel where none is given.

    Args:
        size: see `size_of`.
        natural: with the natural prior.
    """
    return natural_kernel() if natural else default_kernel(*size)


def scale_for(kernel: Kernel, asked: Scale | None, *, natural: bool) -> Scale:
    """What was asked for, or "frozen", so that one range of sliders serves every network.

    `Algorithm1` keeps gradients as they are, but for white coordinates, where T has to suit the prior.
    """
    if asked is not None:
        return asked
    return "frozen" if (kernel.calibrated or natural) and not checks.normalizes(kernel) else "none"


def temperature_for(unit: Unit, size: tuple[float, float], *, natural: bool) -> float:
    """T where none is given, as a multiple of its unit."""
    if natural:
        return 1.0 if unit == "plain" else natural_temperature(size[0] ** 2)
    return default_temperature(*size) if unit == "scaled" else 1.0


def warm_up_for(*, goal: bool, natural: bool) -> int:
    """Steps of the warm-up where no number is given."""
    return GOAL_WARM_UP if goal else NATURAL_WARM_UP if natural else WARM_UP


def default_kernel(side: float, width: float) -> Kernel:
    """BAOAB in pixels, with a step size that suits the picture.

    A frozen scale makes the gradient of a picture of D = side² pixels 1/side a pixel. At the default temperature a
    pixel then moves a hundredth of its range a step by its velocity alone, whatever the size of the picture.
    """
    return BAOAB(step_size=_rounded(0.2 * math.sqrt(width * side / 28)), friction=1.0)


def default_temperature(side: float, width: float) -> float:
    """With frozen scales, a pixel's energy across its range is then ten times T: strokes stand out from the noise."""
    return _rounded(0.1 * width / side)


def _rounded(value: float) -> float:
    """Two digits: nobody wants to read more on a slider."""
    return float(f"{value:.2g}")


KERNELS: dict[str, type[Any]] = {kernel.name: kernel for name in kernels.__all__ if (kernel := getattr(kernels, name))}


def kernel_called(name: str, size: tuple[float, float], *, natural: bool) -> Kernel:
    """The kernel of a name with what suits the prior. Raises ValueError if there is none of that name.

    Args:
        name: its `name`, such as "Leimkuhler–Matthews".
        size: see `size_of`.
        natural: in white coordinates, where the prior has curvature 1 whatever the picture and the temperature are.
    """
    if name not in KERNELS:
        raise ValueError(f"unknown kernel {name!r}; there are: {', '.join(KERNELS)}")
    make = KERNELS[name]
    if natural:
        return _NATURAL_KERNELS[make]()
    kernel: Kernel = default_kernel(*size) if make is BAOAB else make()
    return kernel


# ---- with the natural prior ------------------------------------------------------------------------------------------

# The pull, as a ratio: how far the neuron, with a frozen scale, may push the chain away from the prior's mean, over the
# distance at which the prior's noise keeps it there, τ√D. Below 1 pictures are clouds with a hint of the neuron, from 1
# to 2 another network recognises them, at 4 they are glaring (benchmarks/RESULTS.md, "The natural prior's defaults").
PULL = 1.5
NATURAL_SCALE = 0.4  # τ: the prior's own noise at less than its natural contrast, over which the neuron stands out
NATURAL_FRICTION = 1.0  # the noise of jittered gradients heats by their variance over the friction
WARM_UP, NATURAL_WARM_UP = 200, 100  # steps
GOAL_WARM_UP = 600
_LEAST_SIDE = 16  # pixels: a smaller picture with three channels is no photograph


def natural_temperature(pixels: float) -> float:
    """T for frozen scales: the pull of a gradient of norm 1, τ²/T, moves a chain by `PULL` · τ√D at most."""
    return _rounded(NATURAL_SCALE / (PULL * math.sqrt(pixels)))


def natural_kernel() -> Kernel:
    """BAOAB in white coordinates, with a step size that every chain finds."""
    return BAOAB(step_size=None, friction=NATURAL_FRICTION)


_NATURAL_KERNELS: dict[type[Any], Callable[[], Kernel]] = {
    BAOAB: natural_kernel,
    GHMC: lambda: GHMC(None, NATURAL_FRICTION),
    MALA: lambda: MALA(None),
    LeimkuhlerMatthews: lambda: LeimkuhlerMatthews(0.02),
    ULA: lambda: ULA(0.01),
    Algorithm1: Algorithm1,
}


def looks_like_photographs(input_shape: Sequence[int]) -> bool:
    """Are these RGB images?"""
    return len(input_shape) == 3 and input_shape[0] == 3 and min(input_shape[1:]) >= _LEAST_SIDE
