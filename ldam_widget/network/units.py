"""A neuron as a linear readout of one layer's output: a unit, the mean of a channel, or a direction.

Expressions of several are in `objectives.columns`.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Neuron(NamedTuple):
    """A resolved neuron of the chosen layer."""

    key: str  # its name in the picker and in JSON: "5", "5@3,4", "5@mean", "direction 1", "3 + 0.5*5"
    name: str  # class name or ""
    unit: int | None  # None for a direction or an expression
    readout: Tensor | tuple[int, ...]  # weights, or an index into (units, *positions) of one image, averaged
    terms: tuple[Any, ...] = ()  # of an expression, see `objectives.columns.Summand`; it has no readout of its own
    written: str = ""  # an expression with names of classes

    @property
    def short(self) -> str:
        """The label without the name."""
        return self.written or self.key

    @property
    def label(self) -> str:
        return f"{self.short} {self.name}".rstrip()

    @property
    def plain(self) -> int | str:
        """The unit as an int if that identifies the neuron, else the key."""
        return self.unit if self.unit is not None and self.key == str(self.unit) else self.key


class LayerUnits(NamedTuple):
    """The units of one layer; resolves user input into neurons."""

    layer: str
    shape: tuple[int, ...]  # (units, *positions) for one image
    axis: int  # of the units in the layer's output, (batch, …)
    names: Sequence[str]  # of the classes; may be empty

    def resolve(self, neuron: Any, at: str, position: int) -> Neuron:
        """Resolve one neuron.

        Args:
            neuron: an int, (unit, *position), "5", "5@3,4", "5@mean", a class name, or a direction tensor.
            at: readout of a plain int on a map, "center" or "mean".
            position: in the list of neurons; used to number directions.

        Raises:
            ValueError: there is no such neuron; the message says what is valid.
        """
        if isinstance(neuron, Tensor) and neuron.ndim > 0:
            return self._direction(neuron, position)
        if isinstance(neuron, str):
            neuron, at = self._parse(neuron, at)
        if isinstance(neuron, (tuple, list)):
            unit, place = neuron[0], tuple(neuron[1:])
        else:
            unit, place = neuron, None
        try:
            unit = operator.index(unit.item() if hasattr(unit, "item") else unit)
            place = None if place is None else tuple(operator.index(p) for p in place)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"a neuron is an int, (channel, y, x), '5', '5@3,4', a class name or a direction tensor; got {neuron!r}"
            ) from error
        units, positions = self.shape[0], self.shape[1:]
        if not 0 <= unit < units:
            hint = f". What neuron {-unit} dislikes is written '{unit}', in quotes" if -units < unit < 0 else ""
            raise ValueError(
                f"neuron {unit} is out of range: layer {self.layer!r} has {units} units, 0 to {units - 1}{hint}"
            )
        name = str(self.names[unit]) if self.names else ""
        if place is not None:
            if len(place) != len(positions) or any(not 0 <= p < size for p, size in zip(place, positions, strict=True)):
                raise ValueError(
                    f"neuron {(unit, *place)} does not fit layer {self.layer!r}, whose units have a map of size "
                    f"{'×'.join(map(str, positions)) or '1 (no place can be given)'}"
                )
            return Neuron(f"{unit}@{','.join(map(str, place))}", name, unit, (unit, *place))
        if at == "mean" and positions:
            return Neuron(f"{unit}@mean", name, unit, (unit,))
        return Neuron(str(unit), name, unit, (unit, *centre(positions)))

    def _parse(self, text: str, at: str) -> tuple[Any, str]:
        match = re.fullmatch(r"\s*(\d+)(?:@(mean|center|\d+(?:\s*,\s*\d+)*))?\s*", text)
        if match:
            unit, place = int(match[1]), match[2]
            if place in ("mean", "center"):
                return unit, place
            return (unit, *(int(p) for p in place.split(","))) if place else unit, at
        if text in self.names:
            return list(self.names).index(text), at
        raise ValueError(f"neuron {unknown_name(text, self.names)}")

    def _direction(self, direction: Tensor, position: int) -> Neuron:
        units, *positions = self.shape
        natural = (*positions[: self.axis - 1], units, *positions[self.axis - 1 :])  # as the layer returns it
        direction = direction.detach().to("cpu", torch.float32)
        if tuple(direction.shape) not in {natural, (units,)}:
            raise ValueError(
                f"a direction for layer {self.layer!r} has shape {(units,)} (at the map's centre) or {natural}; "
                f"got {tuple(direction.shape)}"
            )
        norm = float(direction.norm())
        if not 0 < norm < float("inf"):
            raise ValueError(f"a direction must be finite and not zero; its norm is {norm}")
        if direction.ndim == 1:
            weights = torch.zeros(self.shape)
            weights.movedim(0, -1)[centre(tuple(positions))] = direction / norm
        else:
            weights = (direction / norm).movedim(self.axis - 1, 0)
        return Neuron(f"direction {position + 1}", "", None, weights)


def centre(positions: tuple[int, ...]) -> tuple[int, ...]:
    """The middle of a map; for even sizes, the later of the two middle positions."""
    return tuple(size // 2 for size in positions)


def unknown_name(text: str, names: Sequence[str]) -> str:
    """What is wrong with a text that names no neuron, with suggestions."""
    names = [str(name) for name in names]
    near = difflib.get_close_matches(text, names, n=3)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    listed = f" (known are: {', '.join(names[:30])}{', …' if len(names) > 30 else ''})" if names else ""
    return f"{text!r} is neither a number such as '5' or '5@3,4' nor a known class name{hint}{listed}"


def as_list(neurons: Any) -> list[Any] | None:
    """The user's `neurons` as a list. Raises ValueError if it is not iterable."""
    if neurons is None:
        return None
    if isinstance(neurons, Tensor) and neurons.ndim == 1 and not neurons.is_floating_point():
        return list(neurons.tolist())  # [3, 5], not a direction
    if isinstance(neurons, (int, str)) or (isinstance(neurons, Tensor) and neurons.ndim <= 1):
        return [neurons]
    if isinstance(neurons, tuple) and neurons and all(isinstance(n, int) for n in neurons):
        # (3, 5) could be two neurons or one position; a sequence always means a list of neurons
        return list(neurons)
    try:
        return list(neurons)
    except TypeError as error:
        raise ValueError(f"neurons must be a list of neurons, e.g. range(10) or [3, 5]; got {neurons!r}") from error
