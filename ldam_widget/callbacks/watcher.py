"""A `Watch` that opens when a training begins, and cannot stop it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from ..core.notes import LDAMWarning
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
        self._counting = False
        self.widget: Watch | None = None

    def begin(self, model: nn.Module, optimizer: object) -> None:
        """Watch a model that is about to be trained, or go on watching it."""
        self._carefully(lambda: self._open(model, optimizer))

    def _open(self, model: nn.Module, optimizer: object) -> None:
        if self.widget is None:
            part = model if self._module is None else model.get_submodule(self._module)
            try:
                self.widget = watch(part, optimizer=optimizer, **self._arguments)
            except TypeError as error:
                if "update()" not in str(error):
                    raise
                self.widget = watch(part, **self._arguments)  # the steps of this optimiser cannot be observed
                self._counting = True
        self.widget.__enter__()

    def stepped(self) -> None:
        """Call after each step of the training loop: counts where the optimiser's steps cannot be observed."""
        if self._counting and self.widget is not None:
            self.widget.update()

    def end(self) -> None:
        """Show the last weights; the widget stays."""
        if (widget := self.widget) is not None:
            self._carefully(lambda: widget.__exit__(None, None, None))

    def _carefully(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:
            with contextlib.suppress(Exception):  # warnings may be configured as errors
                warnings.warn(f"the model is not watched; training continues: {error}", LDAMWarning, stacklevel=4)
