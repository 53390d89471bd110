"""What surrounds a forward pass: random numbers, and torch's default device.

Both belong to the user, or to a thread. A pass must neither move the user's random generators nor find another default
device than in the user's own thread.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from ..core.random_numbers import drawing_from

GENERATORS = ("torch", "numpy", "random")  # global ones


class Surroundings:
    """What surrounds every pass of one view.

    Args:
        moved: those of `GENERATORS` that a pass moves itself, by seeding or past torch. It gets streams of its own:
            they are exchanged for the user's while it runs. Another thread that draws meanwhile draws from them, too.
        draws: whether a pass draws from torch's global generator; it then draws from one of its own.
    """

    def __init__(self, moved: Collection[str] = (), draws: bool = False) -> None:
        self.moved = tuple(moved)
        self._generator = torch.Generator().manual_seed(0) if draws else None
        self._device = _users_device.get() or torch.get_default_device()
        self._own = _states(seed=0)

    def seed(self, seed: int) -> None:
        """Begin the streams anew."""
        self._own = _states(seed)

    @contextmanager
    def around_a_pass(self, generator: torch.Generator | None) -> Iterator[None]:
        """Enter them; what torch draws comes from `generator`, unless the pass seeds torch itself. None: its own."""
        generator = self._generator if generator is None else generator
        with ExitStack() as stack:
            if self._device.type != "cpu":
                stack.enter_context(self._device)
            if generator is not None and "torch" not in self.moved:
                stack.enter_context(drawing_from(generator))
            if self.moved:
                stack.enter_context(self._streams())
            yield

    @property
    def is_empty(self) -> bool:
        return not self.moved and self._generator is None and self._device.type == "cpu"

    @contextmanager
    def _streams(self) -> Iterator[None]:
        theirs = {name: _get(name) for name in self.moved}
        for name in self.moved:
            _set(name, self._own[name])
        try:
            yield
        finally:
            for name in self.moved:
                self._own[name] = _get(name)
                _set(name, theirs[name])


_AUTOCAST = ("cpu", "cuda", "mps")
_users_device: ContextVar[torch.device | None] = ContextVar("users_device", default=None)
_known: weakref.WeakKeyDictionary[nn.Module, Surroundings] = weakref.WeakKeyDictionary()


def surroundings(view: nn.Module) -> Surroundings | None:
    """Those of a view; None: nothing special."""
    found = _known.get(view)
    return Surroundings() if found is None and _users_device.get() is not None else found


def set_surroundings(view: nn.Module, found: Surroundings) -> None:
    if not found.is_empty:
        _known[view] = found


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators afterwards; only in the main thread, beside which no other should be drawing."""
    before = {name: _get(name) for name in GENERATORS if _in_main_thread()}
    try:
        yield
    finally:
        for name, state in before.items():
            if not _same(_get(name), state):
                _set(name, state)


class Movement:
    """Sees which global generators passes move. What other threads draw meanwhile must not be blamed on them."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._others_draw = not _in_main_thread()
        self._before = {name: _get(name) for name in GENERATORS}

    def during(self, forward: Callable[[], R], traced: bool = True) -> R:
        """Run a pass; if `traced`, calls to torch's and Python's generators are seen, of this thread alone. numpy's
        state is compared before and after; if it moved, it must then stay as it is for as long again."""
        state, began = _get("numpy"), time.monotonic()
        traced = traced and sys.getprofile() is None
        if traced:
            sys.setprofile(self._profile)
        try:
            result = forward()
        finally:
            if traced:
                sys.setprofile(None)
        moved = _get("numpy")
        if not self._others_draw and not _same(state, moved):
            time.sleep(min(1.0, max(0.01, time.monotonic() - began)))
            self._others_draw = not _same(moved, _get("numpy"))
            self._seen.add("numpy")
        return result

    def put_back(self) -> None:
        """Put back whatever has moved, after passes that were cut short; only in the main thread."""
        if _in_main_thread():
            for name, state in self._before.items():
                if not _same(_get(name), state):
                    _set(name, state)

    def undone(self) -> list[str]:
        """Those that the passes move; they are put back as they were."""
        if self._others_draw:
            self._seen.discard("numpy")
        found = [name for name in GENERATORS if name in self._seen]
        for name in found:
            _set(name, self._before[name])
        return found

    def _profile(self, frame: Any, event: str, called: Any) -> None:
        if event == "c_call":
            owner = getattr(called, "__self__", None)
            if owner is torch.default_generator and called.__name__ in ("manual_seed", "seed", "set_state"):
                self._seen.add("torch")
            elif owner is _PYTHONS:
                self._seen.add("random")


_PYTHONS = random.random.__self__  # type: ignore[attr-defined]  # the generator behind the module's functions
R = TypeVar("R")


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def without_ambient_modes() -> Iterator[None]:
    """Our own tensors are made on the CPU, whatever `torch.set_default_device` says; passes still follow that. Nothing
    is computed under the caller's `torch.autocast`: the loop of a widget, in a thread of its own, does not see it."""
    default, token = torch.get_default_device(), None
    with ExitStack() as stack:
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if default.type != "cpu":
            token = _users_device.set(default)
            stack.enter_context(torch.device("cpu"))
        try:
            yield
        finally:
            if token is not None:
                _users_device.reset(token)


@contextmanager
def undisturbed() -> Iterator[None]:
    """`generators_kept` and `without_ambient_modes`, around functions that run a model once."""
    with generators_kept(), without_ambient_modes():
        yield


@contextmanager
def passing(view: nn.Module) -> Iterator[None]:
    """Around a pass of a view that is not run by `trace.run`."""
    around = _known.get(view)
    with nullcontext() if around is None else around.around_a_pass(None):
        yield


def inherit(view: nn.Module, of: nn.Module) -> None:
    """A view of a view has the same surroundings."""
    if of in _known:
        _known[view] = _known[of]


def _get(name: str) -> Any:
    if name == "torch":
        return torch.default_generator.get_state()
    return np.random.get_state() if name == "numpy" else random.getstate()  # noqa: NPY002


def _set(name: str, state: Any) -> None:
    if name == "torch":
        torch.default_generator.set_state(state)
    elif name == "numpy":
        np.random.set_state(state)  # noqa: NPY002
    else:
        random.setstate(state)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _states(seed: int) -> dict[str, Any]:
    """What the global generators look like once seeded."""
    return {
        "torch": torch.Generator().manual_seed(seed).get_state(),
        "numpy": np.random.RandomState(seed).get_state(),
        "random": random.Random(seed).getstate(),
    }
