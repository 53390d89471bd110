"""Run whole kernel steps through recordings: gradients, regularisers and the move in a single launch.

Noise is drawn beforehand from the chains' streams, many steps at a time.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.noise import ChainNoise
from ..core.target import NEURON, Evaluation, Info, Kernel, Noise, State, Target, is_zero, weight_of
from .recordings import Recordings, Tape, Tensors, same

_NUMBERS = (int, float)
_KINDS = 3  # kinds of steps whose recordings are kept


class WholeSteps:
    """Runs steps of any kernel through recordings.

    Slider values and the step number are read by the recording from a tensor: a kernel receives tensors () in place of
    floats. Decisions based on them cannot be recorded. A kernel that cannot be recorded, or computes differently with
    tensors than with floats, is run directly.

    Args:
        record: runs a program without arguments and returns a tape of it, see `Recordings`.
        marks: returns a value that changes with the model's weights.
    """

    def __init__(self, record: Callable[[Callable[[], Tensors]], Tape], marks: Callable[[], Any]) -> None:
        self._record, self._marks = record, marks
        self._numbers = _Numbers()
        self._kinds: dict[Hashable, _Kind] = {}  # least recently used first
        self._misses = 0  # consecutive steps of an unknown kind
        self.failed = False  # whether steps are run directly

    def clear(self) -> None:
        """Free the recordings."""
        self._kinds.clear()
        self._misses, self.failed = 0, False

    def try_again(self) -> None:
        """Forget recording failures: from other pictures, recording may succeed."""
        self._kinds = {kind: known for kind, known in self._kinds.items() if known.usable}
        self._misses, self.failed = 0, False

    def step(self, kernel: Kernel, state: State, target: Target, noise: ChainNoise) -> tuple[State, Info]:
        """`kernel.step`, up to rounding."""
        try:
            step = _Step(kernel, state, target)
            known = self._kinds.pop(step.kind, None)
        except Exception:  # e.g. an unhashable field
            self.failed = True
            return kernel.step(state, target, noise)
        if known is None:
            return self._begin(step, noise)
        self._kinds[step.kind] = known
        self._misses = 0
        mark = noise.mark()
        if known.usable:
            assert known.recordings is not None
            with contextlib.suppress(Exception):  # errors from the model, out of memory, or from recording
                return self._through(known.recordings, known.draws, step, noise)
            self._kinds = {each: one for each, one in self._kinds.items() if one is known}  # free the others
            known.recordings.clear()
            if state.x.is_cuda:
                torch.cuda.empty_cache()
            noise.rewind(mark)
            made = kernel.step(state, target, noise)  # if this fails too, recording is not to blame
            known.recordings.failed = True
        else:
            made = kernel.step(state, target, noise)
        self.failed = True
        return made

    def _begin(self, step: _Step, noise: Noise) -> tuple[State, Info]:
        """Run the first step of a kind directly, to find out which noise it draws and whether it works with tensors."""
        watched = _Watched(noise)
        made = step.kernel.step(step.state, step.target, watched)
        self._misses += 1
        self.failed = self._misses > 1
        finite = all(bool(tensor.isfinite().all()) for tensor in _tensors(made[0]))
        if _outline_of(made[0]) != step.outline or not finite:
            return made  # the next step will be of another kind, or there is nothing to compare with
        while len(self._kinds) >= _KINDS:
            self._kinds.pop(next(iter(self._kinds)))
        draws = tuple(draw for draw, _ in watched.drawn)
        recordings = None
        with contextlib.suppress(Exception):
            again = step.function(draws)(self._numbers.of(step), *(t for _, t in watched.drawn), *step.tensors)
            if made[0].step == step.state.step + 1 and same((*_tensors(made[0]), *_told(made[1])), again):
                recordings = Recordings(self._record)
                recordings.marks = self._marks
                made = step.result(again)  # like all later steps; otherwise a restart would differ by rounding
        self._kinds[step.kind] = _Kind(draws, recordings)
        self.failed = recordings is None
        return made

    def _through(self, recordings: Recordings, draws: tuple[str, ...], step: _Step, noise: Noise) -> tuple[State, Info]:
        drawn = [getattr(noise, draw)() for draw in draws]

        def others(given: Tensors) -> Tensors:
            numbers, *rest = given
            mirrored = [1 - t if draw == "uniform" else -t for t, draw in zip(rest, draws, strict=False)]
            return (numbers * 0.9, *mirrored, *(t.flatten().flip(0).view_as(t) for t in rest[len(draws) :]))

        given = (self._numbers.of(step), *drawn, *step.tensors)
        made = step.result(recordings(step.function(draws), *given, others=others))
        self.failed = recordings.failed
        return made


class _Kind(NamedTuple):
    """Steps that differ only in numbers."""

    draws: tuple[str, ...]  # the noise they draw
    recordings: Recordings | None  # None: they must be run directly

    @property
    def usable(self) -> bool:
        """Whether they can be recorded, as far as is known."""
        return self.recordings is not None and not self.recordings.failed


class _Step:
    """A step to run, split into numbers, tensors and the rest."""

    def __init__(self, kernel: Kernel, state: State, target: Target) -> None:
        # only terms in use, in the target's order
        values, grads = state.evaluation
        names = [name for name in target.terms if name in grads and (target.uses(name) or name == NEURON)]
        used = Evaluation({n: values[n] for n in names if n in values}, {n: grads[n] for n in names})
        self.kernel, self.target, self.state = kernel, target, state._replace(evaluation=used)
        self.outline = _outline_of(self.state)
        self._fields = [p.name for p in kernel.parameters if isinstance(getattr(kernel, p.name, None), _NUMBERS)]
        self._weights = [name for name in target.weights if target.uses(name)]
        temperature = target.temperature
        self._warm = isinstance(temperature, _NUMBERS) and temperature > 0  # kernels may test T for 0
        own = [getattr(kernel, name) for name in self._fields]
        weights = [target.weights[name] for name in self._weights]
        self.numbers = tuple(map(float, (state.step, *own, *weights, *((temperature,) if self._warm else ()))))
        own_temperature = (temperature,) if isinstance(temperature, Tensor) else ()
        self._own = [*target.scales.values(), *target.numbers.values(), *own_temperature]
        self.tensors = [*self._own, *_tensors(self.state)]
        self.kind = self._kind()

    def _kind(self) -> Hashable:
        """A key shared by steps that differ only in numbers. It keeps its objects alive, so that ids are not reused."""
        kernel, target = self.kernel, self.target
        rest = [(f.name, getattr(kernel, f.name)) for f in fields(kernel) if f.name not in self._fields]  # type: ignore[arg-type]  # every kernel is a dataclass
        kind = (
            type(kernel), *rest, *target.terms.items(), *target.scales, self.outline, self._warm,
            target.coordinates, target.prior_scale, tuple(target.numbers),
            *((name, is_zero(weight_of(kernel, name, target))) for name in self._weights),
            target.learned, target.energy_needed,
        )  # fmt: skip
        hash(kind)
        return kind

    def result(self, made: Tensors) -> tuple[State, Info]:
        """The result of `function` in the form of a kernel step."""
        tensors = iter(made)
        return _filled(self.outline, tensors, self.state.step + 1), Info(next(tensors, None))

    def function(self, draws: tuple[str, ...]) -> Callable[..., Tensors]:
        """Numbers, drawn noise and `tensors` -> tensors of the state after this step, and of its `Info`."""

        def step(numbers: Tensor, *tensors: Tensor) -> Tensors:
            given = _Given(draws, tensors[: len(draws)])
            rest = iter(tensors[len(draws) :])
            number, *values = numbers.unbind()
            kernel, target = self._put(values, [next(rest) for _ in self._own])
            after, info = kernel.step(_filled(self.outline, rest, number), target, given)
            if given.left or _outline_of(after) != self.outline:
                raise RuntimeError("this step differs from the one before in more than numbers")
            return (*_tensors(after), *_told(info))

        return step

    def _put(self, values: list[Tensor], own: list[Tensor]) -> tuple[Kernel, Target]:
        """Kernel and target with these values and tensors substituted."""
        kernel, left = copy.copy(self.kernel), iter(values)
        for name in self._fields:
            object.__setattr__(kernel, name, next(left))  # bypasses the frozen dataclass and its checks
        weights = {**self.target.weights, **{name: next(left) for name in self._weights}}
        tensors = iter(own)
        scales = dict(zip(self.target.scales, tensors, strict=False))
        numbers = dict(zip(self.target.numbers, tensors, strict=False))
        temperature = next(left) if self._warm else next(tensors, self.target.temperature)
        return kernel, replace(self.target, weights=weights, scales=scales, temperature=temperature, numbers=numbers)


class _Numbers:
    """Numbers on the tensors' device; no transfer is needed while only the first one (the step) changes."""

    def __init__(self) -> None:
        self._values: tuple[float, ...] = ()
        self._tensor = torch.empty(0)

    def of(self, step: _Step) -> Tensor:
        """Valid until the next call."""
        before, values, device = self._values, step.numbers, step.state.x.device
        self._values = ()
        if self._tensor.device != device or len(before) != len(values) or before[1:] != values[1:]:
            sent = torch.tensor(values, dtype=torch.float64)
            sent = sent.pin_memory() if device.type == "cuda" else sent
            self._tensor = sent.to(device, non_blocking=True)
        elif values[0] != before[0]:
            self._tensor[0].add_(values[0] - before[0])
        self._values = values
        return self._tensor


class _Watched:
    """A noise source that records what is drawn from it."""

    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self.drawn: list[tuple[str, Tensor]] = []

    def normal(self) -> Tensor:
        self.drawn.append(("normal", self._noise.normal()))
        return self.drawn[-1][1]

    def uniform(self) -> Tensor:
        self.drawn.append(("uniform", self._noise.uniform()))
        return self.drawn[-1][1]


class _Given:
    """A noise source that returns previously drawn numbers."""

    def __init__(self, draws: Sequence[str], tensors: Sequence[Tensor]) -> None:
        self.left = list(zip(draws, tensors, strict=True))

    def normal(self) -> Tensor:
        return self._next("normal")

    def uniform(self) -> Tensor:
        return self._next("uniform")

    def _next(self, wanted: str) -> Tensor:
        if not self.left or self.left[0][0] != wanted:
            raise RuntimeError("the kernel asks for other noise than at the step before")
        return self.left.pop(0)[1]


def _told(info: Info) -> Tensors:
    return () if info.acceptance is None else (info.acceptance,)


# ---- states as tensors plus an outline -------------------------------------------------------------------------------


class _Outline(NamedTuple):
    """The structure of a state: equal for states that differ only in numbers."""

    values: tuple[str, ...]
    grads: tuple[str, ...]
    memory: Any


class _Place:
    """Placeholder for a tensor in an outline."""


def _outline_of(state: State) -> _Outline:
    values, grads = state.evaluation
    return _Outline(tuple(values), tuple(grads), _without_tensors(state.memory))


def _tensors(state: State) -> Tensors:
    values, grads = state.evaluation
    return (state.x, *values.values(), *grads.values(), *_found(state.memory))


def _filled(outline: _Outline, tensors: Iterator[Tensor], step: Any) -> State:
    x = next(tensors)
    values = {name: next(tensors) for name in outline.values}
    grads = {name: next(tensors) for name in outline.grads}
    return State(x, Evaluation(values, grads), step, _with_tensors(outline.memory, tensors))


def _without_tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Place
    if isinstance(value, dict):
        return dict, tuple((key, _without_tensors(one)) for key, one in value.items())
    return tuple(map(_without_tensors, value)) if isinstance(value, tuple) else value


def _found(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    several = value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else ()
    return [tensor for one in several for tensor in _found(one)]


def _with_tensors(outline: Any, tensors: Iterator[Tensor]) -> Any:
    if outline is _Place:
        return next(tensors)
    if not isinstance(outline, tuple):
        return outline
    if outline[:1] == (dict,):
        return {key: _with_tensors(one, tensors) for key, one in outline[1]}
    return tuple(_with_tensors(one, tensors) for one in outline)
