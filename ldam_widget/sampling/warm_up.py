"""The first steps of a run, in which step sizes, gradient scales and temperatures are found and then frozen.

A density must not change while it is sampled, and neither must a step size that a Metropolis test relies on. All are
therefore settled in a warm-up whose pictures are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..core.precision import double
from ..core.target import NEURON, Evaluation, Info, State, Target, per_image
from . import defaults
from .ladder import gains
from .placement import Placement
from .settings import Settings

_SCALE_MEMORY = 20  # steps over which a scale that is in use while measured is averaged
_GOAL_GAIN = 0.15  # change of log T per step, initially, where the activation is off by as much as it has to rise
_GOAL_SLOWS, _GOAL_POWER = 20, 0.8  # steps, exponent: in the end T changes slowly compared with the chains' response
_MOST_WAITED = 50  # steps before chains without a Metropolis test start to adapt their step sizes
_NEAR = 0.25  # of the goal: a note reports a mean activation further away
_COLDEST, _HOTTEST = 1e-7, 1e7


@dataclass(frozen=True)
class WarmUp:
    """A warm-up in progress; immutable, every step returns the next one.

    Attributes:
        length: steps in total.
        per_neuron: chains (and replicas) per neuron in the batch.
        adapts: whether the kernel finds its step size.
        measures: whether gradient scales are measured.
        follows: whether scales are used while they are measured; otherwise the initial ones are used until the end.
        goal: target mean activation of every neuron, (N,); None: temperatures stay.
        pull: current estimate of log 1/(T s), (N,), with T of the coldest rung and the neuron's scale s.
        rungs: temperatures per chain; the goal is for the first.
        placement: of the rungs, while they are being placed; None: they stay.
        new: (N,) bool, the neurons that are warming up, beside others whose law is settled; None: all.
    """

    length: int
    per_neuron: int
    adapts: bool
    measures: bool
    follows: bool = False
    goal: Tensor | None = None
    pull: Tensor | None = None
    rungs: int = 1
    placement: Placement | None = None
    new: Tensor | None = None
    count: int = 0
    norms: Mapping[str, tuple[Tensor, int]] = field(
        default_factory=dict
    )  # term -> sum (N,) over the second half, count
    recent: Mapping[str, Tensor] = field(default_factory=dict)  # term -> running mean (N,)
    pulls: tuple[Tensor | None, int] = (None, 0)  # sum over the second half, count
    missing: Tensor | None = None  # from activation to goal (N,), as a fraction of the way, summed with `pulls`
    reached: Tensor | None = None  # mean activation (N,), summed with `pulls`
    start: Tensor | None = None  # activation (N,) before the first step

    @property
    def left(self) -> int:
        """Remaining steps."""
        return self.length - self.count

    def aiming_at(self, goal: Tensor | None) -> WarmUp:
        """The same warm-up with another goal; what was found for the previous one is discarded."""
        return replace(self, goal=goal, pull=None, pulls=(None, 0), missing=None, reached=None, start=None)

    def aimed(self, target: Target, heat: float) -> Target:
        """The target of the next step, with the scales and temperatures found so far, the latter times `heat`."""
        if self.follows and self.recent:
            found = as_scales(self.recent, self.per_neuron)
            target = replace(target, scales={**target.scales, **self._for_new(found, target.scales)})
        if self.pull is not None:
            target = replace(target, temperature=self._temperature(target, self.pull) * heat)
        if self.placement is not None and isinstance(target.temperature, Tensor):
            coldest = target.temperature[:: self.rungs].repeat_interleave(self.rungs)
            factors = self.placement.factors.repeat_interleave(self.per_neuron // self.rungs, 0).flatten()
            target = replace(target, temperature=coldest * factors)
        return target

    def after(self, kernel: Any, target: Target, state: State, info: Info, heat: float) -> tuple[WarmUp, State]:
        """The warm-up and the state after one more step, which used `target`."""
        count = self.count + 1
        late = 2 * count > self.length
        # without a test, chains must first reach equilibrium; a goal needs the final step sizes for most of the warm-up
        arrived = late or count > _MOST_WAITED
        if self.adapts and (info.acceptance is not None or arrived):
            adapted = kernel.adapt(state, info, count, target)
            kept = None if self.new is None else ~self.new.repeat_interleave(self.per_neuron)
            state = adapted if kept is None else adapted._replace(memory=merged(kept, state.memory, adapted.memory))
        norms, recent = self.norms, self.recent
        if self.measures and (late or self.follows):
            # with a count per term: a slider may add or remove one during the warm-up
            for name, norm in first_norms(target, state.evaluation, self.per_neuron).items():
                before = recent.get(name, norm)
                recent = {**recent, name: before.lerp(norm, 1 / min(_SCALE_MEMORY, count + 1))}
                if late:
                    total, seen = norms.get(name, (torch.zeros_like(norm), 0))
                    norms = {**norms, name: (total + norm, seen + 1)}
        placement = self.placement
        if placement is not None and heat == 1 and isinstance(target.temperature, Tensor):
            placement = placement.after(gains(state, target, self.rungs), self.new)
        step = replace(self, count=count, norms=norms, recent=recent, placement=placement)
        # the goal is for the temperature without heat
        return (step if heat != 1 else step._nearer_to_the_goal(target, state, late)), state

    def scales(self, target: Target, state: State) -> dict[str, Tensor]:
        """The measured mean gradient norm of every term, (chain,), equal for all chains of a neuron."""
        norms = {name: total / seen for name, (total, seen) in self.norms.items()}
        found = as_scales({**present_norms(target, state, self.per_neuron), **norms}, self.per_neuron)
        return self._for_new(found, target.scales)

    def temperatures(self, scales: Mapping[str, Tensor]) -> Tensor | None:
        """The temperature (N,) at which each neuron meets its goal, with these scales; None without a goal."""
        total, seen = self.pulls
        if self.pull is None:
            return None
        if total is None:
            return self._over_scale(self.pull, scales)
        assert self.missing is not None
        # chains that arrive late bias the average: one Newton step, as if f had risen with the pull from the start
        return self._over_scale(total / seen + (self.missing / seen).clamp(-0.3, 0.3), scales)

    def missed(self) -> list[tuple[int, float]]:
        """Neurons that missed their goal, and their mean activation."""
        if self.goal is None or self.reached is None:
            return []
        means = self.reached / self.pulls[1]
        far = ~((means - self.goal).abs() <= _NEAR * self.goal.abs())  # also where a mean is NaN
        if self.new is not None:
            far = far & self.new
        return [(int(i), float(means[i])) for i in far.nonzero().flatten()]

    def _for_new(self, found: Mapping[str, Tensor], settled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The found values (chain,) for new neurons, and the settled ones for the others."""
        if self.new is None:
            return dict(found)
        rows = self.new.repeat_interleave(self.per_neuron)
        return {name: torch.where(rows, value, settled.get(name, value)) for name, value in found.items()}

    def _over_scale(self, pull: Tensor, scales: Mapping[str, Tensor]) -> Tensor:
        scale = scales[NEURON][:: self.per_neuron] if NEURON in scales else torch.ones_like(pull)
        return ((-pull).exp() / scale).clamp(_COLDEST, _HOTTEST)

    def _temperature(self, target: Target, pull: Tensor) -> Tensor:
        """(chain,), keeping the ratios between the rungs of the target."""
        own = double(self._over_scale(pull, target.scales)).repeat_interleave(self.per_neuron)
        if isinstance(target.temperature, Tensor):
            coldest = target.temperature[:: self.rungs].repeat_interleave(self.rungs)
            own = own * target.temperature / coldest
        return own

    def _nearer_to_the_goal(self, target: Target, state: State, late: bool) -> WarmUp:
        """Robbins & Monro (1951) on log T: the pull grows while the mean activation is below the goal.

        The result is averaged over the second half (Polyak & Juditsky, SIAM J. Control Optim. 30 (1992), 838).
        """
        if self.goal is None:
            return self
        value = state.evaluation.values[NEURON].view(len(self.goal), -1, self.rungs)[..., 0].mean(1)
        pull = self.pull
        if pull is None:
            cold = target.temperature
            cold = cold[:: self.per_neuron] if isinstance(cold, Tensor) else torch.full_like(value, cold)
            scale = target.scales[NEURON][:: self.per_neuron] if NEURON in target.scales else torch.ones_like(value)
            pull = -(cold.to(value.dtype).clamp_min(_COLDEST) * scale).log()
        start = value if self.start is None else self.start
        # as a fraction of the way, at least a tenth of the goal: chains that start at the goal have no way to go
        way = (self.goal - start).abs().maximum(0.1 * self.goal.abs()).clamp_min(1e-6)
        gain = _GOAL_GAIN / (1 + self.count / _GOAL_SLOWS) ** _GOAL_POWER
        share = ((self.goal - value) / way).nan_to_num(0.0).clamp(-1, 1)
        if self.new is not None:
            share = share * self.new
        pull = pull + gain * share
        total, seen = self.pulls
        missing, reached = self.missing, self.reached
        if late:
            reached = value if reached is None else reached + value
            total, seen = pull if total is None else total + pull, seen + 1
            missing = share if missing is None else missing + share
        return replace(self, pull=pull, pulls=(total, seen), missing=missing, reached=reached, start=start)


def begun_warm_up(settings: Settings, goal: Tensor | None, neurons: int, *, measures: bool = True) -> WarmUp | None:
    """A warm-up for what has to be found; None if that is nothing.

    Args:
        settings: of the chains.
        goal: see `WarmUp`.
        neurons: N.
        measures: measure scales too, if there are any.
    """
    measures, adapts = measures and settings.scale == "frozen", settings.finds_step_size
    ladder, fixed, natural = settings.fixed.ladder, settings.fixed, settings.prior is not None
    places = ladder is not None and ladder.swap_rate is not None
    if not (measures or adapts or places or goal is not None):
        return None
    length = fixed.warm_up or defaults.warm_up_for(goal=goal is not None, natural=natural, rungs=places)
    placement = None
    if ladder is not None and ladder.swap_rate is not None:
        coldness = settings.ladder_factors(neurons).reciprocal()
        placement = Placement.begun(coldness, ladder.swap_rate, 1 / ladder.factors[-1], length)
    return WarmUp(
        length, fixed.per_neuron, adapts, measures, follows=measures and natural, goal=goal, rungs=fixed.rungs,
        placement=placement,
    )  # fmt: skip


def merged(kept: Tensor, old: Any, new: Any) -> Any:
    """Rows (chain,) of old tensors where kept, else of new ones; recurses into tuples and dicts.

    A running sum that new chains do not have yet is 0 for them.
    """
    if isinstance(new, Tensor):
        return torch.where(per_image(kept, new), old, new)
    if isinstance(new, dict):
        return {name: merged(kept, value, new.get(name, torch.zeros_like(value))) for name, value in old.items()}
    if isinstance(new, tuple):
        return tuple(merged(kept, a, b) for a, b in zip(old, new, strict=True))
    return new


def present_norms(target: Target, state: State, per_neuron: int) -> dict[str, Tensor]:
    """Gradient norms (N,) of all terms at the current state, including those with weight 0."""
    everything = replace(target, weights=dict.fromkeys(target.weights, 1.0), scales={})
    return first_norms(target, everything.complete(state.evaluation, state.x), per_neuron)


def first_norms(target: Target, evaluation: Evaluation, per_neuron: int) -> dict[str, Tensor]:
    """Gradient norm of each term, (N,), in the first chain of every neuron; under its own normalisation if it has one.

    Only the first chain is used, so that a chain's law does not depend on the number of chains.
    """
    norms = {}
    for name, grad in evaluation.grads.items():
        norm = torch.linalg.vector_norm(grad[::per_neuron].flatten(1), dim=1)
        length = target.own_length(name, evaluation)
        norms[name] = norm if length is None else norm / length[::per_neuron].clamp_min(1e-6)
    return norms


def as_scales(norms: Mapping[str, Tensor], per_neuron: int) -> dict[str, Tensor]:
    """Norms (N,) as divisors (chain,); a gradient that is zero or not finite is left unscaled."""
    usable = {name: torch.where((norm > 1e-12) & norm.isfinite(), norm, 1.0) for name, norm in norms.items()}
    return {name: norm.repeat_interleave(per_neuron) for name, norm in usable.items()}
