"""A function through recordings of it: one for every shape of its arguments, watched for still being right."""

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

_SHAPES = 3  # of batches that are kept: a whole part, the last one, and those of before
_EVERY = 1.0  # seconds between two comparisons with the function itself, at least
_SHARE = 0.01  # of the time that comparisons may take
_TOLERANCE = 1e-4  # of the largest number of an image: the same routines compute both

# What a network keeps for its passes and a recording now writes into: nobody else may use it any more.
taken: contextvars.ContextVar[dict[Any, Any] | None] = contextvars.ContextVar("taken", default=None)


class NotNowError(RuntimeError):
    """Nothing is wrong; it can be recorded another time."""


class Tape(Protocol):
    """Does again what a program did when it was recorded, with what now lies where its tensors lay."""

    made: Tensors  # what the program returned; written anew by every replay

    def replay(self) -> None: ...


class Recordings:
    """Calls a function through recordings of it.

    Whatever Python decides is decided for good in a recording. Therefore it is compared with the function itself once
    a second, or as often as a hundredth of the time allows, and made anew if they differ.

    Args:
        record: runs a program of no arguments, perhaps several times, and makes a tape of it.
    """

    def __init__(self, record: Callable[[Callable[[], Tensors]], Tape]) -> None:
        self._record = record
        self._kept: dict[Hashable, _Recording] = {}  # the one used last comes last
        self._check_at: dict[Hashable, float] = {}
        self._rest_until = 0.0
        self._free = [True]  # to be popped: a recording writes where it always writes, for one caller at a time
        self.marks: Callable[[], Any] = lambda: None  # changes when the weights do
        self._worked = False  # has there been a recording?
        self.failed = False  # the function, or a batch of another size than that of the trial, could not be recorded

    def __call__(
        self,
        function: Function,
        *given: Tensor,
        others: Callable[[Tensors], Tensors] | None = None,
        strict: bool = False,
    ) -> Tensors:
        """`function(*given)`; the tensors that come back are the caller's own.

        Args:
            function: gives new tensors, the same for the same arguments; one that does the same at every call.
            given: tensors without gradients.
            others: arguments of the same shapes with other numbers, to try a recording with; None turns the first round
                and changes the sign of the rest.
            strict: raise where the function cannot be recorded, rather than run it as it is.
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
        """Give back what the recordings hold."""
        self._kept.clear()

    def _again(self, recording: _Recording, function: Function, given: Tensors) -> Tensors:
        try:
            return recording.replay(given)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self._give_up()  # what it does depends on numbers, in a way that was not seen
            return function(*given)

    def _give_up(self) -> None:
        self.failed = True
        self.clear()

    def _begin(
        self, key: Hashable, function: Function, given: Tensors, others: Callable[[Tensors], Tensors], strict: bool
    ) -> Tensors:
        plain = function(*given)  # what it makes once and keeps is made now; what it raises is its own
        began, marks = time.monotonic(), self.marks()
        try:
            token = taken.set({})
            try:
                recording = _recorded(self._record, function, given)
            finally:
                taken.reset(token)
            # by other numbers than it was recorded with, or one that does nothing at all would seem right
            other = others(given)
            if not same(function(*other), recording.replay(other)):
                raise RuntimeError("what was recorded does not follow its input")
        except Exception as error:
            if strict or is_out_of_memory(error):
                raise
            # weights that are just being changed prove nothing
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
            self._kept.pop(key, None)  # the next call makes another
        now = time.monotonic()
        self._check_at[key] = now + max(_EVERY, (now - began) / _SHARE)
        return again if right else plain  # the moment of a check must not be seen in a chain, not even by rounding


class _Recording(NamedTuple):
    """A tape, and where it finds its arguments."""

    places: Tensors
    tape: Tape

    def replay(self, given: Tensors) -> Tensors:
        """For arguments of the same shapes; returns copies."""
        with torch.inference_mode():
            for place, tensor in zip(self.places, given, strict=True):
                place.copy_(tensor)
            self.tape.replay()
        return tuple(tensor.clone() for tensor in self.tape.made)


def _recorded(record: Callable[[Callable[[], Tensors]], Tape], function: Function, given: Tensors) -> _Recording:
    places = tuple(tensor.detach().clone() for tensor in given)
    with torch.cuda.device_of(places[0]):  # type: ignore[no-untyped-call]  # nothing on a CPU
        return _Recording(places, record(lambda: function(*places)))


def same(plain: Tensors, again: Tensors) -> bool:
    """Image by image: one that is wrong among many is wrong."""
    return all(a.shape == b.shape and _near(_rows(a), _rows(b)) for a, b in zip(plain, again, strict=True))


def _near(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs().amax(1) <= _TOLERANCE * a.abs().amax(1)).all())


def _rows(tensor: Tensor) -> Tensor:
    """An image a row; one number an image is compared with the largest of them."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor.reshape(1, -1)


def _turned(given: Tensors) -> Tensors:
    first, *rest = given
    return (first.detach().flatten().flip(0).view_as(first), *(-tensor for tensor in rest))
