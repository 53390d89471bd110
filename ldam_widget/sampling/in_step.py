"""`InStep`: parameters of several samplers change between two pictures, for all of them at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .fair_lock import FairLock
from .sampler import Sampler

R = TypeVar("R")


class InStep:
    """Holds changes back while samplers step one after another: none of them steps under newer ones than the others.

    Args:
        samplers: that go in step.
    """

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        self._turn = FairLock()  # whoever moves the samplers has it
        self._samplers = samplers
        self._lock = threading.Lock()
        self._waiting: list[list[dict[str, Any]]] = []  # oldest first; one dict a sampler

    def set(self, changes: list[dict[str, Any]]) -> None:
        """Changes that have been checked, a dict a sampler: now, or before the next picture; never waits for a step."""
        with self._lock:
            self._waiting.append(changes)
        self._catch_up()

    def move(self, move: Callable[[], R]) -> R:
        """Move the samplers, and nobody else does; what comes meanwhile is applied then."""
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
                return  # the last to go does it

    def _apply(self) -> None:
        """What was held back."""
        with self._lock:
            while self._waiting:
                for sampler, change in zip(self._samplers, self._waiting[0], strict=True):
                    with contextlib.suppress(ValueError, TypeError):  # a kernel that came meanwhile may not know it
                        sampler.set(**change)
                self._waiting.pop(0)  # now: one that is interrupted halfway is done once more

    def params(self) -> list[dict[str, float]]:
        """Live parameters of every sampler, those that are held back among them."""
        with self._lock:
            found = [sampler.params for sampler in self._samplers]
            for changes in self._waiting:
                for params, change in zip(found, changes, strict=True):
                    params |= {name: value for name, value in change.items() if isinstance(value, (int, float))}
        return found
