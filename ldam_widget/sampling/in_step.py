"""`InStep`: parameters of several samplers change between two pictures, for all of them at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from .fair_lock import FairLock
from .sampler import Sampler


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

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """Move the samplers, and nobody else does; what comes meanwhile is applied then."""
        try:
            with self._turn.waiting():
                self._apply()
                yield
        finally:
            self._catch_up()
            self._turn.give_way()

    def _catch_up(self) -> None:
        while self._waiting and self._turn.take_if_free():
            try:
                self._apply()
            finally:
                self._turn.leave()

    def _apply(self) -> None:
        """What was held back."""
        with self._lock:
            while self._waiting:
                changes = self._waiting.pop(0)
                for sampler, change in zip(self._samplers, changes, strict=True):
                    with contextlib.suppress(ValueError, TypeError):  # a kernel that came meanwhile may not know it
                        sampler.set(**change)

    def params(self) -> list[dict[str, float]]:
        """Live parameters of every sampler, those that are held back among them."""
        with self._lock:
            found = [sampler.params for sampler in self._samplers]
            for changes in self._waiting:
                for params, change in zip(found, changes, strict=True):
                    params |= {name: value for name, value in change.items() if isinstance(value, (int, float))}
        return found
