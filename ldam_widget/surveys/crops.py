"""Second look at the images that drive a unit: what it sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.notes import QuietNotes
from ..data.images import Images
from ..network.receptive_field import Box, Fields
from ..network.view import private_view
from .layout import Network
from .statistics import TopImage

RULES = ("image",)


class Crops(NamedTuple):
    """Parts of images, all of one size."""

    images: Tensor  # (n, channels, height, width), in pixel range
    boxes: tuple[Box, ...]  # the receptive fields, within the pictures
    top: tuple[TopImage, ...]  # what they were cut from


class Views:
    """Crops of images, with the receptive fields found so far.

    Raises:
        ValueError: images without height and width.
    """

    def __init__(self, network: Network, images: Images) -> None:
        if len(network.input_shape) < 2:
            raise ValueError(f"crops need images with height and width; these are {network.input_shape}")
        self._network, self._images = network, images
        self._view = private_view(network.view, torch.device("cpu"), QuietNotes(), shared=False)
        self._fields: dict[str, Fields] = {}
        self._boxes: dict[tuple[str, int], Box] = {}

    def crops(self, layer: str, unit: int, top: Sequence[TopImage], shape: tuple[int, ...], rule: str) -> Crops:
        """The parts of a unit's top images that its places see.

        Args:
            layer, unit: whose.
            top: at least one.
            shape: of the unit's map.
            rule: of `RULES`.
        """
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}; got {rule!r}")
        if not top:
            raise ValueError(f"unit {unit} of layer {layer!r} was finite for no image")
        boxes = tuple(self._box(layer, entry.place, shape) for entry in top)
        pictures = self._images.take(torch.tensor([entry.image for entry in top]))
        height, width = max(box.height for box in boxes), max(box.width for box in boxes)
        cut = [_window(picture, box, height, width) for picture, box in zip(pictures, boxes, strict=True)]
        return Crops(torch.stack(cut), boxes, tuple(top))

    def _box(self, layer: str, place: int, shape: tuple[int, ...]) -> Box:
        if (layer, place) not in self._boxes:
            if layer not in self._fields:
                self._fields[layer] = Fields(self._view, layer, self._network.input_shape, self._network.preprocess)
            at = [int(i) for i in np.unravel_index(place, shape)] if shape else ()
            self._boxes[layer, place] = self._fields[layer].box(at)
        return self._boxes[layer, place]


def _window(picture: Tensor, box: Box, height: int, width: int) -> Tensor:
    """A part of this size with the box in it, (…, height, width); where it leaves the picture, the picture's mean.

    A box is smaller than the others where the border of the picture cuts it off: the window goes on beyond that border.
    """
    top, bottom = _span(box.top, box.bottom, height, picture.shape[-2])
    left, right = _span(box.left, box.right, width, picture.shape[-1])
    mean = picture.mean((-2, -1), keepdim=True)
    window = mean.expand(*picture.shape[:-2], height, width).clone()
    inside = Box(max(top, 0), max(left, 0), min(bottom, picture.shape[-2]), min(right, picture.shape[-1]))
    window[..., inside.top - top : inside.bottom - top, inside.left - left : inside.right - left] = picture[
        ..., inside.top : inside.bottom, inside.left : inside.right
    ]
    return window


def _span(first: int, end: int, size: int, whole: int) -> tuple[int, int]:
    missing = size - (end - first)
    before = missing if first == 0 and end < whole else 0 if end == whole and first > 0 else missing // 2
    return first - before, first - before + size
