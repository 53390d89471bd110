"""The user's own hooks, as they are in a private view."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .addresses import tensors

_CONTAINERS = (list, dict, set, deque)


class ForwardHooks:
    """Forward hooks of a view, most of which only collect outputs; those need not run in every step.

    Args:
        view: a private view; its backward hooks are removed, since the gradient is that of its output.
    """

    def __init__(self, view: nn.Module) -> None:
        self._hooks = [(module, key) for module in view.modules() for key in module._forward_hooks]
        self._active: set[tuple[int, int]] = set()
        for module in view.modules():
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the context, see which hooks change the output. What they collect is discarded."""
        real = [(module, key, module._forward_hooks[key]) for module, key in self._hooks]
        for module, key, hook in real:
            module._forward_hooks[key] = self._watching((id(module), key), _isolated(hook))
        try:
            yield
        finally:
            for module, key, hook in real:
                module._forward_hooks[key] = hook

    def drop_idle(self) -> None:
        """Remove the hooks that have not changed any output."""
        for module, key in self._hooks:
            if (id(module), key) not in self._active:
                del module._forward_hooks[key]
                module._forward_hooks_with_kwargs.pop(key, None)
                module._forward_hooks_always_called.pop(key, None)

    def _watching(self, which: tuple[int, int], hook: Callable[..., Any]) -> Callable[..., Any]:
        def watching(module: nn.Module, *call: Any) -> Any:
            before = [tensor._version for _, tensor in tensors(call[-1])]
            answer = hook(module, *call)
            if answer is not None or before != [tensor._version for _, tensor in tensors(call[-1])]:
                self._active.add(which)
            return answer

        return watching


def isolate_hooks(view: nn.Module) -> None:
    """Let forward hooks fill containers of their own, not the user's."""
    for module in view.modules():
        for key, hook in module._forward_hooks.items():
            module._forward_hooks[key] = _isolated(hook)


def _isolated(hook: Any) -> Any:
    """A function like `hook` with copies of the lists and the like that it fills; other callables as they are."""
    if not isinstance(hook, types.FunctionType):
        return hook
    names = hook.__code__.co_names
    world = hook.__globals__ | {name: _copy(hook.__globals__[name]) for name in names if name in hook.__globals__}
    closure = tuple(_copied_cell(cell) for cell in hook.__closure__ or ())
    new = types.FunctionType(hook.__code__, world, hook.__name__, hook.__defaults__, closure)
    new.__kwdefaults__ = hook.__kwdefaults__
    return new


def _copy(value: Any) -> Any:
    return type(value)(value) if type(value) in _CONTAINERS else value


def _copied_cell(cell: types.CellType) -> types.CellType:
    try:
        return types.CellType(_copy(cell.cell_contents))
    except ValueError:  # empty
        return cell
