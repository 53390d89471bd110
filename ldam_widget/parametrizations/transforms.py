"""Small random transforms of the picture, under which the neuron must stay active: f̄(x) = E_τ f(τx)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.blur import spatial_axes


class Transforms(Protocol):
    """A family of picture transforms τ, each parametrised by a few uniform numbers on [0, 1)."""

    @property
    def numbers(self) -> int:
        """How many random numbers one transform takes."""
        ...

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raise ValueError if images of this shape cannot be transformed."""
        ...

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        """τx of every image (chain, *image), for numbers (chain, `numbers`)."""
        ...


@dataclass(frozen=True)
class Jitter:
    """Shifts by up to `pixels` whole pixels in every direction, with wrap-around.

    Args:
        pixels: ≥ 1.

    Raises:
        ValueError: pixels is not an integer ≥ 1.
    """

    pixels: int

    def __post_init__(self) -> None:
        if isinstance(self.pixels, bool) or not isinstance(self.pixels, int) or self.pixels < 1:
            raise ValueError(f"Jitter(pixels) must be an integer ≥ 1; got {self.pixels!r}")

    @property
    def numbers(self) -> int:
        return 2

    def check(self, image_shape: tuple[int, ...]) -> None:
        if len(image_shape) < 2 or min(image_shape[1:]) <= 2 * self.pixels:
            raise ValueError(f"{self} needs images wider than {2 * self.pixels} pixels; got shape {image_shape}")

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        # every axis except the channels has its own shift; signals use only the first number
        for place, axis in enumerate(range(2, min(x.ndim, 4))):
            shift = (numbers[:, place] * (2 * self.pixels + 1)).long() - self.pixels
            side = x.shape[axis]
            index = (torch.arange(side, device=x.device) - shift[:, None]) % side
            shape = [len(x)] + [1] * (x.ndim - 1)
            shape[axis] = side
            x = x.gather(axis, index.view(shape).expand_as(x))
        return x


@dataclass(frozen=True)
class Blur:
    """Gaussian blur with a σ drawn from 0…`sigma`, edges mirrored: the neuron must not live on fine detail alone.

    Args:
        sigma: the largest σ, in pixels, > 0.

    Raises:
        ValueError: sigma is not a number > 0.
    """

    sigma: float

    def __post_init__(self) -> None:
        if isinstance(self.sigma, bool) or not isinstance(self.sigma, (int, float)) or not 0 < self.sigma < math.inf:
            raise ValueError(f"Blur(sigma) must be a number of pixels > 0; got {self.sigma!r}")

    @property
    def numbers(self) -> int:
        return 1

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Any images."""

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        # cosines are the eigenvectors of a blur with mirrored edges, so every picture can have its own σ
        square = (numbers.to(x.dtype) * self.sigma) ** 2  # (chain, 1)
        for axis in spatial_axes(x.ndim):
            cosines, frequencies = _cosines(x.shape[axis], x.dtype, x.device)
            damping = torch.exp(-0.5 * square * frequencies**2)
            x = x.movedim(axis, -1) @ cosines.T
            x = ((x * damping.view(len(x), *(1,) * (x.ndim - 2), -1)) @ cosines).movedim(-1, axis)
        return x


@functools.lru_cache(maxsize=8)
def _cosines(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The orthonormal cosines of a row (frequency, pixel), and their frequencies in radians per pixel."""
    frequencies = torch.arange(side, dtype=torch.float64) * (math.pi / side)
    waves = torch.cos(frequencies[:, None] * (torch.arange(side, dtype=torch.float64) + 0.5))
    waves /= waves.norm(dim=1, keepdim=True)
    return waves.to(device, dtype), frequencies.to(device, dtype)


@dataclass(frozen=True)
class Robust:
    """Jitter, scale and rotation together, as in feature visualisation, with reflection padding.

    Args:
        jitter: largest shift, as a fraction of the side, 0…0.5.
        scale: largest relative change of size, 0…0.5.
        rotation: degrees, 0…45.

    Raises:
        ValueError: an argument out of range.
    """

    jitter: float = 0.05
    scale: float = 0.1
    rotation: float = 5.0

    def __post_init__(self) -> None:
        for name, most in (("jitter", 0.5), ("scale", 0.5), ("rotation", 45.0)):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ValueError(f"Robust {name} must be between 0 and {most:g}; got {value!r}")

    @property
    def numbers(self) -> int:
        return 4

    def check(self, image_shape: tuple[int, ...]) -> None:
        if len(image_shape) != 3:
            raise ValueError(f"Robust needs images (channels, height, width); got shape {image_shape}")

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        return F.grid_sample(x, self._grid(x, numbers), mode="bilinear", padding_mode="reflection", align_corners=False)

    def _grid(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Source of each pixel, (chain, height, width, 2) in −1…1; `affine_grid` takes three times as long."""
        height, width = x.shape[2:]
        u = 2 * numbers.to(x.dtype)[..., None] - 1
        angle, zoom = u[:, 3] * math.radians(self.rotation), 1 + u[:, 2] * self.scale
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        ratio = width / height  # rotate in pixels, not in the unit square
        across, down = (
            (torch.arange(1, 2 * side, 2, device=x.device, dtype=x.dtype) / side - 1) for side in (width, height)
        )
        grid = x.new_empty(len(x), height, width, 2)
        columns, rows = cos * across, 2 * self.jitter * u[:, 0] - sin / ratio * down
        torch.add(columns[:, None, :], rows[:, :, None], out=grid[..., 0])
        columns, rows = sin * ratio * across, 2 * self.jitter * u[:, 1] + cos * down
        torch.add(columns[:, None, :], rows[:, :, None], out=grid[..., 1])
        return grid
