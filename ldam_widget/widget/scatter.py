"""`Scatter`: a map of many images, with a lasso."""

from __future__ import annotations

import os
import textwrap
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..analysis.coverage import Coverage
from ..analysis.walk import Walk
from ..core.notes import Notes
from ..data import Images, PictureFolder, images_of
from ..embedding.embedding import Embedding
from ..network.trace import Preprocess
from ..sampling.checks import pixel_range as checked_range
from .base import of
from .map_view import MapView
from .parts.part import Action
from .parts.scatter.coloring import Coloring, coloring
from .parts.scatter.colours import LABEL, ColourChoice
from .parts.scatter.export import figure, table
from .parts.scatter.following import Following
from .parts.scatter.positions import Positions
from .parts.scatter.prediction import classes_of
from .parts.scatter.selecting import spread
from .parts.scatter.thumbnails import Thumbnails
from .player import Player


class Scatter(MapView):
    """A map of images to look at, to zoom into and to select from.

        e = ldam.embed(images, model=model, layer="fc2")
        s = ldam.Scatter(e, images=images, labels=labels)
        s.selection                                # indices of the points in the lasso; can be set and observed
        w.restart(start=s.selected_images(10))     # chains start from them

    Far out, the map shows densities; nearer, discs; nearest, the images. ``ldam.Scatter(ldam.TSNE(features))`` shows
    the points while they move. Press ? in it for the keys.

    Args:
        embedding: an `Embedding`; a `TSNE`, or another iterator of positions (n, 2), which a thread of the widget
            advances; or an (n, 2) array of positions from anywhere.
        images: of the points, in their order: a folder, array, tensor or Dataset, see `images_of`; None: no pictures.
        labels: (n,), of the points: class numbers (−1: unknown), names, or other numbers. None: those of the images,
            if they have any.
        class_names: of the classes 0, 1, …
        color: what points are coloured by: "label", "predicted" (by `model`), an array (n,), or a dict of arrays by
            name, between which the page chooses. Text and integers of at most 254 kinds are classes; other numbers
            get a colour bar. None: by label, if there are labels.
        model: predicts the classes of the images, for "predicted"; left unchanged.
        follow: a widget such as `LDAM`, whose chains walk on the map, if that was made by `embed` from images; a click
            on one enlarges its tile there. They can start from the selection.
        input_shape, pixel_range: of the images, as for `Sampler`; a folder needs the shape.
        preprocess, device: of the model, as for `Sampler`.
        title: heading.
        play: advance an embedding in progress at once; else once `play` is called.

    Attributes:
        selection: (k,) int64, rising. A trait: ``s.observe(function, "selection")``. Can be set to indices, or to a
            mask (n,).

    Raises:
        TypeError, ValueError: arguments that do not fit the points; the message says which.
    """

    def __init__(
        self,
        embedding: Any,
        *,
        images: Any = None,
        labels: Any = None,
        class_names: Sequence[str] | None = None,
        color: Any = None,
        model: nn.Module | None = None,
        follow: Player | None = None,
        input_shape: Sequence[int] | None = None,
        pixel_range: tuple[float, float] | None = None,
        preprocess: Preprocess | None = None,
        device: torch.device | str | None = None,
        title: str = "map",
        play: bool = True,
    ) -> None:
        notes = Notes()
        pixels = checked_range(pixel_range)
        positions = Positions(embedding)
        count = len(positions.points)
        found = None
        if images is not None:
            found = images_of(images, None if input_shape is None else tuple(input_shape), pixels, notes=notes)
            if len(found) != count:
                raise ValueError(f"images must be one per point, {count}; got {len(found)}")
        if model is not None and found is None:
            raise ValueError("model predicts the classes of images: give images=, too")
        if follow is not None and not isinstance(follow, Player):
            raise TypeError(f"follow must be a widget that samples, such as ldam.LDAM; got {type(follow).__name__}")
        names = tuple(map(str, class_names or (found.class_names if found is not None else ())))
        known = coloring(labels, count, "labels", names) if labels is not None else _labels_of(found, names)
        predict = None
        if model is not None and found is not None:
            predict = classes_of(model, found, preprocess, device)
        colours = ColourChoice(count, known, predict, names)
        self._follow = follow
        self._following: Following | None = None
        super().__init__(
            positions,
            colours,
            Thumbnails(found, pixels, self._caption),
            title=str(title),
            notes=notes,
            follows=follow is not None and found is not None,
        )
        try:
            if follow is not None:
                self._begin_to_follow(follow, known)
            if color is not None:
                self._use_colour(color)
        except BaseException:
            self.close()
            raise
        if play:
            self.play()

    def __repr__(self) -> str:
        if self._loop.closed:
            return "Scatter(closed)"
        return f"Scatter({self.count} points, {len(self.selection)} selected)"

    # ---- points ----------------------------------------------------------------------------------------------------

    @property
    def points(self) -> npt.NDArray[np.float32]:
        """Positions (n, 2) now."""
        return self._positions.points

    @property
    def embedding(self) -> Embedding:
        """The map as it stands, to place new points in; of a t-SNE that runs, a copy."""
        return self._call(self._positions.embedding)

    @property
    def running(self) -> bool:
        """Whether points are moving."""
        return self._positions.running

    def play(self) -> None:
        """Advance an embedding in progress; a finished map stays as it is."""
        self._call(self._positions.play)

    def pause(self) -> None:
        """Stop the points after the step in progress; the map is valid, and `play` continues."""
        self._call(self._positions.stop)

    # ---- selection -------------------------------------------------------------------------------------------------

    def selected_images(self, count: int | None = None) -> Tensor:
        """Images of the selected points, (k, *image) float32 in the pixel range.

        Args:
            count: exactly so many, evenly spread over the selection, repeated if it holds fewer: chains can start from
                them, ``w.restart(start=s.selected_images(10))``. None: all.

        Raises:
            ValueError: there are no images; nothing is selected; count < 1.
        """
        images = self._pictures.images
        if images is None:
            raise ValueError("this map has no images; give images=")
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1; got {count}")
        if not len(self.selection):
            raise ValueError("nothing is selected: draw a lasso in the map, or set selection")
        chosen = self.selection if count is None else spread(self.selection, count)
        return images.take(torch.from_numpy(np.array(chosen)))

    def _start_chains(self) -> None:
        """The followed widget's chains start from the selection."""
        if self._follow is not None:
            self._follow.restart(start=self.selected_images(self._follow.sampler.chains))

    # ---- chains ----------------------------------------------------------------------------------------------------

    def _begin_to_follow(self, widget: Player, labels: Coloring | None) -> None:
        e = self._positions.finished
        if e is None or e.features_of is None:
            self._notes.tell(
                "chains are not shown: this map does not know how its features were computed. Make it with "
                "ldam.embed(images, model=…, layer=…), or set its features_of"
            )
            return
        names = None if labels is None else labels.names()
        classes = () if labels is None else [name for name, _ in labels.classes]
        self._following = Following(widget, Walk(e, widget, names), self._chains, classes)

    @property
    def walk(self) -> Walk:
        """The followed chains on the map: positions, trails. A thread updates it after every picture of their widget.

        Raises RuntimeError if no chains are shown.
        """
        return self._need_chains().walk

    def coverage(self) -> Coverage:
        """What the followed chains cover, as in the table below the map; see `Walk.coverage`."""
        return self._need_chains().coverage()

    def clear_trails(self) -> None:
        """Forget trails and coverage, such as those of a burn-in."""
        self._need_chains().clear()

    def _need_chains(self) -> Following:
        if self._following is None:
            raise RuntimeError("no chains are shown; make the map with follow=, a widget that samples")
        return self._following

    def close(self) -> None:
        """Stop the threads, forget points, pictures and chains, and remove the widget from the page."""
        following = self.__dict__.get("_following")
        if following is not None:
            following.close()
        super().close()

    # ---- two maps --------------------------------------------------------------------------------------------------

    def link(self, *others: Scatter) -> None:
        """Share the selection with other maps of the same images: what is selected in one is selected in all.

            e2 = ldam.embed(images, model=second, layer="fc2", start=e1.points)  # arranged like the first
            a, b = ldam.Scatter(e1, images=images), ldam.Scatter(e2, images=images)
            a.link(b)
            ipywidgets.HBox([a, b])

        Raises:
            TypeError: not a `Scatter`. ValueError: another number of points, or itself.
        """
        for other in others:
            if not isinstance(other, Scatter):
                raise TypeError(f"link takes other Scatter widgets; got {type(other).__name__}")
            if other is self or other.count != self.count:
                raise ValueError(
                    "a map cannot be linked to itself" if other is self
                    else f"linked maps need the same points; got {self.count} and {other.count}"
                )  # fmt: skip
        for other in others:
            other.selection = self.selection
            _share(self, other)
            _share(other, self)

    # ---- colours ---------------------------------------------------------------------------------------------------

    @property
    def color(self) -> str:
        """Name of what points are coloured by: "label", "predicted", one given as `color`; "": one colour.

        Can be set to a name, an array (n,) or a dict of arrays by name; None: one colour. Predicted classes appear
        when they are computed.
        """
        return self._colours.name

    @color.setter
    def color(self, color: Any) -> None:
        self._use_colour("" if color is None else color)

    def _use_colour(self, color: Any) -> None:
        if isinstance(color, str):
            self._call(lambda: self._colours.choose(color))
        else:
            found = self._colours.check(color)
            self._call(lambda: self._colours.add(found))
        self._colours.post()
        self.post_state()

    def _caption(self, index: int) -> str:
        """What is known of a point."""
        said = []
        for name, known in self._colours.known.items():
            words = "" if known is None else known.text(index)
            said.append(words if name == LABEL or not words else f"{name} {words}")
        images = self._pictures.images
        if isinstance(images, PictureFolder):
            said.append(textwrap.shorten(images.name(index), 80, placeholder="…") or images.name(index)[:80])
        return " · ".join(filter(None, said))

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, dpi: float = 150) -> None:
        """Save a picture of the whole map with its colours and legend, "x.png", "x.pdf" or "x.svg".

        With a selection, the other points are pale. The page's button saves what is seen.

        Raises:
            ValueError: an unknown ending.
        """
        shown = self._colours.shown
        drawn = figure(self.points, shown, self.selection, "" if self._title == "map" else self._title)
        drawn.savefig(Path(path), dpi=dpi)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Save a table: index, x, y, what points can be coloured by, selected (1 or 0), and files of a folder.

        With a model, this waits until classes are predicted.
        """
        Path(path).write_text(self._call(self._table), encoding="utf-8")

    def _table(self) -> str:
        self._colours.predicted()
        known: Mapping[str, Coloring] = {name: c for name, c in self._colours.known.items() if c is not None}
        images = self._pictures.images
        return table(self.points, self.selection, known, images.name if isinstance(images, PictureFolder) else None)

    def _offer_table(self) -> None:
        content = {"kind": "download", "filename": f"{self._title}.csv", "mime": "text/csv"}
        self.post(content, [self._table().encode()])

    def _actions(self) -> Mapping[str, Action]:
        return {"csv": self._offer_table, "start_chains": self._start_chains}

    @property
    def error(self) -> str | None:
        """What the banner says."""
        return None if self._error is None else self._error["message"]

    def __setattr__(self, name: str, value: Any) -> None:
        ours = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        if ours and not name.startswith("_") and name != "count" and not hasattr(type(self), name):
            raise AttributeError(f"Scatter has no attribute {name!r}")
        super().__setattr__(name, value)


def _share(one: Scatter, other: Scatter) -> None:
    there = weakref.ref(other)
    one.observe(lambda change: of(there, lambda s: setattr(s, "selection", change["new"]), None), "selection")


def _labels_of(images: Images | None, names: Sequence[str]) -> Coloring | None:
    """The images' own labels, where these are known without reading them; None: there are none."""
    if images is None or not images.labelled:
        return None
    labels = images.labels(torch.arange(len(images)))
    return coloring(labels, len(images), "labels", names) if bool((labels >= 0).any()) else None
