"""A gradient as the list of operations that it is: done again without the network's Python and without autograd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .hooks import hooked
from .recordings import Gradient

_Seen = tuple[Any, tuple[Any, ...], dict[str, Any], Any]  # operation, arguments, what it returned
_ALIASES = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
_DECIDES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class NotRepeatableError(RuntimeError):
    """What a function does cannot be done again without it."""


def can_be_recorded(network: nn.Module) -> bool:
    """Is there nothing in sight that has to be called every time?"""
    return not any(hooked(module) for module in network.modules())


class Operations:
    """A recording of a function of which Python decides nothing by looking at numbers.

    It reads the weights where they lie: changes in place are seen.
    """

    def __init__(self, function: Gradient, x: Tensor, seed: Tensor) -> None:
        with _Recorder() as recorder:
            returned = function(x, seed)
        self._slots: dict[int, int] = {id(x): 0, id(seed): 1}
        calls = [call for call in map(self._call, recorder.calls) if call is not None]
        if not all(id(tensor) in self._slots for tensor in returned):
            raise NotRepeatableError("what it returns is not computed")
        self._returned = [self._slots[id(tensor)] for tensor in returned]
        self._calls = _without_waste(calls, self._returned)
        self._size = 1 + max(self._slots.values())
        self._slots = {}

    def replay(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """For arguments of the same shapes; returns new tensors."""
        tensors: list[Any] = [None] * self._size
        tensors[0], tensors[1] = x.detach(), seed
        with torch.inference_mode():
            for function, args, kwargs, results, done_with in self._calls:
                made = function(*[_filled(arg, tensors) for arg in args], **kwargs)
                for place, slot in results:
                    tensors[slot] = made if place < 0 else made[place]
                for slot in done_with:
                    tensors[slot] = None
        output, grad = (tensors[slot].clone() for slot in self._returned)  # which may have gradients, and are nobody's
        return output, grad

    def _call(self, call: _Seen) -> _Call | None:
        function, args, kwargs, made = call
        if function in _ALIASES and id(args[0]) in self._slots:
            self._slots[id(made)] = self._slots[id(args[0])]
            return None
        if _slots_in([self._emptied(value) for value in kwargs.values()]):
            raise NotRepeatableError(f"{function} is given computed tensors by name")
        emptied = [self._emptied(arg) for arg in args]
        several = isinstance(made, (tuple, list))
        tensors = [(i if several else -1, tensor) for i, tensor in enumerate(made if several else [made])]
        results = [(place, self._slot(tensor)) for place, tensor in tensors if isinstance(tensor, Tensor)]
        return _Call(function, emptied, kwargs, results, [])

    def _slot(self, tensor: Tensor) -> int:
        return self._slots.setdefault(id(tensor), len(self._slots))

    def _emptied(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return _Slot(self._slots[id(value)]) if id(value) in self._slots else value
        if isinstance(value, (tuple, list)):
            emptied = [self._emptied(part) for part in value]
            return emptied if _slots_in(emptied) else tuple(emptied)
        return value


@dataclass(frozen=True)
class _Slot:
    """The place of a computed tensor among those of a replay."""

    at: int


class _Call(NamedTuple):
    """One operation."""

    function: Any  # an operation of ATen's
    args: list[Any]  # with slots in place of computed tensors; tuples hold none
    kwargs: dict[str, Any]
    results: list[tuple[int, int]]  # place among what it returns, slot; place -1: it returns the one tensor
    done_with: list[int]  # slots that no later operation needs


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operation that torch runs, those of backward passes too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Seen] = []  # keeps all tensors, so that an id stays its own

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by a compiler, it would be imported: a second, and 80 MB

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(tag in func.tags for tag in _DECIDES) and not _by_places(func, args):
            raise NotRepeatableError(f"{func} depends on numbers")
        made = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, made))
        return made


def _by_places(func: Any, args: tuple[Any, ...]) -> bool:
    """Is it an indexing by numbers of places, and by no mask, so that as many come out as went in?"""
    masks = (torch.bool, torch.uint8)
    return func is torch.ops.aten.index.Tensor and all(i is None or i.dtype not in masks for i in args[1])


def _filled(value: Any, tensors: list[Any]) -> Any:
    if type(value) is _Slot:
        return tensors[value.at]
    return [_filled(part, tensors) for part in value] if type(value) is list else value


def _slots_in(value: Any) -> set[int]:
    if isinstance(value, _Slot):
        return {value.at}
    return set().union(*map(_slots_in, value)) if isinstance(value, list) else set()


def _without_waste(calls: list[_Call], returned: list[int]) -> list[_Call]:
    """The operations that anything depends on, and after which of them a tensor can go."""
    wanted, kept = set(returned), []
    for call in reversed(calls):
        made, taken = {slot for _, slot in call.results}, _slots_in(call.args)
        if call.function._schema.is_mutable or made & wanted:
            kept.append(call._replace(done_with=sorted((made | taken) - wanted)))
            wanted |= made | taken
    return kept[::-1]
