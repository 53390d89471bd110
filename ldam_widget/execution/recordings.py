"""A gradient through recordings of it: one for every shape of its arguments, watched for still being right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from .memory import is_out_of_memory
from .trial import agree

Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_SHAPES = 2  # of batches that are kept: a whole part and the last one
_EVERY = 1.0  # seconds between two comparisons with the function itself, at least
_SHARE = 0.01  # of the time that comparisons may take


class Recording(Protocol):
    """Does again what a function did."""

    def replay(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """For arguments of the same shapes; returns tensors that nobody else has."""
        ...


class Recordings:
    """Calls a function through recordings of it.

    Whatever Python decides is decided for good in a recording. Therefore it is compared with the function itself about
    once a second, and made anew if they differ.

    Args:
        record: makes a recording of a function that is called with some arguments.
    """

    def __init__(self, record: Callable[[Gradient, Tensor, Tensor], Recording]) -> None:
        self._record = record
        self._kept: dict[Any, Recording] = {}
        self._check_at: dict[Any, float] = {}
        self._free = [True]  # to be popped: a recording writes where it always writes, for one caller at a time
        self.failed = False  # a batch of another size than that of the trial could not be recorded

    def __call__(self, function: Gradient, x: Tensor, seed: Tensor, *, strict: bool = False) -> tuple[Tensor, Tensor]:
        """`function(x, seed)`; the tensors that come back are the caller's own.

        Args:
            function: gives new tensors, the same for the same arguments.
            strict: raise where the function cannot be recorded, rather than run it as it is.
        """
        if self.failed:
            return function(x, seed)
        try:
            free = self._free.pop()
        except IndexError:
            return function(x, seed)
        try:
            key = tuple((t.shape, t.stride(), t.dtype, t.device) for t in (x, seed))
            if key not in self._kept:
                return self._begin(key, function, x, seed, strict)
            if time.monotonic() < self._check_at[key]:
                return self._kept[key].replay(x, seed)
            return self._check(key, function, x, seed)
        finally:
            self._free.append(free)

    def clear(self) -> None:
        """Give back what the recordings hold."""
        self._kept.clear()

    def _begin(self, key: Any, function: Gradient, x: Tensor, seed: Tensor, strict: bool) -> tuple[Tensor, Tensor]:
        if len(self._kept) >= _SHAPES:
            self._kept.clear()
        plain = function(x, seed)  # what it makes once and keeps is made now; what it raises is its own
        try:
            recording = self._record(function, x, seed)
            # by other numbers than it was recorded with, or one that does nothing at all would seem right
            other = 0.5 - x.detach(), -seed
            if not agree(function(*other), recording.replay(*other)):
                raise RuntimeError("what was recorded does not follow its input")
        except Exception as error:
            if strict or is_out_of_memory(error):
                raise
            self.failed = True
            return plain
        self._kept[key], self._check_at[key] = recording, time.monotonic() + _EVERY
        return recording.replay(x, seed)

    def _check(self, key: Any, function: Gradient, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        began = time.monotonic()
        plain, again = function(x, seed), self._kept[key].replay(x, seed)
        right = agree(plain, again)
        if not right:
            del self._kept[key]  # the next call makes another
        now = time.monotonic()
        self._check_at[key] = now + max(_EVERY, (now - began) / _SHARE)
        return again if right else plain  # the moment of a check must not be seen in a chain, not even by rounding
