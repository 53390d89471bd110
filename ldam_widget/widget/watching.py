"""`Watch`: the picture follows a model while it trains."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..core.notes import LDAMWarning, QuietNotes
from ..network.view import detached_copy, unwrap, weights_of
from ..sampling import checks
from ..sampling.follower import Checkpoint, CheckpointHistory, Cost, Follower, taken
from . import wire
from .live import LDAM

_CALIBRATION = 2.0  # seconds that the picture may stand still, so that its cost can be told
_TOLD_EVERY = 0.25  # seconds: what a page is told while its picture is paused
_UPDATES = 10  # of the running average, between two pictures of other weights


class Watch(LDAM):
    """A live picture of a model's neurons that follows its training; made by `watch`, which see.

    Args:
        model: in training; it is read, never changed, and a copy of it is sampled.
        every: iterations between two checkpoints, which the picture follows.
        keep: checkpoints kept to go back to, ≥ 2, on the CPU, spread over the whole training. Each takes as much
            memory as the weights, twice as much with an average.
        half: keep all but the newest in half precision.
        decay: of the running average of the weights, which takes them in about ten times between two checkpoints:
            0.98 remembers the last 5 · `every` iterations. None: there is no average.
        source: what to show, "weights" or "average".
        optimizer: its steps are counted within ``with watch(…):``; no `update` is then needed.
        **arguments: as of `LDAM`.

    Raises:
        ValueError, TypeError: as `LDAM`.
    """

    _sampler_class = Follower
    _hook: Any = None

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 100,
        keep: int = 24,
        half: bool = False,
        decay: float | None = None,
        source: Literal["weights", "average"] = "weights",
        optimizer: torch.optim.Optimizer | None = None,
        **arguments: Any,
    ) -> None:
        self._every = checks.count("every", every)
        if checks.count("keep", keep) < 2:
            raise ValueError(f"keep must be at least 2, the first and the newest; got {keep}")
        if decay is not None and not (isinstance(decay, (int, float)) and 0 < decay < 1):
            raise ValueError(f"decay must be a number above 0 and below 1, or None; got {decay!r}")
        if optimizer is not None and (isinstance(optimizer, type) or not hasattr(optimizer, "register_step_post_hook")):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, or None; got {optimizer!r:.80}")
        self._sources = ["weights"] if decay is None else ["weights", "average"]
        self._source = self._checked_source(source)
        super().__init__(model, **arguments)
        self._trained: nn.Module | None = model
        self._optimizer = optimizer
        self._averaged: AveragedModel | None = None
        if decay is not None:
            self._averaged = AveragedModel(
                detached_copy(model, QuietNotes()),
                multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
        self._average_every = max(1, round(self._every / _UPDATES))
        self._iteration = 0
        self._held = False  # has the picture stood still?
        self._following = True
        self._choosing = threading.Lock()  # what is shown is chosen on the loop and by the training
        self._history = CheckpointHistory(keep, bool(half))
        self._cost = Cost()
        self._snapshot_seconds = float("nan")
        self._broken = False
        self._keep_checkpoint()

    def __repr__(self) -> str:
        return "Watch(closed)" if self._running is None else f"Watch({self._title}, iteration {self.iteration})"

    # ---- in the training loop --------------------------------------------------------------------------------------

    def update(self) -> None:
        """Call once an iteration, after the optimiser's step. It changes nothing and raises nothing: what goes wrong
        with the picture is shown there, and training goes on."""
        self._carefully(self._count)

    def __call__(self) -> None:
        """As `update`."""
        self.update()

    def __enter__(self) -> Watch:
        if self._optimizer is not None and self._hook is None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self.update())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last weights are kept and shown; the optimiser is left as it was."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self._carefully(self._keep_checkpoint)

    def _carefully(self, do: Callable[[], None]) -> None:
        """Nothing that goes wrong here may stop the training."""
        if self._broken or self._running is None:
            return
        try:
            do()
        except Exception as error:
            self._broken = True
            with contextlib.suppress(Exception):  # the page may be gone, and a warning may be an error
                self._report(error)
                warnings.warn(f"watching stopped, training goes on: {error}", LDAMWarning, stacklevel=3)

    def _count(self) -> None:
        self._iteration += 1
        loop = self._loop
        drawn = loop.alive and loop.playing and not loop.held
        self._cost.tick(time.perf_counter(), drawn)
        # the picture stands still for some iterations, once: how long does one take without it?
        if drawn and not self._held:
            self._held = True
            loop.hold(_CALIBRATION)
        elif loop.held and self._cost.calibrated:
            loop.release()
        if self._averaged is not None and self._iteration % self._average_every == 0:
            self._averaged.update_parameters(self._model)
        if self._iteration % self._every == 0:
            self._keep_checkpoint()

    def _keep_checkpoint(self) -> None:
        """Copy the weights as they are now, and let the picture follow."""
        began = time.perf_counter()
        weights = taken(self._model)
        expected = [tensor.shape for tensor in weights_of(self.sampler.view)]
        if [tensor.shape for tensor in weights] != expected:
            raise ValueError("the model's weights changed their number or shapes; watch it anew")
        average = None
        if self._averaged is not None:
            average = taken(self._averaged.module) if int(self._averaged.n_averaged) else weights
        checkpoint = Checkpoint(self._iteration, weights, average)
        with self._choosing:
            self._history.add(checkpoint)
            if self._following:
                self._show(checkpoint, pace=0.3)
        self._snapshot_seconds = time.perf_counter() - began
        now = time.monotonic()
        if self._views and not self._loop.playing and now >= self._gauges_due:  # no picture will tell the page
            self._gauges_due = now + _TOLD_EVERY
            self._send_state()

    def _show(self, checkpoint: Checkpoint, pace: float) -> None:
        weights = checkpoint.average if self._source == "average" else checkpoint.weights
        assert weights is not None
        self._follower.follow(checkpoint.iteration, weights, pace)

    @property
    def _model(self) -> nn.Module:
        assert self._trained is not None
        return unwrap(self._trained)

    @property
    def _follower(self) -> Follower:
        sampler = self.sampler
        assert isinstance(sampler, Follower)
        return sampler

    # ---- which weights are on show ---------------------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """Iterations counted so far."""
        return self._iteration

    @property
    def kept(self) -> list[int]:
        """Iterations whose weights are kept, ascending."""
        return self._history.iterations

    @property
    def following(self) -> bool:
        """Are the newest weights on show?"""
        return self._following

    @property
    def shown(self) -> int:
        """The iteration whose weights are on show."""
        return self._follower.iteration

    @property
    def cost(self) -> float | None:
        """By what share training is slower while the picture moves, 0.12 is 12 %; None while that is not known."""
        return self._cost.share

    @property
    def source(self) -> str:
        """What is shown of a checkpoint: "weights", or "average" if there is a running one. Set it to change that."""
        return self._source

    @source.setter
    def source(self, source: str) -> None:
        self._checked_source(source)
        self._loop.call(lambda: self._choose(source=source))

    def scrub(self, iteration: int) -> None:
        """Show the kept checkpoint that is nearest to an iteration, and stay there until `follow`."""
        self._loop.call(lambda: self._choose(iteration, following=False))

    def follow(self) -> None:
        """Show the newest weights again, and all that come."""
        self._loop.call(self._follow)

    def _checked_source(self, source: str) -> str:
        if source not in self._sources:
            hint = "" if "average" in self._sources else "; watch(…, decay=0.98) keeps a running average"
            raise ValueError(f"source must be one of {', '.join(map(repr, self._sources))}; got {source!r}{hint}")
        return source

    def _follow(self) -> None:
        self._choose(following=True)

    def _choose(self, iteration: int | None = None, following: bool | None = None, source: str | None = None) -> None:
        """On the loop: show other weights from here on; averages begin anew. What is None stays as it is."""
        follower = self._follower
        with self._choosing:  # a checkpoint may be kept meanwhile
            wanted = follower.iteration if iteration is None else iteration
            nearest = min(self._history.kept, key=lambda kept: abs(kept.iteration - wanted))
            self._following = self._following if following is None else following
            self._source = self._source if source is None else source
            self._show(self._history.kept[-1] if self._following else nearest, pace=1.0)
        try:
            follower.adopt()
        finally:
            follower.reset_average()
            self._average_due = self._gauges_due = 0.0
            self._send_state()
        if not self._loop.playing:
            self._loop.send_now()

    # ---- the page --------------------------------------------------------------------------------------------------

    def _hear(self, message: wire.Lock | wire.Show | wire.Scrub) -> None:
        if isinstance(message, wire.Scrub):
            kept = self._history.kept
            self._choose(kept[min(max(message.place, 0), len(kept) - 1)].iteration, following=False)
        elif isinstance(message, wire.Show):
            self._choose(source=self._checked_source(message.what))

    def _own_deeds(self) -> dict[str, Callable[[], object]]:
        return super()._own_deeds() | {"follow": self._follow}

    def _watched(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "kept": self.kept,
            "shown": self.shown,
            "following": self._following,
            "source": self._source,
            "sources": self._sources,
            "cost": None if (cost := self.cost) is None else wire.plain(cost),
            "snapshot_ms": wire.plain(self._snapshot_seconds * 1e3),
        }

    def _extras(self) -> dict[str, Any]:
        return super()._extras() | {"watch": self._watched()}

    def _gauges(self) -> dict[str, Any]:
        return super()._gauges() | {"watch": self._watched()}

    def close(self) -> None:
        """Stop watching: the thread, the copies of the weights, and the optimiser's hook go."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        super().close()
        self._trained = self._optimizer = self._averaged = None
        self._history = CheckpointHistory(2)


def watch(model: nn.Module, *, display: bool = True, **arguments: Any) -> Watch:
    """Watch a model's neurons while it trains::

        w = ldam.watch(model, every=100, input_shape=(1, 28, 28))
        for x, y in loader:
            ...
            optimizer.step()
            w.update()

    or, without a call in the loop::

        with ldam.watch(model, every=100, input_shape=(1, 28, 28), optimizer=optimizer):
            train()

    Args:
        model: in training. It comes back untouched: same weights, same random numbers, to the last bit.
        display: show the widget at once, where there is a notebook.
        **arguments: as of `Watch`: every, keep, half, decay, source, optimizer, and all of `LDAM`.

    Raises:
        ValueError, TypeError: as `LDAM`.
    """
    made = Watch(model, **arguments)
    if display:
        _display(made)
    return made


def _display(widget: Watch) -> None:
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        display(widget)  # type: ignore[no-untyped-call]
