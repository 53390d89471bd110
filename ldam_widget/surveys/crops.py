"""Second look at the images that drive a unit: what it sees of them, and what of that it reacts to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.notes import QuietNotes
from ..data.images import Images
from ..network.receptive_field import Box, Fields
from ..network.traced import Traced
from ..network.view import hash_of, private_view
from ..toolbox.backward import RULES as BACKWARD
from ..toolbox.backward import BackwardPass
from .layout import Network
from .statistics import TopImage
from .windows import FieldsOfLayer, window

RULES = ("image", *BACKWARD)


class Crops(NamedTuple):
    """Parts of images, all of one size."""

    images: Tensor  # (n, channels, height, width): in pixel range, or what a backward view gives
    boxes: tuple[Box, ...]  # the receptive fields, within the pictures
    top: tuple[TopImage, ...]  # what they were cut from


class SecondLook:
    """Crops of images, with the receptive fields found so far.

    Args:
        network, images: of the survey.
        weights: their hash then.

    Raises:
        ValueError: images without height and width.
    """

    @torch.inference_mode(False)
    def __init__(self, network: Network, images: Images, weights: str) -> None:
        if len(network.input_shape) < 2:
            raise ValueError(f"crops need images with height and width; these are {network.input_shape}")
        self._network, self._images = network, images
        self._view = private_view(network.view, torch.device("cpu"), QuietNotes(), shared=False)
        self._unchanged = hash_of(self._view) == weights
        self._fields: dict[str, FieldsOfLayer] = {}

    @torch.inference_mode(False)
    @torch.enable_grad()
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
        if rule != "image" and not self._unchanged:
            raise ValueError(
                f"the model's weights have changed since the survey: rule={rule!r} would show what another model "
                "reacts to. Survey it again"
            )
        if not top:
            raise ValueError(f"unit {unit} of layer {layer!r} was finite for no image")
        fields = self._fields_of(layer, shape)
        boxes = tuple(fields.box(entry.place) for entry in top)
        height, width = max(box.height for box in boxes), max(box.width for box in boxes)
        pictures = self._images.take(torch.tensor([entry.image for entry in top]))
        outside = pictures.mean((-2, -1), keepdim=True)
        if rule != "image":
            places = torch.tensor([entry.place for entry in top])
            pictures, outside = self._backward(pictures, layer, unit, places, shape, rule), torch.zeros_like(outside)
        cut = [
            window(picture, box, height, width, beyond)
            for picture, box, beyond in zip(pictures, boxes, outside, strict=True)
        ]
        return Crops(torch.stack(cut), boxes, tuple(top))

    def _fields_of(self, layer: str, shape: tuple[int, ...]) -> FieldsOfLayer:
        if layer not in self._fields:
            height, width = self._network.input_shape[-2:]
            fields = Fields(self._view, layer, self._network.input_shape, self._network.preprocess)
            self._fields[layer] = FieldsOfLayer(fields, shape, (height, width))
        return self._fields[layer]

    def _backward(
        self, pictures: Tensor, layer: str, unit: int, places: Tensor, shape: tuple[int, ...], rule: str
    ) -> Tensor:
        """What of each picture makes the unit large at its place, (n, *image)."""
        traced = Traced.of(self._view, self._network.input_shape, self._network.preprocess, layer, QuietNotes())
        seed: Tensor | str = "one"
        if shape:
            seed = torch.zeros(len(places), *shape)
            seed.flatten(1)[torch.arange(len(places)), places] = 1
        return BackwardPass(traced, layer, unit, rule=rule, seed=seed)(pictures)
