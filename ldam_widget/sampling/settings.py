"""`Settings`: everything the law of the samples depends on, in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..core.parameters import (
    AVERAGE,
    DISPLAY_BASE,
    DISPLAY_SCALE,
    GOAL,
    STEPS_PER_FRAME,
    TEMPERATURE,
    Parameter,
    check_all,
)
from ..core.precision import widest
from ..core.schedules import PolynomialDecay
from ..core.target import NEURON, Coordinates, Kernel, Regularizer, Target, Term
from ..kernels import BAOAB
from ..objectives import Discriminator
from ..objectives.combination import INTERPOLATION
from ..objectives.neuron import Neurons
from ..objectives.transformed import Transformed
from ..parametrizations import Natural, Transforms
from ..parametrizations.natural import NATURAL, PRIOR_SCALE, NaturalCoordinates
from . import checks, defaults, priors
from .defaults import Scale, Unit
from .fixed import Fixed
from .heat import HEAT, HeatPulse
from .standing import check_goal
from .starts import Start

PICTURE_ONLY = {"steps_per_frame", "average", "display_scale", "display_base"}  # do not change the law
FIXED_CHANGES = 4  # fixed transforms over which the neuron is averaged where an energy is needed


@dataclass(frozen=True)
class Settings:
    """An immutable snapshot of the law. Writers replace it as a whole; the sampler reads it once per step.

    Attributes:
        fixed: the parts that never change.
        kernel, regularizers, scale, prior: as for `Sampler`.
        scale_asked: the scale that was requested; None for the kernel's default.
        coordinates: of the prior.
        params: every live parameter by name, as set; some also change by themselves, see `Sampler.params`.
        goal: the requested mean activation; None: T is as given.
        goals_asked: counts goals set or cleared, so that setting the same goal again restarts the search.
        sought_from: T before one was found for a goal.
        start: where chains start, as for `Sampler`, checked; no part of the law.
        neurons_left_out: p ∝ exp(Σ λ_i R_i/T).
        pulse: a heat pulse and its first step.
        scales: frozen gradient scales, term -> (chain,).
        interpolates: whether a neuron depends on the live parameter `interpolation`.
        factors: factor of T per neuron, (N,), geometric mean 1; None: all have the same T.
        rungs: the ladder's factors, placed for every neuron, (N, rungs); None: as given.
    """

    fixed: Fixed
    kernel: Kernel
    regularizers: tuple[Regularizer, ...]
    scale: Scale
    scale_asked: Scale | None
    prior: Natural | None
    coordinates: Coordinates
    params: Mapping[str, float] = field(default_factory=dict)
    goal: float | str | None = None
    goals_asked: int = 0
    sought_from: float | None = None
    start: Start = "noise"
    neurons_left_out: bool = False
    pulse: tuple[HeatPulse, int] | None = None
    scales: Mapping[str, Tensor] = field(default_factory=dict)
    factors: Tensor | None = None
    rungs: Tensor | None = None
    interpolates: bool = False

    @classmethod
    def begun(
        cls,
        fixed: Fixed,
        kernel: Kernel | None,
        regularizers: tuple[Regularizer, ...],
        scale: Scale | None,
        prior: Natural | None,
        *,
        temperature: float | None,
        goal: Any,
        given: Mapping[str, float],
        start: Start = "noise",
    ) -> Settings:
        """Initial settings, with defaults where nothing is given. Raises ValueError or TypeError as `Sampler`."""
        natural = prior is not None
        if kernel is None:
            kernel = defaults.kernel_for(fixed.size, natural=natural)
        kernel = fixed.suited(checks.kernel(kernel), prior)
        chosen = checks.scale(defaults.scale_for(kernel, scale, natural=natural), kernel)
        checks.ladder(fixed.ladder, kernel, prior)
        checks.pixels(kernel, prior, fixed.pixel_range)
        checks.energies(kernel, fixed.ladder, regularizers)
        begun = cls(fixed, kernel, regularizers, chosen, scale, prior, fixed.coordinates_of(prior), start=start)
        goal = begun.checked_goal(goal)
        values: dict[str, Any] = {r.name: r.weight for r in regularizers} | dict(given)
        if begun.has_temperature:
            values["temperature"] = begun.usual_temperature if temperature is None else temperature
        elif temperature not in (None, 1.0):
            raise ValueError(f"temperature={temperature}: {kernel.name} has no temperature")
        if prior is not None:
            values["prior_scale"] = defaults.NATURAL_SCALE
        if isinstance(goal, float):
            values["goal"] = goal
        checked = check_all(begun.parameters, values | own_values(kernel))
        return replace(begun, params={p.name: p.default for p in begun.parameters} | checked, goal=goal)

    # ---- properties ------------------------------------------------------------------------------------------------

    @property
    def has_temperature(self) -> bool:
        return any(p.name == "temperature" for p in self.kernel.parameters)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Declarations of all live parameters: those of the kernel, the regularisers and the picture."""
        aims = self.has_temperature and (self.kernel.calibrated or self.prior is not None)
        return (
            *self.kernel.parameters,
            *((GOAL,) if aims else ()),
            *((HEAT,) if self.has_temperature else ()),
            *((INTERPOLATION,) if self.interpolates else ()),
            STEPS_PER_FRAME,
            *((NATURAL, PRIOR_SCALE) if self.prior is not None else ()),
            *(r.parameter for r in self.regularizers),
            AVERAGE,
            DISPLAY_SCALE,
            DISPLAY_BASE,
        )

    @property
    def discriminator(self) -> Discriminator | None:
        return next((r for r in self.regularizers if isinstance(r, Discriminator)), None)

    @property
    def finds_step_size(self) -> bool:
        """Whether every chain finds its own step size in the warm-up."""
        return hasattr(self.kernel, "adapt") and getattr(self.kernel, "step_size", 0.0) is None

    @property
    def temperature(self) -> float:
        """T without heat; with a goal, the geometric mean over neurons."""
        return self.params.get("temperature", 1.0)

    @property
    def unit(self) -> Unit:
        """The unit of T."""
        if checks.normalizes(self.kernel):
            return "normalized"
        return "scaled" if self.scale == "frozen" else "plain"

    @property
    def usual_temperature(self) -> float:
        """The default T."""
        return defaults.temperature_for(self.unit, self.fixed.size, natural=self.prior is not None)

    @property
    def interpolation(self) -> float:
        """t of the neurons written a → b: f = (1 − t)·a + t·b."""
        return self.params.get(INTERPOLATION.name, INTERPOLATION.default)

    @property
    def softness(self) -> float:
        """T/τ²; the neuron's part of the curvature is inversely proportional to it."""
        return self.temperature / self.params.get("prior_scale", 1.0) ** 2

    @property
    def energy_needed(self) -> bool:
        """Whether one fixed density with a computable energy is sampled at every step."""
        return self.kernel.needs_energy or self.fixed.ladder is not None

    @property
    def transforms(self) -> Transforms | None:
        return self.transforms_with(self.kernel)

    def transforms_with(self, kernel: Kernel) -> Transforms | None:
        """Transforms applied to the picture before it reaches the neuron."""
        own = self.fixed.transforms
        if own != "auto":
            return own
        # with a fixed set, every step would cost as much as four
        if self.prior is None or kernel.needs_energy or self.fixed.ladder is not None:
            return None
        return priors.default_transforms(self.fixed.input_shape, self.prior)

    def heat(self, step: int) -> float:
        """The factor that T is multiplied by at a step."""
        if self.pulse is None:
            return self.params.get("heat", 1.0)
        pulse, began = self.pulse
        return pulse.at(max(0, step - began))

    def temperatures(self, neurons: int, heat: float = 1.0, *, of_rungs: bool = True) -> float | Tensor:
        """T of every image in the batch, (chain,); a single number if all have the same.

        Args:
            neurons: N.
            heat: factor for all of them.
            of_rungs: include the ladder's factors; else all have that of the coldest rung, which is displayed.
        """
        each: float | Tensor = self.temperature * heat
        if self.factors is not None and self.temperature:
            each = each * self.factors.repeat_interleave(self.fixed.per_neuron).to(self.fixed.device)
        if self.fixed.ladder is None or not (of_rungs and self.temperature):
            return each
        return self.ladder_factors(neurons).repeat_interleave(self.fixed.chains, 0).flatten() * each

    def ladder_factors(self, neurons: int) -> Tensor:
        """(N, rungs) float64, for N neurons; all 1 without a ladder."""
        if self.rungs is not None:
            return self.rungs
        factors = (1.0,) if self.fixed.ladder is None else self.fixed.ladder.factors
        return torch.tensor(factors, dtype=widest(self.fixed.device), device=self.fixed.device).expand(neurons, -1)

    def target(self, neurons: Neurons) -> Target:
        """The density, at the heat of the slider."""
        transforms, count = self.transforms, len(neurons.neurons)
        seen: Term = neurons.at(self.interpolation)
        if transforms is not None:
            seen = Transformed(seen, transforms, FIXED_CHANGES if self.energy_needed else 1)
        target = Target(
            {NEURON: seen, **{r.name: r for r in self.regularizers}},
            {NEURON: 0.0 if self.neurons_left_out else 1.0, **{r.name: self.params[r.name] for r in self.regularizers}},
            self.temperatures(count, self.params.get("heat", 1.0)),
            self.coordinates,
            self.params.get("prior_scale", 1.0),
            frozenset({NEURON, *(r.name for r in self.regularizers if r.learned)}),
            self.energy_needed,
            self.scales,
        )
        if not (self.energy_needed and target.draws):
            return target
        own = torch.Generator().manual_seed(0)
        numbers = {n: torch.rand(1, k, generator=own, dtype=torch.float64) for n, k in target.draws.items()}
        chains = count * self.fixed.per_neuron
        return replace(
            target,
            numbers={
                n: u.expand(chains, -1).to(self.fixed.device, widest(self.fixed.device)) for n, u in numbers.items()
            },
        )

    # ---- modified copies -------------------------------------------------------------------------------------------

    def checked_goal(self, goal: Any) -> float | str | None:
        """A valid goal; 0 means none. Raises ValueError or TypeError for any other."""
        goal = check_goal(goal)
        if isinstance(goal, float):
            GOAL.check(goal)
        if goal is not None and not any(p.name == "goal" for p in self.parameters):
            raise ValueError(f"goal={goal!r}: {self.kernel.name} has no temperature to tune")
        if isinstance(goal, str) and self.fixed.dataset is None:
            raise ValueError(f"goal={goal!r} is a percentile of real images: give dataset=")
        return None if goal == 0 else goal

    def changed(self, present_temperature: Callable[[], float], **params: Any) -> Settings:
        """A copy with other values of live parameters.

        Args:
            present_temperature: returns T as found so far, which is kept when a goal is cleared.
            params: as for `Sampler.set`.

        Raises:
            ValueError, TypeError: as `Sampler.set`.
        """
        asked = self.goal
        if "goal" in params:
            asked = self.checked_goal(params["goal"])
            params = params | {"goal": asked if isinstance(asked, float) else 0.0}
        elif "temperature" in params and self.goal is not None:
            asked, params = None, params | {"goal": 0.0}  # both determine T: the last one set wins
        own: dict[str, Any] = {}
        schedule = params.get("step_size")
        if isinstance(schedule, PolynomialDecay) and any(p.name == "step_size" for p in self.kernel.parameters):
            own = {"step_size": schedule}
            params = {name: value for name, value in params.items() if name != "step_size"}
        values = check_all(self.parameters, params)
        own |= {name: value for name, value in values.items() if name in kernel_fields(self.kernel)}
        kernel: Kernel = replace(self.kernel, **own) if own else self.kernel  # type: ignore[type-var]  # a dataclass
        goals: dict[str, Any] = {}
        if "goal" in values:
            if asked is None and self.goal is not None:
                values = {"temperature": present_temperature()} | values
            moved = asked is not None or self.goal is not None
            goals = {"goal": asked, "goals_asked": self.goals_asked + moved}
            goals |= {"sought_from": None, "factors": None} if asked is None else {}
        coordinates = self.coordinates
        if "natural" in values and isinstance(coordinates, NaturalCoordinates):
            coordinates = coordinates.at(values["natural"])
        pulse = None if "heat" in values else self.pulse
        return replace(
            self, kernel=kernel, coordinates=coordinates, pulse=pulse, params={**self.params, **values}, **goals
        )

    def with_pulse(self, pulse: HeatPulse, step: int) -> Settings:
        """A copy with a heat pulse that starts at a step. Raises ValueError if there is no temperature."""
        if not self.has_temperature:
            raise ValueError(f"{self.kernel.name} has no temperature that a heat pulse could raise")
        return replace(self, params={**self.params, "heat": 1.0}, pulse=(pulse, step))

    def without_findings(self) -> Settings:
        """As before a warm-up: without scales, temperatures and rungs of its own for every neuron."""
        return replace(self, scales={}, factors=None, rungs=None)

    def restarted(self) -> Settings:
        """For chains that restart: T is sought from its original starting value, so that a restart repeats the run."""
        if self.sought_from is None:
            return self
        return replace(self, params={**self.params, "temperature": self.sought_from}, sought_from=None)

    def without_pulse(self) -> Settings:
        """As `restarted`, without a heat pulse."""
        return replace(self.restarted(), pulse=None)

    def of_neurons(self, neurons: Neurons) -> Settings:
        """A copy for other neurons, with the live parameter `interpolation` if they have one."""
        if neurons.interpolates == self.interpolates:
            return self
        changed = replace(self, interpolates=neurons.interpolates)
        return replace(changed, params={p.name: self.params.get(p.name, p.default) for p in changed.parameters})

    def with_temperature_of(self, before: Settings, neuron_norm: float, known: Mapping[Unit, float]) -> Settings:
        """T converted to the unit of these settings, for the same law as before.

        Args:
            before: settings whose T may have another unit.
            neuron_norm: the scale of the neuron, the ratio between "plain" and "scaled".
            known: last used T by unit, where no conversion is possible: after or before a kernel that normalises
                gradients, and after one without a temperature.
        """
        if not self.has_temperature or (before.has_temperature and self.unit == before.unit):
            return self
        pair = {self.unit, before.unit}
        if not before.has_temperature or ("normalized" in pair and self.prior is None):
            temperature = known.get(self.unit, self.usual_temperature)
        elif "plain" not in pair:  # in white coordinates, T means the same with either normalisation
            return self
        else:
            factor = neuron_norm if self.unit == "plain" else 1 / neuron_norm
            temperature = min(max(before.temperature * factor, TEMPERATURE.low), TEMPERATURE.high)
            temperature = 0.0 if before.temperature == 0 else temperature
        return replace(self, params={**self.params, "temperature": temperature}, sought_from=None)

    def with_kernel(self, kernel: Kernel, scale: Scale | None) -> Settings:
        """A copy with another kernel and its own parameters; temperature and everything else stay.

        Args:
            kernel: suited to the picture.
            scale: None: as last requested, or the kernel's default.

        Raises:
            ValueError: the kernel is incompatible with the scale, the prior or a regulariser.
        """
        checks.pixels(kernel, self.prior, self.fixed.pixel_range)
        checks.energies(kernel, self.fixed.ladder, self.regularizers)
        asked = self.scale_asked if scale is None else scale
        chosen = checks.scale(defaults.scale_for(kernel, asked, natural=self.prior is not None), kernel)
        changed = replace(self, kernel=kernel, scale=chosen, scale_asked=asked)
        changed = changed if changed.has_temperature else replace(changed, pulse=None)
        kept = {name: value for name, value in self.params.items() if name not in kernel_fields(kernel)}
        params = {p.name: kept.get(p.name, p.default) for p in changed.parameters} | own_values(kernel)
        return replace(changed, params=params)._without_goal_where_none_can_be()

    def with_prior(self, prior: Natural | None, coordinates: Coordinates) -> Settings:
        """A copy with another prior and its defaults for kernel, scale, T and τ."""
        kernel = self.kernel
        if isinstance(kernel, BAOAB):
            kernel = defaults.kernel_for(self.fixed.size, natural=prior is not None)
        kernel = self.fixed.suited(kernel, prior)
        checks.pixels(kernel, prior, self.fixed.pixel_range)
        checks.ladder(self.fixed.ladder, kernel, prior)
        scale = defaults.scale_for(kernel, self.scale_asked, natural=prior is not None)
        changed = replace(
            self, kernel=kernel, scale=scale, prior=prior, coordinates=coordinates, factors=None, sought_from=None,
            rungs=None,
        )  # fmt: skip
        kept = {name: value for name, value in self.params.items() if name not in kernel_fields(kernel)}
        begun = {"temperature": changed.usual_temperature, "prior_scale": defaults.NATURAL_SCALE, "natural": 1.0}
        params = {p.name: (kept | begun).get(p.name, p.default) for p in changed.parameters} | own_values(kernel)
        return replace(changed, params=params)._without_goal_where_none_can_be()

    def with_discriminator(self, discriminator: Discriminator) -> Settings:
        """A copy with another discriminator, or with one added; its weight is adopted."""
        others = [r for r in self.regularizers if not isinstance(r, Discriminator)]
        changed = replace(self, regularizers=(discriminator, *others))
        values = {**self.params, discriminator.name: discriminator.weight}
        return replace(changed, params={p.name: values[p.name] for p in changed.parameters})

    def _without_goal_where_none_can_be(self) -> Settings:
        return self if "goal" in self.params else replace(self, goal=None, sought_from=None)


def kernel_fields(kernel: Any) -> set[str]:
    """Names of all fields of a kernel."""
    return {each.name for each in fields(kernel)}


def own_values(kernel: Any) -> dict[str, float]:
    """The kernel's own values of its live parameters, where they are plain numbers."""
    values = {p.name: getattr(kernel, p.name) for p in kernel.parameters if p.name in kernel_fields(kernel)}
    return {name: v for name, v in values.items() if v is not None and not isinstance(v, PolynomialDecay)}
