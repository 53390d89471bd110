"""The user's own hooks, as they are in a private view."""

from __future__ import annotations

import copy
import dis
import itertools
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .addresses import tensors
from .deep_copy import reachable

_CONTAINERS = (list, dict, set, deque)
_FORWARD_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
_MOST = 1000  # objects in a value that is copied for a hook; larger ones are shared with the user


class Hooks:
    """The hooks of a view. Many only collect what passes by; those need not run in every step.

    Args:
        view: a private view; its backward hooks are removed, since the gradient is that of its output.
    """

    def __init__(self, view: nn.Module) -> None:
        self._after = [(module, key) for module in view.modules() for key in module._forward_hooks]
        self._before = [(module, key) for module in view.modules() for key in module._forward_pre_hooks]
        self._active: set[tuple[int, int]] = set()
        self._real = {(id(module), key): module._forward_hooks[key] for module, key in self._after}
        self.dropped: list[tuple[nn.Module, dict[str, dict[int, Any]]]] = []
        for module in view.modules():
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the context, see which hooks change the output, and which fill containers of the user's.

        They fill copies instead, and go on doing so afterwards.
        """
        replaced = [(module._forward_hooks, module, key) for module, key in self._after]
        replaced += [(module._forward_pre_hooks, module, key) for module, key in self._before]
        real = [(hooks, key, hooks[key], Isolated.of(hooks[key])) for hooks, _, key in replaced]
        for (hooks, module, key), (_, _, hook, isolated) in zip(replaced, real, strict=True):
            run = hook if isolated is None else isolated.function
            hooks[key] = self._watching((id(module), key), run) if hooks is module._forward_hooks else run
        try:
            yield
        finally:
            for hooks, key, hook, isolated in real:
                if key not in hooks:  # dropped
                    continue
                hooks[key] = isolated.function if isolated is not None and isolated.has_changed() else hook

    def drop_idle(self) -> None:
        """Remove the forward hooks that have not changed any output, unless they do so under a condition."""
        for module, key in self._after:
            if (id(module), key) not in self._active and not _may_answer(self._real[id(module), key]):
                kept = {name: dict(getattr(module, name)) for name in _FORWARD_HOOKS}
                self.dropped.append((module, kept))
                for name in _FORWARD_HOOKS:
                    getattr(module, name).pop(key, None)

    def take_back(self) -> None:
        """Undo `drop_idle`."""
        for module, kept in reversed(self.dropped):
            for name, hooks in kept.items():
                present = getattr(module, name)
                present.clear()
                present.update(hooks)

    def _watching(self, which: tuple[int, int], hook: Callable[..., Any]) -> Callable[..., Any]:
        def watching(module: nn.Module, *call: Any) -> Any:
            before = [tensor._version for _, tensor in tensors(call[-1])]
            answer = hook(module, *call)
            if answer is not None or before != [tensor._version for _, tensor in tensors(call[-1])]:
                self._active.add(which)
            return answer

        return watching


def isolate_hooks(view: nn.Module) -> None:
    """Let hooks fill containers of their own, not the user's."""
    for module in view.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in hooks.items():
                isolated = Isolated.of(hook)
                hooks[key] = hook if isolated is None else isolated.function


class Isolated:
    """A function like the user's, with copies of what its closure and the globals that it names hold.

    Args:
        function: the user's.
        outer: ids of the functions in whose closures it was found.
    """

    def __init__(self, function: types.FunctionType, outer: frozenset[int] = frozenset()) -> None:
        self._outer = outer | {id(function)}  # a closure may hold the function itself
        names = [name for name in function.__code__.co_names if name in function.__globals__]
        self._world = function.__globals__ | {name: private(function.__globals__[name]) for name in names}
        self._names = names
        self._within: list[Isolated] = []  # functions that its closure holds
        self._cells = tuple(self._private_cell(cell) for cell in function.__closure__ or ())
        self.function = types.FunctionType(
            function.__code__, self._world, function.__name__, function.__defaults__, self._cells
        )
        self.function.__kwdefaults__ = function.__kwdefaults__
        self._was = self._state()

    @classmethod
    def of(cls, hook: object) -> Isolated | None:
        """None for callables other than functions; those are copied with the view."""
        return cls(hook) if isinstance(hook, types.FunctionType) else None

    def has_changed(self) -> bool:
        """Whether a call has changed anything that it holds."""
        return self._state() != self._was or any(each.has_changed() for each in self._within)

    def _private_cell(self, cell: types.CellType) -> types.CellType:
        content = _content(cell)
        if content is _EMPTY:
            return cell
        if isinstance(content, types.FunctionType) and content.__closure__ and id(content) not in self._outer:
            self._within.append(Isolated(content, self._outer))
            return types.CellType(self._within[-1].function)
        return types.CellType(private(content))

    def _state(self) -> list[Any]:
        held = [self._world.get(name) for name in self._names] + [_content(cell) for cell in self._cells]
        found: list[Any] = []
        for value in held:
            found.append(id(value))
            if not isinstance(value, (nn.Module, Tensor, types.ModuleType, types.FunctionType, type)):
                found += [_inside(thing) for thing in itertools.islice(reachable(value), _MOST)]
        return found


def private(value: Any) -> Any:
    """A copy of a container, or of an object with attributes, unless it is large or holds modules."""
    shared = (nn.Module, Tensor, types.ModuleType, types.FunctionType, types.MethodType, type)
    if isinstance(value, shared) or not (isinstance(value, _CONTAINERS) or hasattr(value, "__dict__")):
        return value
    things = list(itertools.islice(reachable(value), _MOST))
    if len(things) == _MOST or any(isinstance(thing, (nn.Module, types.ModuleType)) for thing in things):
        return value
    memo = {id(thing): thing for thing in things if isinstance(thing, (Tensor, types.FunctionType))}
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        return value


def _may_answer(hook: Any) -> bool:
    """Whether a function returns nothing in some cases, and something in others."""
    hook = getattr(hook, "func", hook)  # a partial
    code = getattr(hook, "__code__", None) or getattr(type(hook).__call__, "__code__", None)
    if code is None:
        return False
    answers, last = set(), None
    for each in dis.get_instructions(code):
        if each.opname == "RETURN_CONST":
            answers.add(each.argval is None)
        elif each.opname == "RETURN_VALUE" and last is not None:
            answers.add(last.opname == "LOAD_CONST" and last.argval is None)
        last = each
    return len(answers) > 1


_EMPTY = object()


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _inside(thing: Any) -> Any:
    if isinstance(thing, dict):
        return [(key, id(value)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple, set, frozenset, deque)):
        return [id(each) for each in thing]
    return [(key, id(value)) for key, value in getattr(thing, "__dict__", {}).items()]
