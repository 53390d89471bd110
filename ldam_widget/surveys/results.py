"""What a survey has found."""

from __future__ import annotations

import difflib
import os
from collections.abc import Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from ..core.bars import Bars, bars
from ..core.notes import QuietNotes
from ..core.tables import Row, as_html, as_text, number
from ..data.images import Images, images_of, shown_range
from ..data.pictures import Fit
from ..network.own_weights import own_weights
from ..network.trace import Preprocess
from ..network.view import device_of, private_view
from . import folder, sheets, statistics
from .crops import Crops, SecondLook
from .histogram import Histogram
from .layout import Network
from .settings import card_of, difference, integer, joined
from .statistics import TopImage
from .tally import Tally
from .units import UnitTable, table_of


class Source(NamedTuple):
    """What a survey was made of."""

    network: Network
    images: Images


class SurveyParts(NamedTuple):
    """All of a survey that another process needs, beside the model."""

    card: dict[str, Any]
    tallies: dict[str, Tally]
    images: Images | None

    def survey(self, view: nn.Module, preprocess: Preprocess | None) -> Survey:
        """The survey, with a view of the same model."""
        source = None
        if self.images is not None:
            shape, layers = tuple(self.card["input_shape"]), tuple(self.tallies)
            with torch.inference_mode(False), torch.no_grad():
                source = Source(Network(view, shape, preprocess, layers, QuietNotes()), self.images)
        return Survey(self.card, self.tallies, source)


class Survey:
    """Per unit of every layer: its top images, a histogram, how often it is silent; what goes with what.

    Everything is about one number per image: the activation of a unit, for a channel the largest one on its map.
    Indexing is by layer name, as in `ldam.layers`, and by number of the unit. Prints as a table of the layers.

    Attributes:
        layers: their names.
        images: how many have been surveyed; skipped ones included.
        complete: whether these are all.
        skipped: number of an image that could not be used -> why.
        class_names: of the labels; () if they have none.
    """

    def __init__(self, card: dict[str, Any], tallies: dict[str, Tally], source: Source | None = None) -> None:
        self.card, self._tallies, self._source = card, tallies, source
        self._second: SecondLook | None = None
        self.layers = tuple(tallies)
        self.images = sum(end - first for first, end in card["done"])
        self.complete = self.images == card["images"]
        self.skipped = {int(i): why for i, why in card["skipped"].items()}
        self.class_names = tuple(card["class_names"])
        self._maps = {layer["name"]: tuple(layer["map"]) for layer in card["layers"]}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: nn.Module | None = None,
        images: Any = None,
        *,
        preprocess: Preprocess | None = None,
        pixel_range: tuple[float, float] | None = None,
        labels: Any = None,
        fit: Fit = "crop",
    ) -> Survey:
        """A survey from its folder, finished or not.

        Args:
            path: the folder, `out=` of `survey`.
            model, images, preprocess, pixel_range, labels, fit: as given to `survey`; only `crops` needs them.

        Raises:
            FileNotFoundError: there is no survey.
            ValueError: it is damaged, or of another model or other images.
        """
        where = Path(path)
        card = folder.load_card(where)
        survey = cls(card, folder.load_tallies(where, card))
        if (model is None) != (images is None):
            raise ValueError("give both the model and the images, or neither")
        if model is not None:
            shape = tuple(card["input_shape"])
            given = images_of(images, shape, pixel_range, labels=labels, fit=fit, notes=QuietNotes())
            view = private_view(model, device_of(model), QuietNotes(), shared=False)
            with torch.inference_mode(False), torch.no_grad():
                network = Network(view, shape, preprocess, survey.layers, QuietNotes())
                found = card_of(network, given, card["k"], card["batch"], card["correlation"])
            different = difference(card, found)
            if different is not None:
                raise ValueError(f"the survey in {where} is of {different}")
            survey._source = Source(network, given)
        return survey

    @property
    def has_images(self) -> bool:
        """Whether it knows model and images, as crops need."""
        return self._source is not None

    def carried(self) -> SurveyParts:
        """What it takes to look at it in another process."""
        return SurveyParts(self.card, self._tallies, None if self._source is None else self._source.images)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into a new folder, or in place of an earlier state of it. Raises ValueError if the folder holds
        something else, such as a survey of other parts of the images."""
        where = Path(path)
        if folder.exists(where):
            card = folder.load_card(where)
            different = difference(card, self.card)
            if different is not None:
                raise ValueError(f"{where} holds a survey of {different}; name another folder, or delete it")
            for first, end in card["done"]:
                if not any(start <= first and end <= stop for start, stop in self.card["done"]):
                    raise ValueError(
                        f"{where} holds images {first} to {end - 1}, which this survey lacks; name another folder, or "
                        "join both by Survey.merge"
                    )
        folder.save(where, self.card, self._tallies)

    @classmethod
    def merge(
        cls, parts: Sequence[Survey | str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
    ) -> Survey:
        """Join surveys of parts of the images, in any order.

        Args:
            parts: surveys or their folders.
            out: a folder for the whole; None: it is not saved.

        Raises:
            ValueError: they are of different models, images or settings, share images, or one has not seen the first
                1,024 images yet.
        """
        given = [part if isinstance(part, Survey) else cls.load(part) for part in parts]
        if not given:
            raise ValueError("parts must hold at least one survey; got none")
        given.sort(key=lambda part: part.card["done"])
        card = {key: value for key, value in given[0].card.items() if key not in ("state", "files")}
        for part in given:
            part._counted(part.layers[0])
            different = difference(card, part.card)
            if different is not None:
                raise ValueError(f"the parts cannot be joined: one is of {different}")
        card["done"] = joined([each for part in given for each in part.card["done"]])
        skipped = {int(i): why for part in given for i, why in part.card["skipped"].items()}
        card["skipped"] = {str(i): skipped[i] for i in sorted(skipped)}
        tallies = {}
        for layer in given[0].layers:
            tallies[layer] = Tally.of(given[0]._tallies[layer].tensors())
            for part in given[1:]:
                tallies[layer].merge(part._tallies[layer])
        whole = cls(card, tallies, next((part._source for part in given if part._source), None))
        if out is not None:
            whole.save(out)
        return whole

    @property
    def source(self) -> Source | None:
        """The network and the images; None: it was loaded alone."""
        return self._source

    def map(self, layer: str) -> tuple[int, ...]:
        """The positions of a unit: (height, width) of a channel's map; () for one number per image."""
        self._tally(layer)
        return self._maps[layer]

    def units(self, layer: str) -> int:
        """How many units a layer has."""
        return self._tally(layer).units

    def top(self, layer: str, unit: int) -> list[TopImage]:
        """The k images with the largest values, [(value, image, place), …], largest first; ties: the first image first.

        Fewer where a unit was not finite for most of the images.
        """
        return statistics.top_of(self._tally(layer), self.unit(layer, unit))

    def dead(self, layer: str) -> list[int]:
        """Units that are dead: no image makes them positive, at any place, so that a rectifier after them never opens.

        Exact for these images, as it is said of the largest value of all. It means nothing before a normalisation. A
        unit that was never finite is not among them.
        """
        return [int(unit) for unit in (statistics.maxima(self._tally(layer)) <= 0).nonzero()[:, 0]]

    def histogram(self, layer: str, unit: int) -> Histogram:
        """The distribution of a unit's values over the images."""
        return statistics.histogram(self._counted(layer), self.unit(layer, unit))

    def percentile(self, layer: str, unit: int, value: float) -> float:
        """How many per cent of the images give a unit a smaller value, and half of those that give it the same.

        Exact for values above the k-th largest, and for 0 if the unit is never negative; otherwise by interpolation in
        the histogram.
        """
        return self.histogram(layer, unit).percentile(value)

    def correlation(self, layer: str) -> Tensor:
        """Correlations between the units of a layer over the images, (units, units) float64; NaN for constant units.

        Values are rounded to 1/32768 of their range in the first 1,024 images. Images for which a unit of the layer is
        not finite are left out.

        Raises:
            ValueError: more than 4,096 units, or a survey made with ``correlation=False``.
        """
        tally = self._counted(layer)
        if not bool(tally.correlated):
            raise ValueError(f"the {tally.units} units of layer {layer!r} were not correlated in this survey")
        return statistics.correlation(tally)

    def class_means(self, layer: str) -> Tensor:
        """Mean of each unit over the images of each class, (classes, units) float64; NaN: it is finite for none."""
        return statistics.class_means(self._counted(layer))

    def table(self, layer: str, other: Survey | None = None) -> UnitTable:
        """All units of a layer: dead, mean, max, zeros, the class they select, the unit they go with; to sort, search
        and export.

        Selectivity is (a − b)/(|a| + |b|) with a the mean over the class and b that over the others, as in Morcos et
        al. (2018), arXiv 1803.06959. The partner is the unit with the largest correlation, of either sign.

        Args:
            other: of another checkpoint, over the same images. `change` is then its mean less the mean here, in
                standard deviations (Cohen's d), and `kept` the share of the top images that are among its own.

        Raises:
            ValueError: the other survey is of other images, or has no such layer with as many units.
        """
        there = None if other is None else self._counterpart(layer, other)
        return table_of(layer, self._counted(layer), self.class_names, there)

    def distribution(self, layer: str) -> Bars:
        """Values of all units of a layer over the images, in 64 bins. Within the bins of a unit's own histogram, they
        are taken to be spread evenly."""
        return statistics.distribution(self._counted(layer))

    def sheet(
        self, layer: str, path: str | os.PathLike[str], units: Iterable[int] | None = None, *, side: int = 48
    ) -> None:
        """Save a picture with the top images of every unit, as far as the unit sees them; a line for each unit.

        Args:
            path: of the picture; its ending determines the format.
            units: which, in this order; None: all. ``[row.unit for row in r.table(layer).by("selectivity")[:64]]``.
            side: of a crop, in pixels. Crops are scaled to it, very small ones by an integer factor.

        Raises:
            ValueError: no units, or as `crops`.
        """
        sheets.whole(self.sheet_in_pieces(layer, units, side=side)).save(Path(path))

    def sheet_in_pieces(
        self, layer: str, units: Iterable[int] | None = None, *, side: int = 48
    ) -> Generator[None, None, Image.Image]:
        """Draws the picture of `sheet` unit by unit, yielding between them, and returns it; arguments and errors as
        there."""
        images = self._sourced("a sheet").images
        chosen = range(self.units(layer)) if units is None else [self.unit(layer, unit) for unit in units]
        table, across = self.table(layer), self.card["k"]
        lines = [
            sheets.SheetLine(
                str(unit), "dead" if table[unit].dead else number(table[unit].max), partial(self._cut, layer, unit)
            )
            for unit in chosen
        ]
        title = f"{layer}: the parts of {self.images:,} images that its units see and like most"
        return sheets.drawing(title, lines, across, _side(side), partial(shown_range, images))

    def _cut(self, layer: str, unit: int) -> Tensor | None:
        return self.crops(layer, unit).images if self.top(layer, unit) else None

    def weights(self, layer: str, unit: int | None = None) -> Bars | None:
        """Histogram of the weights of a layer's units, or of one; None if the layer has none of its own.

        Raises:
            ValueError: as `crops`.
        """
        found = own_weights(self._sourced("weights").network.view, layer, self.units(layer))
        return None if found is None else bars(found if unit is None else found[self.unit(layer, unit)])

    def crops(self, layer: str, unit: int, rule: str = "image") -> Crops:
        """What a unit sees of its top images: the pixels that the place of its largest value depends on.

        All crops have the size of the largest one; what lies outside the picture has the picture's mean. A unit that
        sees everything gives whole pictures.

        Args:
            rule: "image" gives the pixels; "gradient", "guided" and "deconv" what of them makes the unit large at that
                place, as `ldam.backward` (0 outside the picture).

        Raises:
            ValueError: images without height and width, a survey that was loaded without model and images, or a rule
                other than "image" for a model that has been trained further since.
        """
        source, top = self._sourced("crops"), self.top(layer, unit)
        if self._second is None:
            self._second = SecondLook(source.network, source.images, self.card["model"])
        return self._second.crops(layer, unit, top, self.map(layer), rule)

    def _sourced(self, wanted: str) -> Source:
        if self._source is None:
            raise ValueError(f"this survey was loaded alone; {wanted} need Survey.load(path, model, images)")
        return self._source

    def _counterpart(self, layer: str, other: Survey) -> Tally:
        """The layer in the survey of another checkpoint."""
        if not isinstance(other, Survey):
            raise TypeError(f"other must be a Survey of another checkpoint; got {type(other).__name__}")
        if other.card["data"] != self.card["data"] or other.card["done"] != self.card["done"]:
            raise ValueError(
                "other must be a survey of the same images and labels: it is of "
                f"{other.card['data']}, {other.images:,} done, this one of {self.card['data']}, {self.images:,} done"
            )
        if other.units(layer) != self.units(layer):
            raise ValueError(
                f"other has {other.units(layer)} units in layer {layer!r}, this survey {self.units(layer)}"
            )
        return other._counted(layer)

    def _tally(self, layer: str) -> Tally:
        if layer not in self._tallies:
            near = difflib.get_close_matches(str(layer), self.layers, n=3, cutoff=0.4)
            hint = (
                f" Did you mean {' or '.join(map(repr, near))}?"
                if near
                else f" There are {', '.join(self.layers[:9])}."
            )
            raise ValueError(f"layer {layer!r} is not in this survey.{hint}")
        return self._tallies[layer]

    def unit(self, layer: str, unit: Any) -> int:
        """The number of a unit as a plain int. Raises ValueError if the layer has no such unit."""
        units = self._tally(layer).units
        number = integer(unit)
        if number is None or not 0 <= number < units:
            raise ValueError(f"unit must be from 0 to {units - 1} in layer {layer!r}; got {unit!r}")
        return number

    def _counted(self, layer: str) -> Tally:
        tally = self._tally(layer)
        if not tally.settled:
            raise ValueError("this survey was stopped within the first 1,024 images; go on with it first")
        return tally

    def __repr__(self) -> str:
        return as_text(self._rows())

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    def _rows(self) -> list[Row]:
        rows: list[Row] = [("layer", "units", "map", "images", "dead")]
        for layer, tally in self._tallies.items():
            shape = "×".join(map(str, self._maps[layer])) or "–"
            rows.append((layer, str(tally.units), shape, f"{self.images:,}", str(len(self.dead(layer)))))
        return rows


def _side(side: int) -> int:
    pixels = integer(side)
    if pixels is None or not 8 <= pixels <= 512:
        raise ValueError(f"side must be from 8 to 512 pixels; got {side!r}")
    return pixels
