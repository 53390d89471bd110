"""`LayerPage`: all units of a layer in a table, and the page of the one that is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image
from torch import nn
from typing_extensions import Unpack

from ..sampling.sampler import Sampler
from ..surveys.results import Survey
from ..surveys.running import survey as surveyed
from ..surveys.sheets import whole
from ..surveys.units import UnitTable
from .parts.unit.build import unit_view
from .parts.unit.view import UnitView
from .parts.unit_table import UnitsOfLayer
from .unit_page import UnitArguments, UnitPage

_SAVED = 24  # units in the picture that a notebook saves before one is opened


class LayerPage(UnitPage):
    """All units of a layer over real images: a table to sort and search, and below it the page of a unit.

    ``ldam.LayerPage(model, "layer3", survey=r)``; a click on a row, or Enter, opens its unit, see `UnitPage`. Before,
    nothing is sampled.

    Args:
        model: the one that was surveyed; left unchanged.
        layer: a name in the survey.
        survey: of `ldam.survey`.
        other: another checkpoint, to compare with: its survey over the same images, or a model, which is surveyed now.
        unit: opened at once; None: none.
        settings: as for `UnitPage`; input_shape, preprocess and pixel_range are those of the survey.

    Raises:
        ValueError, TypeError: arguments that do not fit; the message says which.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        survey: Survey,
        other: Survey | nn.Module | None = None,
        unit: int | None = None,
        **settings: Unpack[UnitArguments],
    ) -> None:
        if not isinstance(survey, Survey):
            raise TypeError(f"survey must be what ldam.survey returns; got {type(survey).__name__}")
        there = _surveyed(other, survey, layer) if isinstance(other, nn.Module) else other
        table = survey.table(layer, there)
        opened = None if unit is None else survey.unit(layer, unit)
        initial = next((row.unit for row in table if not row.dead), 0)
        beside = None if there is None or there.source is None else there.source.network.view
        given: Any = {"play": False, **settings}
        super().__init__(
            model, layer, initial, survey=survey, other=beside, other_survey=None if beside is None else there, **given
        )
        self._units = UnitsOfLayer(self, survey, layer, table, self._open_unit, self._top_bar.play)
        self._add(self._units)
        self._survey, self._surveyed_layer = survey, layer
        self._sheet: Image.Image | None = None  # of the first units
        if opened is not None:
            self._call(lambda: self._units.open(opened))

    def _make_unit_view(
        self, sampler: Sampler, dataset: Any, survey: Survey | None, settings: Mapping[str, Any]
    ) -> UnitView:
        return unit_view(self, self._picker, self._display, sampler, dataset, survey, settings, self._beside)

    def _still(self) -> Image.Image | None:
        if self.opened:
            return super()._still()
        if self._survey.source is not None and self._sheet is None:
            units = [row.unit for row in self.table[:_SAVED]]
            self._sheet = whole(self._survey.sheet_in_pieces(self._surveyed_layer, units))
        return self._sheet

    @property
    def _pictured(self) -> bool:
        return True

    def _open_unit(self, unit: int) -> None:
        self._picker.select(self._surveyed_layer, [unit])
        self._unit.open(0)

    def __repr__(self) -> str:
        return "LayerPage(closed)" if self._running is None else f"LayerPage({self._title}, layer {self.layer})"

    @property
    def table(self) -> UnitTable:
        """All units: ``page.table.by("selectivity")``; see `Survey.table`."""
        return self._units.table

    @property
    def unit(self) -> int:
        """The unit that is sampled, or will be. Set it to open a unit."""
        return super().unit

    @unit.setter
    def unit(self, unit: int | str) -> None:
        number = self._survey.unit(self._surveyed_layer, unit)
        self._call(lambda: self._units.open(number))

    @property
    def opened(self) -> bool:
        """Whether a unit has been opened."""
        return self._units.opened is not None

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Save the table; UTF-8, numbers in full, "nan" where nothing can be said."""
        self.table.csv(path)

    def sheet(self, path: str | os.PathLike[str], units: Iterable[int] | None = None, *, side: int = 48) -> None:
        """Save a picture with the top images of every unit, or of some; see `Survey.sheet`."""
        self._survey.sheet(self._surveyed_layer, path, units, side=side)


def _surveyed(model: nn.Module, survey: Survey, layer: str) -> Survey:
    """A survey of another model, of the same images."""
    if survey.source is None:
        raise ValueError(
            "this survey was loaded alone: give other= as a survey too, or load this one with model and images"
        )
    card, (network, images) = survey.card, survey.source
    return surveyed(
        model, images, [layer], card["k"], preprocess=network.preprocess, batch=card["batch"],
        correlation=card["correlation"],
    )  # fmt: skip
