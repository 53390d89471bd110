"""`Pacer`: when to send a frame, and whether to rest because no view is visible."""

from __future__ import annotations


class Pacer:
    """Decides when to send frames and whether any view is visible. Pure bookkeeping, with the time passed in.

    A frame is sent while fewer than `window` are unacknowledged; while the user changes things, only one may be, and
    one more if it is the answer to a change. If acknowledgements are missing for `KEEP_ALIVE`, one more is sent anyway:
    the kernel may be too busy to receive acknowledgements although the page is fine. If no view has been visible for
    `REST`, sampling rests; while a cell runs, silence proves nothing, and a frame is sent every `KEEP_ALIVE`, which
    leaves the processor to the cell.
    """

    WINDOW = 2
    WINDOW_LARGE = 4
    KEEP_ALIVE = 0.25
    FAST = 0.2
    SOON = 0.3
    OLD_NEWS = 0.1
    EAGER = 1.0
    REST = 5.0

    def __init__(self, now: float) -> None:
        self.sent = self.acknowledged = 0  # sequence numbers; frames count from 1
        self.large = False  # whether the newest picture is large
        self.round_trip = float("nan")  # seconds, smoothed
        self.answered = 0, float("nan")  # the last acknowledged frame, and its round trip
        self._sent_at: dict[int, float] = {}
        self._changed = -float("inf")
        self._answer_due = False
        self.wake(now)

    def wake(self, now: float) -> None:
        """Assume from now on that a view is visible: on play, and when a view appears."""
        self._last_sent = now - self.KEEP_ALIVE
        self._seen = self._heard = now

    def leave(self) -> None:
        """The last view is gone."""
        self._seen = -float("inf")
        self._heard = float("inf")

    def on_send(self, now: float, *, answers: bool = True) -> int:
        """Count a frame; returns its sequence number. `answers`: whether it shows the last change."""
        self.sent += 1
        self._last_sent = now
        if answers:
            self._answer_due = False
        self._sent_at[self.sent] = now
        return self.sent

    def on_change(self, now: float) -> None:
        """The user has changed something: the next frame is an answer."""
        self._changed = now
        self._answer_due = True

    def eager(self, now: float) -> bool:
        """Whether the user is changing things, so that the newest picture has to come soon."""
        return now - self._changed < self.EAGER

    def on_acknowledge(self, seq: int, visible: bool, now: float) -> None:
        """A front end has painted frame `seq`, which settles all frames before it. Tolerates invalid numbers."""
        self._heard = now
        if visible:
            self._seen = now
        if not self.acknowledged < seq <= self.sent:
            return  # repeated, or never sent
        self.acknowledged = seq
        since = self._sent_at.get(seq)
        for settled in list(self._sent_at):  # a copy: the loop may send meanwhile
            if settled <= seq:
                self._sent_at.pop(settled, None)
        if since is not None:
            trip = now - since
            self.answered = seq, trip
            self.round_trip = trip if self.round_trip != self.round_trip else 0.9 * self.round_trip + 0.1 * trip

    @property
    def window(self) -> int:
        """How many frames may be unacknowledged: more large ones, of which a page acknowledges every second."""
        return self.WINDOW_LARGE if self.large and self.round_trip <= self.FAST else self.WINDOW

    def may_send(self, now: float) -> bool:
        """Whether to send a frame now."""
        if self._heard > self._seen + 1:
            return False  # front ends answer, but all of them are hidden
        window = self.window
        if self.eager(now):
            window = self.WINDOW if self._answer_due else 1
        return self.sent - self.acknowledged < window or now - self._last_sent >= self.KEEP_ALIVE

    def may_send_old(self, now: float) -> bool:
        """Whether a picture from before a change may be sent: a place is left for the answer, or any frame is due."""
        place = self.sent - self.acknowledged < self.WINDOW - 1
        return self.may_send(now) and (place or now - self._last_sent >= self.KEEP_ALIVE)

    def long_silent(self, now: float) -> bool:
        """Whether the last frame is so old that even an outdated picture is better than none."""
        return now - self._last_sent >= self.OLD_NEWS

    @property
    def full(self) -> bool:
        """Whether the window is full."""
        return self.sent - self.acknowledged >= self.window

    def has_room(self, now: float) -> bool:
        """Whether acknowledgements come quickly, from a visible page."""
        return self.round_trip <= self.SOON and self._heard <= self._seen + 1 and not self.eager(now)

    def resting(self, now: float, cell_running: bool) -> bool:
        """Whether sampling should stop until a front end responds."""
        if now - self._seen < self.REST:
            return False
        return self._heard > self._seen + 1 or not cell_running

    def slow(self, now: float) -> bool:
        """Nothing has been received for long: sample no more than is sent."""
        return now - self._heard >= self.REST
