"""The verdict on the chains, computed in the background."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ...diagnostics import Samples, report

PERIOD = 5.0  # seconds between two verdicts
SHARE = 0.02  # maximum fraction of the time spent on verdicts
DRAWS = 400  # pictures used: more would cost time and hardly change a verdict


class Diagnosis:
    """Makes a report every few seconds on its own short-lived thread, as it takes longer than a frame may.

    Args:
        tell: called on that thread with the level, the text, and one text per neuron.
    """

    def __init__(self, tell: Callable[[str, str, list[str]], None]) -> None:
        self._tell = tell
        self._due = 0.0
        self._burn_in_step: int | None = None
        self._hasty = False
        self._busy = threading.Lock()

    def restart(self) -> None:
        """The chains have been replaced: wait until there is something to report."""
        self._due = time.monotonic() + PERIOD

    def offer(self, samples: Callable[[], Samples], burn_in_step: int | None = None) -> None:
        """Take the samples if a verdict is due; returns at once.

        Args:
            samples: to be judged.
            burn_in_step: step at which burn-in ended, if it has. A change makes a verdict due at once: "burning in"
                must not remain displayed after burn-in has ended.
        """
        now = time.monotonic()
        self._hasty |= burn_in_step != self._burn_in_step
        self._burn_in_step = burn_in_step
        if (now < self._due and not self._hasty) or not self._busy.acquire(blocking=False):
            return
        self._due, self._hasty = now + PERIOD, False
        try:
            taken = samples()
        except BaseException:
            self._busy.release()
            raise
        threading.Thread(target=self._work, args=(taken,), name="ldam-diagnosis", daemon=True).start()

    def _work(self, samples: Samples) -> None:
        began = time.monotonic()
        try:
            every = max(1, len(samples.steps) // DRAWS)
            looks = max(1, len(samples.thumbnails) // DRAWS)
            found = report(
                samples._replace(
                    activation=samples.activation[::every],
                    thumbnails=samples.thumbnails[::looks],
                    steps=samples.steps[::every],
                )
            )
            with contextlib.suppress(RuntimeError):  # the widget was closed meanwhile
                self._tell(found["verdict"]["level"], found["verdict"]["text"], found["verdicts"])
        finally:
            now = time.monotonic()
            self._due = max(self._due, now + min((now - began) / SHARE, 6 * PERIOD))
            self._busy.release()
