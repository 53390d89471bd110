"""One network as the toolbox looks at it: any layer, and the classes, of one picture in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..network.addresses import Address
from ..network.capture import Capture, NotRunError
from ..network.first_pass import first_pass
from ..network.trace import Preprocess
from ..network.traced import Place, Traced
from ..network.view import choose_device, private_view

MOST_CLASSES = 5


class Class(NamedTuple):
    """One of the most probable classes."""

    number: int
    name: str  # "" if unknown
    probability: float


class Response(NamedTuple):
    """What one picture does in the network."""

    maps: Tensor  # of the layer, (units, *positions) float32
    classes: list[Class]  # the most probable first; empty if the network has no classes


class Probe:
    """A private view of a model, for single pictures.

    Args:
        model: any `nn.Module`; left unchanged. Changes of its weights show at once.
        input_shape, preprocess, device: as for `Sampler`.
        labels: names of the classes; empty: unknown.
        notes: receives notes for the user.

    Raises:
        TypeError, ValueError: as `Sampler`; labels that do not fit the number of classes.
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        preprocess: Preprocess | None,
        device: torch.device | str | None,
        labels: Sequence[str],
        notes: Notes,
    ) -> None:
        if isinstance(labels, str):
            raise TypeError(f"labels must be a list of names, one per class; got {labels!r}")
        self.device = choose_device(model, device)
        self.view = private_view(model, self.device, notes)
        first_pass(self.view, model, input_shape, preprocess, notes)
        self.traced = Traced.of(self.view, input_shape, preprocess, None, notes)
        self.layers = self.traced.trace.table
        self.labels = [str(name) for name in labels]
        self._places: dict[str, Place] = {}
        self._needs_grad = False  # transformers without it take a fast path that skips the modules inside
        self._output, self._is_softmax = self._classes()

    def place(self, layer: str) -> Place:
        """A layer's output and its axes. Raises ValueError for one that has no units."""
        if layer not in self._places:
            self._places[layer] = self.traced.place(Capture(self.view, [layer]).places[0])
        return self._places[layer]

    @property
    def classifies(self) -> bool:
        """Whether the network has classes."""
        return self._output is not None

    @property
    def output_layer(self) -> str | None:
        """The layer whose units are the classes; None: there are no classes."""
        return None if self._output is None else str(self._output)

    def default_layer(self) -> str:
        """The first layer with a map, else the last layer."""
        maps = [layer.name for layer in self.layers if len(layer.shape) > 2]
        return maps[0] if maps else self.layers[-1].name

    def read(self, x: Tensor, layer: str) -> Response:
        """For one picture (channels, height, width)."""
        place = self.place(layer)
        wanted = [place.address] if self._output is None else [place.address, self._output]
        outputs = self._run(x, wanted)
        maps = place.in_order(outputs[0])[0].float()
        return Response(maps, self._most_probable(outputs[1]) if self._output is not None else [])

    def _run(self, x: Tensor, wanted: list[Address]) -> list[Any]:
        capture, images = Capture(self.view, wanted), x.to(self.device)[None]
        if not self._needs_grad:
            try:
                with torch.inference_mode(False), torch.no_grad():
                    return capture(lambda: self.traced.run(images))
            except NotRunError:
                self._needs_grad = True
        with torch.inference_mode(False), torch.enable_grad():
            outputs = capture(lambda: self.traced.run(images.detach().requires_grad_(True)))
        return [output.detach() for output in outputs]

    def _classes(self) -> tuple[Address | None, bool]:
        own = self.traced.trace.own
        if own.address is None:
            return None, False
        try:
            (output,) = self._run(self.traced.some_images(1).detach()[0], [own.address])
        except (ValueError, NotRunError):
            return None, False
        if not isinstance(output, Tensor) or not output.is_floating_point() or output[0].numel() < 2:
            return None, False
        if any(size > 1 for size in sorted(output.shape[1:])[:-1]):
            return None, False  # a map
        if self.labels and output[0].numel() != len(self.labels):
            raise ValueError(f"labels holds {len(self.labels)} names, but the model has {output[0].numel()} classes")
        return own.address, own.saturated

    def _most_probable(self, output: Tensor) -> list[Class]:
        scores = output[0].flatten().double()
        shares = scores if self._is_softmax else scores.softmax(0)
        found = shares.topk(min(MOST_CLASSES, len(shares)))
        return [
            Class(i, self.labels[i] if self.labels else "", share)
            for share, i in zip(found.values.tolist(), found.indices.tolist(), strict=True)
            if math.isfinite(share)
        ]
