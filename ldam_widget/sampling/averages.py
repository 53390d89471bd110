"""Averages of the chains over time: what all the images a neuron likes have in common.

Time is measured in pictures (one every `steps_per_frame` steps), like the original program's averaging time. Both
averages are unbiased from the first picture on: each is a weighted mean of pictures with weights that sum to one.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..core.parameters import AVERAGE, Parameter
from ..core.precision import double
from ..core.target import per_image

_DECAY = Parameter("decay", 0, 1 - 1 / AVERAGE.high, 0.99, "Share of the average that is kept at every picture.")
_LENGTH = Parameter("length", AVERAGE.low, AVERAGE.high, 200, "Pictures in the mean.", integer=True)


class Average(Protocol):
    """Frozen settings that create an accumulator."""

    @property
    def time(self) -> float:
        """Averaging time in pictures, the live parameter `average`."""
        ...

    def start(self) -> Accumulator: ...


class Accumulator(Protocol):
    """The running average. `mean` is replaced, never modified in place, since other threads may read it."""

    mean: Tensor | None  # None before the first picture

    def add(self, x: Tensor) -> None: ...

    def set_time(self, time: float) -> None: ...

    def regrouped(self, rows: Tensor, pictures: Tensor) -> Accumulator:
        """The averages of some of these chains and of new ones; this accumulator is unchanged.

        Args:
            rows: (chain,), the index of each chain among the present ones; −1 for a new chain, with a new average.
            pictures: (chain, *image), shown for new chains until their first picture is added.
        """
        ...


@dataclass(frozen=True)
class EMA:
    """Exponential moving average: the picture k frames ago has weight `decay`^k.

    Args:
        decay: in [0, 1 − 1/518]; the averaging time is 1/(1 − decay) pictures (Synthesis.scala, lines 342 to 344,
            where it is a slider from 1 to 518). 0 means no averaging.

    Raises:
        TypeError, ValueError: decay is not a number or is out of range.
    """

    decay: float = 0.99

    def __post_init__(self) -> None:
        _DECAY.check(self.decay)

    @property
    def time(self) -> float:
        return min(round(1 / (1 - self.decay), 9), AVERAGE.high)  # 100, not 99.99999999999991

    def start(self) -> _Exponential:
        return _Exponential(self.time)


@dataclass(frozen=True)
class Window:
    """Plain mean of the last `length` pictures (the paper averages 200). Keeps all of them in memory.

    Args:
        length: 1 to 518 pictures.

    Raises:
        TypeError, ValueError: length is not an integer or is out of range.
    """

    length: int = 200

    def __post_init__(self) -> None:
        _LENGTH.check(self.length)

    @property
    def time(self) -> float:
        return float(self.length)

    def start(self) -> _Window:
        return _Window(self.length)


class _Exponential:
    def __init__(self, time: float) -> None:
        self.mean: Tensor | None = None
        self._weight: float | Tensor = 0.0  # Σ decay^k: dividing by it removes the bias towards the start
        self.set_time(time)

    def set_time(self, time: float) -> None:
        self._decay = 1 - 1 / time

    def add(self, x: Tensor) -> None:
        self._weight = self._decay * self._weight + 1
        if self.mean is None:
            self.mean = x
        elif isinstance(self._weight, Tensor):
            self.mean = torch.lerp(self.mean, x, per_image(1 / self._weight, x))
        else:
            self.mean = self.mean.lerp(x, 1 / self._weight)

    def regrouped(self, rows: Tensor, pictures: Tensor) -> _Exponential:
        other = copy.copy(self)
        if self.mean is not None:
            other.mean = _taken(self.mean, rows, pictures)
            weight = (
                self._weight
                if isinstance(self._weight, Tensor)
                else self.mean.new_full((len(self.mean),), self._weight)
            )
            other._weight = _taken(weight, rows, torch.zeros_like(rows, dtype=weight.dtype))
        return other


class _Window:
    def __init__(self, length: float) -> None:
        self.mean: Tensor | None = None
        self._kept: deque[Tensor] = deque()
        self._sum: Tensor | None = None  # float64, so that hours of adding and subtracting do not drift
        self._missing: float | Tensor = 0  # placeholder pictures, all 0, from before a chain existed
        self.set_time(length)

    def set_time(self, time: float) -> None:
        self._length = math.ceil(time)

    def add(self, x: Tensor) -> None:
        self._kept.append(x)
        self._sum = double(x) if self._sum is None else self._sum + x
        while len(self._kept) > self._length:
            self._sum = self._sum - self._kept.popleft()
            self._missing = self._missing - 1 * (self._missing > 0)
        counted: float | Tensor = len(self._kept) - self._missing
        self.mean = (self._sum / per_image(counted, self._sum)).to(x.dtype)

    def regrouped(self, rows: Tensor, pictures: Tensor) -> _Window:
        other = copy.copy(self)
        if self.mean is None or self._sum is None:
            return other
        nothing = torch.zeros_like(pictures)
        other.mean = _taken(self.mean, rows, pictures)
        other._sum = _taken(self._sum, rows, double(nothing))
        other._kept = deque(_taken(kept, rows, nothing) for kept in self._kept)
        missing = torch.zeros(len(self.mean), device=rows.device) + self._missing
        other._missing = _taken(missing, rows, torch.full_like(rows, len(self._kept), dtype=missing.dtype))
        return other


def _taken(values: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """Selected rows of `values`; rows of `new` where the index is −1."""
    return torch.where(per_image(rows >= 0, new), values[rows.clamp_min(0)], new)
