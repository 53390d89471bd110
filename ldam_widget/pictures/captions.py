"""Pictures with captions, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .images import fitted, printable

_LINE, _GAP = 14, 6  # pixels: height of a line of text, between blocks


def stacked(blocks: Sequence[tuple[str, Image.Image | None]]) -> Image.Image:
    """One picture of several on white, each below its caption; None: the caption alone.

    Args:
        blocks: at least one; "\\n" separates lines of a caption. Lines are shortened to 400 pixels, or to the width of
            the widest picture.
    """
    font = ImageFont.load_default()
    room = max([400, *(picture.width for _, picture in blocks if picture is not None)])
    texts = [[fitted(printable(line), font, room) for line in text.split("\n")] for text, _ in blocks]
    wide = max(int(font.getlength(line)) + 1 for lines in texts for line in lines)
    wide = max([wide, *(picture.width for _, picture in blocks if picture is not None)])
    high = sum(_LINE * len(lines) + _GAP for lines in texts)
    high += sum(picture.height + _GAP for _, picture in blocks if picture is not None)
    page = Image.new("RGB", (wide + 2 * _GAP, high + _GAP), "white")
    draw, y = ImageDraw.Draw(page), _GAP
    for lines, (_, picture) in zip(texts, blocks, strict=True):
        draw.multiline_text((_GAP, y), "\n".join(lines), "black", font, spacing=2)
        y += _LINE * len(lines) + _GAP
        if picture is not None:
            page.paste(picture, (_GAP, y))
            y += picture.height + _GAP
    return page


def beside(pages: Sequence[Image.Image]) -> Image.Image:
    """Pictures from left to right on white."""
    page = Image.new("RGB", (sum(one.width for one in pages), max(one.height for one in pages)), "white")
    x = 0
    for one in pages:
        page.paste(one, (x, 0))
        x += one.width
    return page


def scaled(picture: Image.Image, side: int) -> Image.Image:
    """Its longer side about `side` pixels: small pictures are enlarged by an integer factor, without smoothing."""
    longer = max(picture.size)
    if longer > side:
        size = [max(1, round(length * side / longer)) for length in picture.size]
        return picture.resize((size[0], size[1]), Image.Resampling.BOX)
    factor = max(1, side // longer)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
