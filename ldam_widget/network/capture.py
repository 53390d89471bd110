"""Capture outputs inside a network in one forward pass, whole or reduced on the spot.

A place is an `Address`: a tensor in the output of one call of a module. Hooks are installed only while a pass runs,
react only to passes of their own thread, and are always removed. Outputs are kept as returned, even if the network
overwrites them later (an in-place rectifier).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .addresses import Address, module_names, parse, replace, select, tensors

Result = TypeVar("Result")
Reduce = Callable[[Any], Any]  # output at a place -> what is kept of it

STOP = object()  # returned by a listener to end the pass


class Call(NamedTuple):
    """One call of a module, as it returns."""

    address: Address  # of the whole output
    module: nn.Module
    inputs: tuple[Any, ...]  # positional
    output: Any


class NotRunError(ValueError):
    """The forward pass ended without reaching a requested place."""


class _Ended(BaseException):
    """Not an error: ends a listener's forward pass, bypassing any `except Exception` in the model."""

    def __init__(self, listener: object) -> None:
        self.listener = listener


_listeners: ContextVar[tuple[object, ...]] = ContextVar("listeners", default=())  # of the running passes, per thread


def listen(
    modules: Mapping[str, nn.Module], hear: Callable[[Call], Any], forward: Callable[[], Result]
) -> Result | None:
    """Run a forward pass and call `hear` on every call of some modules as it returns, before its output is used.

    Args:
        modules: by name.
        hear: returns None, a replacement for the output, or `STOP` to end the pass. An error in it also ends the pass
            and is raised here, even if the model catches errors.
        forward: runs the network.

    Returns:
        what `forward` returned; None if the pass was stopped.
    """
    return _listen(modules, lambda name, number, *call: hear(Call(Address(name, number), *call)), forward)


def _listen(modules: Mapping[str, nn.Module], hear: Callable[..., Any], forward: Callable[[], Result]) -> Result | None:
    """`listen` with name, number and the other fields of a `Call` as arguments; building a `Call` each step is slow."""
    listener, calls = object(), dict.fromkeys(modules, 0)

    def hook(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        running = _listeners.get()
        if running and listener not in running:  # another thread's pass; threads started by a model have no listeners
            return None
        calls[name] += 1
        try:
            answer = hear(name, calls[name], module, inputs, output)
        except Exception as error:
            raise _Ended(listener) from error
        if answer is STOP:
            raise _Ended(listener)
        return answer

    before = _listeners.get()

    def stop_listening() -> None:
        for name, module in modules.items():
            module._forward_hooks.pop((listener, name), None)  # type: ignore[call-overload]
        _listeners.set(before)

    _listeners.set((*before, listener))
    try:
        for name, module in modules.items():  # as `register_forward_hook` does, which takes three times as long
            module._forward_hooks[listener, name] = partial(hook, name)  # type: ignore[index]
        return forward()
    except _Ended as ended:
        if ended.listener is not listener:  # this pass is nested in another one that is being listened to
            raise
        error = ended.__cause__
    finally:
        try:
            stop_listening()
        finally:  # a hook that an interrupt of the first attempt left behind would end every later pass
            stop_listening()
    try:
        if error is not None:
            raise error
    finally:
        del error  # breaks the reference cycle that would keep the tensors of the pass alive
    return None


class Capture:
    """Outputs of several places of a network in one forward pass, which stops after the last of them.

    Gradients flow if enabled. What is kept has its own memory, so nothing else of a reduced output outlives the pass;
    only the last output, if kept whole, is returned without a copy.

    Args:
        network: run as it is; a private view.
        places: addresses or layer names ("conv2", "same#2", "lstm[0]"); repeats are allowed.
        reduce: called with a place's output as soon as it is available; one function for all places, or one per place
            (None keeps it whole).

    Raises:
        ValueError: no places, an unknown layer, or a number of functions that differs from that of places.
    """

    def __init__(
        self,
        network: nn.Module,
        places: Iterable[Address | str],
        reduce: Reduce | Sequence[Reduce | None] | None = None,
    ) -> None:
        self.places = [place if isinstance(place, Address) else _find(place, network) for place in places]
        if not self.places:
            raise ValueError("places must name at least one layer; got none")
        self._reduce = [reduce] * len(self.places) if reduce is None or callable(reduce) else list(reduce)
        if len(self._reduce) != len(self.places):
            raise ValueError(f"reduce has {len(self._reduce)} functions for {len(self.places)} places")
        modules = dict(network.named_modules(remove_duplicate=False))  # scripted modules have no get_submodule
        self._modules = {place.module: modules[place.module] for place in self.places}
        self._at: dict[tuple[str, int], list[int]] = {}  # name and number of a call -> indices of its places
        for i, place in enumerate(self.places):
            self._at.setdefault((place.module, place.call), []).append(i)

    def __call__(self, forward: Callable[[], object]) -> list[Any]:
        """Run `forward`, which runs the network; returns what is kept of each place, in order.

        Raises:
            NotRunError: the pass did not reach one of them.
            ValueError: an output has no such part; the message suggests layers that exist.
        """
        kept: list[Any] = [None] * len(self.places)
        calls: dict[str, int] = {}
        left = len(self.places)  # places still to come

        def hear(name: str, number: int, _module: nn.Module, _inputs: Any, output: Any) -> object:
            nonlocal left
            calls[name] = number
            here = self._at.get((name, number), ())
            left -= len(here)
            for i in here:
                part, reduce = select(output, self.places[i]), self._reduce[i]
                whole = reduce is None
                kept[i] = part if whole and left == 0 else _apart(part if reduce is None else reduce(part), part)
            return None if left else STOP

        _listen(self._modules, hear, forward)
        if left:
            missing = next(place for place in self.places if place.call > calls.get(place.module, 0))
            raise NotRunError(_not_run(missing, calls.get(missing.module, 0)))
        return kept


def listed(call: Call, images: int) -> Iterator[tuple[Address, Tensor, bool]]:
    """A call's tensors with an image axis and at least one other, and whether the table of layers lists them."""
    address, leaf = call.address, not any(call.module.children())
    for keys, tensor in tensors(call.output):
        if tensor.ndim > 1 and images in tensor.shape:
            usable = not keys or tensor.is_floating_point()
            yield address._replace(keys=keys), tensor, usable and (address.module != "" or leaf)


def _find(layer: str, network: nn.Module) -> Address:
    known = module_names(network)
    found = parse(layer, known) if isinstance(layer, str) else None
    if found is None:
        near = difflib.get_close_matches(str(layer), [name for name in known if name], n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"unknown layer {layer!r}.{hint} Choose one of layers(model)")
    return found


def _not_run(place: Address, calls: int) -> str:
    if calls == 0:
        return f"layer {str(place)!r} is not run by the model's forward pass; choose one of layers(model)"
    times = f"{calls} time{'s' if calls > 1 else ''}"
    return f"layer {str(place)!r} is call {place.call} of {place.module!r}, which the forward pass runs {times}"


def _apart(kept: Any, output: Any) -> Any:
    """`kept`, with copies of all tensors that share memory with `output`."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in _dense(output).values()}
    for keys, tensor in _dense(kept).items():
        if tensor.untyped_storage().data_ptr() in memory:
            kept = replace(kept, keys, tensor.clone())
    return kept


def _dense(output: Any) -> dict[tuple[str, ...], Tensor]:
    return {keys: tensor for keys, tensor in tensors(output) if tensor.layout is torch.strided}
