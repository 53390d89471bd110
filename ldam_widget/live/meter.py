"""`Meter`: the speed of the loop."""

from __future__ import annotations


class Meter:
    """Rates over about the last second."""

    def __init__(self, now: float) -> None:
        self.steps = self.frames = self.bytes = 0
        self._since = now
        self._last = {"steps_per_second": 0.0, "frames_per_second": 0.0, "bytes_per_frame": 0.0}

    def read(self, now: float) -> dict[str, float]:
        elapsed = now - self._since
        if elapsed >= 1.0:
            self._last = {
                "steps_per_second": self.steps / elapsed,
                "frames_per_second": self.frames / elapsed,
                "bytes_per_frame": self.bytes / self.frames if self.frames else 0.0,
            }
            self.steps = self.frames = self.bytes = 0
            self._since = now
        return self._last
