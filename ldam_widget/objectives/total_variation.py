"""Total variation: pictures of flat patches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ..core.blur import spatial_axes
from ..core.parameters import Parameter
from ..core.target import BindContext

_EDGE = 0.02  # of the pixel range: the default of `edge`, five of 255 grey levels


@dataclass(frozen=True)
class TotalVariation:
    """R(x) = −Σ (√(‖∇x‖² + ε²) − ε), summed over positions and channels: few edges, which may be sharp.

    ∇x are the differences to the next pixel along every axis but the channels, 0 at the last one (Rudin, Osher &
    Fatemi, Physica D 60 (1992), 259). ε makes it differentiable: differences well below ε are penalised as their
    square, those well above as their length. Signals, images and volumes, with any number of channels.

    It does not see the mean of a picture, and holds no unbounded pixels.

    Args:
        weight: λ ≥ 0, the live parameter `total_variation`.
        edge: ε > 0, in the pixels' units. None: 2 % of the pixel range, 0.02 if unbounded. Step sizes that are stable
            shrink with its root.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    weight: float = 0.1
    edge: float | None = None

    name: ClassVar[str] = "total_variation"
    learned: ClassVar[bool] = False
    parameter: ClassVar[Parameter] = Parameter(
        "total_variation", 1e-4, 1e2, 0.0, "Weight λ of the total variation: fewer edges between flat patches.",
        group="image prior", log=True, zero=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.parameter.check(self.weight)
        edge = self.edge
        if edge is not None and (
            isinstance(edge, bool) or not isinstance(edge, (int, float)) or not 0 < edge < math.inf
        ):
            raise ValueError(f"TotalVariation edge must be a number > 0, in the pixels' units, or None; got {edge!r}")

    def bound(self, context: BindContext) -> TotalVariation:
        """This term with ε resolved for a sampler's pixel range."""
        if self.edge is not None:
            return self
        low, high = context.pixel_range or (0.0, 1.0)
        return replace(self, edge=_EDGE * (high - low))

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> R (chain,) and its gradient, like x."""
        differences, length, epsilon = self._lengths(x)
        return (epsilon - length).flatten(1).sum(1), self._slope(differences, length)

    def gradient(self, x: Tensor) -> Tensor:
        """x -> ∇R, without the value."""
        differences, length, _ = self._lengths(x)
        return self._slope(differences, length)

    def _lengths(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor, float]:
        """The differences along every axis, √(‖∇x‖² + ε²) of every pixel, and ε."""
        epsilon = _EDGE if self.edge is None else self.edge
        differences = {
            axis: torch.diff(x, dim=axis, append=x.narrow(axis, x.shape[axis] - 1, 1)) for axis in spatial_axes(x.ndim)
        }
        squares = torch.full_like(x, epsilon**2)
        for difference in differences.values():
            squares.addcmul_(difference, difference)
        return differences, squares.sqrt_(), epsilon

    def _slope(self, differences: dict[int, Tensor], length: Tensor) -> Tensor:
        slope = torch.zeros_like(length)
        for axis, difference in differences.items():
            flow = difference / length
            slope += torch.diff(flow, dim=axis, prepend=torch.zeros_like(flow.narrow(axis, 0, 1)))
        return slope
