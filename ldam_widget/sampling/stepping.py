"""`Stepping`: a run that is advanced step by step, frame by frame, or beside an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from . import checks
from .frame import Frame
from .run import Run


class Stepping(Run):
    """Adds to `Run` the ways of advancing it."""

    def step(self, n: int = 1) -> Frame:
        """Advance n ≥ 1 steps and return the picture.

        Raises:
            SamplingError: an activation or gradient became NaN or infinite, or memory ran out; the chains stay at the
                last picture, up to `steps_per_frame` steps earlier. ValueError, TypeError: n is not an integer ≥ 1.
        """
        remaining = checks.count("n", n)
        while remaining:
            remaining -= self._advance(remaining)
        return self.frame()

    def frames(self, steps: int | None = None) -> Iterator[Frame]:
        """A picture every `steps_per_frame` steps, for `steps` steps in total (None: endlessly)."""
        remaining = checks.count("steps", steps) if steps is not None else None
        while remaining is None or remaining > 0:
            chunk = int(self._settings.params["steps_per_frame"])
            if remaining is not None:
                chunk = min(chunk, remaining)
                remaining -= chunk
            yield self.step(chunk)

    async def stream(self, steps: int | None = None) -> AsyncIterator[Frame]:
        """Like `frames`, but the work runs off the event loop's thread; break or cancellation stops it."""
        frames = self.frames(steps)
        while True:
            work = asyncio.ensure_future(asyncio.to_thread(next, frames, None))
            try:
                frame = await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])  # the thread is in the middle of a step: let it finish before others step
                raise
            if frame is None:
                return
            yield frame
