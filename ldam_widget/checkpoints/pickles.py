"""Interpret a pickle without `pickle`: nothing is imported, looked up or called, whatever the file asks for."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from .inert import Named, RefusedError, Stub

PICKLE_BYTES = 2**28  # read at most, of one pickle; tensors are stored elsewhere
_WORK = 2_000_000  # instructions, and elements or 256-byte blocks copied
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

# of a class or function: its name and arguments -> a value, or NotImplemented for a stub
Build = Callable[[str, tuple[Any, ...], "WorkLimit"], object]
Fill = Callable[[object, object, "WorkLimit"], None]  # sets the state of a value that was built


class WorkLimit:
    """Limits the work that a file can ask for, so that small files cannot take forever or all memory."""

    def __init__(self, work: int = _WORK) -> None:
        self._left = work

    def spend(self, work: int) -> None:
        """Raises RefusedError when it is used up."""
        self._left -= work
        if self._left < 0:
            raise RefusedError(f"holds more than {_WORK:,} Python objects, or copies of them, beside its tensors")


class Bounded:
    """The rest of a file, as `pickletools` reads it, up to a number of bytes."""

    def __init__(self, file: BinaryIO, limit: int = PICKLE_BYTES) -> None:
        self._file, self._left = file, limit

    def tell(self) -> int:
        return self._file.tell()

    def read(self, n: int) -> bytes:
        return self._counted(self._file.read(min(n, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise RefusedError(f"holds more than {PICKLE_BYTES >> 20} MB beside its tensors")
        return data


class Interpreter:
    """Runs the instructions of one pickle on a stack of plain data and stubs.

    Args:
        build, fill: make the few values that we know, such as tensors and numpy arrays.
        stored: a persistent id -> a value, such as a storage.
        budget: for all pickles of a file.
    """

    def __init__(self, build: Build, fill: Fill, stored: Callable[[object], object], budget: WorkLimit) -> None:
        self._build, self._fill, self._stored, self._budget = build, fill, stored, budget
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # stacks below marks
        self._memo: dict[int, Any] = {}

    def load(self, file: BinaryIO) -> object:
        """The value of the pickle that starts here. Raises RefusedError, or any error for a damaged one."""
        for code, argument, _ in pickletools.genops(Bounded(file)):  # type: ignore[arg-type]  # read, readline, tell
            self._budget.spend(1)
            name = code.name
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _DO:
                _DO[name](self, argument)
            elif code.arg is not None and code.stack_after and not code.stack_before:
                self._stack.append(argument)  # a number or a text
            elif name == "STOP":
                return self._stack.pop()
            else:
                raise RefusedError(f"uses the pickle instruction {name}, which torch.save never writes")
        raise EOFError("the pickle has no end")

    # ---- stack and memo --------------------------------------------------------------------------------------------

    def _mark(self, _: object) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        found, self._stack = self._stack, self._outer.pop()
        return found

    def _pop(self, _: object) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    # ---- containers ------------------------------------------------------------------------------------------------

    def _tuple(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) < count:
            raise ValueError("the stack is too short")
        self._stack[-count:] = [items]

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is list:
            self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        table = target.items if isinstance(target, Stub) else target
        if type(table) is dict:
            table.update(pairs(items))

    # ---- objects ---------------------------------------------------------------------------------------------------

    def _global(self, module: object, name: object) -> None:
        found = Named(f"{module}.{name}"[:200])
        if found.attack:
            raise RefusedError(
                f"is a pickle that asks for {found.name}, so loading it would run code. None of it was run"
            )
        self._stack.append(found)

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(module if type(module) is str else "?", name if type(name) is str else "?")

    def _call(self, function: object, arguments: object) -> object:
        """What stands for function(*arguments), which is not called."""
        if not isinstance(function, Named) or type(arguments) is not tuple:
            return Stub("an unnamed function's")
        made = self._build(function.name, arguments, self._budget)
        return Stub(function.name) if made is NotImplemented else made

    def _reduce(self, _: object) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(function, arguments))

    def _new_with_keywords(self, _: object) -> None:
        self._stack.pop()
        self._reduce(None)

    def _object(self, _: object) -> None:
        found = self._to_mark()
        self._stack.append(self._call(found[0], tuple(found[1:])))

    def _instance(self, argument: str) -> None:
        arguments = tuple(self._to_mark())
        self._global(*argument.split(" ", 1))
        self._stack.append(self._call(self._stack.pop(), arguments))

    def _set_state(self, _: object) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Stub):
            if type(state) is tuple and len(state) == 2 and type(state[0]) is dict:  # attributes, and slots
                state = state[0]
            target.state = state if type(state) is dict else {}
        else:
            self._fill(target, state, self._budget)

    def _persistent(self, key: object) -> None:
        self._stack.append(self._stored(key))


def pairs(items: list[Any]) -> list[tuple[object, object]]:
    """[key, value, key, value, …] -> pairs with keys that are safe to hash: others are replaced by stubs."""
    if len(items) % 2:
        raise ValueError("a key has no value")
    return [(safe_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def safe_key(key: object) -> object:
    """The key itself, or a stub: hashing nested tuples can take forever or overflow the stack, and long integers can
    be made to collide."""
    plain = key is None or type(key) in (str, bytes, bool) or (type(key) is int and abs(key) < 2**60)
    return key if plain else Stub("an unusual key")


def _popped(do: Callable[[Interpreter, list[Any]], None]) -> Callable[[Interpreter, Any], None]:
    """An instruction on all items above the mark."""
    return lambda self, _: do(self, self._to_mark())


_Do = Callable[[Interpreter, Any], None]
_push: Callable[[Callable[[list[Any]], object]], _Do] = lambda make: _popped(  # noqa: E731
    lambda self, items: self._stack.append(make(items))
)
_ignore: _Do = lambda self, _: None  # noqa: E731

_DO: dict[str, _Do] = {
    "PROTO": _ignore,
    "FRAME": _ignore,
    "MARK": Interpreter._mark,
    "POP": Interpreter._pop,
    "POP_MARK": lambda self, _: cast(None, self._to_mark()),
    "DUP": lambda self, _: self._stack.append(self._stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Interpreter._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda self, index: self._stack.append(self._memo[index])),
    "EMPTY_LIST": lambda self, _: self._stack.append([]),
    "EMPTY_DICT": lambda self, _: self._stack.append({}),
    "EMPTY_TUPLE": lambda self, _: self._stack.append(()),
    "EMPTY_SET": lambda self, _: self._stack.append([]),  # a list does not hash its items
    "LIST": _push(list),
    "TUPLE": _push(tuple),
    "FROZENSET": _push(list),
    "DICT": _push(lambda items: dict(pairs(items))),
    "TUPLE1": lambda self, _: self._tuple(1),
    "TUPLE2": lambda self, _: self._tuple(2),
    "TUPLE3": lambda self, _: self._tuple(3),
    "APPEND": lambda self, _: self._append([self._stack.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _popped(Interpreter._append)),
    "SETITEM": lambda self, _: self._set_items([self._stack.pop(-2), self._stack.pop()]),
    "SETITEMS": _popped(Interpreter._set_items),
    "GLOBAL": lambda self, argument: self._global(*argument.split(" ", 1)),
    "STACK_GLOBAL": Interpreter._stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), Interpreter._reduce),
    "NEWOBJ_EX": Interpreter._new_with_keywords,
    "OBJ": Interpreter._object,
    "INST": Interpreter._instance,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda self, _: self._stack.append(Stub("a registered extension"))),
    "BUILD": Interpreter._set_state,
    "PERSID": Interpreter._persistent,
    "BINPERSID": lambda self, _: self._persistent(self._stack.pop()),
}
KNOWN = frozenset((*_DO, *_CONSTANTS, "STOP"))  # instructions other than those that push a number or a text
