"""`FairLock`: one thread at a time, first come, first served, and never left locked by an interrupt."""

from __future__ import annotations

import itertools
import os
import threading
import time

_SHORT, _LONG = 2e-4, 2e-3  # seconds between polls, initially and later


class FairLock:
    """A reentrant ticket lock: the thread that has waited longest holds it, whichever of its tickets it presents.

    Python's own locks are not fair: a thread that steps in a loop would reacquire the lock before any waiting thread.
    Nor can they be acquired and released without a moment in which an interrupt leaves them locked. A ticket identifies
    its owner, so it can be withdrawn however far acquiring it had progressed::

        ticket = lock.ticket()
        try:
            lock.take(ticket)
            ...
        finally:
            lock.tickets.pop(ticket, None)  # inline: an interrupt may strike as a function is entered
    """

    def __init__(self) -> None:
        # number -> process and thread, in the order in which they began to wait
        self.tickets: dict[int, tuple[int, int]] = {}
        self._numbers = itertools.count()

    def ticket(self) -> int:
        """A new number, not yet queued."""
        return next(self._numbers)

    def take(self, ticket: int) -> None:
        """Wait until all earlier tickets have been released."""
        pause = _SHORT
        while not self.take_if_free(ticket):
            time.sleep(pause)
            pause = min(2 * pause, _LONG)

    def take_if_free(self, ticket: int) -> bool:
        """Queue the ticket and return at once: whether it holds the lock."""
        me = os.getpid(), threading.get_ident()
        self.tickets[ticket] = me  # one that waits already keeps its place
        # a number may be drawn long before it waits, and the first may go at any moment: look at all of them at once
        waiting = self.tickets.copy().values()
        return next(owner for owner in waiting if owner[0] == me[0]) == me  # a fork has no threads of its parent
