"""A map as a matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke

from ..core.figures import PaperFigure

# Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270: told apart with any colour vision
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
_INCHES = 6.0
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
