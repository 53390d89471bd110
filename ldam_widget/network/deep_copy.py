"""Copy a module tree, with whatever else hangs on it, so that the copy runs none of the original's modules."""

from __future__ import annotations

import copy
import functools
import itertools
import re
import types
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Any

from torch import Tensor, nn

_LONG = 1000  # items; of longer containers, a few are looked at: a module may hold a whole data set
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, types.BuiltinFunctionType)
_COPYING = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__")
_LISTS = (list, tuple, set, frozenset, deque)


def deep_copy(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """`copy.deepcopy`, which also accepts what hangs on many modules.

    Tensors that are attributes, also within lists and other objects, are shared and without a gradient. What cannot be
    copied (locks, generators, files, streams) is shared. Functions whose closures hold parts of the model, such as
    ``self.pre = lambda x: self.stem(x)``, are replaced by ones that hold the parts of the copy.

    Args:
        model: not changed.
        memo: as of `copy.deepcopy`: id -> what stands for that object in the copy. Added to.

    Raises:
        TypeError: something cannot be copied for another reason.
    """
    things = list(reachable(model))
    for thing in things:
        if isinstance(thing, Tensor):
            memo.setdefault(id(thing), thing.detach())
    copied = _copied(model, memo, things)
    parts = {id(module) for module in model.modules()}
    functions = {id(f): f for f in things if isinstance(f, types.FunctionType) and _leads_to(f, parts)}
    if functions:
        _rebind(copied, functions, parts, memo)
    return copied


def reachable(start: object) -> Iterator[Any]:
    """Everything that an object holds, directly or not: attributes, items of containers, closures."""
    seen: set[int] = set()
    waiting = deque([start])
    while waiting:
        thing = waiting.popleft()
        if isinstance(thing, _PLAIN) or id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        waiting.extend(_inside(thing))


def _inside(thing: Any) -> list[Any]:
    if isinstance(thing, (Tensor, types.ModuleType)):
        return []
    if isinstance(thing, dict):
        return [] if _is_data(thing.values()) else list(thing.values())
    if isinstance(thing, _LISTS):
        return [] if _is_data(thing) else list(thing)
    if isinstance(thing, types.FunctionType):
        held = [cell.cell_contents for cell in thing.__closure__ or () if _is_full(cell)]
        return [*held, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    try:
        return list(vars(thing).values())
    except TypeError:  # no attributes
        return []


def _is_data(values: Collection[Any]) -> bool:
    """Whether this is a long container of plain values, or of tuples and the like of them, judged by its beginning."""
    return len(values) > _LONG and all(_is_plain(each, 3) for each in itertools.islice(values, 20))


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, _LISTS):
        return depth > 0 and all(_is_plain(each, depth - 1) for each in itertools.islice(value, 20))
    return isinstance(value, (*_PLAIN, PurePath)) or type(value).__module__ == "numpy"


def _is_full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _copied(model: nn.Module, memo: dict[int, Any], things: list[Any]) -> nn.Module:
    while True:
        known = dict(memo)
        try:
            copied: nn.Module = copy.deepcopy(model, known)
        except Exception as error:
            kind = re.search(r"cannot pickle '([\w.]+)' object", str(error))
            shared = [thing for thing in things if kind and id(thing) not in memo and _is_called(type(thing), kind[1])]
            shared = shared or [thing for thing in things if id(thing) not in memo and _refuses(thing, error)]
            if not shared:
                raise
            memo.update((id(thing), thing) for thing in shared)
        else:
            memo.update(known)
            return copied


def _refuses(thing: object, error: Exception) -> bool:
    """Whether an object, by a method of its own class, is what cannot be copied."""
    if not any(name in vars(kind) for kind in type(thing).__mro__[:-1] for name in _COPYING):
        return False
    try:
        copy.copy(thing) if not hasattr(thing, "__deepcopy__") else thing.__deepcopy__({})
    except Exception as raised:
        return type(raised) is type(error) and str(raised) == str(error)
    return False


def _is_called(kind: type, name: str) -> bool:
    return name in (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")


def _leads_to(thing: object, parts: set[int]) -> bool:
    return any(id(each) in parts for each in reachable(thing))


def _rebind(copied: nn.Module, functions: dict[int, types.FunctionType], parts: set[int], memo: dict[int, Any]) -> None:
    """Replace functions of the original, wherever the copy holds them, by ones that hold parts of the copy."""
    new = {
        key: types.FunctionType(f.__code__, f.__globals__, f.__name__, closure=tuple(types.CellType() for _ in held))
        for key, f in functions.items()
        for held in [f.__closure__ or ()]
    }

    def counterpart(value: Any) -> Any:
        if id(value) in new:
            return new[id(value)]
        return copy.deepcopy(value, memo) if _leads_to(value, parts) else value

    for key, f in functions.items():
        other = new[key]
        other.__dict__.update(f.__dict__)
        other.__qualname__, other.__doc__ = f.__qualname__, f.__doc__
        other.__defaults__ = None if f.__defaults__ is None else tuple(map(counterpart, f.__defaults__))
        other.__kwdefaults__ = {name: counterpart(value) for name, value in (f.__kwdefaults__ or {}).items()} or None
        for mine, its in zip(other.__closure__ or (), f.__closure__ or (), strict=True):
            if _is_full(its):
                mine.cell_contents = counterpart(its.cell_contents)
    for thing in reachable(copied):
        inside = thing if isinstance(thing, dict) else getattr(thing, "__dict__", None)
        if isinstance(inside, dict) and not isinstance(thing, types.FunctionType):
            inside.update({name: new[id(value)] for name, value in inside.items() if id(value) in new})
        if isinstance(thing, list):
            thing[:] = [new.get(id(value), value) for value in thing]
