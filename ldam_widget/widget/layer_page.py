"""`LayerPage`: all units of a layer in a table, and a live picture of the one that is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..surveys.results import Survey
from ..surveys.running import survey as surveyed
from ..surveys.units import UnitTable
from .live import LDAM
from .parts.unit_table import UnitsOfLayer


class LayerPage(LDAM):
    """All units of a layer over real images: a table to sort and search, and live samples of the unit that is opened.

    ``ldam.LayerPage(model, "layer3", survey=r)``; a click on a row, or Enter, opens its unit, and samples it.

    Args:
        model: the one that was surveyed; left unchanged.
        layer: a name in the survey.
        survey: of `ldam.survey`.
        other: another checkpoint, to compare with: its survey over the same images, or a model, which is surveyed now.
        unit: opened at once; None: none.
        settings: as for `LDAM`; input_shape, preprocess and pixel range are those of the survey.

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
        **settings: Any,
    ) -> None:
        if not isinstance(survey, Survey):
            raise TypeError(f"survey must be what ldam.survey returns; got {type(survey).__name__}")
        there = _surveyed(other, survey, layer) if isinstance(other, nn.Module) else other
        table = survey.table(layer, there)
        alive = next((row.unit for row in table if not row.dead), 0)
        super().__init__(model, layer=layer, neurons=[alive], play=False, **(_settings(survey) | settings))
        self._units = UnitsOfLayer(self, survey, layer, table, self._show_unit)
        self._add(self._units)
        self._survey, self._surveyed_layer = survey, layer
        if unit is not None:
            self.unit = unit

    @property
    def table(self) -> UnitTable:
        """All units: ``page.table.by("selectivity")``; see `Survey.table`."""
        return self._units.table

    @property
    def unit(self) -> int | None:
        """The open unit; None: none yet. Can be set."""
        return self._units.opened

    @unit.setter
    def unit(self, unit: int) -> None:
        number = self._survey.unit(self._surveyed_layer, unit)
        self._call(lambda: self._units.open(number))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Save the table; UTF-8, numbers in full, "nan" where nothing can be said."""
        self.table.csv(path)

    def sheet(self, path: str | os.PathLike[str], units: Iterable[int] | None = None, *, side: int = 48) -> None:
        """Save a picture with the top images of every unit, or of some; see `Survey.sheet`."""
        self._survey.sheet(self._surveyed_layer, path, units, side=side)

    def _show_unit(self, unit: int) -> None:
        self._picker.select(self._surveyed_layer, [unit])
        self._top_bar.play()


def _settings(survey: Survey) -> dict[str, Any]:
    """How pictures reach the model, as in the survey."""
    found: dict[str, Any] = {"input_shape": survey.card["input_shape"]}
    if survey.source is not None:
        images = survey.source.images
        some = images.take(torch.arange(min(16, len(images))))
        known = bool(((some >= 0) & (some <= 1) | some.isnan()).all())
        found["preprocess"] = survey.source.network.preprocess
        found["pixel_range"] = images.pixel_range or ((0.0, 1.0) if known else None)
    return found


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
