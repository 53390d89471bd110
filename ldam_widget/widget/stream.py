"""`Stream`: the contents of frame messages, and their encoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .link import Link
from .panes import MOST_RAW, RAW_LIMIT, Quality, is_light, with_earlier
from .parts.part import Host, Part
from .parts.picture import Draws
from .protocol import Message, plains

_AVERAGE_PERIOD = 0.2  # seconds: averages change slowly and are sent at 5 Hz
_GAUGE_PERIOD = 0.25  # seconds: numbers that change faster cannot be read
_SETUP_PERIOD = 1.0  # seconds, while no view responds


class Stream:
    """Makes frame messages; called on the loop.

    Args:
        host: the panel.
        picture: the part that draws.
        parts: the parts whose gauges are included.
    """

    def __init__(self, host: Host, picture: Draws, parts: Callable[[], Sequence[Part]]) -> None:
        self._host, self._picture, self._parts = host, picture, parts
        self._average_due = self._gauges_due = self._setup_due = 0.0
        self._link = Link()
        self._light = False  # whether the present picture is small enough to be sent later as well

    def refresh(self) -> None:
        """Include averages and gauges in the next frame."""
        self._average_due = self._gauges_due = 0.0

    def send(self, seq: int, gen: int) -> int:
        """Encode and send the present picture; returns its size in bytes."""
        host, now = self._host, time.monotonic()
        pacer = host.loop.pacer
        if seq - pacer.acknowledged > pacer.window and now >= self._setup_due:
            # A view may have appeared while a cell keeps the kernel from receiving; it needs this to draw.
            self._setup_due = now + _SETUP_PERIOD
            host.post_setup()
        still = not host.loop.playing
        with_average = still or now >= self._average_due
        if with_average:
            self._average_due = now + _AVERAGE_PERIOD
        with_gauges = still or now >= self._gauges_due
        if with_gauges:
            self._gauges_due = now + _GAUGE_PERIOD
        quality = Quality(lossless=still, raw=self._raw_limit(seq, now))
        content, buffers = self._encode(seq, gen, with_average, with_gauges, quality)
        self._light = is_light(content)
        pacer.large = not self._light
        content, buffers = with_earlier((content, buffers), host.loop.earlier)
        host.post(content, buffers)
        return sum(map(len, buffers))

    def complete(self, seq: int, gen: int) -> Message:
        """The present picture with averages and gauges, for a recording."""
        return self._encode(seq, gen, True, True, Quality(lossless=False))

    def keep(self) -> Message | None:
        """A picture that could not be sent, to be sent along with the next one; None where that costs too much."""
        return self._picture.encode(with_average=False, quality=Quality(lossless=False)) if self._light else None

    def _encode(self, seq: int, gen: int, with_average: bool, with_gauges: bool, quality: Quality) -> Message:
        host = self._host
        content, buffers = self._picture.encode(with_average=with_average, quality=quality)
        content |= {"gen": gen, "seq": seq, "stats": plains(host.loop.stats), "heat": host.sampler.heat}
        for part in self._parts() if with_gauges else ():
            content |= part.gauges()
        return content, buffers

    def _raw_limit(self, seq: int, now: float) -> int:
        """Size in bytes up to which a pane is sent uncompressed."""
        large_too = not self._light and self._link.choose(seq, now, self._host.loop.pacer.answered)
        return MOST_RAW if large_too else RAW_LIMIT
