"""Recordings of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

PER_SECOND = 12  # pictures
LONGEST = 60.0  # seconds


class Recorder(Generic[T]):
    """Collects pictures of the run; called on the loop's thread after every frame.

    Args:
        page: gives the current picture, in whatever form.
        wanted: number of pictures to record.
        on_full: called once when they have been recorded.
    """

    def __init__(self, page: Callable[[], T], wanted: int, on_full: Callable[[], object] | None = None) -> None:
        self.pages: list[T] = []
        self.full = threading.Event()
        self.paced = True  # one picture every twelfth of a second; else every frame
        self._page, self._wanted, self._on_full, self._due = page, wanted, on_full, 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self.full.is_set() or (self.paced and now < self._due):
            return
        self._due = max(self._due if self.paced else now, now - 1 / PER_SECOND) + 1 / PER_SECOND
        self.pages.append(self._page())
        if len(self.pages) >= self._wanted:
            self.full.set()
            if self._on_full is not None:
                self._on_full()
