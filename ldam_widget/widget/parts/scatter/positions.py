"""Where the points of a map are: known positions, or those of an embedding in progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ....embedding.embedding import Embedding
from ....embedding.tsne import TSNE
from ..part import Action, Feature
from .plot import Plot

MANY = 100_000  # points; their positions are sent once a second at most, those of fewer ten times
_STEPS = 65_535

Points = npt.NDArray[np.float32]


class Positions(Feature):
    """Positions (n, 2), and the run that moves them.

    Args:
        given: an `Embedding`; a `TSNE` or another iterator of positions, which is advanced here; or an array of
            positions.

    Raises:
        TypeError, ValueError: see `Embedding`.
    """

    plot: Plot

    def __init__(self, given: Any) -> None:
        self._embedding: Embedding | None = None
        self._run: TSNE | None = given if isinstance(given, TSNE) else None
        self._iterator: Iterator[Any] | None = None
        if self._run is not None:
            self._points, self._iterator = _array(self._run.points), iter(self._run)
        elif hasattr(given, "__next__"):
            self._points, self._iterator = Embedding(_first(given)).points, given
        else:
            self._embedding = given if isinstance(given, Embedding) else Embedding(given)
            self._points = self._embedding.points
        self._moving = self._iterator is not None  # there may be further positions
        self._latest: Tensor | None = None  # of a t-SNE, not yet in `_points`
        self._sent = -float("inf")
        self._lock = threading.Lock()
        self.due = True  # positions that were not sent
        self.running = False
        self.done = self._run.done if self._run is not None else 0

    @property
    def points(self) -> Points:
        """Positions (n, 2) now; from any thread."""
        with self._lock:
            if self._latest is not None:
                self._points, self._latest = _array(self._latest), None
            return self._points

    @property
    def finished(self) -> Embedding | None:
        """The map, if it was given as such."""
        return self._embedding

    def embedding(self) -> Embedding:
        """The map as it stands. On the loop."""
        if self._embedding is None:
            self._embedding = Embedding(self.points) if self._run is None else Embedding.of(self._run)
        return self._embedding

    # ---- the run, on the loop --------------------------------------------------------------------------------------

    def play(self) -> None:
        """Advance the embedding until it ends or `stop`; nothing to do for a finished map."""
        if self._moving and not self.running:
            self.running = True
            self.plot.start(self._advance())
            self.plot.post_state()

    def stop(self) -> None:
        """Stop after the step in progress."""
        if self.running:
            self.running = False
            self.due = True
            self.plot.offer()
            self.plot.post_state()

    def _advance(self) -> Iterator[None]:
        assert self._iterator is not None
        period = 1.0 if self.plot.count > MANY else 0.1
        try:
            while self.running:
                latest = next(self._iterator, None)
                if latest is None:
                    self._moving = False
                    break
                with self._lock:
                    if self._run is None:
                        self._points = self._checked(latest)
                    else:
                        self._latest = latest
                self._embedding = None
                self.done = self.done + 1 if self._run is None else self._run.done
                now = time.monotonic()
                if now - self._sent >= period:
                    self._sent, self.due = now, True
                    self.plot.offer()
                yield
        except BaseException:
            self._moving = self._run is not None  # a generator that has raised is at its end
            raise
        finally:
            if self.running:  # it has ended by itself
                self.stop()

    def _checked(self, latest: Any) -> Points:
        points = Embedding(latest, device="cpu").points
        if points.shape != self._points.shape:
            raise ValueError(f"the iterator gave {len(points)} positions, before {len(self._points)}")
        return points

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        total = 0 if self._iterator is None else None if self._run is None else self._run.steps
        if self._iterator is not None and not self._moving:
            total = self.done
        return {"run": {"running": self.running, "done": self.done, "steps": total}}

    def actions(self) -> Mapping[str, Action]:
        return {"run": self.play, "stop": self.stop}

    def packed(self) -> tuple[dict[str, float], bytes]:
        """The positions as a message's `Box` and buffer; they count as sent."""
        self.due = False
        return packed(self.points)

    def close(self) -> None:
        """Stop, and forget the run."""
        self.running = self._moving = False


def packed(points: Points) -> tuple[dict[str, float], bytes]:
    """Positions (n, 2) as a box, and x, y of each in it as little-endian uint16."""
    exact = points.astype(np.float64)
    low, high = exact.min(0), exact.max(0)
    span = np.where(high > low, high - low, 1)
    levels = np.rint((exact - low) / span * _STEPS).astype("<u2")
    box = {"left": low[0], "right": high[0], "bottom": low[1], "top": high[1]}
    return {name: float(value) for name, value in box.items()}, levels.tobytes()


def _first(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise ValueError("the iterator of positions is at its end; give the positions themselves") from None


def _array(points: Tensor) -> Points:
    found: Points = points.detach().float().cpu().numpy()
    return found
