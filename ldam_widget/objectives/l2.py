"""L2: a Gaussian prior on pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from ..core.parameters import Parameter
from ..core.target import BindContext


@dataclass(frozen=True)
class L2:
    """R(x) = −½‖x − c‖², gradient c − x: pulls every pixel towards c.

    c is the middle of the pixel range, so that an empty picture is grey; 0 if pixels are unbounded. The paper (section
    3.1) and the original program pull towards 0, which for pixels in 0…1 is black: `toward=0.0`. With a linear neuron
    f = w·x the target is a Gaussian N(c + w/λ, T/λ), so samples show the filter itself. The original program writes
    the same pull as −(2 λ/256) x on pixels 0…255.

    Args:
        weight: λ ≥ 0, the live parameter `l2`, in units of activation per squared pixel.
        toward: c, a number, or "middle" of the sampler's pixel range.

    Raises:
        TypeError, ValueError: weight is not a number or out of range; toward is neither a number nor "middle".
    """

    weight: float = 0.1
    toward: float | Literal["middle"] = "middle"

    name: ClassVar[str] = "l2"
    learned: ClassVar[bool] = False  # a formula, not a network
    confines: ClassVar[bool] = True
    parameter: ClassVar[Parameter] = Parameter(
        "l2", 1e-4, 1e2, 0.0, "Weight λ of −½‖x − c‖²: pulls pixels towards grey and keeps the picture finite.",
        label="L2", group="image prior", log=True, zero=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.parameter.check(self.weight)
        if self.toward != "middle" and (isinstance(self.toward, (bool, str)) or not math.isfinite(self.toward)):
            raise ValueError(f'L2 toward must be a pixel value or "middle"; got {self.toward!r}')

    def bound(self, context: BindContext) -> L2:
        """This term with c resolved for a sampler's pixel range."""
        if self.toward != "middle":
            return self
        return replace(self, toward=0.0 if context.pixel_range is None else sum(context.pixel_range) / 2)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> −½‖x − c‖² (chain,), c − x."""
        gradient = self.gradient(x)
        return gradient.flatten(1).square().sum(1) * -0.5, gradient

    def gradient(self, x: Tensor) -> Tensor:
        """x -> c − x, without the value."""
        return -x if self.toward == "middle" or self.toward == 0 else self.toward - x
