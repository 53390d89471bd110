"""Which outputs of a network a survey looks at, and how these are laid out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..network.addresses import Address
from ..network.capture import Capture
from ..network.trace import LayerOutput, Preprocess, Trace, run, trace
from ..network.view import device_of


class Surveyed(NamedTuple):
    """One layer."""

    name: str
    address: Address
    batch_axis: int
    unit_axis: int  # once the batch comes first
    units: int
    map: tuple[int, ...]  # positions of a unit; () for one number per image

    def maps(self, output: Tensor) -> Tensor:
        """What the layer returns -> (image, units, *map), without moving it in memory."""
        if self.batch_axis != 0:
            output = output.movedim(self.batch_axis, 0)
        return output if self.unit_axis == 1 else output.movedim(self.unit_axis, 1)

    def values(self, maps: Tensor) -> Tensor:
        """The largest of each map, (image, units) float32 on the CPU; NaN: one of it is NaN, or it is infinite."""
        values = maps.amax(tuple(range(2, maps.ndim))) if maps.ndim > 2 else maps
        values = values.to("cpu", torch.float32)
        return values.masked_fill(~values.isfinite(), torch.nan)


class Network:
    """A private view of a model, and the layers of it that are surveyed.

    Args:
        view: of the model.
        input_shape, preprocess: as for `Sampler`.
        layers: "all", or names as in `ldam.layers`.
        notes: receives what the user should know.

    Attributes:
        one_by_one: the images of a batch influence each other, or the model takes no batches.

    Raises:
        ValueError: an unknown layer, or one that has no units.
    """

    def __init__(
        self,
        view: nn.Module,
        input_shape: tuple[int, ...],
        preprocess: Preprocess | None,
        layers: str | Iterable[str],
        notes: Notes,
    ) -> None:
        self.view, self.input_shape, self.preprocess = view, input_shape, preprocess
        traced = trace(view, input_shape, preprocess, None, notes)
        every = isinstance(layers, str) and layers == "all"
        chosen = _all(traced) if every else _named(traced, view, [layers] if isinstance(layers, str) else list(layers))
        two = self._outputs(2, [output.address for output in chosen])
        one = self._outputs(1, [output.address for output in chosen])
        self.one_by_one = two is None or bool(traced.coupled)
        assert one is not None
        self.layers = []
        for i, output in enumerate(chosen):
            layer = _layer(output, one[i], None if two is None else two[i])
            if isinstance(layer, Surveyed):
                self.layers.append(layer)
            elif not every:
                raise ValueError(f"layer {str(output.address)!r} {layer}; choose another one of layers(model)")
        if not self.layers:
            raise ValueError("no layer of the model has units that can be surveyed")

    def forward(self, x: Tensor, seed: int = 0) -> Any:
        """Run a batch of images, (n, *input_shape)."""
        own = torch.Generator().manual_seed(seed)
        return run(self.view, x.to(device_of(self.view)), self.preprocess, self.input_shape, own)

    @torch.inference_mode(False)
    @torch.no_grad()
    def values(self, x: Tensor) -> Tensor:
        """The values of the units of the first layer, (n, units) float32: of a map the largest, see `Surveyed`."""
        layer = self.layers[0]
        look = Capture(self.view, [layer.address], lambda output: layer.values(layer.maps(output)))
        parts = torch.split(x, 1) if self.one_by_one else (x,)
        return torch.cat([look(partial(self.forward, part))[0] for part in parts])

    def _outputs(self, images: int, places: list[Address]) -> list[Any] | None:
        """What the layers return for some images; None: the model does not take so many."""
        own = torch.Generator().manual_seed(0)
        x = torch.rand(images, *self.input_shape, generator=own, device="cpu")
        capture = Capture(self.view, places, lambda output: output)
        try:
            with torch.inference_mode(False), torch.no_grad():
                return capture(lambda: self.forward(x.clone()))
        except ValueError:
            if images == 1:
                raise
            return None


def _all(traced: Trace) -> list[LayerOutput]:
    found = {output.address: output for output in traced.outputs if output.listed}
    return list(found.values())


def _named(traced: Trace, view: nn.Module, names: list[str]) -> list[LayerOutput]:
    if not names:
        raise ValueError('layers must be "all" or name at least one layer; got none')
    found = []
    for place in dict.fromkeys(Capture(view, names).places):
        output = traced.find(place)
        if output is None:
            raise ValueError(
                f"layer {str(place)!r} is not run by the model's forward pass, or returns no tensor with one entry per "
                "image; choose one of layers(model)"
            )
        found.append(output)
    return found


def _layer(output: LayerOutput, one: Any, two: Any) -> Surveyed | str:
    """The layout, or why there is none."""
    if not isinstance(one, Tensor) or not one.is_floating_point():
        return "does not return floating-point numbers"
    if one.ndim < 2 or one.numel() == 0:
        return "has no units"
    axes = [i for i in range(one.ndim) if one.shape[i] == 1 and (two is None or two.shape[i] == 2)]
    if not axes:
        return "does not return one result per image"
    sizes = list(one.movedim(axes[0], 0).shape[1:])
    units = sizes.pop(output.axis - 1)
    return Surveyed(str(output.address), output.address, axes[0], output.axis, units, tuple(sizes))
