"""Work on a thread of its own that follows events: the newest counts, and it leaves the processor to others."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from ..execution import cpu_threads

LINGER = 2.0  # seconds that an idle thread waits for more


class Newest:
    """Runs `work` soon after every `poke`, but not for each of them: what came meanwhile is one.

    The last poke is never lost. The thread is a daemon, and lives only while there are pokes.

    Args:
        work: called on the thread. An exception loses this call alone: the next poke is another attempt.
        failed: called on the thread with that exception.
        period: seconds between the beginnings of two calls, at least.
        share: of the time that work may take, 0…1.
    """

    def __init__(
        self,
        work: Callable[[], object],
        failed: Callable[[BaseException], object],
        *,
        period: float = 0.1,
        share: float = 0.25,
    ) -> None:
        self._work, self._failed, self._period, self._share = work, failed, period, share
        self._poked, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0

    def poke(self) -> None:
        """Something is new; from any thread, returns at once."""
        if self._ended.is_set():
            return
        self._poked.set()
        with self._lock:
            if self._thread is None or self._process != os.getpid():  # a fork has no threads
                self._thread, self._process = (
                    threading.Thread(target=self._run, name="ldam-newest", daemon=True),
                    os.getpid(),
                )
                self._thread.start()

    def stop(self) -> None:
        """End after the call in progress; later pokes do nothing."""
        self._ended.set()
        self._poked.set()

    @property
    def alive(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._ended.is_set()

    def _run(self) -> None:
        with cpu_threads(1):
            while self._awaited():
                self._poked.clear()
                began = time.monotonic()
                try:
                    self._work()
                except BaseException as error:  # also a model that calls sys.exit(), which would end the thread
                    with contextlib.suppress(Exception):  # if telling failed, there is nobody left to tell
                        self._failed(error)
                took = time.monotonic() - began
                self._ended.wait(max(self._period, took / self._share) - took)

    def _awaited(self) -> bool:
        """Wait for a poke; False: there is none, and the thread ends."""
        self._poked.wait(LINGER)
        with self._lock:
            if self._poked.is_set() and not self._ended.is_set():
                return True
            self._thread = None
            return False
