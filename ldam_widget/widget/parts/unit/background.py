"""Work beside the loop, on a thread of its own that lives as long as there is some."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import torch

from ....execution import cpu_threads

Work = Iterator[Callable[[], None] | None]

_LONGEST_BREAK = 0.5  # seconds
_LAST_PIECE = 3.0  # seconds to wait for it


class Background:
    """Does one piece of work at a time, on one CPU core, and leaves as much time to the loop as it takes itself.

    Args:
        busy: whether the loop is running, so that breaks are made.
        failed: called with an error that ended a piece of work.
    """

    def __init__(self, busy: Callable[[], bool], failed: Callable[[BaseException], None]) -> None:
        self._busy, self._failed = busy, failed
        self._lock = threading.Lock()
        self._next: Callable[[], Work] | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        _all.add(self)

    def begin(self, work: Callable[[], Work] | None) -> None:
        """Do this, instead of what is being done; None: nothing. Returns at once.

        Each item of the work is called on the thread, as soon as it comes, unless other work has begun meanwhile.
        """
        with self._lock:
            self._next = work if work is not None else _nothing
            self._wake.set()
            if self._thread is None and work is not None:
                self._thread = threading.Thread(target=self._run, name="ldam-unit", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Do nothing more; waits for the present piece of work, if that is short."""
        self.begin(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST_PIECE)

    def _run(self) -> None:
        with cpu_threads(1), torch.inference_mode(False):
            while True:
                with self._lock:
                    begun, self._next = self._next, None
                    self._wake.clear()
                    if begun is None:
                        self._thread = None
                        return
                try:
                    self._do(begun)
                except Exception as error:
                    with contextlib.suppress(RuntimeError):  # the widget was closed meanwhile
                        self._failed(error)

    def _do(self, begun: Callable[[], Work]) -> None:
        work, began = iter(begun()), time.monotonic()
        for tell in work:
            if self._wake.is_set():
                return
            if tell is not None:
                tell()
            took = time.monotonic() - began
            if self._busy() and self._wake.wait(min(took, _LONGEST_BREAK)):
                return
            began = time.monotonic()


def _nothing() -> Work:
    return iter(())


_all: weakref.WeakSet[Background] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A thread that computes while the interpreter shuts down would crash it."""
    for each in list(_all):
        each.stop()
