"""`Run`: chains and monitor of a sampler, and how they are moved."""

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
from ..core.parameters import GOAL
from ..core.target import NEURON, Kernel, State, Target
from ..execution import CudaGraph, Execution
from ..execution.whole_steps import WholeSteps
from ..network.memory import is_out_of_memory
from ..objectives.neuron import Neurons
from . import checks
from .averages import Average
from .burn_in import BurnIn
from .chains import Chains, first_state
from .fair_lock import FairLock
from .faults import SamplingError, forget_missed_goals, require_finite, tell_missed_goals
from .monitor import Change, Monitor, change_between
from .quench import quench
from .readings import Readings
from .settings import Settings, Unit
from .standing import Standing
from .warm_up import as_scales, present_norms

P = ParamSpec("P")
R = TypeVar("R")


def explain_out_of_memory(method: Callable[Concatenate[Run, P], R]) -> Callable[Concatenate[Run, P], R]:
    """Where memory runs out, say what takes it."""

    @functools.wraps(method)
    def explained(self: Run, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            neurons = next((arg for arg in args if isinstance(arg, Neurons)), None) or self._chains.neurons
            fixed = self._settings.fixed
            rungs = f" × {fixed.rungs} rungs" if fixed.rungs > 1 else ""
            raise SamplingError(
                f"not enough memory on {fixed.device} for {len(neurons.neurons)} neurons × {fixed.chains} chains"
                f"{rungs} at once: choose fewer neurons or chains, or free memory and go on. "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error

    return explained


class Run(Readings):
    """Moves chains. Any thread may replace the settings at any moment; chains are moved by whoever has the turn.

    Args:
        settings: the first.
        average, burn_in: as of `Sampler`.
        model: the user's own, whose changes are followed.
        execution: how the network is run, as of `Sampler`.
    """

    def __init__(self, settings: Settings, average: Average, burn_in: BurnIn, model: nn.Module, execution: str) -> None:
        self.average, self.burn_in = average, burn_in
        self._settings = settings
        self._turn = FairLock()
        self._lock = threading.Lock()  # held for as long as it takes to replace the settings
        self._execution = Execution(settings.fixed.view, model, execution)
        self._whole_steps = WholeSteps(CudaGraph, self._execution.marks)
        self._standing: tuple[Neurons, Standing] | None = None
        self._kernels: dict[tuple[str, bool], Kernel] = {}  # used last, by name and whether there is a natural prior
        self._temperatures: dict[Unit, float] = {}  # used last

    # ---- from any thread -------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Settings], Settings]) -> None:
        """Replace the settings; the chains follow now, or, if a step is in progress, before the next one."""
        with self._lock:
            self._settings = change(self._settings)
        if self._turn.take_if_free():
            try:
                self._follow()
            finally:
                self._turn.leave()

    @property
    def execution(self) -> str:
        """How the network is run, as found by a trial at the first step; "plain" before it.

        Ways differ by rounding alone. A trial depends on the moment: to have the same numbers to the last bit in
        another process, give what is shown here to the constructor.
        """
        return str(self._execution.decision.plan)

    @property
    def execution_report(self) -> str:
        """`execution`, with the number of threads, and the time a step takes over that of the plain way."""
        failed = self._execution.decision.plan.captured and self._whole_steps.failed
        return str(self._execution) + (
            "; which failed here: steps are run one operation after another" if failed else ""
        )

    # ---- questions that run the network; they wait for the step in progress -----------------------------------------

    @torch.inference_mode(False)
    def quenched(self, steps: int = 150) -> Tensor:
        """The maxima of E that the present samples belong to, like `images`; the chains stay where they are.

        Cost: `steps` gradients. See `quench`.
        """
        steps = checks.count("steps", steps)
        with self._turn:
            self._execution.follow()
            chains = self._chains
            found = quench(chains.state.x, replace(chains.shown_target, energy_needed=True), steps)
            return chains.fold(chains.settings.coordinates.picture(found))

    def standing(self, seconds: float = math.inf) -> list[str] | None:
        """How strong the present activations are among those of real images, in words, N texts; None without images.

        Up to 1,000 of the images go through the network before the first answer on a layer.

        Args:
            seconds: that may be spent on them now, by and large; None is returned if that is not enough. The next call
                goes on from there.
        """
        if self.dataset is None:
            return None
        with self._turn:
            standing = self._real_activations(self._chains.neurons)
            return standing.say(self.activation.mean(1).cpu()) if standing.work(seconds) else None

    # ---- with the turn ---------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take over settings that were replaced since the last step."""
        before, now = self._chains.settings, self._settings
        if now is before:
            return
        chains = self._chains.under(now)
        if now.params["average"] != before.params["average"]:
            self._monitor.set_time(now.params["average"])
        self._put(chains, change_between(before, now))

    def _put(self, chains: Chains, change: Change | None = None) -> None:
        """These chains from now on, and what a change leaves of the monitor, at once."""
        self._now = chains, self._monitor if change is None else self._monitor.after(change, chains)

    @torch.inference_mode(False)  # tensors made in the caller's inference mode could never have a gradient
    @explain_out_of_memory
    def _start(
        self, neurons: Neurons, seed: int, change: Callable[[Settings], Settings] = Settings.without_pulse
    ) -> None:
        """Begin the chains of `neurons`; if they cannot begin, all stays as it was."""
        self._execution.follow()
        fixed = self._settings.fixed
        noise = ChainNoise(seed, len(neurons.neurons), fixed.per_neuron, fixed.input_shape, fixed.device)
        with self._execution.threads():
            state = first_state(self._settings, neurons, noise)
        self._commit(change, neurons, state, noise, lambda chains: Monitor(self.average, self.burn_in, chains))
        self.seed = seed

    @torch.inference_mode(False)
    @explain_out_of_memory
    def _regroup(self, neurons: Neurons, places: Sequence[int | None]) -> None:
        """Sample other neurons; the chains of those that stay go on, see `Chains.regrouped`."""
        self._execution.follow()
        self._follow()
        found = self._chains.regrouped(self._settings, neurons, places, self._goals)
        with self._lock:
            newest = replace(self._settings, scales=found.settings.scales, factors=found.settings.factors)
            self._settings = newest
        chains = found.under(newest)
        self._now = chains, self._monitor.regrouped(chains, places)

    @explain_out_of_memory
    def _go_on(self, change: Callable[[Settings], Settings], z: Tensor) -> None:
        """Go on from z under settings of another kind."""
        self._execution.follow()
        chains = self._chains
        changed = change(self._settings)
        target = replace(changed, scales={}, factors=None).target(chains.neurons)
        state = changed.kernel.init(z, target)
        require_finite(state, chains.neurons, target, changed)
        before = chains.settings
        norm = self._neuron_norm(target, state)
        self._kernels[before.kernel.name, before.prior is not None] = before.kernel
        self._temperatures[before.unit] = before.temperature
        known = dict(self._temperatures)

        def with_its_temperature(settings: Settings) -> Settings:
            return change(settings).with_temperature_of(settings, norm, known)

        state, after = state._replace(step=chains.state.step), functools.partial(self._monitor.after, Change.CHAINS)
        kept = with_its_temperature if changed.prior is before.prior else change
        self._commit(kept, chains.neurons, state, chains.noise, after)

    def _neuron_norm(self, target: Target, state: State) -> float:
        """The neuron's scale: frozen if it is, else by the present gradients; the geometric mean over neurons."""
        settings = self._chains.settings
        norms = settings.scales.get(NEURON)
        if norms is None:
            per_neuron = settings.fixed.per_neuron
            norms = as_scales(present_norms(target, state, per_neuron), per_neuron)[NEURON]
        return float(norms.double().log().mean().exp())

    def _commit(
        self,
        change: Callable[[Settings], Settings],
        neurons: Neurons,
        state: State,
        noise: ChainNoise,
        monitor: Callable[[Chains], Monitor],
    ) -> None:
        """Take over chains that stand somewhere, under settings of another kind; scales and warm-up begin anew."""
        forget_missed_goals(self._settings.fixed)
        found = Chains.begun(change(self._settings), neurons, state, noise, self._goals)
        with self._lock:  # sliders may have moved meanwhile
            newest = replace(change(self._settings), scales=found.settings.scales, factors=None)
            self._settings = newest
        chains = found.under(newest)
        self._now = chains, monitor(chains)

    @torch.inference_mode(False)
    @explain_out_of_memory
    def _advance(self, most: int) -> int:
        """Steps to the next picture, no more than `most` or than are left in the warm-up; all of them or none."""
        self._follow()
        if self._execution.prepare(self._chains.neurons) and not self.steps:
            # begin anew with the network that goes on, so that a restart is a repetition to the last bit
            self._start(self._chains.neurons, self.seed, Settings.begun_anew)
        self._execution.follow()
        with self._execution.threads():
            before = self._chains
            chains = before.caught_up(self._goals)
            settings, kernel = chains.settings, chains.settings.kernel
            n = min(most, max(1, int(settings.params["steps_per_frame"]) - chains.phase))
            if chains.warm_up is not None:
                n = min(n, chains.warm_up.left)
            captured = self._execution.decision.plan.captured
            step = functools.partial(self._whole_steps.step, kernel) if captured else kernel.step
            began = time.perf_counter()
            chains, accepted = chains.advanced(n, step)
        goal_taken_back = before.warm_up is not None and chains.warm_up is None
        self._put(chains, Change.CHAINS if goal_taken_back else None)
        self._monitor.seconds += time.perf_counter() - began
        if accepted is not None:
            self._monitor.accept(accepted / n)
        if chains.phase == 0:
            self._monitor.add(chains)
        if chains.warm_up is not None and not chains.warm_up.left:
            self._settle()
        pulse = settings.pulse
        if pulse is not None and chains.state.step - pulse[1] >= pulse[0].length:
            with self._lock:
                if self._settings.pulse is pulse:
                    self._settings = replace(self._settings, pulse=None)
            self._put(self._chains.under(self._settings), Change.CHAINS)
        return n

    def _settle(self) -> None:
        """The warm-up is over: freeze what it found."""
        before = self._chains
        warm_up, scales = before.warm_up, before.measured()
        assert warm_up is not None
        with self._lock:
            self._settings, chains = before.settled(self._settings, scales)
        if warm_up.new is None:
            self._put(chains, Change.CHAINS)
        else:
            places = [None if new else place for place, new in enumerate(warm_up.new.tolist())]
            self._now = chains, self._monitor.regrouped(chains, places)
        if before.goals_sought == chains.settings.goals_asked:
            tell_missed_goals(warm_up, chains.neurons, chains.settings)

    @explain_out_of_memory
    def _ask_anew(self, name: str, follow: float) -> None:
        """A term has changed: ask it once more, and let a frozen scale of it follow."""
        with self._turn:
            self._follow()
            chains = self._chains.asked_anew(name)
            if name == NEURON:
                require_finite(chains.state, chains.neurons, chains.target, chains.settings)
            self._put(chains)
            if name in self._settings.scales:
                self._rescale(name, follow)
            self._put(self._chains, Change.LAW)

    def _rescale(self, name: str, follow: float) -> None:
        """Let the frozen scale of a term go a part of the way to its present gradient."""
        new = as_scales({name: self._chains.norms()[name]}, self._settings.fixed.per_neuron)[name]
        with self._lock:
            old = self._settings.scales.get(name, new)
            self._settings = replace(self._settings, scales={**self._settings.scales, name: old.lerp(new, follow)})
        self._follow()

    def _goals(self, settings: Settings, neurons: Neurons) -> Tensor | None:
        """The goal of every neuron, (N,)."""
        if settings.goal is None:
            return None
        if isinstance(settings.goal, str):
            goals = self._real_activations(neurons).percentile(settings.goal).float()
            shown = min(max(float(goals.mean()), GOAL.low), GOAL.high)
            with self._lock:
                self._settings = replace(self._settings, params={**self._settings.params, "goal": shown})
            return goals.to(settings.fixed.device)
        return torch.full((len(neurons.neurons),), float(settings.goal), device=settings.fixed.device)

    def _real_activations(self, neurons: Neurons) -> Standing:
        assert self.dataset is not None
        if self._standing is None or self._standing[0] is not neurons:
            self._standing = neurons, Standing(self.dataset, neurons)
        return self._standing[1]
