"""Run a private view for the first time, and see what its forward pass leaves behind.

A view shares its weights with the user's model, so a forward pass that writes into one (a counter, statistics, a norm
that is enforced in place) would change the user's model. What is written gets memory of its own, and starts every pass
as the user's model has it. So does any other state that a pass leaves for the next one.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.notes import Notes
from .addresses import tensors
from .deep_copy import reachable
from .hooks import Hooks
from .surroundings import Movement, Surroundings, set_surroundings, surroundings
from .trace import Preprocess, run
from .view import device_of, unwrap, weights_of

_checking: ContextVar[bool] = ContextVar("checking", default=False)  # in this thread


class FirstPass(NamedTuple):
    """What the first passes of a view have shown."""

    written: Sequence[str] = ()  # weights and buffers that a pass writes into
    keeps_state: bool = False  # the output depends on earlier passes
    draws: bool = False  # the same image gives different outputs by chance
    uses_generator: bool = False  # torch's global one, whether or not the output shows it
    builds: bool = False  # the first pass alone leaves tensors or modules behind


_found: weakref.WeakKeyDictionary[nn.Module, FirstPass] = weakref.WeakKeyDictionary()


def first_pass(
    view: nn.Module, model: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None, notes: Notes
) -> None:
    """Run a view on one image, isolate it from the user's model, and tell what was noticed.

    An error in the pass is ignored: whoever needs the output runs the view again.

    Args:
        view: a private view of `model`; afterwards it restores, before each pass, whatever a pass changes.
        model: the user's.
        shape, preprocess: see `trace.layers`.
        notes: receives notes for the user.

    Raises:
        ValueError: the forward pass runs modules of `model` itself.
    """
    movement = Movement()
    try:
        found, stays, moved, restore = _look(view, model, shape, preprocess, movement)
    except BaseException:  # KeyboardInterrupt as well
        movement.put_back()
        raise
    if restore is not None:
        view.register_forward_pre_hook(restore)
    _found[view] = found
    _tell(found, stays, moved, notes)


def _look(
    view: nn.Module, model: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None, movement: Movement
) -> tuple[FirstPass, bool, list[str], Restore | None]:
    """What passes do; whether something stays that cannot be restored; the generators they move; what must be restored
    before each pass, None if nothing."""
    own = torch.Generator().manual_seed(0)
    image = torch.rand(1, *shape, generator=own, device="cpu").to(device_of(view))
    used = False  # whether a pass has drawn

    def forward(seed: int = 0) -> list[Tensor] | None:
        nonlocal used
        around = surroundings(view)
        if around is not None:
            around.seed(seed)
        given = image.clone().requires_grad_(True).clone()
        begun = own.manual_seed(seed).get_state()
        outputs = _run(lambda: run(view, given, preprocess, shape, own))
        used = used or not torch.equal(begun, own.get_state())
        return outputs

    shared = _Shared(view)
    theirs = {id(thing) for thing in reachable(unwrap(model))}
    before = [(thing, _contents(thing)) for thing in _state_of(view) if id(thing) not in theirs]
    hooks, disturbed = Hooks(view), False
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _without(unwrap(model)),
        hooks.watched(),
    ):
        with _Writes() as writes, NoBackward():
            first = movement.during(forward, traced=False)
            shared.look()
            between = [(thing, _contents(thing)) for thing, _ in before]
            second = movement.during(lambda: forward(1))
        evolving = _Evolving(between)
        changed = [
            (thing, old)
            for (thing, old), (_, once) in zip(before, between, strict=True)
            if not (_same(_contents(thing), old) and _same(once, old))
        ]
        grows = any(
            len(_contents(thing)) > len(old) for thing, old in changed if isinstance(thing, (list, dict, set, deque))
        )
        written = shared.written(writes.places)
        restore = Restore(changed, [(tensor, source) for _, tensor, source in written])
        third, fourth = first, second
        if changed or written or not _equal(first, second):  # by a state, or by chance?
            second = forward()
            restore()
            third = movement.during(forward)  # builds anew what is built by the first pass alone
            if evolving.tensors:
                evolving.disturb()
                disturbed = not _equal(third, forward())
            restore()
            fourth = forward(1)
            restore()
        if first is not None:
            hooks.drop_idle()
            if hooks.dropped and not _equal(third, forward()):
                hooks.take_back()  # the model reads what they collect
            restore()
    moved = movement.undone()
    set_surroundings(view, Surroundings(moved, used))
    stays = first is not None and not _equal(first, third)  # a state that was not restored, or numbers not torch's
    draws = first is not None and not _equal(third, fourth, relative=used)
    if first is not None and moved:
        with torch.inference_mode(False), torch.enable_grad():
            passes = []
            for seed in (0, 0, 1):
                passes.append(forward(seed))
                restore()
        stays, draws = not _equal(passes[0], passes[1]), not _equal(passes[0], passes[2])
    found = FirstPass(
        written=[name for name, _, _ in written],
        keeps_state=first is not None and not stays and not draws and (disturbed or not _equal(first, second)),
        draws=stays or draws,
        uses_generator=used,
        builds=grows and not evolving.any,
    )
    shared.share_again({id(tensor) for _, tensor, _ in written})
    needed = written or grows or found.keeps_state or evolving.others  # else it would cost time, and stop recordings
    return found, stays, moved, restore if needed else None


def _tell(found: FirstPass, stays: bool, moved: list[str], notes: Notes) -> None:
    if found.keeps_state:
        notes.tell(
            "the model keeps a state between calls; every image is computed from the state that your model has now"
        )
    if stays:
        notes.tell(
            "the same image gives different activations from call to call, by a state that cannot be restored or "
            "numbers from elsewhere: samples follow no exact law"
        )
    elif found.draws:
        notes.tell(
            "the model draws random numbers in its forward pass, such as dropout that stays on: the same image gives "
            "different activations, and samples follow no exact law"
            + (". If they are for weights that its first call makes, call it once before" if found.builds else "")
        )
    if moved:
        whose = " and ".join(moved).replace("random", "Python")
        notes.tell(
            f"the forward pass moves the global random numbers of {whose}: it gets a stream of its own "
            "while it runs, and yours is put back. Draw none in another thread meanwhile"
        )


def findings(view: nn.Module) -> FirstPass:
    """What the first pass of a view has shown."""
    return _found.get(view, FirstPass())


class Restore:
    """A pre-hook that restores what a pass has changed: contents of objects, and tensors."""

    def __init__(self, contents: list[tuple[Any, Any]], weights: list[tuple[Tensor, Tensor]]) -> None:
        self._contents, self._weights = contents, weights

    def __call__(self, *_: Any) -> None:
        for thing, old in self._contents:
            if isinstance(thing, dict):
                _restore(thing, old)
            elif isinstance(thing, list):
                thing[:] = old
            elif isinstance(thing, (set, deque)):
                thing.clear()
                (thing.update if isinstance(thing, set) else thing.extend)(old)
            else:
                _restore(vars(thing), old)
        for own, source in self._weights:
            own.data.copy_(source)


class _Evolving:
    """What every pass changes anew, which a later pass may depend on even if the second does not: a membrane below its
    threshold, a counter. Most of it is only left behind, such as the last attention map.

    Args:
        between: objects, with their contents before the last pass.
    """

    def __init__(self, between: list[tuple[Any, Any]]) -> None:
        self.any = False
        self.tensors: list[tuple[Any, Any]] = []  # holder, key
        self.others = False  # numbers and the like
        for thing, old in between:
            new = _contents(thing)
            self.any = self.any or not _same(new, old)
            if isinstance(thing, (set, deque)) or (isinstance(thing, list) and len(new) != len(old)):
                self.others = self.others or not _same(new, old)
                continue
            holder = thing if isinstance(thing, (dict, list)) else vars(thing)
            for key, value in new.items() if isinstance(new, dict) else enumerate(new):
                before = old.get(key, self) if isinstance(old, dict) else old[key]
                if isinstance(value, Tensor) and value is not before:
                    self.tensors.append((holder, key))
                elif isinstance(value, (bool, int, float, complex, str)) and value != before:
                    self.others = True

    def disturb(self) -> None:
        """Change the tensors beyond recognition; whatever depends on them shows it."""
        for holder, key in self.tensors:
            value = holder[key] if isinstance(holder, list) else holder.get(key)
            if isinstance(value, Tensor) and value.numel():
                large = 1e3 * (1 + value.abs().max()) if value.is_floating_point() or value.is_complex() else 1
                holder[key] = ~value if value.dtype is torch.bool else value.detach() + large


class _Shared:
    """The tensors of a view, which get memory of their own until it is known which of them are written."""

    def __init__(self, view: nn.Module) -> None:
        names = [name for name, _ in [*view.named_parameters(), *view.named_buffers()]]
        found = list(zip(names, weights_of(view), strict=True))
        known = {id(tensor) for _, tensor in found}
        found += [
            ("an attribute", each) for each in reachable(view) if isinstance(each, Tensor) and id(each) not in known
        ]
        self._all = [(name, tensor, tensor.data) for name, tensor in found]
        for _, tensor, source in self._all:
            tensor.data = source.clone()
        self._places = [tensor.data_ptr() for _, tensor, _ in self._all]
        self._replaced: set[int] = set()

    def look(self) -> None:
        """See which have been replaced; after another pass, they may be at their old places again."""
        pairs = zip(self._all, self._places, strict=True)
        self._replaced |= {id(tensor) for (_, tensor, _), place in pairs if tensor.data_ptr() != place}

    def written(self, places: set[int]) -> list[tuple[str, Tensor, Tensor]]:
        """Those that were written to, or replaced: name, the view's tensor, the user's.

        Args:
            places: addresses of memory that operations say they write to; some write without saying so.
        """
        self.look()
        return [
            (name, tensor, source)
            for (name, tensor, source), place in zip(self._all, self._places, strict=True)
            if place in places or id(tensor) in self._replaced or not _same_bits(tensor.data, source)
        ]

    def share_again(self, written: set[int]) -> None:
        for _, tensor, source in self._all:
            if id(tensor) not in written:
                tensor.data = source


def _state_of(view: nn.Module) -> list[Any]:
    """Every object in a view that a pass may change, other than tensors and hooks."""
    hooks = {id(v) for module in view.modules() for name, v in vars(module).items() if name.endswith("hooks")}
    things = (thing for thing in reachable(view) if not isinstance(thing, Tensor) and id(thing) not in hooks)
    return [thing for thing in things if _contents(thing) is not None]


def _contents(thing: Any) -> Any:
    """A shallow copy of what may change; None for what cannot."""
    if isinstance(thing, dict):
        return dict(thing)
    if isinstance(thing, (list, set, deque)):
        return type(thing)(thing)
    inside = getattr(thing, "__dict__", None)
    return dict(inside) if isinstance(inside, dict) and not callable(getattr(thing, "__code__", None)) else None


def _same(new: Any, old: Any) -> bool:
    if isinstance(old, dict):
        return new.keys() == old.keys() and all(new[key] is value for key, value in old.items())
    if isinstance(old, set):
        return bool(new == old)
    return len(new) == len(old) and all(a is b for a, b in zip(new, old, strict=True))


def _restore(inside: dict[Any, Any], old: dict[Any, Any]) -> None:
    for key in inside.keys() - old.keys():
        del inside[key]
    inside.update(old)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def _run(forward: Callable[[], Any]) -> list[Tensor] | None:
    try:
        return [tensor.detach().clone() for _, tensor in tensors(forward())]
    except Exception:
        return None


def _equal(a: list[Tensor] | None, b: list[Tensor] | None, relative: bool = False) -> bool:
    if a is None or b is None or len(a) != len(b):
        return a is b
    return all(
        x.shape == y.shape
        and torch.allclose(x, y, rtol=1e-4, atol=1e-5 * _size(x) if relative else 1e-5, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def _size(x: Tensor) -> float:
    finite = x[x.isfinite()].abs()
    return min(1.0, float(finite.max())) if finite.numel() else 1.0


class _Theirs(BaseException):
    """Not an error: bypasses any `except Exception` in the model."""


class _Adapts(BaseException):
    """Likewise."""


@contextmanager
def _without(model: nn.Module) -> Iterator[None]:
    """Refuse passes that run modules of the user's model, such as one that is found through a global name."""
    theirs = {id(module): name for name, module in model.named_modules()}
    token = _checking.set(True)

    def check(module: nn.Module, _: Any) -> None:
        if id(module) in theirs and _checking.get():  # other threads may run it
            raise _Theirs(theirs[id(module)] or type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(check)
    try:
        yield
    except _Theirs as found:
        raise ValueError(
            f"the forward pass runs {found.args[0]!r} of your own model, not of the private copy that is sampled, and "
            "may change it: something refers to it from outside the model, such as a function that uses a global name. "
            "Let it take the module from self"
        ) from None
    except _Adapts:
        raise ValueError(
            "the forward pass calls backward() itself, as models do that adapt to what they are shown (test-time "
            "training): an image then has no activation of its own. Give the network that it adapts"
        ) from None
    finally:
        handle.remove()
        _checking.reset(token)


class NoBackward(TorchFunctionMode):
    """Refuses passes that learn from what they see: they are no function of the image."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (Tensor.backward, torch.autograd.backward):
            raise _Adapts
        return func(*args, **(kwargs or {}))


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records where operations write, even if they write what is there already."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[i] if i < len(args) else kwargs.get(argument.name)
                for tensor in given if isinstance(given, (list, tuple)) else [given]:
                    if isinstance(tensor, Tensor):
                        self.places.add(tensor.untyped_storage().data_ptr())
        return func(*args, **kwargs)
