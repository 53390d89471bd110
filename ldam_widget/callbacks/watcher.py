"""A `Watch` that opens when a training begins, and cannot stop it."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from ..core.notes import LDAMWarning
from ..widget.optimizer_steps import observable
from ..widget.watching import Watch, watch


class Watcher:
    """What all callbacks share.

    Args:
        module: dotted name of the part to watch; None: the whole model.
        arguments: of `watch`.
    """

    def __init__(self, module: str | None, arguments: dict[str, Any]) -> None:
        if module is not None and not isinstance(module, str):
            raise TypeError(f"module must be the name of a part of the model, for instance 'net'; got {module!r:.80}")
        if "optimizer" in arguments:
            raise TypeError("optimizer is taken from the training; leave it out")
        self._module, self._arguments = module, arguments
        self._watched: Callable[[], nn.Module | None] = lambda: None
        self.counting = False  # whether the optimiser's steps cannot be observed, so that `stepped` counts
        self.widget: Watch | None = None

    def begin(self, model: nn.Module, optimizer: object) -> None:
        """Watch a model that is about to be trained, or go on watching it: every training has its own optimiser."""
        self._carefully(lambda: self._open(model, optimizer))

    def _open(self, model: nn.Module, optimizer: object) -> None:
        self.counting = False
        part = model if self._module is None else model.get_submodule(self._module)
        steps = optimizer if observable(optimizer) else None
        if self.widget is not None and self.widget.watching and self._watched() is part:
            self.widget.count_steps_of(steps)
        else:
            self.widget = watch(part, optimizer=steps, **self._arguments)
            self._watched = weakref.ref(part)
        self.counting = steps is None
        self.widget.__enter__()

    def stepped(self) -> None:
        """Call after each step of the training loop: counts where the optimiser's steps cannot be observed."""
        if self.counting and self.widget is not None:
            self.widget.update()

    def end(self) -> None:
        """Show the last weights; the widget stays."""
        if (widget := self.widget) is not None:
            self._carefully(lambda: widget.__exit__(None, None, None))

    def _carefully(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            tell(f"the model is not watched; training continues: {error}")


def tell(message: str) -> None:
    """Warn without stopping the training."""
    with contextlib.suppress(Exception):  # warnings may be configured as errors
        warnings.warn(message, LDAMWarning, stacklevel=5)
