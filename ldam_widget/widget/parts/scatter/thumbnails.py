"""Small pictures of points, and what is known of them, when the page asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....data import Images
from ....pictures.images import Levels, as_pictures, encode, mosaic, to_levels
from ...protocol import Content, integers
from ..part import Command, Feature
from .plot import Plot

MOST = 100  # pictures of a message
_SIDE = 64  # pixels; larger pictures are made smaller
_RAW_LIMIT = 128_000  # bytes; larger sheets are compressed
_SAMPLED = 64  # pictures whose pixels tell the range, if nobody does

Caption = Callable[[int], str]


class Thumbnails(Feature):
    """Pictures of the points.

    Args:
        images: of the points; None: there are none.
        pixel_range: of black and white; None: (0, 1) if the pixels of some pictures lie in it, else their own.
        caption: what is known of a point.
    """

    plot: Plot

    def __init__(self, images: Images | None, pixel_range: tuple[float, float] | None, caption: Caption) -> None:
        self.images, self._range, self._caption = images, pixel_range, caption

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"pictures": self._read}

    def _read(self, content: Content) -> Command | None:
        indices = integers(content, "indices")
        if not indices or len(indices) > MOST or not all(0 <= i < self.plot.count for i in indices):
            return None
        return Command(lambda: self._answer(indices))

    def _answer(self, indices: list[int]) -> None:
        tiles = self.tiles(indices)
        encoding = "raw" if tiles.nbytes <= _RAW_LIMIT else "jpeg"
        data = tiles.tobytes() if encoding == "raw" else encode(sheet(tiles), encoding)
        content = {
            "kind": "pictures",
            "indices": indices,
            "captions": [self._caption(i)[:500] for i in indices],
            "shape": list(tiles.shape),
            "encoding": encoding,
        }
        self.plot.post(content, [data])

    def tiles(self, indices: list[int]) -> Levels:
        """(k, height, width, 1 or 3) uint8, at most 64 pixels wide and high; none if there are no pictures."""
        if self.images is None:
            return np.empty((0, 1, 1, 1), np.uint8)
        taken = self.images.take(torch.tensor(indices))
        pictures = as_pictures(taken, len(self.images.input_shape))
        larger = max(pictures.shape[1:3]) / _SIDE
        if larger > 1:
            size = [max(1, round(side / larger)) for side in pictures.shape[1:3]]
            stacked = torch.from_numpy(np.moveaxis(pictures, -1, 1).copy())
            pictures = np.moveaxis(functional.interpolate(stacked, size, mode="area").numpy(), 1, -1)
        if self._range is None:
            self._range = usual_range(self.images)
        return to_levels(pictures, self._range)


def usual_range(images: Images) -> tuple[float, float]:
    """(0, 1) if the pixels of 64 pictures lie in it; else their smallest and largest value."""
    some = torch.linspace(0, len(images) - 1, min(_SAMPLED, len(images)), dtype=torch.float64).round().long()
    pixels: Tensor = images.take(some)
    pixels = pixels[pixels.isfinite()]
    if not len(pixels):
        return 0.0, 1.0
    low, high = float(pixels.min()), float(pixels.max())
    return (0.0, 1.0) if (low >= 0 and high <= 1) or low == high else (low, high)


def sheet(tiles: Levels) -> Levels:
    """Tiles in rows, (height, width, channels), about square; the page cuts it as `PaneImage` does."""
    count, height, width, channels = tiles.shape
    columns = max(1, math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = tiles
    return mosaic(padded.reshape(rows, columns, height, width, channels))
