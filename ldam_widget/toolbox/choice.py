"""`Chosen`: all that can be chosen in the toolbox, checked."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from .backward import RULES
from .views import VIEWS

OFF = "off"
BACKWARD = (OFF, *RULES)  # in the order of the key that cycles them
SHOWN = ("activations", "backward", "difference")
FITS = ("crop", "stretch")

Unit = tuple[int, ...]  # (channel,) or (channel, *position)


@dataclass(frozen=True)
class Chosen:
    """What is shown.

    Attributes:
        layer: a dotted name.
        unit: (channel,): all of its map; or (channel, y, x).
        rule: of the backward view, or "off".
        view: of the gradient at the pixels, one of `views.VIEWS`.
        show: what the tiles are: activations, the gradient that arrives at the layer from the pinned unit, or the
            difference to the other model.
        boost: from 0 (channels share a scale) to 1 (each has its own).
        gamma: exponent of grey levels, in (0, 1].
        fit: how pictures are brought into shape.
        frozen: pictures from the camera are ignored.
        pinned: layer and unit that backward views start from, while others are looked at; None: those chosen.
    """

    layer: str
    unit: Unit = (0,)
    rule: str = OFF
    view: str = "raw"
    show: str = "activations"
    boost: float = 0.0
    gamma: float = 1.0
    fit: str = "crop"
    frozen: bool = False
    pinned: tuple[str, Unit] | None = None

    def changed(self, **changes: Any) -> Chosen:
        """A copy with changes. Raises ValueError for a value that does not exist; units are not checked."""
        for name, allowed in _WORDS.items():
            if name in changes and changes[name] not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {changes[name]!r}")
        for name, (low, high, closed) in _NUMBERS.items():
            if name in changes:
                changes[name] = _number(name, changes[name], low, high, closed)
        if "frozen" in changes and not isinstance(changes["frozen"], bool):
            raise ValueError(f"frozen must be True or False; got {changes['frozen']!r}")
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown:
            raise TypeError(f"unknown: {', '.join(sorted(unknown))}")
        return replace(self, **changes)


_WORDS: dict[str, Sequence[str]] = {"rule": BACKWARD, "view": tuple(VIEWS), "show": SHOWN, "fit": FITS}
_NUMBERS = {"boost": (0.0, 1.0, True), "gamma": (0.0, 1.0, False)}


def _number(name: str, value: Any, low: float, high: float, closed: bool) -> float:
    sound = isinstance(value, numbers.Real) and not isinstance(value, bool)  # NumPy's, too
    if not sound or not (low <= value if closed else low < value) or not value <= high:
        lowest = f"{low:g}{'' if closed else ' (excluded)'}"
        raise ValueError(f"{name} must be a number from {lowest} to {high:g}; got {value!r}")
    return float(value)


def checked_unit(unit: Any, shape: tuple[int, ...], layer: str) -> Unit:
    """A channel, or (channel, *position), of a layer whose output has `shape`. Raises ValueError."""
    try:
        found = tuple(operator.index(each) for each in (unit if isinstance(unit, (tuple, list)) else (unit,)))
    except TypeError:
        found = ()
    if isinstance(unit, bool) or len(found) not in (1, len(shape)):
        raise ValueError(
            f"unit must be a channel, or (channel, y, x) of a map; layer {layer!r} is {shape}; got {unit!r}"
        )
    if not all(0 <= each < size for each, size in zip(found, shape, strict=False)):
        raise ValueError(f"unit {unit!r} is out of range: layer {layer!r} has {'×'.join(map(str, shape))} units")
    return found
