"""How long a training takes: forecast from its first rounds, and kept within a budget."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from numbers import Real
from typing import Any

ROUNDS = 2000  # of a training that is given neither rounds nor minutes
FEW = 500  # rounds; chains of the default recipe need about as many to get from noise to pictures
SMALL = 20  # images, the smallest batch that is recommended
_MEASURED = 10  # rounds, or …
_MEASURED_SECONDS = 15.0  # … this long if rounds are slow; groups of chains differ in cost
_RECENT = 20  # rounds, the longest of which the next one may take


class Budget:
    """When a training ends: after `rounds` rounds or `minutes` minutes, whichever comes first.

    Time counts from construction. A round is never cut short: none begins that would not end in time, going by the
    longest of the last 20. At least one is run.

    Args:
        rounds: total rounds, including those of a resumed training; None: as many as fit into `minutes`, or 2,000.
        minutes: of wall time; None: no limit.
        clock: seconds.

    Raises:
        ValueError: rounds not an integer ≥ 1, minutes not a finite number > 0.
    """

    def __init__(
        self, rounds: int | None = None, minutes: float | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if rounds is not None and (not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1):
            raise ValueError(f"rounds must be an integer ≥ 1; got {rounds!r}")
        if minutes is not None and not (_is_number(minutes) and 0 < minutes < math.inf):
            raise ValueError(f"minutes must be a finite number > 0, or None; got {minutes!r}")
        self.rounds = ROUNDS if rounds is None and minutes is None else rounds
        self.minutes = minutes
        self._clock, self._began = clock, clock()
        self._at = self._began  # the end of the last round
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._first = True
        self._timed, self._seconds = 0, 0.0  # all rounds but the first, which includes a trial of ways to run

    @property
    def spent(self) -> float:
        """Minutes since the beginning."""
        return (self._clock() - self._began) / 60

    def begin(self) -> None:
        """A round begins. Time between rounds, for saving, counts as part of the budget alone."""
        self._at = self._clock()

    def ended(self) -> None:
        """A round has ended."""
        took = self._clock() - self._at
        self._recent.append(took)
        if not self._first:
            self._timed, self._seconds = self._timed + 1, self._seconds + took
        self._first = False

    def over(self, done: int) -> bool:
        """Whether to stop, `done` rounds being done in all."""
        if self.rounds is not None and done >= self.rounds:
            return True
        if self.minutes is None or not self._recent:
            return False
        return 60 * (self.minutes - self.spent) < max(self._recent)

    @property
    def measured(self) -> bool:
        """Whether enough rounds were timed for a forecast."""
        return self._timed >= _MEASURED or (self._timed > 0 and self._seconds >= _MEASURED_SECONDS)

    def total(self, done: int) -> int | None:
        """The rounds at which the training will probably end; None without a round timed."""
        if not self._timed:
            return self.rounds
        if self.minutes is None:
            return self.rounds
        fitting = done + int(max(0.0, 60 * (self.minutes - self.spent)) * self._timed / max(self._seconds, 1e-9))
        return fitting if self.rounds is None else min(self.rounds, fitting)

    def forecast(self, done: int, device: str) -> str:
        """For instance "about 12 minutes for 3,000 rounds on cpu"; of the whole training, once `measured`."""
        total = self.total(done)
        assert total is not None, "called once measured"
        needed = self.spent + (total - done) * self._seconds / max(self._timed, 1) / 60
        return f"about {_minutes(needed)} for {total:,} rounds on {device}"

    def shortage(self, done: int, batch: int) -> str:
        """Why so few rounds as fit into the minutes are not enough, and what to do; empty if they are."""
        total = self.total(done)
        if self.minutes is None or total is None or total >= FEW or total == self.rounds:
            return ""
        enough, smaller = self.minutes * FEW / total, batch * total // FEW // 2 * 2  # time goes with the batch
        return (
            f"only about {total:,} rounds fit into {_minutes(self.minutes)}; a discriminator learns little in less "
            f"than {FEW}: give about {_minutes(enough)}"
            + (f", or smaller batches, Recipe(batch={smaller})" if smaller >= SMALL else "")
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _minutes(minutes: float) -> str:
    """In words: "40 seconds", "1 minute", "12 minutes", "2.5 hours"."""
    if minutes < 1:
        value, unit = f"{max(1, round(60 * minutes))}", "second"
    elif minutes < 90:
        value, unit = f"{round(minutes)}", "minute"
    else:
        value, unit = f"{minutes / 60:.1f}", "hour"
    return f"{value} {unit}{'' if value == '1' else 's'}"
