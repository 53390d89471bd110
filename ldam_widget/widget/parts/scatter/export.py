"""A map as a file: a table of its points, or a picture of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .coloring import NONE, Coloring
from .positions import Points
from .selecting import Selection

if TYPE_CHECKING:
    from ....core.figures import PaperFigure


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
