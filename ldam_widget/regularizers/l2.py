"""L2: a Gaussian prior on pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..parameters import Parameter


@dataclass(frozen=True)
class L2:
    """R(x) = −½‖x‖², gradient −x: pulls every pixel towards 0 (paper, section 3.1).

    With a linear neuron f = w·x it makes the target a Gaussian N(w/λ, T/λ): what is sampled is then the filter itself.
    The original program writes the same pull as −(2 λ/256) x on pixels 0…255.

    Args:
        weight: λ ≥ 0, the live parameter `l2`, in units of activation per squared pixel.

    Raises:
        TypeError, ValueError: weight is no number or out of range.
    """

    weight: float = 0.1

    name: ClassVar[str] = "l2"
    learned: ClassVar[bool] = False  # a formula, not a network
    parameter: ClassVar[Parameter] = Parameter(
        "l2", 1e-4, 1e2, 0.0, "Weight λ of −½‖x‖²: pulls pixels towards 0 and keeps the picture finite.",
        label="L2", group="image prior", log=True, zero=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.parameter.check(self.weight)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> −½‖x‖² (chain,), −x."""
        return x.flatten(1).square().sum(1) * -0.5, self.gradient(x)

    def gradient(self, x: Tensor) -> Tensor:
        """x -> −x, without the value."""
        return -x
