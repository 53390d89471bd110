"""What suits a picture if nothing is said: step size and temperature by its size and pixel range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from . import checks
from .kernels import BAOAB
from .tracing import check_shape
from .types import Kernel


def size_of(input_shape: Sequence[int], pixel_range: tuple[float, float] | None) -> tuple[float, float]:
    """(side, width): √pixels, and the width of their range, 1 if they are unbounded."""
    low, high = pixel_range or (0.0, 1.0)
    return math.sqrt(math.prod(input_shape)), high - low


def default_kernel(side: float, width: float) -> Kernel:
    """What a widget samples with if nothing is said.

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


def settings_for(
    kernel: Kernel | None,
    scale: Literal["none", "frozen"] | None,
    temperature: float | None,
    input_shape: Sequence[int],
    pixel_range: tuple[float, float] | None,
) -> dict[str, Any]:
    """Arguments of a sampler for what a widget was given; None is what suits the picture.

    Raises:
        ValueError, TypeError: as `Sampler`.
    """
    shape, pixels = check_shape(input_shape), checks.pixel_range(pixel_range)
    side, width = size_of(shape, pixels)
    kernel = checks.kernel(default_kernel(side, width) if kernel is None else kernel)
    chosen = scale_for(kernel, scale)
    if temperature is None:
        temperature = default_temperature(side, width) if chosen == "frozen" else 1.0
    return {
        "kernel": kernel, "scale": chosen, "temperature": temperature, "input_shape": shape, "pixel_range": pixels,
    }  # fmt: skip


def scale_for(kernel: Kernel, asked: Literal["none", "frozen"] | None) -> Literal["none", "frozen"]:
    """Frozen for calibrated kernels if nothing is said, so that one range of sliders serves every network."""
    return asked if asked is not None else "frozen" if kernel.calibrated else "none"
