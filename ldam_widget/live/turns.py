"""Short turns of Python's threads, as long as a sampler runs beside the user's own code.

A thread that computes in plain Python gives the interpreter away every 5 ms at the soonest. A sampler asks for it after
every operation of torch, a hundred times a step: beside a busy cell a step of 5 ms would take 300. With turns of half a
millisecond a picture comes three times sooner (benchmarks/latency.py); the cell loses little (a tenth with turns of
0.3 ms, nothing that could be measured with 1 ms).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

SECONDS = 5e-4  # of a turn
_lock = threading.Lock()
_users = 0
_before = 0.0


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Within it, turns are short for all threads of the process; the last to leave sets them back.

    Turns that are shorter already stay what they are, and what somebody else has set meanwhile is left alone.
    """
    global _users, _before
    with _lock:
        if _users == 0:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, SECONDS))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and abs(sys.getswitchinterval() - SECONDS) < 1e-6:
                sys.setswitchinterval(_before)


def _after_fork() -> None:
    """In a new process there is no sampler's thread that could set turns back."""
    global _lock, _users
    _lock = threading.Lock()
    if _users:
        _users = 0
        sys.setswitchinterval(_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
