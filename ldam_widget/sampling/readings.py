"""`Readings`: everything that can be read from a run, from any thread, while it is running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.parameters import Parameter
from ..core.schedules import PolynomialDecay
from ..core.target import Coordinates, Kernel, State, Target
from ..data import RealImages
from ..diagnostics import Diagnostics, History, Samples, TemperatureReport, report, spread
from ..network.trace import LayerTable, Preprocess
from ..network.units import Neuron
from ..network.wiring import Wiring, neurons_of
from ..objectives import Discriminator
from ..parametrizations import Natural, Transforms
from .chains import Chains
from .frame import Frame
from .law import has_law, law_note
from .monitor import Monitor, temperatures
from .settings import Settings


class Readings:
    """Read access to chains and monitor; `Sampler` advances them.

    Chains and monitor are replaced together as one tuple, so the values within one property are consistent.
    """

    _settings: Settings  # the newest, used by the next step
    _now: tuple[Chains, Monitor]

    @property
    def _chains(self) -> Chains:
        return self._now[0]

    @property
    def _monitor(self) -> Monitor:
        return self._now[1]

    # ---- what is sampled -------------------------------------------------------------------------------------------

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self._settings.fixed.input_shape

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """(lo, hi); None for unbounded pixels."""
        return self._settings.fixed.pixel_range

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """As given: names of the layer's units."""
        return self._settings.fixed.class_names

    @property
    def chains(self) -> int:
        """Chains per neuron."""
        return self._settings.fixed.chains

    @property
    def layer(self) -> str:
        """Dotted name of the sampled layer; expressions may read others as well."""
        return self._chains.neurons.layer

    @property
    def layers(self) -> LayerTable:
        """All layers that the forward pass runs."""
        return self._chains.neurons.layers

    @property
    def neurons(self) -> list[Neuron]:
        """The N neurons, resolved, with their names."""
        return self._chains.neurons.neurons

    @property
    def units(self) -> int:
        """Number of neurons (or channels) in the layer."""
        return self._chains.neurons.units

    @property
    def interpolation(self) -> float | None:
        """The live parameter of neurons written "a -> b"; None if there are none. Change it by `set`."""
        settings = self._settings
        return settings.interpolation if settings.interpolates else None

    @property
    def unit_names(self) -> Sequence[str]:
        """Class names of the layer's units; empty if it has none."""
        return self._chains.neurons.unit_names

    def unit(self, key: str) -> Neuron:
        """Resolve a neuron or expression, e.g. "5@3,4" or "3 - 5". Raises ValueError if there is none."""
        return self._chains.neurons.unit(key)

    @property
    def view(self) -> nn.Module:
        """The sampled network: a private view of the model, sharing its weights where the device allows."""
        return self._settings.fixed.view

    @property
    def preprocess(self) -> Preprocess | None:
        """As given: x in `pixel_range` -> model input."""
        return self._settings.fixed.preprocess

    @property
    def device(self) -> torch.device:
        """Where the chains live."""
        return self._chains.state.x.device

    @property
    def dataset(self) -> RealImages | None:
        """The real images, as given."""
        return self._settings.fixed.dataset

    # ---- settings --------------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """The kernel in use."""
        return self._settings.kernel

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use; None for plain pixels."""
        return self._settings.prior

    @property
    def transforms(self) -> Transforms | None:
        """Transforms applied to the picture before it reaches the neuron."""
        return self._settings.transforms

    @property
    def goal(self) -> float | str | None:
        """As given or last set: a number, a percentile of real images, or None."""
        return self._settings.goal

    def checked_goal(self, goal: Any) -> float | str | None:
        """A valid goal; 0 means none. Raises ValueError or TypeError for any other."""
        return self._settings.checked_goal(goal)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Declarations of all live parameters: those of the kernel, the regularisers and the picture."""
        return self._settings.parameters

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name, JSON-safe; parameters that change by themselves have their present value.

        These are a decaying step size, one found by the chains (the mean over chains), heat during a pulse, and T
        while it is being found for a goal.
        """
        settings, chains = self._settings, self._chains
        now = dict(settings.params)
        schedule = getattr(settings.kernel, "step_size", None)
        if isinstance(schedule, PolynomialDecay):
            now["step_size"] = schedule.at(chains.state.step)
        elif settings.kernel is chains.settings.kernel and (found := chains.step_size) is not None:
            now["step_size"] = found
        if settings.pulse is not None:
            now["heat"] = settings.heat(chains.state.step)
        if settings.goals_asked == chains.goals_sought and settings.goal is not None:
            now["temperature"] = chains.present_temperature
        return now

    @property
    def temperatures(self) -> list[float]:
        """T of each neuron: the same for all unless a goal set them."""
        return temperatures(self._chains)

    @property
    def heat(self) -> float:
        """The factor that the temperature is multiplied by at present."""
        return self._settings.heat(self.steps)

    @property
    def heating(self) -> bool:
        """Whether a heat pulse is in progress."""
        return self._settings.pulse is not None

    @property
    def warming_up(self) -> bool:
        """Whether a warm-up is in progress."""
        return self._chains.warm_up is not None

    @property
    def scale(self) -> Literal["none", "frozen"]:
        """As given to the constructor or to `use_kernel`, or the default."""
        return self._settings.scale

    @property
    def scales(self) -> dict[str, list[float]] | None:
        """Frozen gradient scales: term -> one number per neuron; None without ``scale="frozen"``."""
        return _scales(self._chains)

    @property
    def discriminator(self) -> Discriminator | None:
        """The discriminator among the regularisers, bound to this sampler."""
        return self._settings.discriminator

    # ---- results ---------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps since the last restart."""
        return self._chains.state.step

    @property
    def state(self) -> State:
        """The chains' state: z (chain · rung, *input_shape), grouped by neuron, and its evaluation."""
        return self._chains.state

    @property
    def target(self) -> Target:
        """The density being sampled, at the heat of the slider."""
        return self._chains.target

    @property
    def coordinates(self) -> Coordinates:
        """The map from z to the picture."""
        return self._chains.settings.coordinates

    def frame(self) -> Frame:
        """The current picture."""
        chains, monitor = self._now
        picture = chains.fold(chains.picture)
        average = picture if monitor.mean is None else chains.fold(monitor.mean)
        return Frame(
            picture,
            average,
            chains.activation,
            monitor.burned_in,
            chains.state.step,
            self.params,
            tuple(chains.neurons.neurons),
        )

    @property
    def images(self) -> Tensor:
        """Current samples (N, C, *input_shape) float32."""
        chains = self._chains
        return chains.fold(chains.picture)

    @property
    def average_images(self) -> Tensor:
        """Averages, shaped like `images`; before the first picture, the current samples."""
        chains, monitor = self._now
        return chains.fold(chains.picture if monitor.mean is None else monitor.mean)

    @property
    def activation(self) -> Tensor:
        """f_α of the current samples (N, C), unscaled; with `transforms`, under the transforms last drawn."""
        return self._chains.activation

    @property
    def discriminator_score(self) -> Tensor | None:
        """The discriminator's probability that the current samples are real, D(x) in 0…1, (N, C); None without one."""
        chains = self._chains
        term = chains.settings.discriminator
        if term is None:
            return None
        value = chains.state.evaluation.values.get(term.name)
        if value is not None:
            return chains.fold(term.score_of(value))
        return term.score(chains.cold(chains.picture)).view(chains.activation.shape)  # its weight is 0

    @property
    def burned_in(self) -> Tensor:
        """(N, C) bool, by the `burn_in` rule."""
        return self._monitor.burned_in

    @property
    def burn_in_step(self) -> int | None:
        """Step at which the last chain burned in; None while any has not."""
        return self._monitor.burn_in_step

    @property
    def history(self) -> History:
        """Activations (draws, N, C) since the last restart, thinned to bounded memory."""
        return self._monitor.history

    @property
    def acceptance(self) -> Tensor | None:
        """Recent share of accepted proposals, (N, C); None for kernels that accept everything."""
        chains, monitor = self._now
        return None if monitor.acceptance is None else chains.fold(monitor.acceptance)

    @property
    def temperature_asked(self) -> float:
        """T times heat, the temperature the displayed samples should have; the geometric mean if a goal set T."""
        return self._settings.temperature * self.heat

    @property
    def measured_temperature(self) -> list[float]:
        """The temperature of the samples, measured by the virial (see `diagnostics.thermometer`), one per neuron.

        Measured over the pictures since the last parameter change; NaN where they are not enough yet.
        """
        chains, monitor = self._now
        return monitor.temperature(chains)

    @property
    def effective_temperature(self) -> float | None:
        """The chains' temperature by the kernel's closed form; None where none is known."""
        return _closed_form(self._chains)

    @property
    def kernel_note(self) -> str:
        """One line on what is known about the law of the samples."""
        chains = self._chains
        return law_note(chains.settings, chains.shown_target, chains.state.step)

    @property
    def has_law(self) -> bool:
        """Whether there is a density that the kernel is known to sample."""
        chains = self._chains
        return has_law(chains.settings, chains.heat)

    def recorded(self) -> Samples:
        """Activations and thumbnails under a single law, thinned to bounded memory.

        These are all since burn-in and the last parameter change, or everything so far during burn-in.
        """
        chains, monitor = self._now
        return monitor.recorded(chains)

    def diagnostics(self) -> Diagnostics:
        """How far the chains can be trusted, based on the pictures from `recorded`; also works as a mapping."""
        chains, monitor = self._now
        neurons = chains.neurons.neurons
        norms = {name: chains.cold(g).flatten(1).norm(dim=1) for name, g in chains.state.evaluation.grads.items()}
        acceptance = monitor.acceptance
        samples = monitor.recorded(chains)
        return Diagnostics(
            neurons=[neuron.label for neuron in neurons],
            temperature=TemperatureReport(
                asked=chains.settings.temperature * chains.heat,
                measured=monitor.temperature(chains),
                ratio=monitor.ratios(chains),
                each=temperatures(chains),
                closed_form=_closed_form(chains),
            ),
            acceptance=None if acceptance is None else chains.fold(acceptance).tolist(),
            gradient_norm={name: norm.view(len(neurons), -1).mean(1).tolist() for name, norm in norms.items()},
            spread=spread(chains.fold(chains.picture)).tolist(),
            scales=_scales(chains),
            ladder=None if chains.swaps is None else chains.swaps.report(chains.ladder_factors),
            _samples=samples,
            **report(samples),
        )

    def recalled(self, neurons: Iterable[Any] | None) -> list[Any] | None:
        """Neurons as a list; keys of present directions and expressions become what was asked for."""
        return self._chains.neurons.recalled(neurons)

    def wired_to(self, class_index: int | str, k: int = 20) -> Wiring:
        """The k units of the layer below that are most strongly connected to a class; see `neurons_of`."""
        return neurons_of(
            self.view, class_index, k, input_shape=self.input_shape, class_names=self.class_names,
            preprocess=self.preprocess,
        )  # fmt: skip

    def _present_temperature(self) -> float:
        """T as found so far for the goal being pursued."""
        settings, chains = self._settings, self._chains
        return chains.present_temperature if chains.goals_sought == settings.goals_asked else settings.temperature


def _scales(chains: Chains) -> dict[str, list[float]] | None:
    settings = chains.settings
    if settings.scale == "none":
        return None
    return {name: scale[:: settings.fixed.per_neuron].tolist() for name, scale in settings.scales.items()}


def _closed_form(chains: Chains) -> float | None:
    value = chains.settings.kernel.temperature(chains.shown_target, chains.state.step)
    return float(value.log().mean().exp()) if isinstance(value, Tensor) else None if value is None else float(value)
