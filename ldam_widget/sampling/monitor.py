"""`Monitor`: all statistics of a run that are updated per picture."""

from __future__ import annotations

import copy
import enum
import math
from collections.abc import Sequence

from torch import Tensor

from ..diagnostics import History, Samples, Thermometer, thumbnails
from .averages import Accumulator, Average
from .burn_in import BurnIn, BurnInMeter
from .chains import Chains
from .law import has_law
from .regrouping import rows_of
from .settings import PICTURE_ONLY, Settings

_ACCEPTANCE_MEMORY = 100  # pictures
_KEPT_EVERY = 4  # steps: pictures closer together are redundant
_MEASURED_EVERY = 4, 16  # steps: the temperature is measured less often later, as it costs as much as a picture
_READINGS_TO_BE_SURE = 100
_HISTORY_NUMBERS = 4e6  # in all stored thumbnails: 16 MB


class Change(enum.Enum):
    """A change to a run, and the statistics that it invalidates."""

    AVERAGE = "the average was reset: drops the average"
    LAW = "a parameter of the law changed: drops acceptance and temperature"
    LEFT_OUT = "neurons were left out or taken back in: as LAW, and the average"
    CHAINS = "the chains follow another law from here on, or the warm-up has ended: drops all but the histories"
    START = "the chains were restarted: drops everything"


def change_between(before: Settings, after: Settings) -> Change | None:
    """The kind of change between two snapshots; None if the law stays the same."""
    if before.neurons_left_out != after.neurons_left_out:
        return Change.LEFT_OUT
    names = {name for name in after.params if after.params[name] != before.params.get(name)} - PICTURE_ONLY - {"goal"}
    same = before.kernel == after.kernel and before.pulse == after.pulse and before.goals_asked == after.goals_asked
    return None if same and not names else Change.LAW


class Monitor:
    """Averages, burn-in, temperature, acceptance and recorded activations of one run.

    Args:
        average: creates an accumulator whenever the average restarts.
        rule: of burn-in.
        chains: monitored from here on.
    """

    acceptance: Tensor | None  # (chain · rung,), mean over recent pictures
    seconds: float  # spent on all steps so far
    history: History  # of activations
    _thumbnails: History
    _accumulator: Accumulator
    _thermometer: Thermometer
    _burn_in: BurnInMeter
    _keep_at: int  # the step from which the next picture is stored
    _measure_at: int  # the step from which the temperature is measured next
    _law_since: int  # step
    _accepted_pictures: int

    def __init__(self, average: Average, rule: BurnIn, chains: Chains) -> None:
        self._average, self._rule = average, rule
        self._start(chains)

    def after(self, change: Change, chains: Chains) -> Monitor:
        """The monitor after a change: invalidated statistics restart, all others are kept.

        Args:
            change: see `Change`.
            chains: after the change.
        """
        other = copy.copy(self)
        if change is Change.START:
            other._start(chains)
            return other
        if change is not Change.LAW:
            other._begin_average(chains)
        if change is Change.CHAINS:
            other._begin_measuring(chains)
        if change is not Change.AVERAGE:
            other._measure_law(chains)
        return other

    def regrouped(self, chains: Chains, places: Sequence[int | None]) -> Monitor:
        """The monitor for other neurons: averages and burn-in continue for neurons that stay.

        Args:
            chains: of the other neurons.
            places: the index of each among the present neurons; None for a new one, whose statistics all start here.
        """
        other = copy.copy(self)
        other._begin_record(chains)
        other._begin_measuring(chains)
        rows = rows_of(places, chains.settings.fixed.per_neuron, chains.state.x.device)
        other._accumulator = self._accumulator.regrouped(rows, chains.picture)
        other._burn_in = self._burn_in.regrouped(places)
        other._measure_law(chains)
        return other

    def set_time(self, pictures: float) -> None:
        """Set the averaging time."""
        self._accumulator.set_time(pictures)

    def add(self, chains: Chains) -> None:
        """Record the next picture."""
        step, activation = chains.state.step, chains.activation
        self._accumulator.add(chains.picture)
        warm_up = chains.warm_up
        if warm_up is None or warm_up.new is not None:
            before = self._burn_in.step
            self._burn_in.add(activation, step, None if warm_up is None else warm_up.new)
            if before != self._burn_in.step:  # only readings from here on count
                self._thermometer = _thermometer(chains)
        self.history.add(activation.cpu().numpy(), step)
        if step >= self._keep_at:
            self._keep_at = step + _KEPT_EVERY
            axes = len(chains.settings.fixed.input_shape)
            self._thumbnails.add(lambda: thumbnails(chains.fold(chains.picture), axes).cpu().numpy(), step)
        if step >= self._measure_at:
            often, seldom = _MEASURED_EVERY
            sure = (step - self._law_since) // _READINGS_TO_BE_SURE
            self._measure_at = step + min(max(often, sure), seldom)
            target, state = chains.target, chains.state
            drift = target.drift(target.complete(state.evaluation, state.x), state.x)
            self._thermometer.add(chains.cold(state.x), chains.cold(drift))

    def accept(self, mean: Tensor) -> None:
        """Record the mean acceptance (chain · rung,) since the last call."""
        self._accepted_pictures = min(self._accepted_pictures + 1, _ACCEPTANCE_MEMORY)
        old = mean if self.acceptance is None else self.acceptance
        self.acceptance = old.lerp(mean, 1 / self._accepted_pictures)

    # ---- results ---------------------------------------------------------------------------------------------------

    @property
    def mean(self) -> Tensor | None:
        """The average (chain · rung, *image); None before the first picture."""
        return self._accumulator.mean

    @property
    def burned_in(self) -> Tensor:
        """(N, C) bool."""
        return self._burn_in.done

    @property
    def burn_in_step(self) -> int | None:
        """Step at which the last chain burned in; None while any has not."""
        return self._burn_in.step

    def temperature(self, chains: Chains) -> list[float]:
        """The temperature of the samples, measured by the virial, one per neuron; NaN where not yet known."""
        read, settings = self._thermometer.read(), chains.settings
        if not settings.coordinates.white:
            return read
        unit, heat = settings.params["prior_scale"] ** 2, chains.heat  # the thermometer measures that of z, which is τ²
        return [value / unit * asked * heat for value, asked in zip(read, temperatures(chains), strict=True)]

    def recorded(self, chains: Chains) -> Samples:
        """Activations and thumbnails under one law: since burn-in and the last change, or all during burn-in."""
        draws, steps = self.history.draws(), self.history.steps()
        if not len(draws):
            draws = draws.reshape(0, len(chains.neurons.neurons), chains.settings.fixed.chains)
        small, start = self._thumbnails.draws(), self.burn_in_step
        if start is not None:
            start = max(start, self._law_since + 1)  # the picture at the change still belongs to the previous law
            small = small[self._thumbnails.steps() >= start]
            draws, steps = draws[steps >= start], steps[steps >= start]
        ratios = self.ratios(chains) if has_law(chains.settings, chains.heat) else []
        return Samples(draws, small, steps, self.seconds / max(1, chains.state.step), start is not None, ratios)

    def ratios(self, chains: Chains) -> list[float]:
        """Measured over requested temperature, one per neuron; NaN at T = 0."""
        asked = [each * chains.heat for each in temperatures(chains)]
        return [value / t if t else math.nan for value, t in zip(self.temperature(chains), asked, strict=True)]

    # ---- starting --------------------------------------------------------------------------------------------------

    def _start(self, chains: Chains) -> None:
        self.seconds = 0.0
        self._begin_record(chains)
        self._begin_average(chains)
        self._begin_measuring(chains)
        self._measure_law(chains)

    def _begin_record(self, chains: Chains) -> None:
        numbers = 64 * len(chains.neurons.neurons) * chains.settings.fixed.chains
        kept = int(min(2000, max(100, _HISTORY_NUMBERS // numbers)))
        self.history, self._thumbnails = History(kept), History(kept)

    def _begin_average(self, chains: Chains) -> None:
        self._accumulator = self._average.start()
        self._accumulator.set_time(chains.settings.params["average"])

    def _begin_measuring(self, chains: Chains) -> None:
        self._keep_at = 0
        self._thermometer = _thermometer(chains)
        self._burn_in = self._rule.start(chains.activation)

    def _measure_law(self, chains: Chains) -> None:
        """Discard temperature and acceptance, which belong to the previous law."""
        self._law_since = self._measure_at = chains.state.step
        self.acceptance = None
        self._accepted_pictures = 0
        self._thermometer.reset()


def temperatures(chains: Chains) -> list[float]:
    """T of each neuron: the same for all unless a goal set them."""
    settings = chains.settings
    if settings.factors is None:
        return [settings.temperature] * len(chains.neurons.neurons)
    return [settings.temperature * float(factor) for factor in settings.factors]


def _thermometer(chains: Chains) -> Thermometer:
    return Thermometer(chains.settings.coordinates.bounds, len(chains.neurons.neurons))
