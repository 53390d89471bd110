"""A map as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ..core.figures import PaperFigure

# Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270: told apart with any colour vision
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
_INCHES = 6.0
_ROOM = 0.12  # around the points, of their width; what is unlike all of them is placed anywhere
_PALE = 0.35  # opacity of points below trails
_NAMED = 40  # classes; the names of more would cover the map


def embedding(points: npt.NDArray[Any], labels: npt.NDArray[Any] | None, title: str) -> PaperFigure:
    """Points (n, 2), coloured by labels (n,).

    Integers and text are classes, up to 40 of which are named on the map; other numbers get a colour bar.
    """
    figure = PaperFigure(figsize=(_INCHES, _INCHES), layout="constrained")
    axis = figure.subplots()
    size = float(np.clip(30_000 / len(points), 0.5, 30))
    dots: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.8, "rasterized": True}
    x, y = points.T
    if labels is None:
        axis.scatter(x, y, color=COLOURS[0], **dots)
    elif labels.dtype.kind == "f":
        shown = axis.scatter(x, y, c=labels, cmap=colormaps["cividis"], norm=Normalize(), **dots)
        figure.colorbar(shown, ax=axis, shrink=0.6)
    else:
        _classes(axis, points, labels, dots)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.set_frame_on(False)
    if title:
        axis.set_title(title, fontsize=9)
    return figure


def walk(
    points: npt.NDArray[Any], labels: npt.NDArray[Any] | None, trails: npt.NDArray[Any], solid: npt.NDArray[Any],
    title: str,
) -> PaperFigure:  # fmt: skip
    """A pale map with trails (moments, chains, 2), which end in a disc where the chain is solid, else in a ring."""
    figure = embedding(points, labels, title)
    (axis,) = figure.axes
    axis.collections[0].set_alpha(_PALE)
    low, high = points.min(0), points.max(0)
    room = _ROOM * float((high - low).max()) or 1.0
    axis.set(xlim=(low[0] - room, high[0] + room), ylim=(low[1] - room, high[1] + room))
    for trail, full in zip(trails.swapaxes(0, 1), solid, strict=True):
        axis.plot(*trail.T, color="black", linewidth=0.7, alpha=0.7)
        axis.plot(*trail[-1:].T, "o", markersize=5, color="black", markerfacecolor="black" if full else "white")
    return figure


def _classes(axis: Any, points: npt.NDArray[Any], labels: npt.NDArray[Any], dots: dict[str, Any]) -> None:
    names, kind = np.unique(labels, return_inverse=True)
    colours = np.array([COLOURS[i % len(COLOURS)] for i in range(len(names))])
    axis.scatter(*points.T, c=colours[kind], **dots)  # at once, so that no class covers another
    for i, name in enumerate(names if len(names) <= _NAMED else ()):
        middle = np.median(points[kind == i], 0)
        text = axis.text(*middle, str(name), fontsize=13, weight="bold", ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _class_colour(level: int) -> tuple[float, ...]:
    """As in the page, `classColour`: after ten, darker and lighter shades of the same."""
    red, green, blue, _ = to_rgba(COLOURS[level % len(COLOURS)])
    towards = (None, 0.0, 1.0)[level // len(COLOURS) % 3]
    if towards is None:
        return red, green, blue, 1.0
    return *(each + 0.4 * (towards - each) for each in (red, green, blue)), 1.0


def colour_table(*, numbers: bool) -> npt.NDArray[np.float64]:
    """RGBA (256, 4) of the levels of numbers, or of classes; 255 is grey."""
    table = np.full((256, 4), to_rgba("#8a8f98"))
    if numbers:
        table[:255] = colormaps["cividis"](np.linspace(0, 1, 255))
    else:
        table[:255] = [_class_colour(i) for i in range(255)]
    return table


def coloured(
    points: npt.NDArray[Any],
    levels: npt.NDArray[np.uint8],
    names: Sequence[str],
    numbers: tuple[float, float] | None,
    pale: npt.NDArray[np.bool_],
    title: str,
) -> PaperFigure:
    """Points (n, 2) in the colours of their levels (n,); 255 is grey.

    Args:
        names: of the levels, shown as a legend of up to 40; none: no legend.
        numbers: of levels 0 and 254, shown as a colour bar; None: levels are classes.
        pale: (n,) points in the background.
    """
    figure = PaperFigure(figsize=(_INCHES, _INCHES), layout="constrained")
    axis = figure.subplots()
    table = colour_table(numbers=numbers is not None)
    rgba = table[levels]
    rgba[:, 3] = np.where(pale, 0.12, 0.85)
    order = np.argsort(~pale, kind="stable")
    size = float(np.clip(30_000 / len(points), 0.5, 30))
    x, y = points[order].T
    axis.scatter(x, y, c=rgba[order], s=size, linewidths=0, rasterized=True)
    if numbers is not None:
        figure.colorbar(ScalarMappable(Normalize(*numbers), "cividis"), ax=axis, shrink=0.6)
    elif names:
        marks = [Line2D([], [], color=table[i], marker="o", ls="", label=name) for i, name in enumerate(names[:_NAMED])]
        figure.legend(handles=marks, loc="outside right center", fontsize=8, frameon=False)
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.set_frame_on(False)
    if title:
        axis.set_title(title, fontsize=9)
    return figure
