"""Shorter thread switch intervals while a sampler runs beside the user's own code.

A thread that computes in plain Python releases the interpreter after 5 ms at the earliest. A sampler requests it after
every torch operation, a hundred times a step: beside a busy cell, a step of 5 ms would take 300 ms. With an interval of
half a millisecond, a picture comes three times sooner (benchmarks/latency.py); the cell loses little (a tenth at
0.3 ms, nothing measurable at 1 ms).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

SECONDS = 5e-4  # the switch interval
_lock = threading.Lock()
_users = 0
_before = 0.0


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Within this context, switch intervals are short for all threads; the last to leave restores the interval.

    Intervals that are already shorter stay as they are, and a value set by other code meanwhile is not touched.
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
    """A forked process has no sampler thread that could restore the interval."""
    global _lock, _users
    _lock = threading.Lock()
    if _users:
        _users = 0
        sys.setswitchinterval(_before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
