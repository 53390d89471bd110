"""The part of the picture that neurons can see."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch

from ..core.notes import QuietNotes
from ..network.receptive_field import Box, Fields, box_of
from ..network.units import Neuron
from ..network.view import private_view
from ..parametrizations import Transforms
from ..sampling.sampler import Sampler

_MOST_CORNERS = 6  # random numbers of a transform whose extremes are all tried


class Crop(NamedTuple):
    """What the neurons of a picture can see of it."""

    boxes: tuple[Box, ...]  # one per neuron: its receptive field
    windows: tuple[Box, ...]  # one per neuron, all of one size; the field, and what random transforms move into it

    @property
    def field(self) -> tuple[int, int]:
        """Height and width of the largest receptive field."""
        return max(box.height for box in self.boxes), max(box.width for box in self.boxes)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the windows."""
        return self.windows[0].height, self.windows[0].width

    def is_small(self, height: int, width: int) -> bool:
        """Whether the windows are at most half as high and as wide as the picture."""
        return 2 * self.size[0] <= height and 2 * self.size[1] <= width


Known = dict[tuple[int, str, tuple[int, ...]], Box]  # of a model, a layer, a place: all its channels see the same


@torch.inference_mode(False)
def crop_of(samplers: Sequence[Sampler], known: Known | None = None) -> Crop | None:
    """The windows of one or several models' neurons, which correspond.

    None: a neuron sees the whole picture, is not a unit at one place, or its receptive field cannot be found.

    Args:
        samplers: of the models.
        known: receptive fields found before, of the same models; new ones are added.
    """
    found: Known = {} if known is None else known
    fields = [_fields(i, sampler, found) for i, sampler in enumerate(samplers)]
    if not all(fields):
        return None
    shape = samplers[0].input_shape
    joint = [reduce(Box.around, boxes) for boxes in zip(*fields, strict=True)]
    shifted = [reduce(Box.around, (moved(s.transforms, box, shape) for s in samplers), box) for box in joint]
    height, width = (max(sizes) for sizes in zip(*((box.height, box.width) for box in shifted), strict=True))
    if (height, width) == shape[-2:]:
        return None
    return Crop(tuple(joint), tuple(_of_size(box, height, width, shape) for box in shifted))


def moved(transforms: Transforms | None, box: Box, shape: tuple[int, ...]) -> Box:
    """The pixels that random transforms of an image of this shape can move into a box."""
    if transforms is None or len(shape) != 3:
        return box
    most = transforms.numbers
    if most > _MOST_CORNERS:
        return Box(0, 0, *shape[-2:])
    numbers = torch.tensor(list(itertools.product((0.0, 0.5, 1 - 1e-6), repeat=most)))
    x = torch.zeros(len(numbers), 1, *shape[1:], requires_grad=True)
    with torch.enable_grad():
        seen = transforms.apply(x, numbers)[..., box.top : box.bottom, box.left : box.right]
        (grad,) = torch.autograd.grad(seen.sum(), x)
    return box_of(grad != 0) or box


def _fields(model: int, sampler: Sampler, known: Known) -> list[Box]:
    """One box per neuron; empty if there is nothing to crop. Takes half a second for a layer of a ResNet-18."""
    neurons = [_units(neuron, sampler.layer) for neuron in sampler.neurons]
    units = {unit for each in neurons for unit in each}
    if len(sampler.input_shape) < 2 or not all(place for _, place in units):
        return []
    new = [unit for unit in units if (model, *unit) not in known]
    try:
        view = private_view(sampler.view, torch.device("cpu"), QuietNotes(), shared=False) if new else sampler.view
        layers = {layer for layer, _ in new}
        fields = {layer: Fields(view, layer, sampler.input_shape, sampler.preprocess) for layer in layers}
        known |= {(model, layer, place): fields[layer].box(place) for layer, place in new}
    except ValueError:  # e.g. a network that refuses NaN: nothing is lost by showing the whole picture
        return []
    found = [[known[model, layer, place] for layer, place in each] for each in neurons]
    return [reduce(Box.around, boxes) for boxes in found]


def _units(neuron: Neuron, layer: str) -> list[tuple[str, tuple[int, ...]]]:
    """Layer, and place on its map, of each unit that a neuron or an expression reads; (): at no one place."""
    if neuron.terms:
        return [unit for term in neuron.terms for unit in _units(term.neuron, term.layer or layer)]
    return [(layer, neuron.readout[1:] if isinstance(neuron.readout, tuple) else ())]


def _of_size(box: Box, height: int, width: int, shape: tuple[int, ...]) -> Box:
    """A window of this size with the box in its middle, or as near to that as the border allows."""
    top = min(max(box.top - (height - box.height) // 2, 0), shape[-2] - height)
    left = min(max(box.left - (width - box.width) // 2, 0), shape[-1] - width)
    return Box(top, left, top + height, left + width)
