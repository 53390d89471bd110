"""A map as a file: a table of its points, or a picture of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ....pictures.captions import stacked
from ....pictures.images import fitted, printable
from .coloring import NONE, Coloring
from .positions import Points
from .selecting import Selection

if TYPE_CHECKING:
    from ....core.figures import PaperFigure

SIDE, LEGEND, ROOM = 440, 130, 8  # pixels of a quick picture's map, its legend, and around the points
_NAMED = 24  # classes in it


def table(
    points: Points, selection: Selection, colourings: Mapping[str, Coloring], name: Callable[[int], str] | None
) -> str:
    """CSV with a heading: index, x, y, a column for each colouring, selected (1 or 0), and the picture's name.

    Args:
        points: (n, 2).
        selection: indices of selected points.
        colourings: by name.
        name: of a point's picture; None: there are no names.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    own = ["index", "x", "y"], ["selected", *([] if name is None else ["name"])]
    taken = {heading for part in own for heading in part}
    writer.writerow([*own[0], *(f"colour {each}" if each in taken else each for each in colourings), *own[1]])
    selected = np.zeros(len(points), np.int8)
    selected[selection] = 1
    columns = [_column(each) for each in colourings.values()]
    for i, (x, y) in enumerate(points.tolist()):
        more = [] if name is None else [name(i)]
        writer.writerow([i, f"{x:.7g}", f"{y:.7g}", *(column[i] for column in columns), selected[i], *more])
    return out.getvalue()


def _column(colouring: Coloring) -> list[object]:
    if colouring.values is None:
        return [""] * len(colouring.levels)
    if colouring.kind == "numbers":
        return list(colouring.values.tolist())
    names = [name for name, _ in colouring.classes]
    return ["" if level == NONE else names[level] for level in colouring.levels.tolist()]


def figure(points: Points, colouring: Coloring, selection: Selection, title: str) -> PaperFigure:
    """The map as a matplotlib figure; with a selection, the other points are pale."""
    from ....embedding.figures import coloured  # imports matplotlib

    pale = np.zeros(len(points), bool)
    if len(selection):
        pale[:] = True
        pale[selection] = False
    names = [name for name, _ in colouring.classes]
    numbers = None
    if colouring.kind == "numbers" and colouring.low is not None and colouring.high is not None:
        numbers = colouring.low, colouring.high
    return coloured(points, colouring.levels, names, numbers, pale, title)


def picture(points: Points, colouring: Coloring, selection: Selection, title: str) -> Image.Image:
    """The map, drawn quickly and on any thread; with a selection, the other points are pale."""
    from ....embedding.figures import colour_table  # imports matplotlib

    table = (255 * colour_table(numbers=colouring.kind == "numbers")[:, :3]).round().astype(np.uint8)
    board = np.full((SIDE, SIDE, 3), 255, np.uint8)
    low, high = points.min(0), points.max(0)
    scale = (SIDE - 2 * ROOM) / max(float((high - low).max()), 1e-12)
    place = ((points - (low + high) / 2) * scale * (1, -1) + SIDE / 2).astype(int)
    colours = table[colouring.levels]
    chosen = np.zeros(len(points), bool)
    chosen[selection] = True
    if len(selection):
        colours[~chosen] = 255 - (255 - colours[~chosen]) // 6
    order = np.argsort(chosen, kind="stable")  # those that are selected on top
    size = int(np.clip(round((40_000 / len(points)) ** 0.5), 1, ROOM - 3))
    for row in range(size):
        for column in range(size):
            x, y = place[order].T + np.array([[column - size // 2], [row - size // 2]])
            board[y, x] = colours[order]
    return stacked([(f"{title}\n{_counted(len(points), len(selection))}", _with_legend(board, table, colouring))])


def _counted(points: int, selected: int) -> str:
    return f"{points:,} points" + (f", {selected:,} selected" if selected else "")


def _with_legend(board: np.ndarray, table: np.ndarray, colouring: Coloring) -> Image.Image:
    page = Image.new("RGB", (SIDE + LEGEND, SIDE), "white")
    page.paste(Image.fromarray(board), (0, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default()
    if colouring.kind == "numbers" and colouring.low is not None and colouring.high is not None:
        for y in range(128):
            draw.line((SIDE + 8, 20 + y, SIDE + 22, 20 + y), tuple(table[254 - 2 * y].tolist()))
        for y, value in ((14, colouring.high), (142, colouring.low)):
            draw.text((SIDE + 28, y), printable(f"{value:.4g}"), "black", font)
    for i, (name, _) in enumerate(colouring.classes[:_NAMED]):
        draw.ellipse((SIDE + 8, 10 + 17 * i, SIDE + 17, 19 + 17 * i), tuple(table[i].tolist()))
        draw.text((SIDE + 24, 8 + 17 * i), fitted(printable(name), font, LEGEND - 26), "black", font)
    if len(colouring.classes) > _NAMED:
        draw.text((SIDE + 24, 8 + 17 * _NAMED), f"and {len(colouring.classes) - _NAMED} more", "black", font)
    return page
