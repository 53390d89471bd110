"""`Execution`: how a sampler's network is run, chosen once per layer and kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..network.view import weights_of
from .banded import Band, bands
from .freshness import Freshness, counted
from .plans import PLANS, Pair, Plan, Prepared, foldable, is_small, plans_for, with_other_norms
from .recordings import Recordings, Tensors
from .threads import cpu_threads
from .trial import agree, best_threads, ranked

_TRIAL_PIXELS = 2**16  # total over a trial's images: more would take longer without changing the outcome
_RECORDED = 4  # number of fastest plans that are also tried as recordings
_PATIENCE = 3.0  # seconds after which no further plan is tried, if one fits
_NEAR = 1.4  # times the fastest: slower plans of many small operations may gain most from recording
_WEIGHTS = (torch.float32, torch.float64)  # lower precision rounds too much to compare two implementations


class Decision(NamedTuple):
    """The outcome of a trial."""

    plan: Plan
    threads: int  # 0: torch's default
    ratio: float  # of the plain time; NaN if not measured


_UNDECIDED = Decision(Plan(), 0, math.nan)


class MisfitError(ValueError):
    """The requested plan does not fit the network."""


class Runnable(Protocol):
    """The part of an objective that matters here."""

    reads: str  # the layers that are read, as the user writes them
    leaky: float  # slope of inactive rectifiers in the backward pass

    @property
    def image_shape(self) -> tuple[int, ...]: ...

    @property
    def read_modules(self) -> frozenset[str]:
        """Dotted names of the modules whose outputs are read."""
        ...

    @property
    def count(self) -> int:
        """Images in a batch."""
        ...

    def run_by(
        self, network: nn.Module, memory_format: torch.memory_format, recordings: Recordings | None = None
    ) -> None:
        """Run this network from now on; it has the view's modules under the same names."""
        ...

    def some_images(self, count: int) -> Tensor: ...

    def try_out(self, x: Tensor) -> Tensors:
        """The outputs that are read, for some images, and a gradient."""
        ...


def check_execution(execution: Any) -> str:
    """Raises ValueError unless it is "auto" or the name of a plan."""
    names = ["auto", *map(str, PLANS)]
    if execution not in names:
        raise ValueError(f"execution must be one of {', '.join(map(repr, names))}; got {execution!r}")
    return str(execution)


class Execution:
    """How a sampler's network is run: chosen by a trial at the first step, once for all networks of one kind.

    Args:
        view: the sampler's private view of the model.
        model: the user's model, whose weight changes are followed.
        asked: "auto", or the name of a plan.
    """

    _found: ClassVar[dict[str, Decision]] = {}

    def __init__(self, view: nn.Module, model: nn.Module, asked: str) -> None:
        self._view, self._asked = view, asked
        self._originals = [weakref.ref(tensor) for tensor in weights_of(model)]
        self._freshness: Freshness | None = None
        self._prepared: Prepared | None = None
        self._prepared_for = ""
        self._prepared_neurons: Runnable | None = None
        self.decision = _UNDECIDED

    def __str__(self) -> str:
        plan, threads, ratio = self.decision
        recordings = None if self._prepared is None else self._prepared.recordings
        parts = [
            str(plan),
            "recording failed here, so without one" if recordings is not None and recordings.failed else "",
            f"{threads} thread{'s' if threads > 1 else ''}" if threads else "",
            "" if math.isnan(ratio) else f"{ratio:.2f} of the plain time",
        ]
        return "; ".join(part for part in parts if part)

    def prepare(self, neurons: Runnable) -> bool:
        """Choose how to run these neurons, and apply it; True if that changes the network or the number of threads.

        Errors during a trial are ignored; if they are real, sampling will raise them.

        Raises:
            ValueError: the requested plan does not fit the network.
        """
        if neurons is self._prepared_neurons:
            return False
        plain = Prepared(self._view, Plan(), ())
        try:
            key = self._key(neurons)
            if self._prepared is None or self._prepared_for != key:
                self._prepared, self.decision, self._freshness = plain, _UNDECIDED, None
                self._prepared_for = ""
                self._choose(neurons, plain, key)
                self._prepared_for = key
                if self._prepared.plan.derives:
                    self._freshness = Freshness(self._originals, weights_of(self._view))
                    self.follow(changed=True)  # the user may have changed them during the trial
        except MisfitError:
            raise
        except Exception:
            self._prepared, self.decision, self._freshness = plain, _UNDECIDED, None
        finally:
            neurons.run_by(plain.network, plain.memory_format)  # undo whatever was being tried
        if self._prepared.recordings is not None:
            self._prepared.recordings.marks = self.marks
        neurons.run_by(self._prepared.network, self._prepared.memory_format, self._prepared.recordings)
        self._prepared_neurons = neurons
        return self._prepared.plan != Plan() or self.decision.threads > 0

    def follow(self, changed: bool = False) -> None:
        """Apply changes of the user's weights; `changed` forces it without detection."""
        if self._freshness is not None and self._prepared is not None and (self._freshness.changed() or changed):
            self._prepared.follow()

    @property
    def marks(self) -> Callable[[], object]:
        """A function whose result changes when the user changes weights in a way that torch counts."""
        return functools.partial(counted, self._originals)  # no reference to self, to avoid a cycle

    def threads(self) -> AbstractContextManager[None]:
        """A context in which this thread uses the number of CPU threads that the trial found best."""
        found = min(self.decision.threads, torch.get_num_threads())  # the loop's thread has half of a cell's threads
        return cpu_threads(found) if found else nullcontext()

    def _key(self, neurons: Runnable) -> str:
        """A hash of everything that a decision depends on; decisions are cached for the life of the process."""
        view = self._view
        kinds = [(name, type(module).__qualname__, module.extra_repr()) for name, module in view.named_modules()]
        sizes = [(name, weight.shape, weight.dtype, weight.device) for name, weight in view.named_parameters()]
        # rounded up to a power of two, so that removing neurons one by one triggers few trials
        images = 1 << (self._images(neurons) - 1).bit_length()
        rest = neurons.reads, neurons.image_shape, images, neurons.leaky, torch.get_num_threads()
        return hashlib.sha256(repr((kinds, sizes, rest)).encode()).hexdigest()

    @staticmethod
    def _images(neurons: Runnable) -> int:
        return max(1, min(neurons.count, _TRIAL_PIXELS // math.prod(neurons.image_shape)))

    def _choose(self, neurons: Runnable, plain: Prepared, key: str) -> None:
        weights, images = weights_of(self._view), self._images(neurons)
        if self._asked == str(Plan()):
            return
        coarse = any(w.is_floating_point() and w.dtype not in _WEIGHTS for w in weights)
        device = weights[0].device if weights else torch.device("cpu")
        if coarse or (device.type == "cpu" and is_small(self._view, images)):
            if self._asked != "auto":
                raise self._misfit(neurons)
            self.decision = _UNDECIDED._replace(threads=0 if coarse else 1)
            return
        x, began = neurons.some_images(images), time.monotonic()

        def run(prepared: Prepared) -> Tensors:
            neurons.run_by(prepared.network, prepared.memory_format, prepared.recordings)
            return neurons.try_out(x)

        pairs = foldable(self._view, lambda: run(plain), neurons.read_modules)
        if pairs and not self._sound(pairs, run):
            pairs = []
        # banding applies rectifiers after pooling, which would change a leaky gradient
        narrow = self._narrow(pairs, neurons, run) if device.type == "cpu" and not neurons.leaky else []
        plans = plans_for(self._view, pairs, narrow, device)
        known = self._found.get(key)
        wanted = self._asked if self._asked != "auto" else str(known.plan) if known is not None else None
        # CUDA graphs only on request, since a failed capture can do harm; recordings are tried below
        others = [p for p in plans if p != Plan() and (str(p) == wanted if wanted else not (p.captured or p.recorded))]
        with cpu_threads(1):  # until it is known whether more threads help
            reference = run(plain)

            def fit(some: Iterable[Plan]) -> list[Prepared]:
                fitting: list[Prepared] = []
                for plan in some:
                    if fitting and time.monotonic() > began + _PATIENCE:
                        break
                    with contextlib.suppress(Exception):  # e.g. `view` of a channels-last map
                        prepared = Prepared(self._view, plan, pairs, narrow)
                        if agree(reference, run(prepared)):
                            fitting.append(prepared)
                return fitting

            fitting = fit(others)
        if self._asked != "auto":
            if not fitting:
                raise self._misfit(neurons)
            self._prepared, self.decision = fitting[0], _UNDECIDED._replace(plan=fitting[0].plan)
        elif known is not None:
            self._prepared = fitting[0] if fitting else plain
            self.decision = known if fitting else known._replace(plan=plain.plan, ratio=math.nan)
        else:
            threads = best_threads(lambda: run(plain), device)
            with cpu_threads(threads):
                (chosen, ratio), *_ = found = ranked([plain, *fitting], run, device)
                near = [replace(p.plan, recorded=True) for p, r in found[:_RECORDED] if r <= _NEAR * ratio]
                recorded: list[Prepared] = []
                for plan in near if near[0] in plans else ():
                    if time.monotonic() > began + _PATIENCE:
                        break
                    recorded += fit([plan])
                    if not recorded:
                        break  # the others run the same network
                (chosen, more), *_ = ranked([chosen, *recorded], run, device)
                ratio = ratio * more if fitting or recorded else math.nan
            self._prepared, self.decision = chosen, Decision(chosen.plan, threads, ratio)
            self._found[key] = self.decision

    def _narrow(self, pairs: list[Pair], neurons: Runnable, run: Callable[[Prepared], Tensors]) -> list[Band]:
        """What can be banded once these pairs are folded."""
        plan = Plan(folded=bool(pairs))
        prepared = Prepared(self._view, plan, pairs)
        found = bands(prepared.network, lambda: run(prepared), neurons.read_modules)
        for count in (len(found), len(found) - 1) if found else ():  # the last is often flattened by `view`
            with contextlib.suppress(Exception):
                some = [band._replace(in_rows=i < count) for i, band in enumerate(found)]
                run(Prepared(self._view, replace(plan, banded=True), pairs, some))
                return some
        return found

    def _sound(self, pairs: list[Pair], run: Callable[[Prepared], Tensors]) -> bool:
        """Whether these pairs can be folded for any weights."""
        view = with_other_norms(self._view)
        with cpu_threads(1):
            return agree(run(Prepared(view, Plan(), ())), run(Prepared(view, Plan(folded=True), pairs)))

    def _misfit(self, neurons: Runnable) -> MisfitError:
        return MisfitError(
            f"execution={self._asked!r} cannot run this network at layer {neurons.reads!r}; execution='auto' chooses "
            "one that can"
        )
