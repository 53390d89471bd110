"""Models that are called with more than one batch of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Inputs = Mapping[str, Any] | Callable[[Tensor], Any]


def call_with(view: nn.Module, inputs: Inputs | None) -> None:
    """Let a private view be called with a batch of images alone, and hand the other arguments to its forward pass.

    Args:
        view: its arguments are completed by a hook.
        inputs: the other arguments by name, where a tensor whose first axis is 1 is expanded to the batch; or a
            function of the batch: a tuple that it returns holds all arguments, anything else is the only one. None:
            there are no others.

    Raises:
        TypeError: anything else.
    """
    if inputs is None:
        return
    named = isinstance(inputs, Mapping) and all(isinstance(name, str) for name in inputs)
    if not named and not callable(inputs):
        raise TypeError(
            "inputs must be a dict of the model's other arguments, such as {'mask': mask}, or a function of the batch "
            f"that returns what the model is called with, such as lambda x: (x, mask); got {inputs!r:.80}"
        )
    view.register_forward_pre_hook(_Completing(inputs), prepend=True, with_kwargs=True)


def inputs_hint(view: nn.Module) -> str:
    """What to say if a view that is called with other arguments fails: those whose rows are not one per image."""
    hooks = [hook for hook in view._forward_pre_hooks.values() if isinstance(hook, _Completing)]
    rows = {name: len(value) for hook in hooks for name, value in hook.tensors().items() if len(value) != 1}
    listed = " and ".join(f"inputs[{name!r}] has {count} rows" for name, count in rows.items())
    return f"{listed}; a tensor of one row is expanded to the batch. " if rows else ""


class _Completing:
    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def tensors(self) -> dict[str, Tensor]:
        """Those with rows, by name."""
        given = self._inputs if isinstance(self._inputs, Mapping) else {}
        return {name: value for name, value in given.items() if isinstance(value, Tensor) and value.ndim}

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        (x,) = args
        if isinstance(self._inputs, Mapping):
            return args, kwargs | {name: _like(value, x) for name, value in self._inputs.items()}
        made = self._inputs(x)
        return (made if isinstance(made, tuple) else (made,)), kwargs


def _like(value: Any, x: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach().to(x.device)
    return value.expand(len(x), *value.shape[1:]) if value.ndim and value.shape[0] == 1 else value
