"""Which weights of a training model are displayed: the newest, an average, or a stored checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...core.notes import QuietNotes
from ...network.view import detached_copy, unwrap, weights_of
from ...sampling.follower import Checkpoint, CheckpointHistory, Cost, Follower, taken
from ..protocol import Content, integer, plain, text
from .part import Action, Command, Host, Part

_CALIBRATION = 2.0  # seconds for which the picture may be held to measure its cost
_TOLD_EVERY = 0.25  # seconds between state messages while the picture is paused
_UPDATES = 10  # of the running average, between two checkpoints


def sources_of(decay: float | None) -> list[str]:
    """The weights available in a checkpoint."""
    return ["weights"] if decay is None else ["weights", "average"]


def checked_source(source: str, sources: list[str]) -> str:
    """Raises ValueError for an unknown source."""
    if source not in sources:
        hint = "" if "average" in sources else "; watch(…, decay=0.98) keeps a running average"
        raise ValueError(f"source must be one of {', '.join(map(repr, sources))}; got {source!r}{hint}")
    return source


class Checkpoints(Part):
    """Takes checkpoints while a model trains, and shows one of them.

    Args:
        host: the panel, whose sampler is a `Follower`.
        model: in training; only read.
        every, keep, half, decay, source: as for `Watch`, checked.
        counted: what an iteration is, in words.
    """

    def __init__(
        self,
        host: Host,
        model: nn.Module,
        every: int,
        keep: int,
        half: bool,
        decay: float | None,
        source: str,
        counted: str = "iteration",
    ) -> None:
        super().__init__(host)
        self.counted = counted
        self.iteration = 0
        self.following = True
        self.sources = sources_of(decay)
        self.source = source
        self.history = CheckpointHistory(keep, half)
        self.cost = Cost()
        self.averaged: AveragedModel | None = None
        if decay is not None:
            self.averaged = AveragedModel(
                detached_copy(model, QuietNotes()),
                multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
        self._trained: nn.Module | None = model
        self._every, self._average_every = every, max(1, round(every / _UPDATES))
        self._has_paused = False  # whether the picture has been held once
        self._choosing = threading.Lock()  # both the loop and the training choose what is shown
        self._snapshot_seconds = float("nan")
        self._state_due = 0.0

    # ---- called from the training loop -----------------------------------------------------------------------------

    def count(self) -> None:
        """Count a finished iteration."""
        self.iteration += 1
        loop = self.host.loop
        drawn = loop.alive and loop.playing and not loop.held
        self.cost.tick(time.perf_counter(), drawn)
        # hold the picture once, for some iterations, to measure how long one takes without it
        if drawn and not self._has_paused:
            self._has_paused = True
            loop.hold(_CALIBRATION)
        elif loop.held and self.cost.calibrated:
            loop.release()
        if self.averaged is not None and self.iteration % self._average_every == 0:
            self.averaged.update_parameters(self._model)
        if self.iteration % self._every == 0:
            self.keep()

    def keep(self) -> None:
        """Store the current weights, and let the picture follow."""
        began = time.perf_counter()
        weights = taken(self._model)
        expected = [tensor.shape for tensor in weights_of(self.host.sampler.view)]
        if [tensor.shape for tensor in weights] != expected:
            raise ValueError("the model's weights changed in number or shape; call watch again")
        average = None
        if self.averaged is not None:
            average = taken(self.averaged.module) if int(self.averaged.n_averaged) else weights
        checkpoint = Checkpoint(self.iteration, weights, average)
        with self._choosing:
            self.history.add(checkpoint)
            if self.following:
                self._show(checkpoint, pace=0.3)
        self._snapshot_seconds = time.perf_counter() - began
        now = time.monotonic()
        if self.host.seen and not self.host.loop.playing and now >= self._state_due:  # no frame will update the page
            self._state_due = now + _TOLD_EVERY
            self.host.post_state()

    def _show(self, checkpoint: Checkpoint, pace: float) -> None:
        weights = checkpoint.average if self.source == "average" else checkpoint.weights
        assert weights is not None
        self.follower.follow(checkpoint.iteration, weights, pace)

    @property
    def _model(self) -> nn.Module:
        assert self._trained is not None
        return unwrap(self._trained)

    @property
    def follower(self) -> Follower:
        """The sampler."""
        sampler = self.host.sampler
        assert isinstance(sampler, Follower)
        return sampler

    # ---- what is displayed -----------------------------------------------------------------------------------------

    def follow(self) -> None:
        """On the loop: show the newest weights, now and in future."""
        self.choose(following=True)

    def choose(self, iteration: int | None = None, following: bool | None = None, source: str | None = None) -> None:
        """On the loop: show other weights from here on; averages restart. None leaves a setting unchanged."""
        follower = self.follower
        with self._choosing:  # a checkpoint may be added meanwhile
            wanted = follower.iteration if iteration is None else iteration
            nearest = min(self.history.kept, key=lambda kept: abs(kept.iteration - wanted))
            self.following = self.following if following is None else following
            self.source = self.source if source is None else source
            self._show(self.history.kept[-1] if self.following else nearest, pace=1.0)
        try:
            follower.adopt()
        finally:
            follower.reset_average()
            self.host.post_state()
            self.host.refresh()

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {
            "watch": {
                "counted": self.counted,
                "iteration": self.iteration,
                "kept": self.history.iterations,
                "shown": self.follower.iteration,
                "following": self.following,
                "source": self.source,
                "sources": self.sources,
                "cost": None if (share := self.cost.share) is None else plain(share),
                "snapshot_ms": plain(self._snapshot_seconds * 1e3),
            }
        }

    def gauges(self) -> dict[str, Any]:
        return self.state()

    def actions(self) -> Mapping[str, Action]:
        return {"follow": self.follow}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"scrub": self._read_scrub, "show": self._read_source}

    def _read_scrub(self, content: Content) -> Command | None:
        index = integer(content, "index")
        return None if index is None else Command(lambda: self._scrub(index))

    def _scrub(self, index: int) -> None:
        kept = self.history.kept
        self.choose(kept[min(max(index, 0), len(kept) - 1)].iteration, following=False)

    def _read_source(self, content: Content) -> Command | None:
        source = text(content, "what")
        return None if source is None else Command(lambda: self.choose(source=checked_source(source, self.sources)))

    def close(self) -> None:
        self._trained = self.averaged = None
        self.history = CheckpointHistory(2)
