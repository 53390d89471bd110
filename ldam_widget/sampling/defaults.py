"""Default kernel, scale, temperature and warm-up, for samplers and widgets alike."""

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
    """(side, width): √pixels, and the width of the pixel range, 1 if unbounded."""
    low, high = pixel_range or (0.0, 1.0)
    return math.sqrt(math.prod(input_shape)), high - low


def kernel_for(size: tuple[float, float], *, natural: bool) -> Kernel:
    """The default kernel.

    Args:
        size: see `size_of`.
        natural: with the natural prior.
    """
    return natural_kernel() if natural else default_kernel(*size)


def scale_for(kernel: Kernel, asked: Scale | None, *, natural: bool) -> Scale:
    """The requested scale, or "frozen", so that one range of sliders suits every network.

    `Algorithm1` leaves gradients unscaled, except in white coordinates, where T has to suit the prior.
    """
    if asked is not None:
        return asked
    return "frozen" if (kernel.calibrated or natural) and not checks.normalizes(kernel) else "none"


def temperature_for(unit: Unit, size: tuple[float, float], *, natural: bool) -> float:
    """The default T, as a multiple of its unit."""
    if natural:
        return 1.0 if unit == "plain" else natural_temperature(size[0] ** 2)
    return default_temperature(*size) if unit == "scaled" else 1.0


def warm_up_for(*, goal: bool, natural: bool, rungs: bool = False) -> int:
    """Default length of the warm-up in steps; `rungs`: whether those of a ladder are placed in it."""
    if rungs:
        return LADDER_WARM_UP
    return GOAL_WARM_UP if goal else NATURAL_WARM_UP if natural else WARM_UP


def default_kernel(side: float, width: float) -> Kernel:
    """BAOAB in pixels, with a step size that suits the image size.

    With a frozen scale, the gradient of an image with D = side² pixels is 1/side per pixel. At the default temperature
    a pixel's velocity alone then moves it by a hundredth of its range per step, whatever the image size.
    """
    return BAOAB(step_size=_rounded(0.2 * math.sqrt(width * side / 28)), friction=1.0)


def default_temperature(side: float, width: float) -> float:
    """With frozen scales, a pixel's energy across its range is then ten times T: strokes stand out from the noise."""
    return _rounded(0.1 * width / side)


def _rounded(value: float) -> float:
    """Two significant digits, enough for a slider."""
    return float(f"{value:.2g}")


KERNELS: dict[str, type[Any]] = {kernel.name: kernel for name in kernels.__all__ if (kernel := getattr(kernels, name))}


def kernel_called(name: str, size: tuple[float, float], *, natural: bool) -> Kernel:
    """The kernel with this name, with settings that suit the prior. Raises ValueError for an unknown name.

    Args:
        name: the kernel's `name`, such as "Leimkuhler–Matthews".
        size: see `size_of`.
        natural: in white coordinates, where the prior has curvature 1 for every image size and temperature.
    """
    if name not in KERNELS:
        raise ValueError(f"unknown kernel {name!r}; there are: {', '.join(KERNELS)}")
    make = KERNELS[name]
    if natural:
        suited: Kernel = _NATURAL_KERNELS.get(make, make)()
        return suited
    kernel: Kernel = default_kernel(*size) if make is BAOAB else make()
    return kernel


# ---- with the natural prior ------------------------------------------------------------------------------------------

# The pull is a ratio: the distance that the neuron, with a frozen scale, can push the chain from the prior's mean, over
# the distance at which the prior's noise keeps it there, τ√D. Below 1, pictures are clouds with a hint of the neuron;
# from 1 to 2 another network recognises them; at 4 they are glaring (benchmarks/RESULTS.md, "The natural prior's
# defaults").
PULL = 1.5
NATURAL_SCALE = 0.4  # τ: reduces the prior's noise below its natural contrast, so that the neuron stands out
NATURAL_FRICTION = 1.0  # noise in jittered gradients raises the temperature by their variance over the friction
WARM_UP, NATURAL_WARM_UP = 200, 100  # steps
GOAL_WARM_UP = 600
LADDER_WARM_UP = 1000
_LEAST_SIDE = 16  # pixels: a smaller image with three channels is not a photograph


def natural_temperature(pixels: float) -> float:
    """T for frozen scales: a gradient of norm 1 moves a chain by τ²/T, at most `PULL` · τ√D."""
    return _rounded(NATURAL_SCALE / (PULL * math.sqrt(pixels)))


def natural_kernel() -> Kernel:
    """BAOAB in white coordinates, with a step size that each chain finds."""
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
    """Whether images of this shape are RGB images of at least 16 × 16 pixels."""
    return len(input_shape) == 3 and input_shape[0] == 3 and min(input_shape[1:]) >= _LEAST_SIDE
