"""Real images that drive a unit most, and where its samples stand among all of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from ..pictures.images import as_pictures, to_levels, value_range
from ..surveys import Survey
from ..toolbox.views import raw
from .folder import Numbers
from .layout import LayerOfAtlas
from .sheets import Levels, shrunk

RULE = "deconv"


class TopImages:
    """A survey, for the blocks of an atlas.

    Args:
        survey: with or without its images; without them there are numbers, and no crops.
        pixel_range: black and white of the images.
    """

    def __init__(self, survey: Survey, pixel_range: tuple[float, float] | None) -> None:
        self._survey, self._range = survey, pixel_range

    def add(self, layer: LayerOfAtlas, units: range, pictures: Mapping[str, Levels], numbers: Numbers) -> None:
        """Add percentiles, top images and their crops of these units."""
        if layer.name not in self._survey.layers:
            return
        k = int(self._survey.card["k"])
        numbers["top_value"] = np.full((len(units), k), np.nan, np.float32)
        numbers["top_image"] = np.full((len(units), k), -1, np.int32)
        numbers["top_place"] = np.full((len(units), k), -1, np.int32)
        for row, unit in enumerate(units):
            value = float(numbers["largest"][row].mean())
            if np.isfinite(value):
                numbers["percentile"][row] = self._survey.percentile(layer.name, unit, value)
            top = self._survey.top(layer.name, unit)
            for i, entry in enumerate(top):
                numbers["top_value"][row, i] = entry.value
                numbers["top_image"][row, i] = entry.image
                numbers["top_place"][row, i] = entry.place
            if not top:
                continue
            for kind, rule in (("top", "image"), ("deconv", RULE)):
                if kind in pictures:
                    crops = self._survey.crops(layer.name, unit, rule).images
                    shown = self._range if kind == "top" else (0.0, 1.0)
                    self._put(crops if kind == "top" else raw(crops), shown, pictures[kind][row])

    def _put(self, crops: Tensor, shown: tuple[float, float] | None, tiles: Levels) -> None:
        """Show crops in the middle of their tiles."""
        pictures = as_pictures(crops, 3)
        levels = to_levels(pictures, value_range(pictures, shown))
        for picture, tile in zip(levels, tiles, strict=False):
            small = shrunk(picture, tile.shape[0], tile.shape[1])
            top, left = (tile.shape[0] - small.shape[0]) // 2, (tile.shape[1] - small.shape[1]) // 2
            tile[top : top + small.shape[0], left : left + small.shape[1]] = small
