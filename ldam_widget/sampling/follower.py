"""Watching a model while it trains: kept weights, a sampler that follows them, and what that costs."""

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

_FIRST = 5  # iterations that are slow for reasons of their own
_ENOUGH = 8  # iterations from which a mean is told
_LONG_ENOUGH = 0.3  # seconds that they must have taken together
_PAUSE = 0.25  # seconds; what takes longer, and ten times as long as others, is no iteration
_REMEMBERED = 1000  # iterations at most, …
_REMEMBERED_SECONDS = 20.0  # … and for so long
_LEAST = 50


class Checkpoint(NamedTuple):
    """The weights of one moment, on the CPU."""

    iteration: int
    weights: list[Tensor]  # in the order of `models.weights_of`
    average: list[Tensor] | None  # the running average, if there is one


class CheckpointHistory:
    """Kept checkpoints, bounded: when there are too many, that one goes whose neighbours are nearest to each other.

    What is kept is therefore spread over the whole training, however long it lasts.

    Args:
        limit: checkpoints, ≥ 2; the first and the newest are always among them.
        half: keep all but the newest in half precision, as far as they are floating-point numbers within its range.
    """

    def __init__(self, limit: int, half: bool = False) -> None:
        self.limit, self.half = limit, half
        self.kept: tuple[Checkpoint, ...] = ()  # replaced, never changed: other threads read it

    @property
    def iterations(self) -> list[int]:
        return [checkpoint.iteration for checkpoint in self.kept]

    def add(self, checkpoint: Checkpoint) -> None:
        """Keep the newest one; a former one of the same iteration is replaced."""
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
        return small if bool(small.isfinite().all()) else tensor  # of numbers above 65504, such as variances

    average = None if checkpoint.average is None else [half(tensor) for tensor in checkpoint.average]
    return Checkpoint(checkpoint.iteration, [half(tensor) for tensor in checkpoint.weights], average)


@torch.no_grad()
def taken(model: nn.Module) -> list[Tensor]:
    """The weights of `model` as they are now, copied to the CPU."""
    return [tensor.detach().to("cpu", copy=True) for tensor in weights_of(model)]


class Follower(Sampler):
    """A sampler of a copy of the model, which gets other weights from time to time.

    Arguments and errors as of `Sampler`. The model itself may be changed by its training at any moment: a picture is
    of the weights of one moment all the same.
    """

    def __init__(self, model: nn.Module, **settings: Unpack[SamplerArguments]) -> None:
        # one thread puts in what another takes out
        self._wanted: deque[tuple[int, Sequence[Tensor], float]] = deque(maxlen=1)
        self.iteration = 0  # of the weights in use
        notes = QuietNotes()  # a model that trains is in training mode: no reason for a warning
        super().__init__(detached_copy(model, notes), **settings)
        self.notes += notes

    def follow(self, iteration: int, weights: Sequence[Tensor], pace: float = 0.3) -> None:
        """Go on with other weights from the next step on; from any thread, the last call wins.

        Args:
            iteration: of these weights.
            weights: as of `taken`.
            pace: how far a frozen gradient scale goes towards that of the new weights, 0…1.
        """
        self._wanted.append((iteration, weights, pace))

    def step(self, n: int = 1) -> Any:
        self.adopt()
        return super().step(n)

    def restart(self, seed: int | None = None) -> None:
        self.adopt()
        super().restart(seed)

    @torch.no_grad()
    @in_turn
    def adopt(self) -> None:
        """Take over weights that wait. Raises SamplingError if an activation is not finite with them."""
        try:
            self.iteration, weights, pace = self._wanted.pop()
        except IndexError:
            return
        # of the view, which has weights of its own where it stands on another device than the copy
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
    """By how much an iteration takes longer while pictures are made than while none are.

    Means of the last ones, without what is no iteration but a validation or a pause between. A median would not see
    what falls on few iterations, and pictures are fewer than fast iterations.
    """

    def __init__(self) -> None:
        self._times: dict[bool, list[float]] = {False: [], True: []}  # with pictures? -> seconds, oldest first
        self._total = {False: 0.0, True: 0.0}
        self._last: float | None = None
        self._drawn = False
        self.iterations = 0

    def tick(self, now: float, drawn: bool) -> None:
        """An iteration has ended at `now`, seconds; were pictures made meanwhile?"""
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
        """Is it known how long an iteration takes without pictures?"""
        times = self._times[False]
        return len(times) >= _ENOUGH and self._total[False] >= _LONG_ENOUGH

    @property
    def share(self) -> float | None:
        """0.12 is 12 % slower; None while it is not known. Not below 0, which is noise."""
        without, with_pictures = list(self._times[False]), list(self._times[True])
        if min(len(without), len(with_pictures)) < _ENOUGH:
            return None
        plain = _mean(without)
        return max(0.0, _mean(with_pictures) / plain - 1) if plain > 0 else math.nan


def _mean(times: list[float]) -> float:
    longest = max(_PAUSE, 10 * statistics.median(times))
    return statistics.fmean(seconds for seconds in times if seconds <= longest)
