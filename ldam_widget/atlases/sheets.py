"""Tiles ⇄ WebP sheets."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from .layout import ACROSS, BLANK, Sheets

Levels = npt.NDArray[np.uint8]

QUALITY, SMALL = 85, 48  # smaller tiles are lossless, as otherwise colours have half the resolution
LARGEST_SIDE = 16383  # of a WebP picture


def encode(tiles: Levels, sheets: Sheets) -> dict[str, bytes]:
    """The sheets of a block.

    Args:
        tiles: (units, tiles, height, width, 1 or 3).
        sheets: their layout.

    Returns:
        Name of a file -> its bytes.
    """
    units, count, height, width, _ = tiles.shape
    assert (count, (height, width)) == (sheets.tiles, sheets.tile), "the layout is of other tiles"
    if tiles.shape[-1] == 1:
        tiles = tiles.repeat(3, -1)
    found = {}
    for number, name in enumerate(sheets.files):
        chosen = tiles[:, list(sheets.in_file(number))]
        each, rows = chosen.shape[1], math.ceil(units / ACROSS)
        page = np.full((rows * ACROSS, each, height, width, 3), BLANK, np.uint8)
        page[:units] = chosen
        page = page.reshape(rows, ACROSS * each, height, width, 3).swapaxes(1, 2)
        buffer = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(page.reshape(rows * height, ACROSS * each * width, 3)))
        if max(height, width) <= SMALL:
            picture.save(buffer, "WEBP", lossless=True, quality=50, method=4)
        else:
            picture.save(buffer, "WEBP", quality=QUALITY, method=4)
        found[name] = buffer.getvalue()
    return found


def decode(data: bytes) -> Image.Image:
    """A sheet. Raises ValueError if the bytes are not a whole picture."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            whole: Image.Image = picture.convert("RGB")
            return whole
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a whole picture ({error})") from error


def fitting(height: int, width: int, most: int, tiles: int) -> tuple[int, int]:
    """Height and width of tiles for pictures of this size: at most `most`, and such that `tiles` a unit fit a sheet."""
    widest = LARGEST_SIDE // (ACROSS * min(tiles, 4))
    factor = min(1.0, most / max(height, width), widest / width, LARGEST_SIDE / ACROSS / height)
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrunk(levels: Levels, height: int, width: int) -> Levels:
    """A picture (h, w, 1 or 3) as RGB, made smaller where it exceeds this size."""
    if levels.shape[-1] == 1:
        levels = levels.repeat(3, -1)
    size = min(width, levels.shape[1]), min(height, levels.shape[0])
    if size == (levels.shape[1], levels.shape[0]):
        return levels
    return np.asarray(Image.fromarray(np.ascontiguousarray(levels)).resize(size, Image.Resampling.LANCZOS))
