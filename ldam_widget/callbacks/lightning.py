"""A callback of Lightning, under both of its names."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from typing_extensions import Unpack

from ..sampling.arguments import completed_by
from ..widget.watching import CallbackArguments, Watch
from .watcher import Watcher

_NAMES = ("lightning.pytorch", "pytorch_lightning")


@completed_by(Watch.__init__)
def lightning(*, module: str | None = None, display: bool = True, **arguments: Unpack[CallbackArguments]) -> Any:
    """A Lightning callback that watches the module in training::

        trainer = L.Trainer(callbacks=[ldam.callbacks.lightning(input_shape=(1, 28, 28), every=100)])

    Steps of the first optimiser are counted, or batches if there is none. With several processes, the first one shows
    the picture.

    Args:
        module: dotted name of the part to watch, such as "net"; None: the LightningModule and its `forward`.
        display: show the widget at once, if in a notebook.
        **arguments: as for `watch`, but `optimizer`.

    Returns:
        an object with `widget`, which is None until the training begins. Another training of the same model goes on in
        it; another model gets a widget of its own.

    Raises:
        ImportError: neither `lightning` nor `pytorch_lightning` is installed.
        TypeError: `module` is no name; `optimizer` was given.
    """
    given: dict[str, Any] = {"display": display, **arguments}
    bases = tuple(dict.fromkeys(_bases()))
    made: type = type("LightningWatcher", (_Hooks, *bases), {})
    return made(module, given)


def _bases() -> list[type]:
    """The Callback classes of whichever package is in use; both, if both are."""
    used = [name for name in _NAMES if name in sys.modules]
    for name in used or _NAMES:
        try:
            found = [importlib.import_module(each).Callback for each in (used or [name])]
        except ImportError:
            continue
        return found
    raise ImportError("Lightning is not installed: pip install lightning")


class _Hooks:
    """Called by a Trainer in this order."""

    def __init__(self, module: str | None, arguments: dict[str, Any]) -> None:
        super().__init__()
        self._watcher = Watcher(module, arguments)

    @property
    def widget(self) -> Watch | None:
        """The `Watch`; None until the training begins."""
        return self._watcher.widget

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if getattr(trainer, "is_global_zero", True):
            self._watcher.begin(pl_module, next(iter(trainer.optimizers), None))

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._watcher.stepped()

    def on_train_end(self, *_: Any) -> None:
        self._watcher.end()

    def on_exception(self, *_: Any) -> None:
        self._watcher.end()
