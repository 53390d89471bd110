"""`Watch`: the picture follows a model while it trains."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import torch
from torch import nn
from typing_extensions import Unpack

from ..core.notes import LDAMWarning
from ..sampling import checks
from ..sampling.arguments import completed_by
from ..sampling.follower import Follower
from .live import LDAM, LDAMArguments
from .parts.watch_bar import Checkpoints, checked_source, sources_of


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
        optimizer: torch.optim.Optimizer | None = None,
        **arguments: Unpack[LDAMArguments],
    ) -> None:
        every, keep = checks.count("every", every), checks.count("keep", keep)
        if keep < 2:
            raise ValueError(f"keep must be at least 2, the first and the newest; got {keep}")
        if decay is not None and not (isinstance(decay, (int, float)) and 0 < decay < 1):
            raise ValueError(f"decay must be a number above 0 and below 1, or None; got {decay!r}")
        if optimizer is not None and (isinstance(optimizer, type) or not hasattr(optimizer, "register_step_post_hook")):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, or None; got {optimizer!r:.80}")
        checked_source(source, sources_of(decay))
        super().__init__(model, **arguments)
        self._checkpoints = Checkpoints(self, model, every, keep, bool(half), decay, source)
        self._add(self._checkpoints)
        self._optimizer = optimizer
        self._broken = False
        self._checkpoints.keep()

    def __repr__(self) -> str:
        return "Watch(closed)" if self._running is None else f"Watch({self._title}, iteration {self.iteration})"

    # ---- in the training loop --------------------------------------------------------------------------------------

    def update(self) -> None:
        """Call once an iteration, after the optimiser's step. It changes nothing and raises nothing: what goes wrong
        with the picture is shown there, and training goes on."""
        self._carefully(self._checkpoints.count)

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
        self._carefully(self._checkpoints.keep)

    def _carefully(self, do: Callable[[], None]) -> None:
        """Nothing that goes wrong here may stop the training."""
        if self._broken or self._running is None:
            return
        try:
            do()
        except Exception as error:
            self._broken = True
            with contextlib.suppress(Exception):  # the page may be gone, and a warning may be an error
                self.report(error)
                warnings.warn(f"watching stopped, training goes on: {error}", LDAMWarning, stacklevel=3)

    # ---- which weights are on show ---------------------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """Iterations counted so far."""
        return self._checkpoints.iteration

    @property
    def kept(self) -> list[int]:
        """Iterations whose weights are kept, ascending."""
        return self._checkpoints.history.iterations

    @property
    def following(self) -> bool:
        """Are the newest weights on show?"""
        return self._checkpoints.following

    @property
    def shown(self) -> int:
        """The iteration whose weights are on show."""
        return self._checkpoints.follower.iteration

    @property
    def cost(self) -> float | None:
        """By what share training is slower while the picture moves, 0.12 is 12 %; None while that is not known."""
        return self._checkpoints.cost.share

    @property
    def source(self) -> str:
        """What is shown of a checkpoint: "weights", or "average" if there is a running one. Set it to change that."""
        return self._checkpoints.source

    @source.setter
    def source(self, source: str) -> None:
        checked_source(source, self._checkpoints.sources)
        self._call(lambda: self._checkpoints.choose(source=source))

    def scrub(self, iteration: int) -> None:
        """Show the kept checkpoint that is nearest to an iteration, and stay there until `follow`."""
        self._call(lambda: self._checkpoints.choose(iteration, following=False))

    def follow(self) -> None:
        """Show the newest weights again, and all that come."""
        self._call(self._checkpoints.follow)

    def close(self) -> None:
        """Stop watching: the thread, the copies of the weights, and the optimiser's hook go."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        super().close()
        self._optimizer = None


class WatchArguments(LDAMArguments, total=False):
    """All keyword arguments of `Watch`."""

    every: int
    keep: int
    half: bool
    decay: float | None
    source: Literal["weights", "average"]
    optimizer: torch.optim.Optimizer | None


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
