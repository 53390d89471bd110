"""`Watch`: the picture follows a model while it trains."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from torch import nn
from typing_extensions import Unpack

from ..core.notes import LDAMWarning
from ..sampling import checks
from ..sampling.arguments import completed_by
from ..sampling.follower import Follower
from .live import LDAM, LDAMArguments
from .optimizer_steps import StepCounter
from .parts.watch_bar import Checkpoints, checked_source, sources_of


class Watch(LDAM):
    """A live picture of a model's neurons that follows its training; created by `watch`.

    Args:
        model: in training; it is read, never changed, and a copy of it is sampled.
        every: iterations between two checkpoints; the picture follows the newest. An iteration is a call of `update`,
            or a step of `optimizer`.
        keep: number of checkpoints to store, ≥ 2, on the CPU, spread over the whole training. Each takes as much
            memory as the weights, twice as much with an average.
        half: store all but the newest in half precision.
        decay: of the running average of the weights, which is updated about ten times between two checkpoints:
            0.98 averages over the last 5 · `every` iterations. None: no average.
        source: what to show, "weights" or "average".
        optimizer: its steps are counted within ``with watch(…):``; `update` is then not needed. It may wrap another
            (Accelerate, SAM, Lookahead, ZeRO); steps that a gradient scaler skips are not counted.
        **arguments: as for `LDAM`.

    Raises:
        ValueError, TypeError: as `LDAM`; weights that are sharded over several processes.
    """

    _sampler_class = Follower
    _counter: StepCounter | None = None

    @completed_by(LDAM.__init__)
    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 100,
        keep: int = 24,
        half: bool = False,
        decay: float | None = None,
        source: Literal["weights", "average"] = "weights",
        optimizer: Any = None,
        **arguments: Unpack[LDAMArguments],
    ) -> None:
        every, keep = checks.count("every", every), checks.count("keep", keep)
        if keep < 2:
            raise ValueError(f"keep must be at least 2, the first and the newest; got {keep}")
        if decay is not None and not (isinstance(decay, (int, float)) and 0 < decay < 1):
            raise ValueError(f"decay must be a number above 0 and below 1, or None; got {decay!r}")
        counter = None if optimizer is None else StepCounter(optimizer, self.update)
        checked_source(source, sources_of(decay))
        super().__init__(model, **arguments)
        counted = "iteration" if counter is None else "optimiser step"
        self._checkpoints = Checkpoints(self, model, every, keep, bool(half), decay, source, counted)
        self._add(self._checkpoints)
        self._counter = counter
        self._broken = False
        self._checkpoints.keep()

    def __repr__(self) -> str:
        if self._running is None:
            return "Watch(closed)"
        return f"Watch({self._title}, {self._checkpoints.counted} {self.iteration})"

    # ---- called from the training loop -----------------------------------------------------------------------------

    def update(self) -> None:
        """Call once per iteration, after the optimiser's step. Does not affect the training and never raises: errors
        are shown in the widget, and training continues."""
        self._carefully(self._checkpoints.count)

    def __call__(self) -> None:
        """Same as `update`."""
        self.update()

    def __enter__(self) -> Watch:
        if self._counter is not None:
            self._counter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store and show the last weights; remove the hook from the optimiser."""
        if self._counter is not None:
            self._counter.stop()
        self._carefully(self._checkpoints.keep)

    def count_steps_of(self, optimizer: Any) -> None:
        """Count steps of this optimiser within the next ``with``, instead of the one before; None: of none.

        Raises:
            TypeError: no optimiser is found whose steps can be observed.
        """
        counter = None if optimizer is None else StepCounter(optimizer, self.update)
        if self._counter is not None:
            self._counter.stop()
        self._counter = counter
        self._checkpoints.counted = "iteration" if counter is None else "optimiser step"

    def _carefully(self, do: Callable[[], None]) -> None:
        """Run `do` so that no error can stop the training."""
        if not self.watching:
            return
        try:
            do()
        except Exception as error:
            self._broken = True
            with contextlib.suppress(Exception):  # the page may be gone, and warnings may be configured as errors
                self.report(error)
                warnings.warn(f"watching stopped; training continues: {error}", LDAMWarning, stacklevel=3)

    @property
    def watching(self) -> bool:
        """Whether `update` has an effect: not after `close`, nor after an error in it."""
        return not self._broken and self._running is not None

    # ---- which weights are displayed -------------------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """Iterations counted so far."""
        return self._checkpoints.iteration

    @property
    def kept(self) -> list[int]:
        """Iterations whose weights are stored, ascending."""
        return self._checkpoints.history.iterations

    @property
    def following(self) -> bool:
        """Whether the newest weights are shown."""
        return self._checkpoints.following

    @property
    def shown(self) -> int:
        """The iteration whose weights are displayed."""
        return self._checkpoints.follower.iteration

    @property
    def cost(self) -> float | None:
        """Relative slowdown of the training while the picture moves, 0.12 for 12 %; None while unknown."""
        return self._checkpoints.cost.share

    @property
    def source(self) -> str:
        """What is shown of a checkpoint: "weights", or "average" if there is a running one. Can be set."""
        return self._checkpoints.source

    @source.setter
    def source(self, source: str) -> None:
        checked_source(source, self._checkpoints.sources)
        self._call(lambda: self._checkpoints.choose(source=source))

    def scrub(self, iteration: int) -> None:
        """Show the stored checkpoint nearest to an iteration, and stay there until `follow`."""
        self._call(lambda: self._checkpoints.choose(iteration, following=False))

    def follow(self) -> None:
        """Show the newest weights again, now and in future."""
        self._call(self._checkpoints.follow)

    def close(self) -> None:
        """Stop watching; ends the thread, and releases the copies of the weights and the optimiser's hook."""
        if self._counter is not None:
            self._counter.stop()
            self._counter = None
        super().close()


class CallbackArguments(LDAMArguments, total=False):
    """Keyword arguments of `Watch`, but for the optimiser."""

    every: int
    keep: int
    half: bool
    decay: float | None
    source: Literal["weights", "average"]


class WatchArguments(CallbackArguments, total=False):
    """All keyword arguments of `Watch`."""

    optimizer: Any


@completed_by(Watch.__init__)
def watch(model: nn.Module, *, display: bool = True, **arguments: Unpack[WatchArguments]) -> Watch:
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
        model: in training. It is left unchanged: same weights, same random numbers, bit for bit.
        display: show the widget at once, if in a notebook.
        **arguments: as for `Watch`: every, keep, half, decay, source, optimizer, and all of `LDAM`.

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
