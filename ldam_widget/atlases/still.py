"""A picture of what a browser of an atlas shows."""

from __future__ import annotations

import contextlib

from PIL import Image

from ..pictures.captions import scaled, stacked
from .layout import KINDS
from .reading import Atlas

WIDE, SIDE = 640, 112  # pixels of a sheet, and of each picture of a unit
SHOWN = 6  # pictures of a unit, of each kind


def still(atlas: Atlas, title: str, selection: tuple[str, int | None] | None) -> Image.Image:
    """The averages of a layer's units, or the samples and the average of one unit; none that has not been rendered.

    The user's images are left out: an atlas may be shown without them.

    Args:
        atlas: shown.
        title: heading.
        selection: layer and unit; None: the first layer.
    """
    layer, unit = selection or (next(iter(atlas.layers)), None)
    found = None
    with contextlib.suppress(ValueError, OSError):  # damaged, being written, or of the other atlas alone
        found = _averages(atlas, layer) if unit is None else _unit(atlas, layer, unit)
    return stacked([(f"{title}\n{layer}" + ("" if unit is None else f", unit {unit}"), found)])


def _averages(atlas: Atlas, layer: str) -> Image.Image | None:
    block = next(atlas.blocks(layer), None)
    sheet = None if block is None else atlas.sheet(block, "average")
    return None if sheet is None else scaled(sheet, WIDE)


def _unit(atlas: Atlas, layer: str, unit: int) -> Image.Image | None:
    rows = []
    for kind in KINDS[:2]:
        if kind in atlas.layer(layer).sheets:
            count = min(SHOWN, atlas.sheets(layer, kind).tiles)
            tiles = [atlas.picture(layer, unit, kind, tile) for tile in range(count)]
            shown = [scaled(tile, SIDE) for tile in tiles if tile is not None]
            if shown:
                strip = Image.new("RGB", (sum(tile.width + 4 for tile in shown), shown[0].height), "white")
                for i, tile in enumerate(shown):
                    strip.paste(tile, (i * (shown[0].width + 4), 0))
                rows.append((kind, strip))
    return stacked(rows) if rows else None
