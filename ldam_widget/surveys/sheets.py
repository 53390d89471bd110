"""A picture with the top images of many units, a line for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_GAP, _LABEL, _HEAD = 4, 64, 22  # pixels: between crops, for the name of a unit, above everything
_LARGEST = 2**28  # pixels of a sheet


class SheetLine(NamedTuple):
    """A unit, before its crops are made."""

    name: str
    remark: str  # below the name
    crops: Callable[[], Tensor | None]  # (n, channels, height, width) in the pixel range; None: there are none


Drawing = Generator[None, None, Image.Image]


def drawing(
    title: str, lines: Sequence[SheetLine], across: int, side: int, pixel_range: Callable[[], tuple[float, float]]
) -> Drawing:
    """Draws the sheet, yields after each line, and returns it: lines below each other, in as many columns as make it
    about as wide as high.

    Args:
        title: above everything.
        lines: at least one.
        across: crops of a line, at most.
        side: of a crop in pixels; crops are scaled to it; very small ones by an integer factor.
        pixel_range: gives that of black and white; it may look at images.

    Raises:
        ValueError: no lines, or more than fit into one picture.
    """
    if not lines:
        raise ValueError("units must name at least one unit; got none")
    wide, high = _LABEL + across * (side + _GAP) + 2 * _GAP, side + _GAP
    columns = max(1, round(math.sqrt(len(lines) * high / wide)))
    rows = math.ceil(len(lines) / columns)
    size = columns * wide, _HEAD + rows * high + _GAP
    if size[0] * size[1] > _LARGEST:
        fit = int(_LARGEST / (wide * high))
        raise ValueError(f"{len(lines):,} units make a picture of {size[0]}×{size[1]} pixels; up to {fit:,} units fit")

    def draw() -> Drawing:
        yield from _lines(page, lines, rows, (wide, high), across, side, pixel_range())
        return page

    page = Image.new("RGB", size, "white")
    ImageDraw.Draw(page).text((_GAP, _GAP), _plain(title), "black", ImageFont.load_default())
    return draw()


def _lines(
    page: Image.Image,
    lines: Sequence[SheetLine],
    rows: int,
    size: tuple[int, int],
    across: int,
    side: int,
    pixel_range: tuple[float, float],
) -> Iterator[None]:
    wide, high = size
    pen, font = ImageDraw.Draw(page), ImageFont.load_default()
    for i, line in enumerate(lines):
        x, y = i // rows * wide, _HEAD + i % rows * high
        pen.text((x + _GAP, y + side // 2 - 12), _plain(line.name)[:9], "black", font)
        pen.text((x + _GAP, y + side // 2 + 2), _plain(line.remark)[:9], "#666666", font)
        crops = line.crops()
        for j, crop in enumerate([] if crops is None else crops[:across]):
            page.paste(_tile(crop, side, pixel_range), (x + _LABEL + j * (side + _GAP), y))
        yield


def whole(drawing: Drawing) -> Image.Image:
    """The finished sheet."""
    while True:
        try:
            next(drawing)
        except StopIteration as end:
            page: Image.Image = end.value
            return page


def _tile(crop: Tensor, side: int, pixel_range: tuple[float, float]) -> Image.Image:
    low, high = pixel_range
    bands = crop[:3] if len(crop) >= 3 else crop[:1].expand(3, -1, -1)
    levels = ((bands - low) * (255 / (high - low))).nan_to_num(0).clamp(0, 255).round().to(torch.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy()))
    width, height = picture.size
    factor = side / max(width, height)
    if factor >= 2:
        factor, kind = int(factor), Image.Resampling.NEAREST
    else:
        kind = Image.Resampling.BILINEAR if factor > 1 else Image.Resampling.BOX
    return picture.resize((max(1, round(width * factor)), max(1, round(height * factor))), kind)


def _plain(text: str) -> str:
    """Pillow's own font has few letters."""
    return text.encode("ascii", "replace").decode()
