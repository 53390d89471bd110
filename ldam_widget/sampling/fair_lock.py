"""`FairLock`: one thread at a time, and none that takes the lock in a loop keeps it from others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

_LOOK = 2e-4  # seconds between two looks at whether others have had their turn
_PATIENCE = 0.02  # seconds; who has not come by then was interrupted, or has to wait once more


class FairLock:
    """A lock that its holder may take again.

    Python's own locks are not fair: a thread that steps in a loop would have it back before anybody who waits. Who
    takes it once in a while does so by ``with lock.waiting():``; who takes it in a loop, by ``with lock.lock:``, and
    gives way afterwards. Both end in a ``with`` of Python's own lock, which no interrupt can leave taken.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._waiting: set[int] = set()  # threads

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Take it as soon as whoever has it gives way."""
        me = threading.get_ident()
        self._waiting.add(me)
        try:
            with self.lock:
                self._waiting.discard(me)
                yield
        finally:
            self._waiting.discard(me)

    def give_way(self) -> None:
        """Without the lock: let those who wait take it first."""
        until = time.monotonic() + _PATIENCE if self._waiting else 0.0
        while self._waiting:
            time.sleep(_LOOK)
            if time.monotonic() >= until:
                self._waiting.clear()

    def take_if_free(self) -> bool:
        """Take it unless another thread has it; returns at once."""
        return self.lock.acquire(blocking=False)

    def leave(self) -> None:
        """Give back what `take_if_free` took."""
        self.lock.release()
