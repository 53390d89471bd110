"""Record a program as a list of operations, replayed without the network's Python code and without autograd.

Every tensor keeps its memory, so views are created once and nothing is allocated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .hooks import hooked
from .recordings import Tensors

_MOST_BYTES = 2**26  # that a recording may hold; with more, Python's overhead is negligible
_DECIDES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
_MOVES = ("aten::set_", "aten::resize_", "aten::resize_as_")
_AS_LARGE = (torch.ops.aten.clone.default,)
_LOOKS = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.data_ptr, Tensor.__dlpack__)
_NOTHING: dict[str, Any] = {}


class NotRepeatableError(RuntimeError):
    """A function's operations cannot be replayed without it."""


def can_be_recorded(network: nn.Module) -> bool:
    """Whether no visible part of the network must be called every time."""
    everywhere = getattr(torch.nn.modules.module, "_has_any_global_hook", lambda: False)
    return not (everywhere() or any(hooked(module) for module in network.modules()))


class Operations:
    """A `Tape` of a program without data-dependent control flow.

    Weights are read in place, so in-place changes take effect.

    Raises:
        NotRepeatableError: control flow depends on tensor values, or the recording would hold too much memory.
    """

    def __init__(self, program: Callable[[], Tensors]) -> None:
        with _Recorder() as recorder, _Refusing():
            made = program()
        self.made = tuple(tensor.detach() for tensor in made)
        self._calls = _needed(recorder.calls, self.made)

    def replay(self) -> None:
        """Run the operations again, writing the results into `made`."""
        with torch.inference_mode():
            for function, args, kwargs, copied in self._calls:
                returned = function(*args, **kwargs)
                for place, of in copied:
                    place.copy_(returned if of < 0 else returned[of])


class _Call(NamedTuple):
    """One operation, with inputs and outputs at fixed places in memory."""

    function: Any  # an ATen operation
    args: Sequence[Any]
    kwargs: dict[str, Any]
    copied: Sequence[tuple[Tensor, int]]  # outputs to copy, lacking an out= form: destination, index (−1: the result)


_Seen = tuple[_Call, bool, list[Tensor], list[Tensor]]  # call, writes in place, inputs, outputs


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation that torch runs, including backward passes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Seen] = []
        self._bytes = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # answering True would import the compiler: a second, and 80 MB

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or _NOTHING
        if any(tag in func.tags for tag in _DECIDES) and not _by_places(func, args):
            raise NotRepeatableError(f"{func} depends on values")
        if torch.Tag.inplace_view in func.tags or func._schema.name in _MOVES:
            raise NotRepeatableError(f"{func} changes the storage of a tensor")
        returned = func(*args, **kwargs)
        args, kwargs = _frozen(args), _frozen(kwargs)
        taken, made = _tensors((args, kwargs)), _tensors(_frozen(returned))
        mutable = func._schema.is_mutable
        known = {_memory(tensor) for tensor in taken}
        fresh = [tensor for tensor in made if _memory(tensor) not in known]
        if mutable or fresh:  # views need no replay
            self.calls.append((_call(func, args, kwargs, returned, made, fresh), mutable, taken, made))
            self._bytes += sum(tensor.nbytes for tensor in fresh)
            if self._bytes > _MOST_BYTES:
                raise NotRepeatableError(f"a recording would hold more than {_MOST_BYTES >> 20} MB")
        return returned


def _call(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any, made: list[Tensor], fresh: list[Tensor]
) -> _Call:
    """Args: returned: the full result; made: its tensors; fresh: those that do not share memory with the arguments."""
    several = isinstance(returned, (tuple, list))
    if not func._schema.is_mutable and len(made) == (len(returned) if several else 1):
        into, names = _with_places(func)
        if into is not None and len(names) == len(made):
            return _Call(into, args, kwargs | dict(zip(names, made, strict=True)), ())
    which = [i for i, one in enumerate(returned) if isinstance(one, Tensor)] if several else [-1]
    places = [(place, i) for place, i in zip(made, which, strict=True) if any(place is one for one in fresh)]
    return _Call(func, args, kwargs, places)


@functools.cache
def _with_places(func: Any) -> tuple[Any, list[str]]:
    """The out= overload of an operation, and the names of its out arguments; None if there is no safe one.

    Overloads that torch generates may reallocate the given tensors if the result has another size.
    """
    wanted = [(argument.name, str(argument.type)) for argument in func._schema.arguments]
    for name in func.overloadpacket.overloads():
        other = getattr(func.overloadpacket, name)
        places = [argument.name for argument in other._schema.arguments if argument.is_out]
        rest = [(argument.name, str(argument.type)) for argument in other._schema.arguments if not argument.is_out]
        safe = torch.Tag.generated not in other.tags or torch.Tag.pointwise in func.tags or func in _AS_LARGE
        if places and rest == wanted and safe:
            return other, places
    return None, []


def _needed(calls: list[_Seen], returned: Tensors) -> list[_Call]:
    """The operations that the results depend on, or that write in place."""
    wanted, kept = {_memory(tensor) for tensor in returned}, []
    for call, writes, taken, made in reversed(calls):
        memory = {_memory(tensor) for tensor in made}
        if writes or memory & wanted:  # in-place results may be read in the next pass
            kept.append(call)
            wanted |= memory | {_memory(tensor) for tensor in taken}
    return kept[::-1]


class _Refusing(TorchFunctionMode):
    """Rejects functions that read tensor values without a dispatched operation."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _LOOKS:
            raise NotRepeatableError(f"{func.__name__} reads values")
        return func(*args, **(kwargs or {}))


def _by_places(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether it is indexing by integers, not by a mask, so that the output size is fixed."""
    masks = (torch.bool, torch.uint8)
    return func is torch.ops.aten.index.Tensor and all(i is None or i.dtype not in masks for i in args[1])


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)


def _frozen(value: Any) -> Any:
    """The value with its tensors detached, at the same memory."""
    if isinstance(value, Tensor):
        return value.detach() if value.layout is torch.strided else value
    if isinstance(value, (tuple, list)):
        return type(value)(map(_frozen, value))
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for one in value for tensor in _tensors(one)] if isinstance(value, (tuple, list)) else []
