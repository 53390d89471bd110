"""Renders a block of units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..execution.threads import cpu_threads
from ..network.memory import is_out_of_memory
from ..network.surroundings import without_ambient_modes
from ..pictures.images import as_pictures, to_levels, value_range
from ..sampling.sampler import SamplingError
from ..surveys import Survey
from .folder import Numbers, Rendered
from .layout import BLANK, VERDICTS, LayerOfAtlas
from .measuring import Measured
from .recipe import UnitRecipe
from .sampling import MemoryShortError, UnitSampler, UnitSamples
from .sheets import Levels, shrunk
from .top_images import TopImages


class Renderer:
    """Renders units of one model by one recipe.

    Args:
        model: any `nn.Module`.
        measured: a view of it.
        recipe: how.
        survey: of real images; None: there is none.
        device: where to run.
    """

    def __init__(
        self, model: nn.Module, measured: Measured, recipe: UnitRecipe, survey: Survey | None, device: str | None
    ) -> None:
        self._model, self._measured, self._recipe, self._device = model, measured, recipe, device
        self._top = None if survey is None else TopImages(survey, recipe.pixel_range)

    def render(self, layer: LayerOfAtlas, block: int) -> Rendered:
        """All that the atlas holds of a block.

        Raises:
            MemoryShortError, MemoryError: it does not fit into memory.
            ValueError, TypeError: the recipe does not fit the layer.
        """
        recipe, units = self._recipe, layer.units_of(block)
        pictures = {
            kind: np.full((len(units), sheets.tiles, *sheets.tile, 3), BLANK, np.uint8)
            for kind, sheets in layer.sheets.items()
        }
        numbers = _no_numbers(len(units), recipe.chains)
        rendered = Rendered(pictures, numbers, {}, {})
        with cpu_threads(recipe.threads), without_ambient_modes():
            for first in range(units.start, units.stop, recipe.units_at_once):
                self._render(layer, range(first, min(first + recipe.units_at_once, units.stop)), units.start, rendered)
            if self._top is not None:
                self._top.add(layer, units, pictures, numbers)
        return rendered

    def _render(self, layer: LayerOfAtlas, units: range, start: int, rendered: Rendered) -> None:
        """Render units together; if one of them fails, each half alone, so that the others are not lost with it."""
        try:
            sampler = UnitSampler(self._model, layer.name, units, self._recipe, self._device)
            sampled = sampler.sampled(self._recipe.steps)
            del sampler
        except SamplingError as error:
            if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                raise MemoryShortError(str(error)) from error
            if len(units) == 1:
                self._failed(units[0], units[0] - start, str(error), rendered)
                return
            middle = len(units) // 2
            self._render(layer, units[:middle], start, rendered)
            self._render(layer, units[middle:], start, rendered)
            return
        self._take(layer, units, slice(units.start - start, units.stop - start), sampled, rendered)

    def _take(self, layer: LayerOfAtlas, units: range, rows: slice, sampled: UnitSamples, rendered: Rendered) -> None:
        recipe, numbers, shape = self._recipe, rendered.numbers, self._recipe.input_shape
        count, each = len(units), recipe.chains
        shown = self._measured.activations(layer.name, list(units), sampled.images.reshape(-1, *shape))
        own = np.arange(count)
        numbers["activation"][rows] = shown.value.reshape(count, each, count)[own, :, own]
        numbers["largest"][rows] = shown.largest.reshape(count, each, count)[own, :, own]
        of_average = self._measured.activations(layer.name, list(units), sampled.averages)
        numbers["average_activation"][rows] = of_average.value[own, own]
        numbers["recognised"][rows], numbers["confidence"][rows] = self._measured.recognised(sampled.averages)
        for key in ("temperature", "r_hat", "ess", "verdict"):
            numbers[key][rows] = getattr(sampled, key)
        for i, unit in enumerate(units):
            row = rows.start + i
            finite = bool(np.isfinite(numbers["activation"][row]).all()) and bool(sampled.images[i].isfinite().all())
            if not finite:
                self._failed(unit, row, "the pictures or their activations are NaN or infinite", rendered)
                continue
            rendered.verdicts[unit] = sampled.words[i]
            tiles = tiles_of(
                torch.cat([sampled.images[i], sampled.averages[i][None]]), len(shape), recipe.pixel_range,
                layer.sheets["samples"].tile,
            )  # fmt: skip
            rendered.pictures["samples"][row], rendered.pictures["average"][row] = tiles[:-1], tiles[-1:]

    def _failed(self, unit: int, row: int, why: str, rendered: Rendered) -> None:
        rendered.failures[unit] = why
        for key, values in _no_numbers(1, self._recipe.chains).items():
            rendered.numbers[key][row] = values[0]
        rendered.numbers["verdict"][row] = VERDICTS.index("failed")


def _no_numbers(units: int, chains: int) -> Numbers:
    """The numbers of units of which nothing is known."""
    found: dict[str, npt.NDArray[Any]] = {
        key: np.full((units, chains), np.nan, np.float32) for key in ("activation", "largest")
    }
    for key in ("average_activation", "percentile", "temperature", "r_hat", "ess", "confidence"):
        found[key] = np.full(units, np.nan, np.float32)
    return found | {"verdict": np.full(units, -1, np.int8), "recognised": np.full(units, -1, np.int32)}


def tiles_of(images: Tensor, image_ndim: int, pixel_range: tuple[float, float] | None, tile: tuple[int, int]) -> Levels:
    """Pictures of one unit as RGB tiles (n, *tile, 3); unbounded pixels are shown in a range common to all of them."""
    pictures = as_pictures(images, image_ndim)
    levels = to_levels(pictures, value_range(pictures, pixel_range))
    return np.stack([shrunk(picture, *tile) for picture in levels])
