"""Whether large pictures are sent compressed or raw, decided by measurement."""

from __future__ import annotations

import statistics
from collections import deque

_FRAMES = 6  # number of round trips compared
_GAIN = 0.8  # compressed pictures must take less than this fraction of the round trip of raw ones, which are exact
_HOPELESS = 3.0  # times the usual round trip: one such frame ends the trial
_PATIENCE = 5.0, 300.0  # seconds between two trials, at least and at most: doubled whenever the alternative loses


class Link:
    """Decides how to send pictures that are too large to be always sent raw.

    Close to the kernel, compression and decompression take longer than sending; over a slow connection it is the other
    way round. From time to time, the round trips of a few frames sent the other way are compared with the usual ones.
    """

    def __init__(self) -> None:
        self.raw = False
        self._trying = False
        self._trips: deque[float] = deque(maxlen=_FRAMES)
        self._usual = float("inf")
        self._since = 0  # the first frame sent in the present way
        self._counted = 0  # the last frame whose round trip was counted
        self._patience, self._most = _PATIENCE
        self._try_at = 0.0

    def choose(self, seq: int, now: float, answered: tuple[int, float]) -> bool:
        """Whether to send frame `seq` uncompressed.

        Args:
            seq: frame counter.
            now: seconds, of any clock.
            answered: the last acknowledged frame, and its round trip in seconds.
        """
        last, trip = answered
        if last > max(self._since, self._counted):  # the first one is still queued behind frames sent the previous way
            self._counted = last
            self._trips.append(trip)
        enough = len(self._trips) == _FRAMES
        if self._trying and (enough or (self._trips and self._trips[-1] > _HOPELESS * self._usual)):
            won = enough and statistics.median(self._trips) < (1 if self.raw else _GAIN) * self._usual
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
