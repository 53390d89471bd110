"""`FairLock`: one thread at a time, in the order in which they came, and no interrupt leaves it taken."""

from __future__ import annotations

import itertools
import threading
import time

_SHORT, _LONG = 2e-4, 2e-3  # seconds between two looks at whether it is one's turn, at first and after a while


class FairLock:
    """A lock by tickets: the one that waits longest has the turn, and so has any other ticket of the same thread.

    Python's own locks are not fair: a thread that steps in a loop would have it back before anybody who waits. Nor can
    they be tried and given back without a moment in which an interrupt leaves them taken. A ticket says itself who has
    the lock, so that it can be taken away without knowing how far taking it had come::

        ticket = lock.ticket()
        try:
            lock.take(ticket)
            ...
        finally:
            lock.tickets.pop(ticket, None)  # not in a function of ours: an interrupt may strike where one begins
    """

    def __init__(self) -> None:
        self.tickets: dict[int, int] = {}  # number -> thread, in the order in which they began to wait
        self._numbers = itertools.count()

    def ticket(self) -> int:
        """A new number, which does not wait yet."""
        return next(self._numbers)

    def take(self, ticket: int) -> None:
        """Wait until all who came before have given it back."""
        pause = _SHORT
        while not self.take_if_free(ticket):
            time.sleep(pause)
            pause = min(2 * pause, _LONG)

    def take_if_free(self, ticket: int) -> bool:
        """Is it one's turn? Returns at once; if not, the ticket waits."""
        me = threading.get_ident()
        self.tickets[ticket] = me  # one that waits already keeps its place
        # a number may be drawn long before it waits, and the first may go at any moment: look at all of them at once
        return next(iter(self.tickets.copy().values())) == me
