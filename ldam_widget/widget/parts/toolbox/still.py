"""What the toolbox shows of one picture, as a picture."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ....pictures import images
from ....pictures.captions import beside, scaled, stacked
from ....toolbox.explorer import Shown
from ....toolbox.tiles import ChannelTiles

SIDE = 160  # pixels of the pictures on the left
TILE, MOST = 40, 256  # pixels and number of channels on the right


def still(shown: Shown, title: str, name: str) -> Image.Image:
    """The picture, its classes, the chosen unit and its backward view; beside them the channels of the layer.

    Args:
        title: heading.
        name: of the picture.
    """
    choice = shown.choice
    likely = "\n".join(f"{100 * each.probability:.3g} % {each.name or each.number}" for each in shown.classes)
    levels = (shown.picture * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    unit = choice.unit[0] if len(choice.unit) == 1 else choice.unit
    left = [(f"{title}\n{name}".strip(), _image(levels)), (likely, None) if likely else ("", None)]
    left.append((f"unit {unit}: {shown.value:.4g}", scaled(_tiles(shown.enlarged, 1), SIDE)))
    if shown.backward is not None:
        back = (shown.backward * 255).round().byte().permute(1, 2, 0).numpy()
        left.append((f"{choice.rule}, {choice.view}", _image(back)))
    count = len(shown.tiles.levels)
    more = f", the first {MOST} of {count}" if count > MOST else ""
    right = [(f"{choice.layer}: {choice.show}{more}", _tiles(shown.tiles, MOST))]
    return beside([stacked(left), stacked(right)])


def _image(levels: images.Levels) -> Image.Image:
    """Of other than one or three channels, the first three or the first, as in the page."""
    bands = 3 if levels.shape[-1] >= 3 else 1
    return scaled(images.to_image(np.ascontiguousarray(levels[..., :bands])).convert("RGB"), SIDE)


def _tiles(made: ChannelTiles, most: int) -> Image.Image:
    levels = made.levels[:most, ..., None]
    colours = images.signed_colours(levels) if made.signed else levels.repeat(3, -1)
    across = max(1, math.isqrt(len(colours) - 1) + 1)
    if len(colours) == 1:
        return Image.fromarray(colours[0])
    rows = -(-len(colours) // across)
    tiles = [np.asarray(scaled(Image.fromarray(tile), TILE)) for tile in colours]
    high, wide = tiles[0].shape[:2]
    page = Image.new("RGB", (across * (wide + 2), rows * (high + 2)), "white")
    for i, tile in enumerate(tiles):
        page.paste(Image.fromarray(tile), (i % across * (wide + 2), i // across * (high + 2)))
    return page
