"""Watching a training that Accelerate distributes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from typing_extensions import Unpack

from ..sampling.arguments import completed_by
from ..widget.watching import CallbackArguments, Watch
from .watcher import Watcher, tell


@completed_by(Watch.__init__)
@contextlib.contextmanager
def accelerate(
    accelerator: Any, model: nn.Module, optimizer: Any, *, display: bool = True, **arguments: Unpack[CallbackArguments]
) -> Iterator[Watch | None]:
    """Watch a model while a loop of Accelerate trains it::

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        with ldam.callbacks.accelerate(accelerator, model, optimizer, input_shape=(1, 28, 28)):
            for x, y in loader: …

    Steps that accumulate gradients, or that the gradient scaler skips, are not counted. Gives the `Watch`; None in all
    processes but the first, and where the model cannot be watched, with an `LDAMWarning`. There is also one where the
    optimiser's steps cannot be observed: then call the `Watch`'s `update` after each.

    Args:
        accelerator: an `accelerate.Accelerator`.
        model, optimizer: as `accelerator.prepare` returned them.
        display: show the widget at once, if in a notebook.
        **arguments: as for `watch`, but `optimizer`.
    """
    watcher = Watcher(None, {"display": display, **arguments})
    if getattr(accelerator, "is_main_process", True):
        watcher.begin(model, optimizer)
        if watcher.counting:
            tell("the steps of this optimizer cannot be observed: call update() of the Watch after each of them")
    try:
        yield watcher.widget
    finally:
        watcher.end()
