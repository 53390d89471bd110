"""The rank of an activation among those of real images, and goals given as percentiles."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import torch
from torch import Tensor

from ..data import RealImages
from ..objectives.neuron import Interpolated, Neurons

MOST_IMAGES = 1000  # examined at most
_BATCH_PIXELS = 2**20  # numbers in a batch of images
_NOT_FINITE, _DEAD = "not known: NaN or infinite", "as on every real image: dead or saturated"
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")


def check_goal(goal: Any) -> float | str | None:
    """A validated goal: a number, "p99", or None. Raises TypeError or ValueError for anything else."""
    if goal is None:
        return None
    if isinstance(goal, str):
        if not _PERCENTILE.fullmatch(goal):
            raise ValueError(f'goal must be a number, a percentile of real images such as "p99", or None; got {goal!r}')
        return goal
    try:
        number = float(goal)
    except (TypeError, ValueError):
        raise TypeError(f'goal must be a number, a percentile such as "p99", or None; got {goal!r}') from None
    if not abs(number) < float("inf"):
        raise ValueError(f"goal must be a finite number; got {number}")
    return number


class Standing:
    """Activations of some neurons on real images.

    Args:
        real: the images; at most 1,000 of them, evenly spaced, are examined.
        neurons: the neurons to evaluate.
    """

    def __init__(self, real: RealImages, neurons: Neurons | Interpolated) -> None:
        images = real.spread(MOST_IMAGES)
        self._neurons = neurons
        self._left = list(torch.split(images, max(1, _BATCH_PIXELS // max(1, images[0].numel()))))
        self._found: list[Tensor] = []
        self._sorted = torch.empty(0)  # (N, images), once all are evaluated

    def work(self, seconds: float = math.inf) -> bool:
        """Evaluate images for about this long, at least one batch. Returns whether all are done."""
        until = time.monotonic() + seconds
        while self._left:
            self._found.append(self._neurons.activations(self._left[0]).cpu().double())
            del self._left[0]
            if not self._left:
                self._sorted = torch.cat(self._found).T.contiguous().sort(1).values
                self._found.clear()
            elif time.monotonic() >= until:
                return False
        return True

    def percentile(self, goal: str) -> Tensor:
        """The activation (N,) at "p50", "p99", …, by linear interpolation between images."""
        match = _PERCENTILE.fullmatch(goal)
        assert match is not None
        self.work()
        return torch.quantile(self._sorted, float(match[1]) / 100, dim=1)

    def say(self, activation: Tensor) -> list[str]:
        """The rank in words, for the mean activation (N,) of each neuron."""
        self.work()
        return [self._words(column, float(value)) for column, value in zip(self._sorted, activation, strict=True)]

    @staticmethod
    def _words(column: Tensor, value: float) -> str:
        column = column[column.isfinite()]
        if not math.isfinite(value) or not len(column):
            return _NOT_FINITE
        strongest = float(column[-1])
        if len(column) > 1 and value == strongest == float(column[0]):
            return _DEAD
        if value > strongest:
            if strongest > 0:
                return f"{value / strongest:.1f} × the strongest real image"
            return "stronger than every real image"
        below = int(torch.searchsorted(column, torch.tensor(value, dtype=column.dtype)))
        return f"as strong as {100 * below / len(column):.1f} % of real images"


def in_short(words: str) -> str:
    """Shortens `Standing.say`'s text to fit a tile: "p99.1", "2.3 × max", "> max", "dead?", "NaN"."""
    if words in (_NOT_FINITE, _DEAD):
        return "NaN" if words == _NOT_FINITE else "dead?"
    number = words.removeprefix("as strong as ").partition(" ")[0]
    if words.endswith("% of real images"):
        return f"p{number}"
    return f"{number} × max" if "×" in words else "> max"
