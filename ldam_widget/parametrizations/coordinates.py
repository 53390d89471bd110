"""What a parametrization is, and the plainest one: the coordinates are the pixels."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

Range = tuple[float, float] | None


class Coordinates(Protocol):
    """x = g(z): z (chain, *image) is where the kernels move, x (chain, *image) is the picture.

    The density is p(z) ∝ base(z) · exp(E(g(z))/T). The base measure of `white` coordinates is N(0, τ²I), which the
    temperature does not divide; that of the others is flat within `bounds`.
    """

    white: ClassVar[bool]

    @property
    def bounds(self) -> Range:
        """Walls for the coordinates; None: there are none."""
        ...

    def picture(self, z: Tensor) -> Tensor:
        """x = g(z)."""
        ...

    def pulled_back(self, grad: Tensor, picture: Tensor) -> Tensor:
        """The gradient with respect to z from the one with respect to x = `picture`; like z."""
        ...

    def place(self, picture: Tensor) -> Tensor:
        """Coordinates of a picture, or of the nearest one that these coordinates can show."""
        ...

    def start(self, numbers: Tensor, prior_scale: float) -> Tensor:
        """Where chains begin, from standard normal numbers; like them."""
        ...


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
