"""`Watch`: the picture follows a model while it trains."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .. import checks
from ..models import LDAMWarning, Notes, detached_copy, unwrap, weights_of
from ..training import Checkpoint, Cost, Follower, History, taken
from . import wire
from .live import LDAM

_CALIBRATION = 2.0  # seconds that the picture may stand still, so that its cost can be told
_UPDATES = 10  # of the running average, between two pictures of other weights


class Watch(LDAM):
    """A live picture of a model's neurons that follows its training; made by `watch`, which see.

    Args:
        model: in training; it is read, never changed, and a copy of it is sampled.
        every: iterations between two checkpoints, which the picture follows.
        keep: checkpoints kept to go back to, on the CPU; the older, the fewer.
        half: keep all but the newest in half precision.
        decay: of the running average of the weights, which takes them in ten times between two checkpoints: 0.98
            remembers the last 5 · `every` iterations. None: there is no average.
        source: what to show, "weights" or "average".
        optimizer: its steps are counted within ``with watch(…):``; no `update` is then needed.
        **arguments: as of `LDAM`.

    Raises:
        ValueError, TypeError: as `LDAM`.
    """

    _sampler_class = Follower

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
        if decay is not None and not 0 < decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, or None; got {decay!r}")
        if optimizer is not None and not hasattr(optimizer, "register_step_post_hook"):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, or None; got {optimizer!r:.80}")
        super().__init__(model, **arguments)
        self._trained, self._optimizer = model, optimizer
        self._hook: Any = None
        self._decay = decay
        self._averaged: AveragedModel | None = None
        if decay is not None:
            self._averaged = AveragedModel(
                detached_copy(model, Notes()),
                multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
        self._average_every = max(1, self._every // _UPDATES)
        self._source = "weights"
        self._iteration = 0
        self._shown: int | None = 0
        self._following = True
        self._history = History(keep, bool(half))
        self._cost = Cost()
        self._calibration_ends: float | None = None
        self._snapshot_seconds = float("nan")
        self._broken = False
        self._keep_checkpoint()
        self.source = source

    def __repr__(self) -> str:
        return "Watch(closed)" if self._running is None else f"Watch({self._title}, iteration {self.iteration})"

    # ---- in the training loop --------------------------------------------------------------------------------------

    def update(self) -> None:
        """Call once an iteration, after the optimiser's step. It changes nothing and raises nothing: what goes wrong
        with the picture is shown there, and training goes on."""
        if self._broken or self._running is None:
            return
        try:
            self._iteration += 1
            self._cost.tick(time.perf_counter(), self._drawing())
            self._calibrate()
            if self._averaged is not None and self.iteration % self._average_every == 0:
                self._averaged.update_parameters(unwrap(self._trained))
            if self.iteration % self._every == 0:
                self._keep_checkpoint()
        except Exception as error:
            self._broken = True
            self._report(error)
            warnings.warn(f"watching stopped, training goes on: {error}", LDAMWarning, stacklevel=2)

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
        if self._running is not None and not self._broken:
            self._keep_checkpoint()

    def _drawing(self) -> bool:
        loop = self._loop
        return loop.alive and loop.playing and not loop.held

    def _calibrate(self) -> None:
        """Let the picture stand still for the first iterations: how long does one take without it?"""
        now = time.monotonic()
        if self._calibration_ends is None:
            self._calibration_ends = now + _CALIBRATION
            self._loop.held = True
        elif self._loop.held and (self._cost.calibrated or now > self._calibration_ends):
            self._loop.release()

    def _keep_checkpoint(self) -> None:
        """Copy the weights as they are now, and let the picture follow."""
        began = time.perf_counter()
        model = unwrap(self._trained)
        weights = taken(model)
        expected = [tensor.shape for tensor in weights_of(self.sampler.view)]
        if [tensor.shape for tensor in weights] != expected:
            raise ValueError("the model's weights changed their number or shapes; watch it anew")
        average = None
        if self._averaged is not None:
            average = taken(self._averaged.module) if int(self._averaged.n_averaged) else weights
        self._history.add(Checkpoint(self.iteration, weights, average))
        if self._following:
            self._show_checkpoint(self._history.kept[-1], pace=0.3)
        self._snapshot_seconds = time.perf_counter() - began

    def _show_checkpoint(self, checkpoint: Checkpoint, pace: float) -> None:
        weights = checkpoint.average if self._source == "average" else checkpoint.weights
        assert weights is not None
        sampler = self.sampler
        assert isinstance(sampler, Follower)
        sampler.follow(weights, pace)
        self._shown = checkpoint.iteration

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
    def shown(self) -> int | None:
        """The iteration whose weights are on show."""
        return self._shown

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
        if source not in self._sources():
            hint = "" if self._averaged is not None else "; watch(…, decay=0.98) keeps a running average"
            raise ValueError(f"source must be one of {', '.join(map(repr, self._sources()))}; got {source!r}{hint}")
        self._source = source
        shown = next((c for c in self._history.kept if c.iteration == self._shown), self._history.kept[-1])
        self._loop.call(lambda: self._change(shown))

    def scrub(self, iteration: int) -> None:
        """Show the kept checkpoint that is nearest to an iteration, and stay there until `follow`."""
        nearest = min(self._history.kept, key=lambda c: abs(c.iteration - iteration))
        self._loop.call(lambda: self._go_to(nearest))

    def follow(self) -> None:
        """Show the newest weights again, and all that come."""
        self._loop.call(self._follow)

    def _sources(self) -> list[str]:
        return ["weights"] if self._averaged is None else ["weights", "average"]

    def _follow(self) -> None:
        self._following = True
        self._change(self._history.kept[-1])

    def _go_to(self, checkpoint: Checkpoint) -> None:
        self._following = False
        self._change(checkpoint)

    def _change(self, checkpoint: Checkpoint) -> None:
        """On the loop: show other weights from here on; averages begin anew."""
        self._show_checkpoint(checkpoint, pace=1.0)
        sampler = self.sampler
        assert isinstance(sampler, Follower)
        try:
            sampler.adopt()
        finally:
            sampler.reset_average()
            self._average_due = self._gauges_due = 0.0
            self._send_state()
        if not self._loop.playing:
            self._loop.send_now()

    # ---- the page --------------------------------------------------------------------------------------------------

    def _hear(self, message: wire.Lock | wire.Show | wire.Scrub) -> None:
        if isinstance(message, wire.Scrub):
            kept = self._history.kept
            self._go_to(kept[min(max(message.place, 0), len(kept) - 1)])
        elif isinstance(message, wire.Show):
            self.source = message.what

    def _own_deeds(self) -> dict[str, Callable[[], object]]:
        return super()._own_deeds() | {"follow": self._follow}

    def _watched(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "kept": self.kept,
            "shown": self._shown,
            "following": self._following,
            "source": self._source,
            "sources": self._sources(),
            "cost": None if self.cost is None else wire.plain(self.cost),
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
        self._averaged = None
        self._history.kept = ()


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
