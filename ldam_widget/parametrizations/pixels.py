"""The simplest parametrization: the coordinates are the pixels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.target import Range


class Pixels:
    """z = x: the density exp(E(x)/T) is over the pixels, in a box or unbounded."""

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
    """Start images from standard normal numbers: uniform in the pixel range; unchanged without one.

    The released program also starts from uniform noise (Synthesis.scala). Normal numbers clamped to the range would
    put a third of the pixels at its ends. Discriminators are trained from the same start images, since they must
    recognise them.
    """
    if pixel_range is None:
        return numbers
    low, high = pixel_range
    uniform: Tensor = (numbers * 0.5**0.5).erf_()
    return uniform.mul_((high - low) / 2).add_((low + high) / 2).clamp_(low, high)
