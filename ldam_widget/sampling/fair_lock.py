"""`FairLock`: one thread at a time, and those who wait are served in order."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FairLock:
    """A lock that its holder may take again, and that goes to the thread that has waited longest.

    Python's own locks are not fair: a thread that steps in a loop would keep one from everybody else.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[object] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        me, place = threading.get_ident(), object()
        with self._changed:
            if self._owner != me:
                self._waiting.append(place)
                try:
                    self._changed.wait_for(lambda: self._owner is None and self._waiting[0] is place)
                finally:  # also of a wait that was interrupted
                    self._waiting.remove(place)
                    self._changed.notify_all()
                self._owner = me
            self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def take_if_free(self) -> bool:
        """Take it, unless another thread has it or waits for it; returns at once."""
        with self._changed:
            if self._owner != threading.get_ident() and (self._owner is not None or self._waiting):
                return False
            self._owner = threading.get_ident()
            self._depth += 1
            return True

    def leave(self) -> None:
        """Give it back, as often as it was taken."""
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._changed.notify_all()
