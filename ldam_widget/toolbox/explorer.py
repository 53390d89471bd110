"""`Explorer`: one picture in a network, and in another one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..network.trace import Preprocess
from .backward import INPUT, BackwardPass
from .choice import OFF, Chosen, Unit, checked_unit
from .probe import Class, Probe
from .tiles import ChannelTiles, as_maps, tiles
from .views import VIEWS

_NO_RECTIFIERS = "no rectifier on the way: the plain gradient"


class Shown(NamedTuple):
    """All that is shown of one picture."""

    choice: Chosen
    picture: Tensor  # (channels, height, width), from 0 to 1
    tiles: ChannelTiles
    enlarged: ChannelTiles  # the chosen channel, at full resolution
    value: float  # activation of the chosen unit: of a whole channel, the largest
    largest: float  # of the whole channel
    classes: list[Class]
    other_classes: list[Class]  # of the other model
    backward: Tensor | None  # a view, (1 or channels, height, width), from 0 to 1
    remark: str  # on the backward view; "" if there is nothing to say


class Explorer:
    """Finds out what a picture does in a network. No threads: one call at a time.

    Args:
        model, input_shape, preprocess, device: as for `Sampler`.
        labels: names of the classes; empty: unknown.
        other: another model with the same layers, such as another checkpoint; None: no differences.
        pixel_range: (lo, hi) of the pixels.
        notes: receives notes for the user.

    Raises:
        TypeError, ValueError: as `Sampler`.
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: tuple[int, ...],
        *,
        preprocess: Preprocess | None,
        device: torch.device | str | None,
        labels: Sequence[str],
        other: nn.Module | None,
        pixel_range: tuple[float, float],
        notes: Notes,
    ) -> None:
        self.input_shape, self.pixel_range, self.notes = input_shape, pixel_range, notes
        self.probe = Probe(model, input_shape, preprocess, device, labels, notes)
        self.other = None if other is None else _other(other, self.probe.device, input_shape, preprocess, labels, notes)
        self.choice = Chosen(self.probe.default_layer())
        self._signed: set[str] = set()  # layers in which a negative value has been seen
        self._backward: dict[str, tuple[object, BackwardPass]] = {}  # by its end: what it was built for, and itself
        if self.other is not None:
            self.choice = Chosen(self._first_in_both())

    def shape_of(self, layer: str) -> tuple[int, ...]:
        """(units, *positions). Raises ValueError for a layer that cannot be looked at."""
        return self.probe.place(layer).shape

    def choose(self, **changes: Any) -> None:
        """Change the choice; all or nothing. Raises ValueError or TypeError."""
        now = self.choice
        layer = changes.get("layer", now.layer)
        if not isinstance(layer, str):
            raise ValueError(f"layer must be a name as in ldam.layers(model, input_shape); got {layer!r}")
        shape = self.shape_of(layer)
        if "unit" in changes:
            changes["unit"] = checked_unit(changes["unit"], shape, layer)
        elif layer != now.layer:  # the same channel, as far as there is one
            changes["unit"] = (min(now.unit[0], shape[0] - 1),)
        if changes.get("show") == "difference" and self.other is None:
            raise ValueError("there is no other model to show differences to; give it as compare=")
        if layer != now.layer and self.other is not None:
            self._check_other(layer)
        self.choice = now.changed(**changes)

    def pin(self, on: bool) -> None:
        """Keep the chosen unit as the start of backward views, or let them follow the choice."""
        self.choose(pinned=(self.choice.layer, self.choice.unit) if on else None)

    @property
    def origin(self) -> tuple[str, Unit]:
        """Layer and unit that backward views start from."""
        return self.choice.pinned or (self.choice.layer, self.choice.unit)

    @torch.inference_mode(False)
    def look(self, x: Tensor) -> Shown:
        """For one picture (channels, height, width), in the pixel range."""
        choice = self.choice
        read = self.probe.read(x, choice.layer)
        other = None if self.other is None else self.other.read(x, choice.layer)
        maps, shown = read.maps, choice.show
        if shown == "difference" and other is not None:
            maps = other.maps - maps
        elif shown == "backward":
            maps = self._gradient_at_layer(x)
        if shown == "activations" and choice.layer not in self._signed and bool((maps < 0).any()):
            self._signed.add(choice.layer)
        signed = shown != "activations" or choice.layer in self._signed
        flat = as_maps(maps)
        unit = read.maps[choice.unit]
        return Shown(
            choice,
            self._as_picture(x),
            tiles(flat, choice.boost, choice.gamma, signed=signed),
            tiles(flat[choice.unit[0]][None], choice.boost, choice.gamma, signed=signed, limit=None),
            float(unit.max()),
            float(read.maps[choice.unit[0]].max()),
            read.classes,
            [] if other is None else other.classes,
            None if choice.rule == OFF else VIEWS[choice.view](self.gradient(x)).cpu(),
            _NO_RECTIFIERS if choice.rule != OFF and self._pass(INPUT).without_rectifiers else "",
        )

    def gradient(self, x: Tensor) -> Tensor:
        """The backward view at the pixels before it becomes a picture, like `x`. ValueError if it is off."""
        if self.choice.rule == OFF:
            raise ValueError('the backward view is off; set rule to "gradient", "guided" or "deconv"')
        return self._pass(INPUT)(x.to(self.probe.device)[None])[0]

    def _gradient_at_layer(self, x: Tensor) -> Tensor:
        layer = self.choice.layer
        place = self.probe.place(layer)
        if self.origin[0] == layer:  # nothing to go back through
            return torch.zeros(place.shape, device=self.probe.device)
        return place.in_order(self._pass(layer)(x.to(self.probe.device)[None]))[0].float()

    def _pass(self, to: str) -> BackwardPass:
        layer, unit = self.origin
        rule = "gradient" if self.choice.rule == OFF else self.choice.rule
        wanted = layer, unit, rule
        made = self._backward.get(to)
        if made is None or made[0] != wanted:
            self._backward = {end: other for end, other in self._backward.items() if end == INPUT}
            whole = unit if len(unit) > 1 else unit[0]
            made = wanted, BackwardPass(self.probe.traced, layer, whole, rule=rule, to=to)
            self._backward[to] = made
        return made[1]

    def _as_picture(self, x: Tensor) -> Tensor:
        low, high = self.pixel_range
        return ((x.float() - low) / (high - low)).clamp(0, 1).cpu()

    def _first_in_both(self) -> str:
        """The layer to begin with, in two models."""
        for layer in (self.choice.layer, *(each.name for each in self.probe.layers)):
            try:
                self._check_other(layer)
            except ValueError:
                continue
            return layer
        raise ValueError("compare: it has no layer of the same name and shape as the model")

    def _check_other(self, layer: str) -> None:
        assert self.other is not None
        try:
            shape = self.other.place(layer).shape
        except ValueError as error:
            raise ValueError(f"the other model: {error}") from error
        if shape != self.shape_of(layer):
            raise ValueError(f"layer {layer!r} is {self.shape_of(layer)}, in the other model {shape}")


def _other(
    model: nn.Module,
    device: torch.device,
    input_shape: tuple[int, ...],
    preprocess: Preprocess | None,
    labels: Sequence[str],
    notes: Notes,
) -> Probe:
    try:
        return Probe(model, input_shape, preprocess, device, labels, notes)
    except (ValueError, TypeError) as error:
        raise type(error)(f"compare: {error}") from error
