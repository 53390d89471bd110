"""Live parameters: the common definition behind a slider, an attribute, a JSON message and a command-line option."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """One number that can change while the sampler runs.

    Kernels and regularisers declare their own; the panel is built from these declarations.
    """

    name: str  # in Python, JSON and on the command line
    low: float
    high: float
    default: float
    help: str
    label: str = ""  # accessible name of the slider; if empty, the name without underscores
    group: str = "sampler"  # heading in the panel: "sampler", "image prior", "picture"
    unit: str = ""
    log: bool = False  # logarithmic slider
    zero: bool = False  # exactly 0 is allowed as well, below `low`
    integer: bool = False

    def check(self, value: Any) -> float:
        """Return value as a plain number.

        Raises:
            TypeError: it is not a real number.
            ValueError: it is not finite, out of range, or not an integer although `integer` is set.
        """
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            # numpy and torch scalars are accepted, strings and arrays are not
            item = getattr(value, "item", None)
            if isinstance(value, (bool, str, bytes)) or item is None or getattr(value, "ndim", 0) != 0:
                raise TypeError(f"{self.name} must be a number, {self.allowed()}; got {value!r}")
            value = item()
        try:
            number = float(value)
        except OverflowError:  # an integer too large for a float
            number = math.inf if value > 0 else -math.inf
        inside = self.low <= number <= self.high or (self.zero and number == 0.0)
        if not math.isfinite(number) or not inside:
            raise ValueError(f"{self.name} must be {self.allowed()}; got {number:g}")
        if self.integer and number != round(number):
            raise ValueError(f"{self.name} must be an integer, {self.allowed()}; got {number:g}")
        return int(number) if self.integer else number

    def allowed(self) -> str:
        """The allowed values in words."""
        return f"{'0 or ' if self.zero and self.low > 0 else ''}between {self.low:g} and {self.high:g}"

    def describe(self) -> dict[str, Any]:
        """JSON-safe description for the front end."""
        return {**self._asdict(), "label": self.label or self.name.replace("_", " ")}


def check_all(known: Iterable[Parameter], values: Mapping[str, Any]) -> dict[str, float]:
    """Validate several values before any of them is applied.

    Raises:
        ValueError: an unknown name; the message suggests the closest ones and lists all known names.
    """
    table = {parameter.name: parameter for parameter in known}
    checked = {}
    for name, value in values.items():
        if name not in table:
            near = difflib.get_close_matches(str(name), table, n=2)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(f"unknown parameter {name!r}{hint}; known are: {', '.join(table)}")
        checked[name] = table[name].check(value)
    return checked


STEPS_PER_FRAME = Parameter(
    "steps_per_frame", 1, 101, 2, "Steps between two pictures; the average and the trace count pictures.",
    integer=True,
)  # fmt: skip
TEMPERATURE = Parameter(
    "temperature", 1e-6, 1e4, 1.0, "p(x) ∝ exp(E(x)/T): higher wanders further, 0 is plain activation maximisation.",
    unit="", log=True, zero=True,
)  # fmt: skip
GOAL = Parameter(
    "goal", 1e-6, 1e6, 0.0, "Target mean activation: T is tuned to reach it, neuron by neuron. 0: none.",
    log=True, zero=True,
)  # fmt: skip
AVERAGE = Parameter(
    "average", 1, 518, 100, "Averaging time: each picture keeps 1 − 1/time of the average; 1 is no averaging.",
    group="picture", unit="frames", log=True,
)  # fmt: skip
DISPLAY_SCALE = Parameter(
    "display_scale", 0, 10, 1.0, "Contrast of the picture only: grey level = base + scale · 255 · (x − middle)/range.",
    group="picture",
)  # fmt: skip
DISPLAY_BASE = Parameter(
    "display_base", 0, 400, 127.5, "Grey level of the middle of the pixel range; brightness of the picture only.",
    group="picture", unit="",
)  # fmt: skip
