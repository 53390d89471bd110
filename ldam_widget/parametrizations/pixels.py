"""The plainest parametrization: the coordinates are the pixels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.target import Range


class Pixels:
    """z = x: the density is that of the pixels themselves, exp(E(x)/T), in a box or unbounded."""

    white: ClassVar[bool] = False

    def __init__(self, bounds: Range) -> None:
        self.bounds = bounds

    def picture(self, z: Tensor) -> Tensor:
        return z

    def pulled_back(self, grad: Tensor, picture: Tensor) -> Tensor:
        return grad

    def place(self, picture: Tensor) -> Tensor:
        return picture if self.bounds is None else picture.clamp(*self.bounds)

    def start(self, numbers: Tensor, prior_scale: float) -> Tensor:
        return first_images(numbers, self.bounds)


def first_images(numbers: Tensor, pixel_range: Range) -> Tensor:
    """Start images from standard normal numbers: uniform in the pixel range, and as they are without one.

    The released program starts from uniform noise as well (Synthesis.scala). Normal numbers that are clamped to the
    range would leave a third of the pixels on its ends. A discriminator is trained from the same start images, and has
    to know where chains come from.
    """
    if pixel_range is None:
        return numbers
    low, high = pixel_range
    uniform: Tensor = (numbers * 0.5**0.5).erf_()
    return uniform.mul_((high - low) / 2).add_((low + high) / 2).clamp_(low, high)
