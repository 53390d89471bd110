"""`Chains`: the state of a run's chains, and how it advances."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core.noise import ChainNoise
from ..core.target import NEURON, Coordinates, Evaluation, State, Target
from ..objectives.neuron import Neurons
from .faults import require_finite
from .first_state import first_state
from .ladder import SwapRecord, coldest, exchange
from .regrouping import rows_of, select_rows
from .settings import Settings
from .starts import Start
from .warm_up import WarmUp, as_scales, begun_warm_up, merged, present_norms

Goals = Callable[[Settings, Neurons], Tensor | None]  # the goal of every neuron, (N,)


@dataclass(frozen=True)
class Chains:
    """All chains of a run, between two steps. Immutable except for the position of the noise streams.

    Attributes:
        settings: the snapshot that the state belongs to; a newer one takes effect at the next step.
        neurons: the neurons being sampled.
        state: of the batch, (chain · rung, …), grouped by neuron.
        noise: the chains' random streams.
        target: the density of `settings`.
        warm_up: the warm-up in progress; None if it is over or there was none.
        swaps: swap statistics of a ladder.
        evaluated_in: the coordinates in which the state was evaluated, and the interpolation of its neurons.
        softness: the T/τ² that the step sizes are adapted to.
        found: softness during the warm-up, and the step sizes it found, (chain,).
        goals_sought: `Settings.goals_asked` of the goal that is being, or was last, pursued.
        phase: steps since the last picture.
    """

    settings: Settings
    neurons: Neurons
    state: State
    noise: ChainNoise
    target: Target
    warm_up: WarmUp | None
    swaps: SwapRecord | None
    evaluated_in: tuple[Coordinates, float]
    softness: float
    found: tuple[float, Tensor] | None = None
    goals_sought: int = 0
    phase: int = 0

    @classmethod
    def begun(cls, settings: Settings, neurons: Neurons, state: State, noise: ChainNoise, goals: Goals) -> Chains:
        """Chains that start from a given state, with their own scales and warm-up."""
        fixed = settings.fixed
        settings = settings.without_findings()
        if settings.scale == "frozen":
            # a first estimate at the start images, so that step sizes mean the same during the warm-up
            norms = present_norms(settings.target(neurons), state, fixed.per_neuron)
            settings = replace(settings, scales=as_scales(norms, fixed.per_neuron))
        count = len(neurons.neurons) * fixed.chains
        swaps = None if fixed.ladder is None else SwapRecord.start(count, fixed.rungs, state.x.device)
        warm_up = begun_warm_up(settings, goals(settings, neurons), len(neurons.neurons))
        return cls(
            settings, neurons, state, noise, settings.target(neurons), warm_up,
            swaps, _evaluated_in(settings), settings.softness, goals_sought=settings.goals_asked,
        )  # fmt: skip

    def regrouped(self, neurons: Neurons, places: Sequence[int | None], goals: Goals) -> Chains:
        """Chains for other neurons; neurons already present keep their chains. Call `caught_up` first.

        Args:
            neurons: the neurons to sample from now on.
            places: the index of each among the present neurons; None for a new one.
            goals: see `Goals`.

        Raises:
            SamplingError: an activation is not finite.
        """
        settings, state = self.settings.of_neurons(neurons), self.state
        fixed = settings.fixed
        noise = self.noise.of_neurons(places)
        rows = rows_of(places, fixed.per_neuron, state.x.device)
        kept, rows = rows >= 0, rows.clamp_min(0)
        begun = first_state(settings, neurons, noise, kept, state.x[rows])
        evaluation = merged_evaluations(kept, select_rows(state.evaluation, rows), begun.evaluation)
        memory = merged(kept, select_rows(state.memory, rows), begun.memory)
        state = State(begun.x, evaluation, state.step, memory)
        new = ~kept[:: fixed.per_neuron]
        factors = None
        if settings.factors is not None:
            own = settings.factors[rows[:: fixed.per_neuron] // fixed.per_neuron]
            factors = torch.where(new.to(own.device), 1.0, own)
            middle = float(factors.log().mean().exp())  # T is the geometric mean of their temperatures
            factors = factors / middle
            temperature = settings.temperature * middle
            settings = replace(settings, params={**settings.params, "temperature": temperature})
        scales: dict[str, Tensor] = {}
        if settings.scale == "frozen":
            norms = present_norms(settings.without_findings().target(neurons), state, fixed.per_neuron)
            guessed = as_scales(norms, fixed.per_neuron)
            theirs = {name: scale[rows] for name, scale in settings.scales.items()}
            scales = {name: merged(kept, theirs[name], g) if name in theirs else g for name, g in guessed.items()}
        placed = settings.rungs
        if placed is not None:
            begin = replace(settings, rungs=None).ladder_factors(len(new))
            placed = torch.where(new[:, None], begin, placed[rows[:: fixed.per_neuron] // fixed.per_neuron])
        settings = replace(settings, scales=scales, factors=factors, rungs=placed)
        waiting: Tensor | None = new
        if self.warm_up is not None:  # for all neurons, or for some
            of_old = self.warm_up.new
            waiting = None if of_old is None else new | of_old[rows[:: fixed.per_neuron] // fixed.per_neuron]
        warm_up = None
        if waiting is None or bool(waiting.any()):
            warm_up = begun_warm_up(settings, goals(settings, neurons), len(new))
        if warm_up is not None:
            warm_up = replace(warm_up, new=waiting)
        found = None
        if warm_up is None and self.found is not None and settings.finds_step_size:
            found = settings.softness, settings.kernel.step_size_of(state)  # type: ignore[attr-defined]
        swaps = None
        if self.swaps is not None:
            shown = rows[:: fixed.rungs] // fixed.rungs
            swaps = self.swaps.regrouped(shown, kept[:: fixed.rungs])
        return replace(
            self, settings=settings, neurons=neurons, state=state, noise=noise, target=settings.target(neurons),
            warm_up=warm_up, swaps=swaps, evaluated_in=_evaluated_in(settings), softness=settings.softness, found=found,
            goals_sought=settings.goals_asked,
        )  # fmt: skip

    def begun_again(self, column: int, start: Start) -> Chains:
        """The chains of one neuron start elsewhere, under the same law, with the velocities they have.

        Raises:
            SamplingError: an activation is not finite.
        """
        settings, state = replace(self.settings, start=start), self.state
        kept = torch.arange(len(state.x), device=state.x.device) // settings.fixed.per_neuron != column
        begun = first_state(settings, self.neurons, self.noise, kept, state.x)
        state = State(begun.x, merged_evaluations(kept, state.evaluation, begun.evaluation), state.step, state.memory)
        return replace(self, state=state)

    @property
    def _count(self) -> int:
        """N."""
        return len(self.neurons.neurons)

    # ---- views of the state ----------------------------------------------------------------------------------------

    def cold(self, tensor: Tensor) -> Tensor:
        """The displayed rung of a ladder: (chain · rung, …) -> (chain, …)."""
        return coldest(tensor, self.settings.fixed.rungs)

    def fold(self, tensor: Tensor) -> Tensor:
        """(chain · rung, …) -> (N, C, …), for the displayed rung."""
        return self.cold(tensor).view(len(self.neurons.neurons), self.settings.fixed.chains, *tensor.shape[1:])

    @functools.cached_property
    def picture(self) -> Tensor:
        """(chain · rung, *image), the current pictures."""
        return self.settings.coordinates.picture(self.state.x)

    @property
    def activation(self) -> Tensor:
        """(N, C), for the displayed rung."""
        return self.fold(self.state.evaluation.values[NEURON])

    @property
    def ladder_factors(self) -> Tensor:
        """(N, rungs), at present; all 1 without a ladder."""
        if self.warm_up is not None and self.warm_up.placement is not None:
            return self.warm_up.placement.factors
        return self.settings.ladder_factors(self._count)

    @property
    def heat(self) -> float:
        """The factor that T is multiplied by at present."""
        return self.settings.heat(self.state.step)

    @property
    def shown_target(self) -> Target:
        """The density at the temperature of the displayed samples."""
        temperature = self.settings.temperatures(len(self.neurons.neurons), self.heat, of_rungs=False)
        return replace(self.target, temperature=temperature)

    @property
    def present_temperature(self) -> float:
        """T without heat; while a goal is pursued, its present estimate. The geometric mean over neurons."""
        if self.settings.goal is not None and self.warm_up is not None and self.warm_up.pull is not None:
            found = self.warm_up.temperatures(self.settings.scales)
            assert found is not None
            return float(found.log().mean().exp())
        return self.settings.temperature

    @property
    def step_size(self) -> float | None:
        """The step size found by the chains, averaged over them; None if it is fixed."""
        if not self.settings.finds_step_size:
            return None
        return float(self.settings.kernel.step_size_of(self.state).mean())  # type: ignore[attr-defined]  # it finds one

    # ---- advancing -------------------------------------------------------------------------------------------------

    def under(self, settings: Settings) -> Chains:
        """The same chains under newer settings; does no computation."""
        if settings is self.settings:
            return self
        return replace(self, settings=settings, target=settings.target(self.neurons))

    def caught_up(self, goals: Goals) -> Chains:
        """Ready for the next step: re-evaluates what newer settings changed and starts pursuing a new goal."""
        chains, settings = self, self.settings
        if chains.goals_sought != settings.goals_asked:
            chains = chains._seeking(goals(settings, chains.neurons))
        if (wanted := _evaluated_in(settings)) != chains.evaluated_in:
            state = chains.state._replace(evaluation=chains.target.evaluate(chains.state.x))
            chains = replace(chains, state=state, evaluated_in=wanted)
        if chains.softness != settings.softness:
            state = chains._fitted_to(settings.softness)
            chains = replace(chains, state=state, softness=settings.softness)
        return chains

    def advanced(self, n: int) -> tuple[Chains, Tensor | None]:
        """The chains n steps later; and the sum of acceptances (chain · rung,), None if the kernel accepts everything.

        Raises:
            SamplingError: an activation or gradient is no longer finite; the noise is rewound to where it was.
        """
        settings, noise, ladder = self.settings, self.noise, self.settings.fixed.ladder
        state, warm_up, swaps = self.state, self.warm_up, self.swaps
        accepted: Tensor | None = None
        mark, target = noise.mark(), self.target
        draws = {} if target.energy_needed else target.draws  # a fixed density has the same numbers at every step
        try:
            for _ in range(n):
                target, heat = self.target, settings.heat(state.step)
                if settings.pulse is not None:
                    target = replace(target, temperature=settings.temperatures(self._count, heat))
                if warm_up is not None:
                    target = warm_up.aimed(target, heat)
                if draws:
                    drawn = {name: noise.of_term(name, count) for name, count in draws.items()}
                    target = replace(target, numbers=drawn)
                state, info = settings.kernel.step(state, target, noise)
                if info.acceptance is not None:
                    accepted = info.acceptance if accepted is None else accepted + info.acceptance
                if warm_up is not None:
                    warm_up, state = warm_up.after(settings.kernel, target, state, info, heat)
                if ladder is not None and swaps is not None and state.step % ladder.every == 0 and settings.temperature:
                    state, swaps = exchange(state, swaps, target, noise)
            require_finite(state, self.neurons, target, settings)
        except BaseException:
            noise.rewind(mark)
            raise
        phase = self.phase + n
        if phase >= settings.params["steps_per_frame"]:
            phase = 0
        return replace(self, state=state, warm_up=warm_up, swaps=swaps, phase=phase), accepted

    def measured(self) -> Mapping[str, Tensor]:
        """Scales at the end of the warm-up, (chain,); the existing ones if it measures none."""
        assert self.warm_up is not None
        return self.warm_up.scales(self.shown_target, self.state) if self.warm_up.measures else self.settings.scales

    def settled(self, settings: Settings, scales: Mapping[str, Tensor]) -> tuple[Settings, Chains]:
        """The end of the warm-up: settings with the values it found, frozen, and the chains under them.

        Args:
            settings: the newest; a goal or T set in the meantime takes precedence over what the warm-up found.
            scales: from `measured`.
        """
        warm_up = self.warm_up
        assert warm_up is not None
        settings = replace(settings, scales=scales)
        pulled = warm_up.temperatures(settings.scales)
        softness = self.softness
        if pulled is not None and self.goals_sought == settings.goals_asked:
            if warm_up.new is not None and settings.factors is not None:
                kept = (settings.temperature * settings.factors).to(pulled)
                pulled = torch.where(warm_up.new, pulled, kept)
            temperature = float(pulled.log().mean().exp())
            settings = replace(
                settings,
                params={**settings.params, "temperature": temperature},
                sought_from=settings.temperature if settings.sought_from is None else settings.sought_from,
                factors=(pulled / temperature).double(),
            )
            softness = settings.softness  # found with the temperature
        swaps = self.swaps
        if warm_up.placement is not None and swaps is not None:
            settings = replace(settings, rungs=warm_up.placement.factors)
            placed = torch.ones_like(swaps.arrivals, dtype=torch.bool)
            if warm_up.new is not None:
                placed = warm_up.new.repeat_interleave(settings.fixed.chains)
            swaps = swaps.counted_anew(placed)
        state = self._at_one_step_size(warm_up.new)
        steps = settings.kernel.step_size_of(state) if settings.finds_step_size else None  # type: ignore[attr-defined]
        found = self.found if steps is None else (softness, steps)
        chains = replace(self, state=state, warm_up=None, softness=softness, found=found, swaps=swaps).under(settings)
        return settings, chains

    def measuring(self, goals: Goals) -> Chains:
        """The chains with a new warm-up from their current state."""
        goal = goals(self.settings, self.neurons)
        return replace(self, warm_up=begun_warm_up(self.settings, goal, self._count), found=None)

    def reevaluated(self, name: str) -> Chains:
        """After a term has changed: drop its evaluation of the current images; recompute the neuron's activation."""
        values, grads = ({term: v for term, v in kept.items() if term != name} for kept in self.state.evaluation)
        evaluation = Evaluation(values, grads)
        if name == NEURON:  # its activation must always be available
            evaluation = self.shown_target.complete(evaluation, self.state.x)
        return replace(self, state=self.state._replace(evaluation=evaluation))

    def norms(self) -> Mapping[str, Tensor]:
        """Gradient norms (N,) of all terms at the current state."""
        return present_norms(self.shown_target, self.state, self.settings.fixed.per_neuron)

    def _seeking(self, goal: Tensor | None) -> Chains:
        """Start pursuing the goal that was set; scales are unchanged."""
        settings, warm_up = self.settings, self.warm_up
        found = self.found
        if goal is None:
            if warm_up is not None and warm_up.goal is not None:
                warm_up = warm_up.aiming_at(None)
                if not (warm_up.measures or warm_up.adapts or warm_up.placement):
                    warm_up = None
        elif warm_up is not None and warm_up.new is not None:  # T changes for all neurons
            warm_up, found = begun_warm_up(settings, goal, self._count), None
        elif warm_up is not None and warm_up.measures:  # it continues with the new goal
            warm_up, found = warm_up.aiming_at(goal), None
        else:
            warm_up, found = begun_warm_up(settings, goal, self._count, measures=False), None
        return replace(self, warm_up=warm_up, found=found, goals_sought=settings.goals_asked)

    def _at_one_step_size(self, new: Tensor | None) -> State:
        """On a ladder without a Metropolis test: each rung at the mean step size of a neuron's chains.

        The error of a finite step would otherwise give every chain a law of its own. `new`: as for `WarmUp`.
        """
        settings, state, fixed = self.settings, self.state, self.settings.fixed
        if not settings.finds_step_size or fixed.ladder is None or settings.kernel.needs_energy:
            return state
        kernel: Any = settings.kernel
        own = kernel.step_size_of(state)
        shape = (self._count, fixed.chains, fixed.rungs)
        shared = own.view(shape).log().mean(1, keepdim=True).exp().expand(shape).flatten()
        if new is not None:
            shared = torch.where(new.repeat_interleave(fixed.per_neuron), shared, own)
        one: State = kernel.rescaled(state, shared, 1.0)
        return one

    def _fitted_to(self, softness: float) -> State:
        """The neuron's curvature scales with τ²/T, so a step size that was found has to be rescaled."""
        settings, state = self.settings, self.state
        if settings.coordinates.white and settings.finds_step_size:
            kernel = settings.kernel
            at, own = self.found or (self.softness, kernel.step_size_of(state))  # type: ignore[attr-defined]
            if at > 0 and softness > 0:
                fitted: State = kernel.rescaled(state, own, math.sqrt(softness / at))  # type: ignore[attr-defined]
                return fitted
        return state


def merged_evaluations(kept: Tensor, old: Evaluation, new: Evaluation) -> Evaluation:
    """Of the chains that are kept (chain · rung,) the old one, where there is one."""
    return Evaluation(
        *(
            {name: merged(kept, a[name], value) if name in a else value for name, value in b.items()}
            for a, b in zip(old, new, strict=True)
        )
    )


def _evaluated_in(settings: Settings) -> tuple[Coordinates, float]:
    return settings.coordinates, settings.interpolation
