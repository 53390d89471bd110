"""A gradient through recordings of it: one for every shape of its arguments, watched for still being right."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from .memory import is_out_of_memory

Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_SHAPES = 3  # of batches that are kept: a whole part, the last one, and those of before
_EVERY = 1.0  # seconds between two comparisons with the function itself, at least
_SHARE = 0.01  # of the time that comparisons may take
_TOLERANCE = 1e-4  # of the largest number of an image: the same routines compute both

# What a network keeps for its passes and a recording now writes into: nobody else may use it any more.
taken: contextvars.ContextVar[dict[Any, Any] | None] = contextvars.ContextVar("taken", default=None)


class Recording(Protocol):
    """Does again what a function did."""

    def replay(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """For arguments of the same shapes; returns tensors that nobody else has."""
        ...


class Recordings:
    """Calls a function through recordings of it.

    Whatever Python decides is decided for good in a recording. Therefore it is compared with the function itself once
    a second, or as often as a hundredth of the time allows, and made anew if they differ.

    Args:
        record: makes a recording of a function that is called with some arguments.
    """

    def __init__(self, record: Callable[[Gradient, Tensor, Tensor], Recording]) -> None:
        self._record = record
        self._kept: dict[Any, Recording] = {}  # the one used last comes last
        self._check_at: dict[Any, float] = {}
        self._rest_until = 0.0
        self._free = [True]  # to be popped: a recording writes where it always writes, for one caller at a time
        self.marks: Callable[[], Any] = lambda: None  # changes when the weights do
        self.failed = False  # the function, or a batch of another size than that of the trial, could not be recorded

    def __call__(self, function: Gradient, x: Tensor, seed: Tensor, *, strict: bool = False) -> tuple[Tensor, Tensor]:
        """`function(x, seed)`; the tensors that come back are the caller's own.

        Args:
            function: gives new tensors, the same for the same arguments.
            strict: raise where the function cannot be recorded, rather than run it as it is.
        """
        try:
            free = self._free.pop()
        except IndexError:
            return function(x, seed)
        try:
            if self.failed or time.monotonic() < self._rest_until:
                return function(x, seed)
            key = tuple((t.shape, t.stride(), t.dtype, t.device) for t in (x, seed))
            recording = self._kept.pop(key, None)
            if recording is None:
                return self._begin(key, function, x, seed, strict)
            self._kept[key] = recording
            if time.monotonic() < self._check_at[key]:
                return self._again(recording, function, x, seed)
            return self._check(key, recording, function, x, seed)
        finally:
            self._free.append(free)

    def clear(self) -> None:
        """Give back what the recordings hold."""
        self._kept.clear()

    def _again(self, recording: Recording, function: Gradient, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return recording.replay(x, seed)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.failed = True  # what it does depends on numbers, in a way that was not seen
            return function(x, seed)

    def _begin(self, key: Any, function: Gradient, x: Tensor, seed: Tensor, strict: bool) -> tuple[Tensor, Tensor]:
        plain = function(x, seed)  # what it makes once and keeps is made now; what it raises is its own
        marks = self.marks()
        try:
            token = taken.set({})
            try:
                recording = self._record(function, x, seed)
            finally:
                taken.reset(token)
            # by other numbers than it was recorded with, or one that does nothing at all would seem right
            other = x.detach().flatten().flip(0).view_as(x), -seed
            if not _same(function(*other), recording.replay(*other)):
                raise RuntimeError("what was recorded does not follow its input")
        except Exception as error:
            if strict or is_out_of_memory(error):
                raise
            if self.marks() == marks:
                self.failed = True
            self._rest_until = time.monotonic() + _EVERY  # weights that are just being changed prove nothing
            return plain
        while len(self._kept) >= _SHAPES:
            self._kept.pop(next(iter(self._kept)), None)
        self._check_at = {one: at for one, at in self._check_at.items() if one in self._kept}
        self._kept[key], self._check_at[key] = recording, time.monotonic() + _EVERY
        return recording.replay(x, seed)

    def _check(
        self, key: Any, recording: Recording, function: Gradient, x: Tensor, seed: Tensor
    ) -> tuple[Tensor, Tensor]:
        began, marks = time.monotonic(), self.marks()
        plain, again = function(x, seed), self._again(recording, function, x, seed)
        right = _same(plain, again)
        if not right and self.marks() == marks:
            self._kept.pop(key, None)  # the next call makes another
        now = time.monotonic()
        self._check_at[key] = now + max(_EVERY, (now - began) / _SHARE)
        return again if right else plain  # the moment of a check must not be seen in a chain, not even by rounding


def _same(plain: tuple[Tensor, Tensor], again: tuple[Tensor, Tensor]) -> bool:
    """Image by image: one that is wrong among many is wrong."""
    return all(
        a.shape == b.shape and bool(((a - b).abs().flatten(1).amax(1) <= _TOLERANCE * a.abs().flatten(1).amax(1)).all())
        for a, b in zip(plain, again, strict=True)
    )
