"""Is it quicker to compress large pictures, or to send them as they are? Tried out, since nobody can tell."""

from __future__ import annotations

import statistics
from collections import deque

_FRAMES = 6  # whose round trips are compared
_GAIN = 0.8  # of the usual round trip, that another way must get below
_HOPELESS = 3.0  # times the usual round trip: one such frame is enough
_PATIENCE = 5.0, 300.0  # seconds between two trials, at least and at most: while the other way loses, they are doubled


class Link:
    """The way to send pictures that are too large to be sent as they are without a thought.

    Near the kernel, to compress and to decompress takes longer than to send; over a slow line it is the other way
    round. Round trips tell: those of a few frames in the other way are compared with the usual ones, now and then.
    """

    def __init__(self) -> None:
        self.raw = False
        self._trying = False
        self._trips: deque[float] = deque(maxlen=_FRAMES)
        self._usual = float("inf")
        self._since = 0  # the first frame of the present way
        self._counted = 0  # the last frame whose round trip was counted
        self._patience, self._most = _PATIENCE
        self._try_at = 0.0

    def choose(self, seq: int, now: float, answered: tuple[int, float]) -> bool:
        """Should frame `seq` be sent as it is?

        Args:
            seq: counts frames.
            now: seconds, of any clock.
            answered: the last frame that was, and its round trip in seconds.
        """
        last, trip = answered
        if last > max(self._since, self._counted):  # the first one still waits for those of the way before
            self._counted = last
            self._trips.append(trip)
        enough = len(self._trips) == _FRAMES
        if self._trying and (enough or (self._trips and self._trips[-1] > _HOPELESS * self._usual)):
            won = enough and statistics.median(self._trips) < _GAIN * self._usual
            self._patience = _PATIENCE[0] if won else min(2 * self._patience, self._most)
            self._try_at = now + self._patience
            self._trying = False
            self._begin(seq, self.raw if won else not self.raw)
        elif not self._trying and enough and now >= self._try_at:
            self._usual = statistics.median(self._trips)
            self._trying = True
            self._begin(seq, not self.raw)
        return self.raw

    def _begin(self, seq: int, raw: bool) -> None:
        self.raw, self._since = raw, seq
        self._trips.clear()
