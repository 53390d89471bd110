"""How images are shown: with which contrast, and which part of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..network.receptive_field import Box

AS_IT_IS, STRETCHED = CONTRASTS = ("as it is", "stretched")


@dataclass(frozen=True)
class Display:
    """How images (…, *image) become pictures.

    Args:
        contrast: "as it is": grey levels mean the same in every tile. "stretched": the smallest value of each tile is
            black and its largest is white, so faint tiles show, but tiles cannot be compared.
        bands: the channel shown in grey, or the three shown as red, green and blue, counted from 0. None: all of an
            RGB image; of any other number of channels, the first.
        slice: of volumes (channels, depth, height, width), counted from 0. None: the middle one.
        windows: the part of the picture shown of each neuron, all of one size; None: the whole picture.
    """

    contrast: str = AS_IT_IS
    bands: tuple[int, ...] | None = None
    slice: int | None = None
    windows: tuple[Box, ...] | None = None

    @property
    def stretched(self) -> bool:
        return self.contrast == STRETCHED

    def bands_of(self, count: int) -> tuple[int, ...]:
        """The channels shown of so many."""
        return default_bands(count) if self.bands is None else self.bands

    def slice_of(self, depth: int) -> int:
        """The slice shown of so many."""
        return depth // 2 if self.slice is None else min(self.slice, depth - 1)

    def pick(self, images: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Bands and slice of images (…, *shape): (…, 1 or 3, height, width)."""
        count, depth, height, width = axes_of(shape)
        lead = images.shape[: images.ndim - len(shape)]
        volumes = images.reshape(*lead, count, depth, height, width)
        return volumes[..., list(self.bands_of(count)), self.slice_of(depth), :, :]

    def remarks(self, shape: tuple[int, ...]) -> list[str]:
        """What is not shown as it is, in words for the labels of pictures of this shape."""
        count, depth, height, width = axes_of(shape)
        bands = self.bands_of(count)
        said = [STRETCHED] if self.stretched else []
        if count != len(bands) or bands != default_bands(count):
            said.append(f"band{'s' if len(bands) > 1 else ''} {', '.join(map(str, bands))}")
        if depth > 1:
            said.append(f"slice {self.slice_of(depth)}")
        if self.windows:
            window = self.windows[0]
            said.append(f"{window.height}×{window.width} of {height}×{width}")
        return said


PLAIN = Display()


def axes_of(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Channels, depth, height and width of an image.

    (H, W) and (C, H, W) have depth 1. A vector of square length is folded to a square, any other is one row.
    """
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        return (1, 1, side, side) if side * side == shape[0] else (1, 1, 1, shape[0])
    count = 1 if len(shape) == 2 else shape[0]
    return count, math.prod(shape[1:-2]), shape[-2], shape[-1]


def default_bands(count: int) -> tuple[int, ...]:
    """All of an RGB image; otherwise the first, in grey: no other choice of three channels has obvious colours."""
    return (0, 1, 2) if count == 3 else (0,)


def checked_contrast(contrast: Any) -> str:
    """Raises ValueError unless it is one of `CONTRASTS`."""
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast must be {' or '.join(map(repr, CONTRASTS))}; got {contrast!r}")
    return str(contrast)


def checked_bands(bands: Any, count: int) -> tuple[int, ...] | None:
    """One or three bands of so many. Raises ValueError or TypeError.

    Args:
        bands: an int, three ints (or one in a list), or None for the default.
        count: channels of the images.
    """
    if bands is None:
        return None
    try:
        chosen = tuple(operator.index(band) for band in (bands if isinstance(bands, Iterable) else [bands]))
    except TypeError:
        raise TypeError(f"bands must be a channel, or three for red, green and blue; got {bands!r}") from None
    if len(chosen) not in (1, 3) or any(not 0 <= band < count for band in chosen):
        raise ValueError(f"bands must be one channel or three, each between 0 and {count - 1}; got {bands!r}")
    return chosen
