"""Watching a model while it trains: stored checkpoints, a sampler that follows the weights, and what it costs."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from ..core.notes import QuietNotes
from ..network.view import detached_copy, weights_of
from .arguments import SamplerArguments
from .run import in_turn
from .sampler import Sampler, SamplingError
from .starts import Start

_FIRST = 5  # warm-up iterations, which are slow anyway
_ENOUGH = 8  # iterations needed for a mean
_LONG_ENOUGH = 0.3  # seconds that they must have taken in total
_PAUSE = 0.25  # seconds; anything longer, and ten times longer than usual, is not an iteration
_REMEMBERED = 1000  # iterations at most, …
_REMEMBERED_SECONDS = 20.0  # … and from at most this many seconds
_LEAST = 50


class Checkpoint(NamedTuple):
    """The weights at one iteration, on the CPU."""

    iteration: int
    weights: list[Tensor]  # in the order of `weights_of`
    average: list[Tensor] | None  # the running average, if any


class CheckpointHistory:
    """A bounded list of checkpoints: when it is full, the one whose neighbours are closest together is dropped.

    The checkpoints therefore stay spread over the whole training run, however long it is.

    Args:
        limit: checkpoints, ≥ 2; the first and the newest are always kept.
        half: keep all but the newest in half precision, where floating-point values fit its range.
    """

    def __init__(self, limit: int, half: bool = False) -> None:
        self.limit, self.half = limit, half
        self.kept: tuple[Checkpoint, ...] = ()  # replaced, never modified: other threads read it

    @property
    def iterations(self) -> list[int]:
        return [checkpoint.iteration for checkpoint in self.kept]

    def add(self, checkpoint: Checkpoint) -> None:
        """Add the newest checkpoint; one with the same iteration is replaced."""
        older = [kept for kept in self.kept if kept.iteration < checkpoint.iteration]
        if self.half and older:
            older[-1] = _halved(older[-1])
        kept = [*older, checkpoint]
        if len(kept) > self.limit:
            del kept[min(range(1, len(kept) - 1), key=lambda i: kept[i + 1].iteration - kept[i - 1].iteration)]
        self.kept = tuple(kept)


def _halved(checkpoint: Checkpoint) -> Checkpoint:
    def half(tensor: Tensor) -> Tensor:
        small = tensor.half() if tensor.is_floating_point() else tensor
        return small if bool(small.isfinite().all()) else tensor  # values above 65504, such as variances, do not fit

    average = None if checkpoint.average is None else [half(tensor) for tensor in checkpoint.average]
    return Checkpoint(checkpoint.iteration, [half(tensor) for tensor in checkpoint.weights], average)


@torch.no_grad()
def taken(model: nn.Module) -> list[Tensor]:
    """The current weights of `model`, copied to the CPU."""
    return [tensor.detach().to("cpu", copy=True) for tensor in weights_of(model)]


class Follower(Sampler):
    """A sampler of a copy of the model, whose weights are updated from time to time.

    Arguments and errors as for `Sampler`. The training may change the model itself at any moment, but a picture always
    shows the weights of a single iteration.
    """

    def __init__(self, model: nn.Module, **settings: Unpack[SamplerArguments]) -> None:
        # one thread appends, another pops
        self._wanted: deque[tuple[int, Sequence[Tensor], float]] = deque(maxlen=1)
        self.iteration = 0  # of the weights in use
        notes = QuietNotes()  # a model in training is in training mode: no need to warn
        super().__init__(detached_copy(model, notes), **settings)
        self.notes += notes

    def follow(self, iteration: int, weights: Sequence[Tensor], pace: float = 0.3) -> None:
        """Switch to other weights from the next step on; thread-safe, the last call wins.

        Args:
            iteration: of these weights.
            weights: from `taken`.
            pace: how far a frozen gradient scale moves towards that of the new weights, 0…1.
        """
        self._wanted.append((iteration, weights, pace))

    def step(self, n: int = 1) -> Any:
        self.adopt()
        return super().step(n)

    def restart(self, seed: int | None = None, start: Start | None = None) -> None:
        self.adopt()
        super().restart(seed, start)

    @torch.no_grad()
    @in_turn
    def adopt(self) -> None:
        """Load the weights that are waiting. Raises SamplingError if an activation is not finite with them."""
        try:
            self.iteration, weights, pace = self._wanted.pop()
        except IndexError:
            return
        # of the view, which has its own weights if it is on another device than the copy
        for own, new in zip(weights_of(self.view), weights, strict=True):
            own.data.copy_(new)
        try:
            self.weights_changed(pace)
        except SamplingError as error:
            if all(bool(tensor.isfinite().all()) for tensor in weights):
                raise
            raise SamplingError(
                f"the weights of iteration {self.iteration} hold NaN or infinite values: training diverged. "
                "Earlier checkpoints can still be shown."
            ) from error


class Cost:
    """The slowdown of a training iteration while pictures are being sampled.

    Uses means of recent iterations, excluding validation and pauses. A median would miss costs that fall on few
    iterations, and pictures are rarer than fast iterations.
    """

    def __init__(self) -> None:
        self._times: dict[bool, list[float]] = {False: [], True: []}  # with pictures? -> seconds, oldest first
        self._total = {False: 0.0, True: 0.0}
        self._last: float | None = None
        self._drawn = False
        self.iterations = 0

    def tick(self, now: float, drawn: bool) -> None:
        """Record that an iteration ended at `now`, in seconds, and whether pictures were sampled during it."""
        self.iterations += 1
        if self._last is not None and drawn == self._drawn and self.iterations > _FIRST:
            times = self._times[drawn]
            times.append(now - self._last)
            self._total[drawn] += now - self._last
            while len(times) > _REMEMBERED or (len(times) > _LEAST and self._total[drawn] > _REMEMBERED_SECONDS):
                self._total[drawn] -= times.pop(0)
        self._last, self._drawn = now, drawn

    @property
    def calibrated(self) -> bool:
        """Whether the duration of an iteration without pictures is known."""
        times = self._times[False]
        return len(times) >= _ENOUGH and self._total[False] >= _LONG_ENOUGH

    @property
    def share(self) -> float | None:
        """Relative slowdown, e.g. 0.12 for 12 %; None if unknown. Clipped at 0, since less is noise."""
        without, with_pictures = list(self._times[False]), list(self._times[True])
        if min(len(without), len(with_pictures)) < _ENOUGH:
            return None
        plain = _mean(without)
        return max(0.0, _mean(with_pictures) / plain - 1) if plain > 0 else math.nan


def _mean(times: list[float]) -> float:
    longest = max(_PAUSE, 10 * statistics.median(times))
    return statistics.fmean(seconds for seconds in times if seconds <= longest)
