"""Call a function through recordings of it, one per argument shape, with regular checks against the function."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..network.memory import is_out_of_memory

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]

_SHAPES = 3  # recordings kept, by batch shape: a full part, the last part, and a previous one
_EVERY = 1.0  # minimum seconds between two comparisons with the function itself
_SHARE = 0.01  # largest fraction of time spent on comparisons
_TOLERANCE = 1e-4  # relative to an image's largest number: both are computed by the same routines

# A network's work buffers that a recording has taken over: nothing else may use them.
taken: contextvars.ContextVar[dict[Any, Any] | None] = contextvars.ContextVar("taken", default=None)


class NotNowError(RuntimeError):
    """Recording is temporarily impossible; try again later."""


class Tape(Protocol):
    """Replays a recorded program on the current contents of its tensors."""

    made: Tensors  # what the program returned; overwritten by every replay

    def replay(self) -> None: ...


class Recordings:
    """Calls a function through recordings of it.

    A recording freezes every decision that Python made. It is therefore compared with the function itself once a
    second, or less often so as to spend at most a hundredth of the time, and recorded again if they differ.

    Args:
        record: runs a program without arguments, perhaps several times, and returns a tape of it.
    """

    def __init__(self, record: Callable[[Callable[[], Tensors]], Tape]) -> None:
        self._record = record
        self._kept: dict[Hashable, _Recording] = {}  # least recently used first
        self._check_at: dict[Hashable, float] = {}
        self._rest_until = 0.0
        self._free = [True]  # a token: a recording reuses its memory, so it serves one caller at a time
        self.marks: Callable[[], Any] = lambda: None  # returns a value that changes with the weights
        self._worked = False  # whether any recording has succeeded
        self.failed = False  # the function could not be recorded, or a replay failed

    def __call__(
        self,
        function: Function,
        *given: Tensor,
        others: Callable[[Tensors], Tensors] | None = None,
        strict: bool = False,
    ) -> Tensors:
        """`function(*given)`; the caller owns the returned tensors.

        Args:
            function: deterministic, and returns new tensors; equivalent at every call.
            given: tensors without gradients.
            others: returns arguments of the same shapes with other numbers, for testing a recording; None reverses the
                first argument and negates the rest.
            strict: raise if the function cannot be recorded, rather than run it directly.
        """
        try:
            free = self._free.pop()
        except IndexError:
            return function(*given)
        try:
            if self.failed or time.monotonic() < self._rest_until:
                return function(*given)
            key = tuple((t.shape, t.stride(), t.dtype, t.device) for t in given)
            recording = self._kept.pop(key, None)
            if recording is None:
                return self._begin(key, function, given, others or _turned, strict)
            self._kept[key] = recording
            if time.monotonic() < self._check_at[key]:
                return self._again(recording, function, given)
            return self._check(key, recording, function, given)
        finally:
            self._free.append(free)

    def clear(self) -> None:
        """Free the recordings."""
        self._kept.clear()

    def _again(self, recording: _Recording, function: Function, given: Tensors) -> Tensors:
        try:
            return recording.replay(given)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._give_up()  # undetected data-dependent behaviour
            return function(*given)

    def _give_up(self) -> None:
        self.failed = True
        self.clear()

    def _begin(
        self, key: Hashable, function: Function, given: Tensors, others: Callable[[Tensors], Tensors], strict: bool
    ) -> Tensors:
        plain = function(*given)  # triggers one-time initialisation; its errors propagate
        began, marks = time.monotonic(), self.marks()
        try:
            token = taken.set({})
            try:
                recording = _recorded(self._record, function, given)
            finally:
                taken.reset(token)
            # test with different numbers; otherwise a recording that does nothing would pass
            other = others(given)
            if not same(function(*other), recording.replay(other)):
                raise RuntimeError("the recording does not depend on its input")
        except Exception as error:
            if strict or is_out_of_memory(error):
                raise
            # a mismatch while weights are changing proves nothing
            if self.marks() == marks and not self._worked and not isinstance(error, NotNowError):
                self._give_up()
            now = time.monotonic()
            self._rest_until = now + max(_EVERY, (now - began) / _SHARE)
            return plain
        while len(self._kept) >= _SHAPES:
            self._kept.pop(next(iter(self._kept)), None)
        self._check_at = {one: at for one, at in self._check_at.items() if one in self._kept}
        self._kept[key], self._check_at[key], self._worked = recording, time.monotonic() + _EVERY, True
        return recording.replay(given)

    def _check(self, key: Hashable, recording: _Recording, function: Function, given: Tensors) -> Tensors:
        began, marks = time.monotonic(), self.marks()
        plain, again = function(*given), self._again(recording, function, given)
        right = same(plain, again)
        if not right and self.marks() == marks:
            self._kept.pop(key, None)  # the next call records again
        now = time.monotonic()
        self._check_at[key] = now + max(_EVERY, (now - began) / _SHARE)
        return again if right else plain  # the timing of checks must not affect a chain, not even by rounding


class _Recording(NamedTuple):
    """A tape, and the tensors that hold its arguments."""

    places: Tensors
    tape: Tape

    def replay(self, given: Tensors) -> Tensors:
        """Replay with other arguments of the same shapes; returns copies."""
        with torch.inference_mode():
            for place, tensor in zip(self.places, given, strict=True):
                place.copy_(tensor)
            self.tape.replay()
        return tuple(tensor.clone() for tensor in self.tape.made)


def _recorded(record: Callable[[Callable[[], Tensors]], Tape], function: Function, given: Tensors) -> _Recording:
    places = tuple(tensor.detach().clone() for tensor in given)
    with torch.cuda.device_of(places[0]):  # type: ignore[no-untyped-call]  # no-op on a CPU
        return _Recording(places, record(lambda: function(*places)))


def same(plain: Tensors, again: Tensors) -> bool:
    """Whether results agree image by image: a single wrong image fails."""
    return all(a.shape == b.shape and _near(_rows(a), _rows(b)) for a, b in zip(plain, again, strict=True))


def _near(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs().amax(1) <= _TOLERANCE * a.abs().amax(1)).all())


def _rows(tensor: Tensor) -> Tensor:
    """One image per row; a vector (one number per image) becomes a single row."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.reshape(1, -1)


def _turned(given: Tensors) -> Tensors:
    first, *rest = given
    return (first.detach().flatten().flip(0).view_as(first), *(-tensor for tensor in rest))
