"""A callback of the Trainer of transformers."""

from __future__ import annotations

import importlib
from typing import Any

from typing_extensions import Unpack

from ..sampling.arguments import completed_by
from ..widget.watching import CallbackArguments, Watch
from .watcher import Watcher


@completed_by(Watch.__init__)
def huggingface(*, module: str | None = None, display: bool = True, **arguments: Unpack[CallbackArguments]) -> Any:
    """A `TrainerCallback` of transformers that watches the model in training::

        Trainer(model, args, callbacks=[ldam.callbacks.huggingface(input_shape=(3, 224, 224))], …)

    The optimiser's steps are counted, not batches. With several processes, the first one shows the picture.

    Args:
        module: dotted name of the part to watch; None: the model.
        display: show the widget at once, if in a notebook.
        **arguments: as for `watch`, but `optimizer`.

    Returns:
        an object with `widget`, which is None until the training begins. Another training of the same model goes on in
        it; another model gets a widget of its own.

    Raises:
        ImportError: transformers is not installed.
        TypeError: `module` is no name; `optimizer` was given.
    """
    try:
        base = importlib.import_module("transformers").TrainerCallback
    except ImportError as error:
        raise ImportError(
            f"transformers with its Trainer is needed: pip install transformers accelerate ({error})"
        ) from error
    made: type = type("HuggingFaceWatcher", (_Events, base), {})
    return made(module, {"display": display, **arguments})


class _Events:
    """Called by a Trainer in this order."""

    def __init__(self, module: str | None, arguments: dict[str, Any]) -> None:
        self._watcher = Watcher(module, arguments)

    @property
    def widget(self) -> Watch | None:
        """The `Watch`; None until the training begins."""
        return self._watcher.widget

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        if getattr(state, "is_world_process_zero", True):
            self._watcher.begin(known["model"], known.get("optimizer"))

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        self._watcher.stepped()

    def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        self._watcher.end()
