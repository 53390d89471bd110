"""The verdict on the chains, worked out beside the stream."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ...diagnostics import Samples, report

PERIOD = 5.0  # seconds between two verdicts
SHARE = 0.02  # of the time that a verdict may cost
DRAWS = 400  # pictures looked at: more cost time, and change a verdict little


class Diagnosis:
    """Makes a report every few seconds on a short-lived thread of its own, as it takes longer than a frame may.

    Args:
        tell: called on that thread with the level, the text, and a text a neuron.
    """

    def __init__(self, tell: Callable[[str, str, list[str]], None]) -> None:
        self._tell = tell
        self._due = 0.0
        self._burn_in_step: int | None = None
        self._hasty = False
        self._busy = threading.Lock()

    def restart(self) -> None:
        """Other chains are watched from now on: wait until there is something to tell."""
        self._due = time.monotonic() + PERIOD

    def offer(self, samples: Callable[[], Samples], burn_in_step: int | None = None) -> None:
        """Take the samples if a verdict is due; returns at once.

        Args:
            samples: to be judged.
            burn_in_step: where burn-in ended, if it has. A verdict is due as soon as that changes: "burning in" must
                not stand beside the end of the burn-in.
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
