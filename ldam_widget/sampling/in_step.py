"""`InStep`: parameter changes for several samplers, applied to all of them between two pictures."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .fair_lock import FairLock
from .sampler import Sampler

R = TypeVar("R")


class InStep:
    """Defers changes while samplers step one after another, so that none steps under newer settings than the others.

    Args:
        samplers: the samplers to keep in step.
    """

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        self._turn = FairLock()  # held by the thread that moves the samplers
        self._samplers = samplers
        self._lock = threading.Lock()
        self._waiting: list[list[dict[str, Any]]] = []  # oldest first; one dict per sampler

    def set(self, changes: list[dict[str, Any]]) -> None:
        """Apply checked changes, one dict per sampler, now or before the next picture; never waits for a step."""
        with self._lock:
            self._waiting.append(changes)
        self._catch_up()

    def move(self, move: Callable[[], R]) -> R:
        """Move the samplers with exclusive access; changes that arrive meanwhile are applied afterwards."""
        ticket = self._turn.ticket()
        try:
            self._turn.take(ticket)
            self._apply()
            return move()
        finally:
            self._turn.tickets.pop(ticket, None)
            self._catch_up()

    def _catch_up(self) -> None:
        while self._waiting:
            ticket = self._turn.ticket()
            try:
                free = self._turn.take_if_free(ticket)
                if free:
                    self._apply()
            finally:
                self._turn.tickets.pop(ticket, None)
            if not free and self._turn.tickets:
                return  # the last to release the lock applies them

    def _apply(self) -> None:
        """Apply deferred changes."""
        with self._lock:
            while self._waiting:
                for sampler, change in zip(self._samplers, self._waiting[0], strict=True):
                    with contextlib.suppress(ValueError, TypeError):  # a kernel set meanwhile may lack it
                        sampler.set(**change)
                self._waiting.pop(0)  # afterwards: an interrupted change is applied again

    def params(self) -> list[dict[str, float]]:
        """Live parameters of every sampler, including deferred changes."""
        with self._lock:
            found = [sampler.params for sampler in self._samplers]
            for changes in self._waiting:
                for params, change in zip(found, changes, strict=True):
                    params |= {name: value for name, value in change.items() if isinstance(value, (int, float))}
        return found
