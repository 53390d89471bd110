"""`Run`: a sampler's chains and monitor, and the code that advances them."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..core.noise import ChainNoise
from ..core.notes import Notes
from ..core.parameters import GOAL
from ..core.precision import double
from ..core.target import NEURON, Kernel, State, Target
from ..execution import Execution
from ..network.late_writes import LateWrites
from ..network.surroundings import without_ambient_modes
from ..objectives.neuron import Neurons
from . import checks, defaults
from .averages import Average
from .burn_in import BurnIn
from .chains import Chains
from .defaults import Unit
from .fair_lock import FairLock
from .faults import explain_out_of_memory, forget_missed_goals, require_finite, tell_missed_goals, tell_rungs_in_heat
from .first_state import first_state
from .monitor import Change, Monitor, change_between
from .quench import quench
from .readings import Readings
from .settings import Settings
from .standing import Standing
from .starts import Start
from .warm_up import as_scales, present_norms

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Run")


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Exclusive access to the chains, under the newest settings; settings changed meanwhile are applied afterwards."""

    @functools.wraps(method)
    def in_its_turn(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        ticket = self._turn.ticket()
        try:
            self._turn.take(ticket)
            with without_ambient_modes():
                self._follow()
                return method(self, *args, **kwargs)
        finally:
            self._turn.tickets.pop(ticket, None)
            self._catch_up()

    return in_its_turn


class Run(Readings):
    """Advances chains. Any thread may replace the settings at any time; only the holder of the lock moves chains.

    Args:
        settings: the initial settings.
        average, burn_in: as for `Sampler`.
        model: the user's own model, whose changes are tracked.
        execution: how the network is run, as for `Sampler`.
    """

    def __init__(self, settings: Settings, average: Average, burn_in: BurnIn, model: nn.Module, execution: str) -> None:
        self.average, self.burn_in = average, burn_in
        self._settings = settings
        self._turn = FairLock()
        self._lock = threading.Lock()  # held only while the settings are replaced
        self._execution = Execution(settings.fixed.view, model, execution)
        self._late_writes = LateWrites(settings.fixed.view, model)
        self._standing: tuple[Neurons, float, Standing] | None = None
        self._kernels: dict[tuple[str, bool], Kernel] = {}  # last used, by name and whether there is a natural prior
        self._temperatures: dict[tuple[Unit, bool], float] = {}  # last used, by unit and whether there is a prior

    # ---- from any thread -------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Settings], Settings]) -> None:
        """Replace the settings; the chains follow at once or, if a step is in progress, before the next one."""
        self._swap(change)
        self._catch_up()

    def _swap(self, change: Callable[[Settings], Settings]) -> Settings:
        """Replace the settings with `change` of the newest ones; it may be called more than once."""
        while True:
            before = self._settings
            after = change(before)  # may take long, so it runs outside the lock
            with self._lock:
                if self._settings is before:
                    self._settings = after
                    return after

    @torch.inference_mode(False)
    def _catch_up(self) -> None:
        """Apply newer settings, unless another thread is moving the chains and will apply them."""
        while self._settings is not self._chains.settings:
            ticket = self._turn.ticket()
            try:
                free = self._turn.take_if_free(ticket)
                if free:
                    self._follow()
            finally:
                self._turn.tickets.pop(ticket, None)
            if not free and self._turn.tickets:
                return  # the last to release the lock applies them

    @property
    def execution(self) -> str:
        """How the network is run, as chosen by a trial at the first step; "plain" before it.

        Results differ by rounding alone. The outcome of a trial varies: for bit-identical numbers in another process,
        pass this value to the constructor.
        """
        return str(self._execution.decision.plan)

    @property
    def execution_report(self) -> str:
        """`execution`, the number of threads, and the time of a step relative to "plain"."""
        return str(self._execution)

    # ---- queries that run the network; they wait for the step in progress ------------------------------------------

    @torch.inference_mode(False)
    @in_turn
    def quenched(self, steps: int = 150) -> Tensor:
        """The maxima of E that the current samples belong to, shaped like `images`; the chains stay where they are.

        Cost: `steps` gradients. See `quench`.
        """
        steps = checks.count("steps", steps)
        self._execution.follow()
        chains = self._chains
        found = quench(chains.state.x, replace(chains.shown_target, energy_needed=True), steps)
        return chains.fold(chains.settings.coordinates.picture(found))

    @in_turn
    def standing(self, seconds: float = math.inf) -> list[str] | None:
        """The rank of the current activations among those of real images, one text per neuron; None without images.

        Up to 1,000 images go through the network before the first answer for a layer.

        Args:
            seconds: approximate time limit for these images; None is returned if it is not enough, and the next call
                continues.
        """
        if self.dataset is None:
            return None
        chains = self._chains
        standing = self._real_activations(chains.neurons, chains.settings.interpolation)
        return standing.say(self.activation.mean(1).cpu()) if standing.work(seconds) else None

    # ---- while holding the lock ------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take over settings that were replaced since the last step."""
        before, now = self._chains.settings, self._settings
        if now is not before:
            self._put(self._chains.under(now))
            self._note(before, now)

    def _note(self, before: Settings, now: Settings) -> None:
        """Update the monitor after a change of settings."""
        self._monitor.set_time(now.params["average"])
        self._put(self._chains, change_between(before, now))

    def _put(self, chains: Chains, change: Change | None = None) -> None:
        """Replace the chains, and the monitor according to the change, in one assignment."""
        self._now = chains, self._monitor if change is None else self._monitor.after(change, chains)

    @torch.inference_mode(False)  # tensors created in the caller's inference mode could never have a gradient
    @explain_out_of_memory
    def _start(
        self, neurons: Neurons, seed: int, change: Callable[[Settings], Settings] = Settings.without_pulse
    ) -> None:
        """Start chains for `neurons`; if they cannot start, nothing changes."""
        self._execution.follow()

        def changed(settings: Settings) -> Settings:
            return change(settings).of_neurons(neurons)

        settings, fixed = changed(self._settings), self._settings.fixed
        noise = ChainNoise(seed, self._streams(neurons), fixed.per_neuron, fixed.input_shape, fixed.device)
        with self._execution.threads():
            state = first_state(settings, neurons, noise)
            chains = Chains.begun(settings, neurons, state, noise, self._goals)
        self._commit(changed, chains, lambda chains: Monitor(self.average, self.burn_in, chains))
        self.seed = seed

    def _own_notes(self) -> Notes:
        return Notes()

    def _streams(self, neurons: Neurons) -> Sequence[int]:
        """The number of each neuron's stream of random numbers."""
        return range(len(neurons.neurons))

    @torch.inference_mode(False)
    @explain_out_of_memory
    def _regroup(self, neurons: Neurons, places: Sequence[int | None]) -> None:
        """Switch neurons; the chains of those that stay continue, see `Chains.regrouped`."""
        self._execution.follow()
        with self._execution.threads():
            found = self._chains.caught_up(self._goals).regrouped(neurons, places, self._goals)

        own = found.settings.factors is not None

        def with_what_was_found(settings: Settings) -> Settings:
            settings = replace(settings.of_neurons(neurons), scales=found.settings.scales, rungs=found.settings.rungs)
            if not own:
                return settings
            if settings.goals_asked != found.goals_sought:  # T was set, or another goal
                return replace(settings, factors=None)
            temperature = found.settings.params.get("temperature")
            params = settings.params if temperature is None else {**settings.params, "temperature": temperature}
            return replace(settings, factors=found.settings.factors, params=params)

        self._swap(with_what_was_found)
        staying = [neuron for neuron, place in zip(neurons.neurons, places, strict=True) if place is not None]
        forget_missed_goals(found.settings.fixed, staying)
        self._now = found, self._monitor.regrouped(found, places)
        self._follow()

    @torch.inference_mode(False)
    @explain_out_of_memory
    def _begin_again(self, column: int, start: Start) -> None:
        """Restart the chains of one neuron."""
        self._execution.follow()
        with self._execution.threads():
            chains = self._chains.caught_up(self._goals).begun_again(column, start)
        places = [None if place == column else place for place in range(len(chains.neurons.neurons))]
        self._now = chains, self._monitor.regrouped(chains, places)

    @explain_out_of_memory
    def _go_on(self, change: Callable[[Settings], Settings], z: Tensor, *, same_prior: bool) -> None:
        """Continue from z under settings with another kernel or prior."""
        self._execution.follow()
        chains = self._chains
        changed = change(self._settings)
        target = changed.without_findings().target(chains.neurons)
        state = changed.kernel.init(z, target)
        require_finite(state, chains.neurons, target, changed)
        before = chains.settings
        norm = self._neuron_norm(target, state)
        natural = before.prior is not None
        self._kernels[before.kernel.name, natural] = before.kernel
        if before.has_temperature:
            self._temperatures[before.unit, natural] = before.temperature
        known = {unit: value for (unit, of_prior), value in self._temperatures.items() if of_prior == natural}

        def with_its_temperature(settings: Settings) -> Settings:
            return change(settings).with_temperature_of(settings, norm, known)

        kept = with_its_temperature if same_prior else change
        state, after = state._replace(step=chains.state.step), functools.partial(self._monitor.after, Change.CHAINS)
        found = Chains.begun(kept(before), chains.neurons, state, chains.noise, self._goals)
        self._commit(kept, found, after)

    def _kernel_called(self, name: str) -> Kernel:
        """The kernel as last used, or with defaults that suit the picture. Raises ValueError for an unknown name."""
        kind, natural = defaults.KERNELS.get(name), self._settings.prior is not None
        for used in (self._settings.kernel, self._kernels.get((name, natural))):
            if used is not None and type(used) is kind:  # not a user-defined kernel of the same name
                return used
        return defaults.kernel_called(name, self._settings.fixed.size, natural=natural)

    def _neuron_norm(self, target: Target, state: State) -> float:
        """The neuron's frozen scale, else its present gradient norm; the geometric mean over neurons."""
        settings = self._chains.settings
        norms = settings.scales.get(NEURON)
        if norms is None:
            per_neuron = settings.fixed.per_neuron
            norms = as_scales(present_norms(target, state, per_neuron), per_neuron)[NEURON]
        return float(double(norms).log().mean().exp())

    def _commit(
        self, change: Callable[[Settings], Settings], found: Chains, monitor: Callable[[Chains], Monitor]
    ) -> None:
        """Take over newly started chains with their settings; sliders may have moved meanwhile."""
        forget_missed_goals(found.settings.fixed)
        newest = self._swap(lambda settings: replace(change(settings).without_findings(), scales=found.settings.scales))
        chains = found.under(newest)
        self._now = chains, monitor(chains)

    @torch.inference_mode(False)
    @explain_out_of_memory
    @in_turn
    def _advance(self, most: int) -> int:
        """Steps up to the next picture, at most `most` and at most what is left of the warm-up; all of them or none."""
        if self._execution.prepare(self._chains.neurons) and not self.steps:
            # restart with the chosen execution, so that a later restart repeats the run bit for bit
            self._start(self._chains.neurons, self.seed, Settings.restarted)
        self._execution.follow()
        with self._execution.threads():
            before = self._chains
            chains = before.caught_up(self._goals)
            settings = chains.settings
            n = min(most, max(1, int(settings.params["steps_per_frame"]) - chains.phase))
            if chains.warm_up is not None:
                n = min(n, chains.warm_up.left)
            began = time.perf_counter()
            chains, accepted = chains.advanced(n)
            took = time.perf_counter() - began
            if self._late_writes.look(chains.neurons.network, settings.fixed.notes):
                chains.neurons.forget_recordings()
            goal_taken_back = before.warm_up is not None and chains.warm_up is None
            self._put(chains, Change.CHAINS if goal_taken_back else None)
            self._monitor.seconds += took
            if accepted is not None:
                self._monitor.accept(accepted / n)
            if chains.phase == 0:
                self._monitor.add(chains)
            if chains.warm_up is not None and not chains.warm_up.left:
                self._settle()
        pulse = settings.pulse
        if pulse is not None and chains.state.step - pulse[1] >= pulse[0].length:
            self._swap(lambda newest: replace(newest, pulse=None) if newest.pulse is pulse else newest)
            self._put(self._chains.under(self._settings), Change.CHAINS)
        return n

    def _settle(self) -> None:
        """The warm-up is over: freeze what it found."""
        before = self._chains
        warm_up, scales = before.warm_up, before.measured()
        assert warm_up is not None
        self._swap(lambda settings: before.settled(settings, scales)[0])
        _, chains = before.settled(before.settings, scales)
        if warm_up.new is None:
            self._put(chains.under(self._settings), Change.CHAINS)
        else:
            places = [None if new else place for place, new in enumerate(warm_up.new.tolist())]
            self._now = chains, self._monitor.regrouped(chains, places)
            self._follow()
        tell_rungs_in_heat(warm_up, self._settings)
        if before.goals_sought == self._settings.goals_asked:
            tell_missed_goals(warm_up, chains.neurons, self._settings)

    @explain_out_of_memory
    @in_turn
    def _reevaluate(self, name: str, follow: float) -> None:
        """A term has changed: re-evaluate it, and let its frozen scale follow."""
        chains = self._chains.reevaluated(name)
        if name == NEURON:
            require_finite(chains.state, chains.neurons, chains.target, chains.settings)
        self._put(chains)
        if name in self._settings.scales:
            self._rescale(name, follow)
        self._put(self._chains, Change.LAW)

    def _rescale(self, name: str, follow: float) -> None:
        """Move the frozen scale of a term part of the way to its present gradient norm."""
        new = as_scales({name: self._chains.norms()[name]}, self._settings.fixed.per_neuron)[name]
        old = self._settings.scales.get(name, new)
        self._swap(lambda settings: replace(settings, scales={**settings.scales, name: old.lerp(new, follow)}))
        self._follow()

    def _goals(self, settings: Settings, neurons: Neurons) -> Tensor | None:
        """The goal of every neuron, (N,)."""
        if settings.goal is None:
            return None
        if isinstance(settings.goal, str):
            goals = self._real_activations(neurons, settings.interpolation).percentile(settings.goal).float()
            shown = min(max(float(goals.mean()), GOAL.low), GOAL.high)
            self._swap(
                lambda newest: (
                    replace(newest, params={**newest.params, "goal": shown})
                    if newest.goals_asked == settings.goals_asked
                    else newest
                )
            )
            return goals.to(settings.fixed.device)
        return torch.full((len(neurons.neurons),), float(settings.goal), device=settings.fixed.device)

    def _real_activations(self, neurons: Neurons, interpolation: float) -> Standing:
        assert self.dataset is not None
        known = self._standing
        if known is None or known[0] is not neurons or known[1] != interpolation:
            self._standing = known = neurons, interpolation, Standing(self.dataset, neurons.at(interpolation))
        return known[2]
