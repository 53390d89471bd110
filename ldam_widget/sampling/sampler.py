"""`Sampler`: chains of images for the neurons of a network, without a browser and without threads."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..core.noise import ChainNoise
from ..core.notes import Notes
from ..core.parameters import AVERAGE, DISPLAY_BASE, DISPLAY_SCALE, GOAL, STEPS_PER_FRAME, Parameter, check_all
from ..core.schedules import PolynomialDecay
from ..core.target import (
    NEURON,
    Coordinates,
    Evaluation,
    Kernel,
    Regularizer,
    Setting,
    State,
    Target,
    Transforms,
    per_image,
    weight_of,
)
from ..data import RealImages
from ..diagnostics import History, Samples, Thermometer, report, spread, thumbnails
from ..execution import CudaGraph, Execution, check_execution
from ..execution.whole_steps import WholeSteps
from ..kernels import BAOAB, Algorithm1
from ..network.memory import give_back, is_out_of_memory
from ..network.view import check_weights, choose_device, private_view
from ..network.wiring import Wiring, neurons_of
from ..objectives import Discriminator
from ..objectives.neuron import LayerTable, Neuron, Neurons, Preprocess, check_shape
from ..parametrizations import Natural
from ..parametrizations.natural import NATURAL, PRIOR_SCALE, NaturalCoordinates
from ..sampling.frame import Frame
from . import checks, defaults, priors
from .averages import EMA, Average
from .burn_in import BurnIn
from .heat import HEAT, HeatPulse
from .ladder import Climb, Ladder, coldest, exchange
from .quench import quench
from .standing import Standing, check_goal
from .warm_up import WarmUp, as_scales, present_norms

P = ParamSpec("P")
R = TypeVar("R")

_START_AGAIN = 5  # times that other noise is tried for a chain whose gradient is exactly zero
_ACCEPTANCE_MEMORY = 100  # pictures
_PICTURE_ONLY = {"steps_per_frame", "average", "display_scale", "display_base"}  # change no law
_CHANGED_BY_A_PRIOR = {
    "_prior", "_coordinates", "kernel", "_scale", "_params", "_factors", "_sought_from", "_goal", "_goal_moved",
}  # fmt: skip
_KEPT_EVERY = 4  # steps: pictures nearer to each other say the same
_MEASURED_EVERY = 4, 16  # steps: temperature is read often at first, then less: it costs as much as a picture
_READINGS_TO_BE_SURE = 100
_SCALE_FOLLOWS = 0.2  # of the way to the present gradient, at every change of the discriminator
_HISTORY_NUMBERS = 4e6  # of all thumbnails kept: 16 MB
_FIXED = 4  # changes of the picture over which kernels with an energy average


class SamplingError(RuntimeError):
    """The run cannot go on from here; the sampler stands at its last good picture and keeps its averages."""


def _telling_memory(method: Callable[Concatenate[Sampler, P], R]) -> Callable[Concatenate[Sampler, P], R]:
    """Where memory runs out, say what takes it."""

    @functools.wraps(method)
    def told(self: Sampler, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            neurons = next((arg for arg in args if isinstance(arg, Neurons)), None) or self._neurons
            rungs = f" × {self._rungs} rungs" if self._rungs > 1 else ""
            raise SamplingError(
                f"not enough memory on {self._device} for {len(neurons.neurons)} neurons × {self.chains} chains{rungs} "
                "at once: choose fewer neurons or chains, or free memory and go on. "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error

    return told


class Sampler:
    """Samples x from P(x) ∝ exp((f_α(x) + Σ λ_i R_i(x)) / T) for several neurons α at once.

    N neurons, C chains each; an image has the shape `input_shape`. With the natural prior (`Natural`), which is the
    default for RGB images and where there is a dataset, the density has the images' own statistics as its base measure.

    Args:
        model: any `nn.Module`. It comes back untouched; its weights are shared, not copied, where the device allows.
        layer: dotted module name; None is the last layer before any softmax.
        neurons: ints, (channel, y, x), "5", "5@3,4", "layer:5", class names, or direction tensors (units,).
            None: the first ten. An int on a convolution is the unit at the centre of the map (`at`).
        input_shape: of one image without the batch axis, e.g. (1, 28, 28).
        kernel: how the chains move. None: `BAOAB`, whose step size is found, with the natural prior; else `Algorithm1`.
        regularizers: R_i with their weights; an `L2` of weight 0 is added if none is given, so that its slider exists.
        temperature: T ≥ 0. What it means depends on the kernel; see there. None: with the natural prior and frozen
            scales so that the neuron shows (see `defaults.PULL`), else 1.
        goal: mean activation that the chains of a neuron shall have: a number, or a percentile of real images, "p50" …
            "p99.9", which needs `dataset`. T is found for it in the warm-up, neuron by neuron over all of its chains,
            and then frozen. None: T is as given.
        prior: `Natural`; None: plain pixels; "auto": measured on the dataset if there is one, Natural("photos") for RGB
            images of at least 16 × 16, else pixels.
        transforms: `Jitter` or `Robust`: changes of the picture, drawn anew each step, under which the neuron is
            averaged; kernels that need energies take four fixed ones. "auto": `Robust` for RGB images of at
            least 32 × 32 with the prior of photographs, or of 64 × 64 with one of their own, where that was measured to
            help, and only with kernels that need no energies; None: none.
        dataset: real images (see `RealImages`), for `prior`, percentiles, and `standing`.
        chains: chains a neuron, ≥ 1.
        average: `EMA(decay)` or `Window(length)`.
        preprocess: x in `pixel_range` -> model input, e.g. ``lambda x: (x - mean) / std``.
        pixel_range: (lo, hi) or None for unbounded pixels.
        steps_per_frame: steps between pictures, 1 to 101; averages and burn-in count pictures.
        seed: non-negative; same seed, same chains on the same kind of device, however they are stepped, up to the
            rounding of `execution`.
        device: None is CUDA if there, else where the model is.
        class_names: names of the units of the layer.
        at: "center" or "mean", see `neurons`.
        burn_in: the rule behind `burned_in`.
        scale: "frozen" divides every term by its mean gradient norm, measured during the warm-up and then frozen: one
            range of T and λ then serves every network, and what is sampled is still a density,
            p ∝ exp((f/s_f + Σ λ_i R_i/s_i)/T). "none" leaves E as it is. None: "frozen" with the natural prior, else
            "none".
        warm_up: steps in which scales are measured, and step sizes of None and temperatures of a goal are found;
            without these there is none. Its pictures do not count. None: 200; with the natural prior 100; with a goal
            600.
        ladder: `Ladder`, or its factors, for replica exchange with a calibrated kernel.
        leaky: slope in [0, 1) of a backward pass in which dead ReLUs let a gradient through; above 0 the samples follow
            no stated density.
        discriminator_only: leave the neurons out, p ∝ exp(Σ λ_i R_i/T); see the property.
        execution: how the network is run: "auto" tries out, at the first step, which way to the same numbers is the
            fastest (see the property); "plain" is as it is written; or another name that the property has shown. What
            is "recorded" is done again without the model's Python, and compared with it once a second, or at every
            hundredth step where that takes longer: a forward pass or `preprocess` that depends on anything but its
            input and the weights is followed within that time.

    Raises:
        ValueError, TypeError: the message names the argument, what came, and what would work.
    """

    _state: State

    def __init__(
        self,
        model: nn.Module,
        *,
        layer: str | None = None,
        neurons: Iterable[Any] | None = None,
        input_shape: Sequence[int],
        kernel: Kernel | None = None,
        regularizers: Sequence[Regularizer] = (),
        prior: Natural | Literal["auto", "natural", "pixels"] | None = "auto",
        transforms: Transforms | Literal["auto"] | None = "auto",
        temperature: float | None = None,
        goal: float | str | None = None,
        chains: int = 1,
        average: Average = EMA(0.99),  # noqa: B008  (frozen)
        preprocess: Preprocess | None = None,
        pixel_range: tuple[float, float] | None = None,
        steps_per_frame: int = 2,
        seed: int = 0,
        device: torch.device | str | None = None,
        class_names: Sequence[str] | None = None,
        at: Literal["center", "mean"] = "center",
        burn_in: BurnIn = BurnIn(),  # noqa: B008  (frozen)
        scale: Literal["none", "frozen"] | None = None,
        warm_up: int | None = None,
        ladder: Ladder | Sequence[float] | None = None,
        leaky: float = 0.0,
        discriminator_only: bool = False,
        dataset: Any = None,
        execution: str = "auto",
    ) -> None:
        self.notes = Notes()
        self.input_shape = check_shape(input_shape)
        self.pixel_range = checks.pixel_range(pixel_range)
        self.chains = checks.count("chains", chains)
        self.seed = checks.seed(seed)
        self.class_names = checks.class_names(class_names)
        self.average = checks.average(average)
        self._real = real = RealImages.checked(dataset, self.input_shape, self.pixel_range)
        self._standing: tuple[Neurons, Standing] | None = None
        self._prior = priors.resolved(prior, self.input_shape, self.pixel_range, real)
        self._own_transforms = priors.checked_transforms(transforms, self.input_shape)
        self.kernel: Kernel = self._suited(checks.kernel(self._default_kernel() if kernel is None else kernel))
        self.burn_in = checks.burn_in(burn_in)
        self._regularizers = checks.regularizers(regularizers)
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"preprocess must be a function of a batch of images, or None; got {preprocess!r}")
        self._preprocess = preprocess
        self._at: Literal["center", "mean"] = at
        self._leaky = checks.leaky(leaky)
        if scale is None:
            scale = "frozen" if self._prior is not None and not checks.normalizes(self.kernel) else "none"
        self._scale: Literal["none", "frozen"] = checks.scale(scale, self.kernel)
        self._warm_up_steps = None if warm_up is None else checks.count("warm_up", warm_up)
        self._ladder = checks.ladder(ladder, self.kernel)
        self._rungs = 1 if self._ladder is None else len(self._ladder.factors)
        self._pulse: tuple[HeatPulse, int] | None = None  # and the step it began at
        self._scales: dict[str, Tensor] = {}
        self._pictured: tuple[Tensor, Coordinates, Tensor] | None = None
        self._acceptance: Tensor | None = None  # (chain · rung,), mean over the last pictures
        self._accepted_pictures = 0

        self._goal = self.checked_goal(goal)
        self._goal_moved = False
        self._sought_from: float | None = None  # T before one was found for a goal
        self._found: tuple[float, Tensor] | None = None  # T/τ² of the warm-up, and its step sizes
        self._warm_up: WarmUp | None = None
        self._factors: Tensor | None = None  # (N,), what T is multiplied by for each neuron, geometric mean 1
        self._params: dict[str, float] = {p.name: p.default for p in self.parameters}
        given: dict[str, Any] = {r.name: r.weight for r in self._regularizers}
        given |= {"steps_per_frame": steps_per_frame, "average": self.average.time} | self._if_known(temperature)
        if self._prior is not None:
            given["prior_scale"] = defaults.NATURAL_SCALE
        if isinstance(self._goal, float):
            given["goal"] = self._goal
        self._params |= check_all(self.parameters, given | self._of_kernel())

        execution = check_execution(execution)
        self._view = private_view(model, choose_device(model, device), self.notes)
        self._execution = Execution(self._view, model, execution)
        self._whole_steps = WholeSteps(CudaGraph, self._execution.marks)
        self._device = next((p.device for p in self._view.parameters()), torch.device("cpu"))
        self._coordinates = self._make_coordinates(self._prior)
        setting = Setting(model, self.input_shape, self.pixel_range, self._device, self.notes)
        self._regularizers = tuple(r.bound(setting) if hasattr(r, "bound") else r for r in self._regularizers)
        self._only = False
        if discriminator_only:
            self._only = self._may_leave_neurons_out()
        self._start(self._aim(layer, neurons), self.seed)

    # ---- what is sampled -------------------------------------------------------------------------------------------

    @property
    def layer(self) -> str:
        """Dotted name of the layer that is sampled."""
        return self._neurons.layer

    @property
    def layers(self) -> LayerTable:
        """All layers that the forward pass runs."""
        return self._neurons.layers

    @property
    def neurons(self) -> list[Neuron]:
        """The N neurons, resolved, with their names."""
        return self._neurons.neurons

    @property
    def view(self) -> nn.Module:
        """What is sampled: a private view of the model, which shares its weights where the device allows."""
        return self._view

    @property
    def preprocess(self) -> Preprocess | None:
        """As given: x in `pixel_range` -> model input."""
        return self._preprocess

    @property
    def units(self) -> int:
        """How many neurons (or channels) the layer has."""
        return self._neurons.units

    @property
    def unit_names(self) -> Sequence[str]:
        """Class names of the layer's units; empty if it has none."""
        return self._neurons.unit_names

    def unit(self, key: str) -> Neuron:
        """Resolve a neuron of the present layer, e.g. "5@3,4". Raises ValueError if there is none."""
        return self._neurons.unit(key)

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use; None: plain pixels."""
        return self._prior

    @property
    def transforms(self) -> Transforms | None:
        """What the picture goes through before the neuron sees it."""
        return self._transforms_with(self.kernel)

    @property
    def dataset(self) -> RealImages | None:
        """The real images that were given."""
        return self._real

    @property
    def goal(self) -> float | str | None:
        """As given or set last: a number, a percentile of real images, or None."""
        return self._goal

    @property
    def temperatures(self) -> list[float]:
        """T of each neuron, N numbers: all the same unless a goal found them."""
        temperature = self._params.get("temperature", 1.0)
        if self._factors is None:
            return [temperature] * len(self.neurons)
        return [temperature * float(factor) for factor in self._factors]

    @torch.inference_mode(False)
    def use_prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        """Go on with another prior, or with plain pixels; neurons, kind of kernel, regularisers and seed stay.

        Chains go on from the pictures where they stand, as far as the new coordinates can show them; T, step size,
        friction and `scale` become what suits them, a goal is dropped where it cannot be sought, and averages begin
        anew.

        Raises:
            TypeError, ValueError: as the constructor; the sampler then goes on with what it had.
        """
        chosen = priors.resolved(prior, self.input_shape, self.pixel_range, self._real)
        coordinates = self._make_coordinates(chosen)
        picture = self._coordinates.picture(self._state.x)
        before = {name: value for name, value in vars(self).items() if name in _CHANGED_BY_A_PRIOR}
        try:
            state = self._begun_with(chosen, coordinates, coordinates.place(picture))
        except BaseException:
            vars(self).update(before)
            raise
        self._whole_steps.clear()
        self._begin(self._neurons, state._replace(step=self._state.step))
        self._burn_in = self.burn_in.start(self.activation)

    def _begun_with(self, chosen: Natural | None, coordinates: Coordinates, z: Tensor) -> State:
        """The state at z, in new coordinates, with all settings that suit them."""
        self._prior, self._coordinates = chosen, coordinates
        side, width = defaults.size_of(self.input_shape, self.pixel_range)
        if isinstance(self.kernel, BAOAB):
            self.kernel = defaults.default_kernel(side, width) if chosen is None else defaults.natural_kernel()
        self.kernel = self._suited(self.kernel)
        self._scale = "none" if checks.normalizes(self.kernel) else "frozen"
        kept = {name: value for name, value in self._params.items() if name not in _fields(self.kernel)}
        cool = defaults.default_temperature(side, width) if chosen is None else self._natural_temperature()
        begun = {"temperature": cool, "prior_scale": defaults.NATURAL_SCALE, "natural": 1.0}
        self._params = {p.name: (kept | begun).get(p.name, p.default) for p in self.parameters} | self._of_kernel()
        self._factors = self._sought_from = None
        self._drop_goal()
        target = self._make_target(self._neurons, {})
        state: State = self.kernel.init(z, target)
        self._require_finite(state, self._neurons, target)
        return state

    def standing(self, seconds: float = math.inf) -> list[str] | None:
        """How strong the present activations are among those of real images, in words, N texts; None without images.

        Up to 1,000 of the images go through the network before the first answer on a layer.

        Args:
            seconds: that may be spent on them now, by and large; None is returned if that is not enough. The next call
                goes on from there.
        """
        if self._real is None:
            return None
        standing = self._real_activations()
        return standing.say(self.activation.mean(1).cpu()) if standing.work(seconds) else None

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

    @property
    def device(self) -> torch.device:
        """Where the chains live."""
        return self._state.x.device

    def wired_to(self, class_index: int | str, k: int = 20) -> Wiring:
        """The k units of the layer below that are most strongly wired to a class; see `neurons_of`."""
        return neurons_of(
            self._view, class_index, k, input_shape=self.input_shape, class_names=self.class_names,
            preprocess=self._preprocess,
        )  # fmt: skip

    def select(
        self,
        layer: str | None = None,
        neurons: Iterable[Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Aim at other neurons and start afresh.

        Args:
            layer: None keeps the present one.
            neurons: None is the first ten of a new layer, or the present ones of the same layer.
            names: key -> what a neuron is called beside its number, where it has no class name.

        Raises:
            ValueError, SamplingError: as the constructor; the sampler then goes on with what it had.
        """
        if neurons is None and layer in (None, self.layer):
            return
        aimed = self._aim(layer, neurons, self.layer)
        aimed.neurons = [n if n.name else n._replace(name=(names or {}).get(n.key, "")) for n in aimed.neurons]
        self._start(aimed, self.seed)
        self._whole_steps.clear()
        give_back()  # other layers need memory in other pieces

    def restart(self, seed: int | None = None) -> None:
        """New start images x0 ~ N(0, 1) scaled to the pixel range (and clamped to it); averages begin anew.

        Args:
            seed: None repeats the run with the same noise.

        Raises:
            SamplingError: the activation of the start images is not finite; the sampler then goes on with what it had.
        """
        self._start(self._neurons, self.seed if seed is None else checks.seed(seed))
        self._whole_steps.try_again()

    def reset_average(self) -> None:
        """Forget the average; the chains go on."""
        self._accumulator = self.average.start()
        self._accumulator.set_time(self._params["average"])

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Declarations of all live parameters: those of the kernel, of the regularisers, and of the picture."""
        aims = any(p.name == "temperature" for p in self.kernel.parameters) and (
            self.kernel.calibrated or self._prior is not None
        )
        return (
            *self.kernel.parameters,
            *((GOAL,) if aims else ()),
            HEAT,
            STEPS_PER_FRAME,
            *((NATURAL, PRIOR_SCALE) if self._prior is not None else ()),
            *(r.parameter for r in self._regularizers),
            AVERAGE,
            DISPLAY_SCALE,
            DISPLAY_BASE,
        )

    def checked_goal(self, goal: Any) -> float | str | None:
        """A goal that can be followed here; 0 is none. Raises ValueError or TypeError for any other."""
        goal = check_goal(goal)
        if isinstance(goal, float):
            GOAL.check(goal)
        if goal is not None and not any(p.name == "goal" for p in self.parameters):
            raise ValueError(f"goal={goal!r}: {self.kernel.name} has no temperature that could be found for it")
        if isinstance(goal, str) and self._real is None:
            raise ValueError(f"goal={goal!r} is a percentile of real images, of which there are none: give dataset=")
        if isinstance(goal, float):
            GOAL.check(goal)
        return None if goal == 0 else goal

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name, JSON-safe; what moves by itself shows its present value.

        That is a decaying step size, one that the chains find themselves (the mean over chains), and heat in a pulse.
        """
        now = {}
        schedule = getattr(self.kernel, "step_size", None)
        if isinstance(schedule, PolynomialDecay):
            now["step_size"] = schedule.at(self.steps)
        elif self._finds_step_size():
            now["step_size"] = float(self.kernel.step_size_of(self._state).mean())  # type: ignore[attr-defined]  # just asked for
        if self._pulse is not None:
            now["heat"] = self.heat
        if self._goal is not None and self._warm_up is not None and self._warm_up.pull is not None:
            found = self._warm_up.temperatures(self._scales)
            assert found is not None
            now["temperature"] = float(found.log().mean().exp())
        return self._params | now

    @property
    def heat(self) -> float:
        """What the temperature is multiplied by at present."""
        if self._pulse is None:
            return self._params["heat"]
        pulse, began = self._pulse
        return pulse.at(self.steps - began)

    @property
    def scale(self) -> Literal["none", "frozen"]:
        """As given to the constructor or to `use_kernel`."""
        return self._scale

    @property
    def scales(self) -> dict[str, list[float]] | None:
        """Frozen gradient scale of every term, N numbers each; None without ``scale="frozen"``."""
        if self._scale == "none":
            return None
        return {name: scale[:: self._per_neuron].tolist() for name, scale in self._scales.items()}

    @property
    def discriminator(self) -> Discriminator | None:
        """The discriminator among the regularisers, as it is used here."""
        return next((r for r in self._regularizers if isinstance(r, Discriminator)), None)

    @property
    def discriminator_only(self) -> bool:
        """Are the neurons left out? Activations are shown all the same. Setting it lets the chains go on from where
        they are; averages begin anew. ValueError if there is no discriminator."""
        return self._only

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        self._only = bool(only) and self._may_leave_neurons_out()
        self._measure_anew()
        self.reset_average()
        self._target = self._make_target(self._neurons, self._scales)

    @torch.inference_mode(False)
    def use_discriminator(self, discriminator: Discriminator) -> None:
        """Go on from the present samples with another discriminator, or with one where there was none.

        Its weight is taken over. Raises ValueError if it does not take the images.
        """
        if not isinstance(discriminator, Discriminator):
            raise TypeError(f"discriminator must be Discriminator(net_or_path, weight); got {discriminator!r}")
        setting = Setting(self._view, self.input_shape, self.pixel_range, self._device, self.notes)
        bound = discriminator.bound(setting)
        others = [r for r in self._regularizers if not isinstance(r, Discriminator)]
        self._regularizers = (bound, *others)
        self._params = {p.name: (self._params | {bound.name: bound.weight})[p.name] for p in self.parameters}
        self._target = self._make_target(self._neurons, self._scales)
        if self._scale == "frozen" and bound.name not in self._scales:
            norms = present_norms(self._plain_target(), self._state, self._per_neuron)
            self._scales = self._scales | as_scales({bound.name: norms[bound.name]}, self._per_neuron)
        self.discriminator_changed()
        self._target = self._make_target(self._neurons, self._scales)

    @torch.inference_mode(False)
    def discriminator_changed(self) -> None:
        """Tell that the discriminator's weights have changed: what it said of the present images is forgotten.

        A frozen scale of it follows its gradient, which grows while it learns.
        """
        self._forget(Discriminator.name, _SCALE_FOLLOWS)

    @torch.inference_mode(False)
    def weights_changed(self, follow: float = _SCALE_FOLLOWS) -> None:
        """Tell that the model's weights were changed in place: what it said of the present images is forgotten.

        Args:
            follow: how far, 0…1, a frozen scale goes towards the gradient there is now.

        Raises:
            SamplingError: with these weights an activation is not finite.
        """
        self._execution.follow(changed=True)
        self._forget(NEURON, follow)

    def _forget(self, name: str, follow: float) -> None:
        """A term has changed: ask it once more, and let a frozen scale of it follow."""
        values, grads = ({term: v for term, v in kept.items() if term != name} for kept in self._state.evaluation)
        self._state = self._state._replace(evaluation=Evaluation(values, grads))
        if name == NEURON:  # its activation is always known
            self._standing = None
            evaluation = self._plain_target().complete(self._state.evaluation, self._state.x)
            self._state = self._state._replace(evaluation=evaluation)
            self._require_finite(self._state, self._neurons, self._target)
        if name in self._scales:
            norms = present_norms(self._plain_target(), self._state, self._per_neuron)
            new = as_scales({name: norms[name]}, self._per_neuron)[name]
            self._scales = self._scales | {name: self._scales[name].lerp(new, follow)}
            self._target = self._make_target(self._neurons, self._scales)
        self._measure_anew()

    @property
    def heating(self) -> bool:
        """Is a heat pulse under way?"""
        return self._pulse is not None

    @property
    def warming_up(self) -> bool:
        """Are step sizes or scales still being found?"""
        return self._warm_up is not None

    def set(self, **params: Any) -> None:
        """Change live parameters; all or none of them, from the next step on.

        `step_size` also takes a `PolynomialDecay`, `goal` a percentile such as "p99", or None.

        Raises:
            ValueError: unknown name (all known ones are listed) or out of range.
            TypeError: no number.
        """
        asked = self._goal
        if "goal" in params:
            asked = self.checked_goal(params["goal"])
            params = params | {"goal": asked if isinstance(asked, float) else 0.0}
        elif "temperature" in params and self._goal is not None:
            asked, params = None, params | {"goal": 0.0}  # both say what T is: the last one counts
        schedule = params.get("step_size")
        if isinstance(schedule, PolynomialDecay) and any(p.name == "step_size" for p in self.kernel.parameters):
            params = {name: value for name, value in params.items() if name != "step_size"}
            values = check_all(self.parameters, params)
            changes: dict[str, Any] = {"step_size": schedule}
        else:
            values, changes = check_all(self.parameters, params), {}
        own = _fields(self.kernel)
        changes |= {name: value for name, value in values.items() if name in own}
        if changes:
            self.kernel = replace(self.kernel, **changes)  # type: ignore[type-var]  # every kernel is a dataclass
        if "goal" in values and asked is None and "temperature" not in values and self._goal is not None:
            values |= {"temperature": self.params["temperature"]}  # as it was found so far
        self._params = self._params | values
        if "average" in values:
            self._accumulator.set_time(values["average"])
        if "heat" in values:
            self._pulse = None
        if "goal" in values:
            self._goal, self._goal_moved = asked, asked is not None or self._goal is not None
            self._forget_missed_goals()
            self._sought_from = self._sought_from if asked is not None else None
            self._factors = self._factors if asked is not None else None
        if "natural" in values and isinstance(self._coordinates, NaturalCoordinates):
            self._coordinates = self._coordinates.at(values["natural"])
        if not (values | changes).keys() <= _PICTURE_ONLY:
            self._measure_anew()
        self._target = self._make_target(self._neurons, self._scales)

    @torch.inference_mode(False)
    def use_kernel(self, kernel: Kernel, scale: Literal["none", "frozen"] | None = None) -> None:
        """Go on from the present samples with another kernel; averages begin anew.

        Args:
            kernel: its step size, friction and noise are its own; temperature and all else stay.
            scale: as of the constructor; None keeps what was.

        Raises:
            TypeError: no kernel.
            ValueError: a kernel that does not go with the ladder or the scale.
        """
        kernel = self._suited(checks.kernel(kernel))
        scale = checks.scale(self._scale if scale is None else scale, kernel)
        checks.ladder(self._ladder, kernel)
        self._execution.follow()
        state = kernel.init(self._state.x, self._make_target(self._neurons, {}, kernel))
        self.kernel, self._scale = kernel, scale
        kept = {name: value for name, value in self._params.items() if name not in _fields(kernel)}
        self._params = {p.name: kept.get(p.name, p.default) for p in self.parameters} | self._of_kernel()
        self._drop_goal()
        self._begin(self._neurons, state._replace(step=self._state.step))
        self._burn_in = self.burn_in.start(self.activation)

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold, and cool again, so that chains leave their mode; averages begin anew after it.

        Raises:
            TypeError: no `HeatPulse`.
        """
        if not isinstance(pulse, HeatPulse):
            raise TypeError(f"pulse must be HeatPulse(peak, rise, hold, cool); got {pulse!r}")
        self.set(heat=1.0)
        self._pulse = (pulse, self.steps)

    def measure_scales(self) -> None:
        """Measure the gradient scales once more, in a new warm-up from where the chains are.

        Raises:
            RuntimeError: the sampler has no scales.
        """
        if self._scale == "none":
            raise RuntimeError('there are no scales to measure: make the sampler with scale="frozen"')
        self._warm_up, self._found = self._make_warm_up(), None

    # ---- running ---------------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> Frame:
        """Advance n ≥ 1 steps and return the picture.

        Raises:
            SamplingError: an activation or gradient became NaN or infinite, or memory ran out; the chains
                stand at the last picture, up to `steps_per_frame` steps before, and earlier steps of these n count.
            ValueError: n is no positive integer.
        """
        n = checks.count("n", n)
        remaining = n
        while remaining:
            chunk = min(remaining, max(1, int(self._params["steps_per_frame"]) - self._phase))
            if self._goal_moved:
                self._follow_goal()
            if self._warm_up is not None:
                chunk = min(chunk, self._warm_up.left)
            self._advance(chunk)
            remaining -= chunk
        return self.frame()

    def frame(self) -> Frame:
        """The picture as it stands."""
        return Frame(self.images, self.average_images, self.activation, self.burned_in, self.steps, self.params)

    def frames(self, steps: int | None = None) -> Iterator[Frame]:
        """A picture every `steps_per_frame` steps, `steps` steps in all (None: for ever)."""
        remaining = checks.count("steps", steps) if steps is not None else None
        while remaining is None or remaining > 0:
            chunk = int(self._params["steps_per_frame"])
            if remaining is not None:
                chunk = min(chunk, remaining)
                remaining -= chunk
            yield self.step(chunk)

    async def stream(self, steps: int | None = None) -> AsyncIterator[Frame]:
        """As `frames`, with the work done off the event loop's thread; break or cancel stops it."""
        frames = self.frames(steps)
        while True:
            work = asyncio.ensure_future(asyncio.to_thread(next, frames, None))
            try:
                frame = await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])  # the thread is in the middle of a step: let it finish before others step
                raise
            if frame is None:
                return
            yield frame

    # ---- what came out ---------------------------------------------------------------------------------------------

    @property
    def images(self) -> Tensor:
        """Current samples (N, C, *input_shape) float32."""
        return self._fold(self._picture_now())

    def quenched(self, steps: int = 150) -> Tensor:
        """The maxima of E that the present samples belong to, like `images`; the chains stay where they are.

        Cost: `steps` gradients. See `quench`.
        """
        self._execution.follow()
        energetic = replace(self._plain_target(), energy_needed=True)
        x = self._state.x
        with torch.inference_mode(False):
            return self._fold(self._coordinates.picture(quench(x, energetic, checks.count("steps", steps))))

    @property
    def average_images(self) -> Tensor:
        """Averages like `images`; before the first picture, the current samples."""
        mean = self._accumulator.mean
        return self._fold(self._picture_now() if mean is None else mean)

    @property
    def activation(self) -> Tensor:
        """f_α of the current samples (N, C), before any scaling; with `transforms`, of the samples as last changed."""
        return self._fold(self._state.evaluation.values[NEURON])

    @property
    def discriminator_score(self) -> Tensor | None:
        """How real the current samples look to the discriminator, D(x) in 0…1, (N, C); None without one."""
        term = self.discriminator
        if term is None:
            return None
        value = self._state.evaluation.values.get(term.name)
        if value is not None:
            return self._fold(term.score_of(value))
        return term.score(self._cold(self._picture_now())).view(len(self.neurons), self.chains)  # its weight is 0

    @property
    def burned_in(self) -> Tensor:
        """(N, C) bool, by the rule `burn_in`."""
        return self._burn_in.done

    @property
    def burn_in_step(self) -> int | None:
        """Step at which the last chain burned in; None while any has not."""
        return self._burn_in.step

    @property
    def steps(self) -> int:
        """Steps since the last restart."""
        return self._state.step

    @property
    def history(self) -> History:
        """Activation (draws, N, C) since the last restart, thinned to bounded memory."""
        return self._history

    @property
    def temperature_asked(self) -> float:
        """T times heat: what the samples shown should have; the geometric mean over neurons where a goal found T."""
        return self._params.get("temperature", 1.0) * self.heat

    @property
    def measured_temperature(self) -> list[float]:
        """The temperature that the samples have, by the virial (see `diagnostics.thermometer`), N numbers.

        Over the pictures since the last change of a parameter; NaN where they do not tell it yet.
        """
        read = self._thermometer.read()
        if not self._coordinates.white:
            return read
        unit = self._params["prior_scale"] ** 2  # the thermometer reads that of z, which is τ²
        heat = self.heat
        return [value / unit * asked * heat for value, asked in zip(read, self.temperatures, strict=True)]

    @property
    def acceptance(self) -> Tensor | None:
        """Share of proposals accepted lately, (N, C); None for kernels that accept everything."""
        return None if self._acceptance is None else self._fold(self._acceptance)

    @property
    def temperature_in_truth(self) -> float | None:
        """The temperature the chains have by the kernel's closed form; None where none is known."""
        value = self.kernel.temperature(self._plain_target(), self.steps)
        return None if value is None else float(value.log().mean().exp()) if isinstance(value, Tensor) else float(value)

    @property
    def kernel_note(self) -> str:
        """One line on what is known of the law of the samples."""
        if self._leaky:
            return f"the backward pass leaks (slope {self._leaky:g}): no known law"
        if self.kernel.calibrated and self.temperature_asked == 0:
            return "no law at T = 0: the chains climb to a maximum"
        if self.kernel.calibrated and not self._confined():
            return "no law: nothing holds unbounded pixels. Give a pixel_range, raise L2, or use a natural prior"
        note = self.kernel.note(self._plain_target(), self.steps)
        if isinstance(self._coordinates, NaturalCoordinates) and self._coordinates.squashed:
            note += "; the picture is z, squashed into its range"
        if self.transforms is not None:
            fixed = self.kernel.needs_energy or self._ladder is not None
            how = f"over {_FIXED} fixed changes" if fixed else "over changes drawn anew each step"
            note += f"; f is averaged {how}: {self.transforms}"
        return "neurons are left out: " + note if self._only else note

    @property
    def has_law(self) -> bool:
        """Is there a density that the kernel promises to sample?"""
        return self.kernel.calibrated and not self._leaky and self.temperature_asked > 0 and self._confined()

    def _confined(self) -> bool:
        """Can exp(E/T) be normalised, as far as can be told without knowing the network?"""
        held = any(self._params[r.name] > 0 for r in self._regularizers if not r.learned)
        return self._coordinates.white or self._coordinates.bounds is not None or held

    def diagnostics(self) -> dict[str, Any]:
        """How far the chains can be believed, from the pictures that `recorded` gives.

        Returns:
            `temperature`: `asked`, of `each` neuron and `measured` by the virial (N numbers), `ratio` of the two, and
            `closed_form`, what the kernel runs at by its formula, or None. `acceptance` (N, C), None for kernels that
            accept everything. `ess`, `r_hat`, `autocorrelation_time` (steps) of the activation, `ess_per_second`,
            `ess_per_gradient`,
            `mode_switches` (a thousand steps and chain), N numbers each. `projections`: `ess` and `r_hat` of the
            pictures along their three directions of largest variance, N × 3. `gradient_norm`: term -> N numbers, of
            the present samples, unweighted. `spread`: mean distance between chains, N numbers. `scales`, and `ladder`
            (acceptance of swaps), None without. `verdict`: `level` and `text`; `verdicts`: a text a neuron.
            NaN where too few pictures are there.
        """
        asked, measured = self.temperature_asked, self.measured_temperature
        evaluation = self._state.evaluation
        norms = {name: self._cold(g).flatten(1).norm(dim=1) for name, g in evaluation.grads.items()}
        return {
            "temperature": {
                "asked": asked,
                "measured": measured,
                "ratio": self._ratios(measured),
                "each": self.temperatures,
                "closed_form": self.temperature_in_truth,
            },
            "acceptance": None if self.acceptance is None else self.acceptance.tolist(),
            "gradient_norm": {name: v.view(len(self.neurons), -1).mean(1).tolist() for name, v in norms.items()},
            "spread": spread(self.images).tolist(),
            "scales": self.scales,
            "ladder": None if self._climb is None else self._climb.report(),
            **report(self.recorded()),
        }

    def recorded(self) -> Samples:
        """Activations and thumbnails that are of one law, thinned to bounded memory.

        That is, since burn-in and the last change of a parameter; all of them while burn-in lasts.
        """
        draws, steps = self._history.draws(), self._history.steps()
        small = self._thumbnails.draws()
        start = self.burn_in_step
        if start is not None:
            start = max(start, self._law_since + 1)  # the picture at which it changed is of the law before
            small = small[self._thumbnails.steps() >= start]
            draws, steps = draws[steps >= start], steps[steps >= start]
        ratios = self._ratios(self.measured_temperature) if self.has_law else []
        return Samples(draws, small, steps, self._seconds / max(1, self.steps), start is not None, ratios)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _ratios(self, measured: Sequence[float]) -> list[float]:
        """Temperature measured over temperature asked for, N numbers; NaN at T = 0."""
        heat = self.heat
        asked = [each * heat for each in self.temperatures]
        return [value / each if each else math.nan for value, each in zip(measured, asked, strict=True)]

    def _transforms_with(self, kernel: Kernel) -> Transforms | None:
        if self._own_transforms != "auto":
            return self._own_transforms
        # for a fixed set, every step would cost as much as four
        if self._prior is None or kernel.needs_energy or self._ladder is not None:
            return None
        return priors.default_transforms(self.input_shape, self._prior)

    def _default_kernel(self) -> Kernel:
        return Algorithm1() if self._prior is None else defaults.natural_kernel()

    def _suited(self, kernel: Kernel) -> Kernel:
        """Where no step size can be found, the one that suits the picture."""
        if isinstance(kernel, BAOAB) and kernel.step_size is None and self._prior is None:
            suited = defaults.default_kernel(*defaults.size_of(self.input_shape, self.pixel_range))
            return replace(kernel, step_size=suited.step_size)  # type: ignore[attr-defined]  # a BAOAB as well
        return kernel

    def _natural_temperature(self) -> float:
        normal = self._scale == "frozen" or checks.normalizes(self.kernel)
        return defaults.natural_temperature(math.prod(self.input_shape)) if normal else 1.0

    def _make_coordinates(self, prior: Natural | None) -> Coordinates:
        return priors.coordinates_of(
            prior, self.input_shape, self.pixel_range, self._device, self._preprocess is not None, self.notes
        )

    def _picture_now(self) -> Tensor:
        """The picture (chain · rung, *image) where the chains stand."""
        z, coordinates = self._state.x, self._coordinates
        if self._pictured is None or self._pictured[0] is not z or self._pictured[1] is not coordinates:
            self._pictured = z, coordinates, coordinates.picture(z)
        return self._pictured[2]

    def _real_activations(self) -> Standing:
        """On the thread that steps: of the present neurons."""
        assert self._real is not None
        if self._standing is None or self._standing[0] is not self._neurons:
            self._standing = self._neurons, Standing(self._real, self._neurons)
        return self._standing[1]

    def _drop_goal(self) -> None:
        """Where the kernel has no temperature that could be found for it."""
        if "goal" not in self._params:
            self._goal, self._goal_moved, self._factors = None, False, None

    def _goals(self) -> Tensor | None:
        """The goal of every neuron, (N,)."""
        if self._goal is None:
            return None
        if isinstance(self._goal, str):
            goals = self._real_activations().percentile(self._goal).float()
            self._params = self._params | {"goal": min(max(float(goals.mean()), GOAL.low), GOAL.high)}
            return goals.to(self._device)
        return torch.full((len(self.neurons),), float(self._goal), device=self._device)

    @torch.inference_mode(False)  # tensors made in the caller's inference mode could never have a gradient
    @_telling_memory
    def _start(self, neurons: Neurons, seed: int) -> None:
        """Begin the chains of `neurons`; if they cannot begin, all stays as it was."""
        self._execution.follow()
        noise = ChainNoise(seed, len(neurons.neurons), self._per_neuron, self.input_shape, self._device)
        target = self._make_target(neurons, {}, factors=None)
        begin = functools.partial(self._coordinates.start, prior_scale=self._params.get("prior_scale", 1.0))
        state = self.kernel.init(begin(noise.start(0)), target)
        dead = _no_gradient(state)
        attempt = 0
        while bool(dead.any()) and attempt < _START_AGAIN:  # a ReLU that is shut everywhere may open elsewhere
            attempt += 1
            x = torch.where(per_image(dead, state.x), begin(noise.start(attempt)), state.x)
            state = self.kernel.init(x, target)
            dead = _no_gradient(state)
        self._require_finite(state, neurons, target)
        if bool(dead.any()):
            self._tell_dead(dead, neurons)
        if self._sought_from is not None:  # from where the first run sought it: a restart repeats
            self._params, self._sought_from = self._params | {"temperature": self._sought_from}, None
        self._noise, self.seed, self._pulse = noise, seed, None
        self._seconds = 0.0  # spent on all steps so far
        self._history, self._thumbnails = (History(self._draws_kept(len(neurons.neurons))) for _ in range(2))
        self._begin(neurons, state)
        self._burn_in = self.burn_in.start(self.activation)

    def _begin(self, neurons: Neurons, state: State) -> None:
        """Take over chains that stand somewhere: scales, warm-up and all that is measured begin anew."""
        self._neurons, self._state = neurons, state
        self._forget_missed_goals()
        self._factors, self._goal_moved = None, False
        self._evaluated_in, self._stepped_at = self._coordinates, self._softness()
        self._found = None
        self._phase = 0  # steps since the last picture
        self._keep_at = self._measure_at = 0  # the step from which a picture is kept, or its temperature read
        self._warm_up = self._make_warm_up()
        rungs, chains = self._rungs, len(neurons.neurons) * self.chains
        self._climb = None if self._ladder is None else Climb.start(chains, rungs, state.x.device)
        self._scales = {}
        if self._scale == "frozen":
            # a first guess where the chains start, so that step sizes mean the same in the warm-up
            plain = self._make_target(neurons, {})
            self._scales = as_scales(present_norms(plain, state, self._per_neuron), self._per_neuron)
        self._target = self._make_target(neurons, self._scales)
        self.reset_average()
        self._thermometer = Thermometer(self._coordinates.bounds, len(self.neurons))
        self._measure_anew()

    @torch.inference_mode(False)
    @_telling_memory
    def _advance(self, n: int) -> None:
        """n steps, no more than are left to the next picture or in the warm-up; all of them or none."""
        if self._execution.prepare(self._neurons):
            # begin anew with the network that goes on, so that a restart is a repetition to the last bit
            pulse = self._pulse
            self._start(self._neurons, self.seed)
            self._pulse = pulse
        self._execution.follow()
        with self._execution.threads():
            self._take(n)

    def _caught_up(self) -> State:
        """The state, where a slider has changed what it was evaluated with."""
        state, target, softness = self._state, self._target, self._softness()
        if self._evaluated_in is not target.coordinates:
            self._evaluated_in = target.coordinates
            state = state._replace(evaluation=target.evaluate(state.x))
        if self._stepped_at != softness:
            # the neuron's part of the curvature goes with τ²/T, and a step that was found has to fit to it
            before, self._stepped_at = self._stepped_at, softness
            if self._coordinates.white and self._finds_step_size():
                at, own = self._found or (before, self.kernel.step_size_of(state))  # type: ignore[attr-defined]
                if at > 0 and softness > 0:
                    factor = math.sqrt(softness / at)
                    state = self.kernel.rescaled(state, own, factor)  # type: ignore[attr-defined]
        return state

    def _softness(self) -> float:
        """T/τ²."""
        return self._params.get("temperature", 1.0) / self._params.get("prior_scale", 1.0) ** 2

    def _take(self, n: int) -> None:
        state, target, warm_up, climb = self._caught_up(), self._target, self._warm_up, self._climb
        captured = self._execution.decision.plan.captured
        step = functools.partial(self._whole_steps.step, self.kernel) if captured else self.kernel.step
        accepted: Tensor | None = None
        mark = self._noise.mark()
        began = time.perf_counter()
        try:
            for _ in range(n):
                heat = self._params["heat"]
                if self._pulse is not None:
                    pulse, first = self._pulse
                    heat = pulse.at(state.step - first)
                    target = replace(self._target, temperature=self._temperatures(heat))
                if warm_up is not None:
                    target = warm_up.aimed(self._target if self._pulse is None else target, heat)
                if target.transforms is not None and not target.energy_needed:
                    target = replace(target, draws=self._noise.changes(target.transforms.numbers)[None])
                state, info = step(state, target, self._noise)
                if info.acceptance is not None:
                    accepted = info.acceptance if accepted is None else accepted + info.acceptance
                if warm_up is not None:
                    warm_up, state = warm_up.after(self.kernel, target, state, info, heat)
                if climb is not None and self._ladder is not None and state.step % self._ladder.every == 0:
                    state, climb = exchange(state, climb, target, self._noise)
            self._require_finite(state, self._neurons, target)
        except BaseException:
            self._noise.rewind(mark)
            raise
        self._seconds += time.perf_counter() - began
        phase = self._phase + n
        if phase >= self._params["steps_per_frame"]:
            phase = 0
        self._state, self._phase, self._warm_up, self._climb = state, phase, warm_up, climb
        if accepted is not None:
            mean = accepted / n
            self._accepted_pictures = min(self._accepted_pictures + 1, _ACCEPTANCE_MEMORY)
            old = mean if self._acceptance is None else self._acceptance
            self._acceptance = old.lerp(mean, 1 / self._accepted_pictures)
        if phase == 0:
            self._picture()
        if warm_up is not None and not warm_up.left:
            self._settle(warm_up)
        if self._pulse is not None and state.step - self._pulse[1] >= self._pulse[0].length:
            self._pulse = None
            self._count_anew()

    def _picture(self) -> None:
        """All that counts pictures."""
        state = self._state
        self._accumulator.add(self._picture_now())
        activation = self.activation
        if self._warm_up is None:
            before = self._burn_in.step
            self._burn_in.add(activation, state.step)
            if before != self._burn_in.step:  # from here on the readings count
                self._thermometer = Thermometer(self._coordinates.bounds, len(self.neurons))
        self._history.add(activation.cpu().numpy(), state.step)
        if state.step >= self._keep_at:
            self._keep_at = state.step + _KEPT_EVERY
            self._thumbnails.add(lambda: thumbnails(self.images, len(self.input_shape)).cpu().numpy(), state.step)
        if state.step >= self._measure_at:
            often, seldom = _MEASURED_EVERY
            sure = (state.step - self._law_since) // _READINGS_TO_BE_SURE
            self._measure_at = state.step + min(max(often, sure), seldom)
            evaluation = self._target.complete(state.evaluation, state.x)
            self._thermometer.add(self._cold(state.x), self._cold(self._target.drift(evaluation, state.x)))

    def _settle(self, warm_up: WarmUp) -> None:
        """The warm-up is over: freeze what it found."""
        self._warm_up = None
        if warm_up.measures:
            self._scales = warm_up.scales(self._plain_target(), self._state)
        found = warm_up.temperatures(self._scales)
        if found is not None and not self._goal_moved:
            temperature = float(found.log().mean().exp())
            if self._sought_from is None:
                self._sought_from = self._params["temperature"]
            self._factors = (found / temperature).double()
            self._params = self._params | {"temperature": temperature}
            self._stepped_at = self._softness()
            self._tell_missed_goals(warm_up)
        elif warm_up.goal is not None and not self._goal_moved:
            self.notes.tell(
                "the goal was not sought, because heat was on throughout the warm-up: set heat=1, then the goal again"
            )
        if self._finds_step_size():
            self._found = self._stepped_at, self.kernel.step_size_of(self._state)  # type: ignore[attr-defined]
        self._target = self._make_target(self._neurons, self._scales)
        self._count_anew()

    def _count_anew(self) -> None:
        """From here on the chains follow their density: what came before counts for nothing."""
        self.reset_average()
        self._thermometer = Thermometer(self._coordinates.bounds, len(self.neurons))
        self._measure_anew()
        self._burn_in = self.burn_in.start(self.activation)

    def _measure_anew(self) -> None:
        """A parameter has changed: temperature and acceptance of before are of another law."""
        self._law_since = self._measure_at = self.steps
        self._acceptance = None
        self._accepted_pictures = 0
        self._thermometer.reset()

    def _require_finite(self, state: State, neurons: Neurons, target: Target) -> None:
        activation, grads = state.evaluation.values[NEURON], state.evaluation.grads
        # a gradient too: it spoils the next step, perhaps under an activation that looks fine for ever
        used = {name: grad for name, grad in grads.items() if weight_of(self.kernel, name, target) != 0}
        if math.isfinite(float(sum((grad.sum() for grad in used.values()), activation.sum()))):
            return  # of one that is NaN or infinite, the sum is too
        named = {name: "gradient of" if name == NEURON else f"gradient of {name} at" for name in used}
        for what, numbers in [("activation of", activation), *((named[name], grad) for name, grad in used.items())]:
            bad = ~numbers.flatten(1).isfinite() if numbers.ndim > 1 else ~numbers.isfinite()[:, None]
            if not bool(bad.any()):
                continue
            try:
                check_weights(self._view)
            except ValueError as error:  # the user's own, or those of a training that diverged
                raise SamplingError(str(error)) from None
            chain, place = (int(i) for i in bad.nonzero()[0])
            n, c = divmod(chain, self._per_neuron)
            raise SamplingError(
                f"the {what} neuron {neurons.neurons[n].label} (chain {c // self._rungs + 1}) became "
                f"{float(numbers[chain].flatten()[place])} at step {state.step}. Lower step_size, raise l2, or give a "
                "pixel_range; restart begins anew."
            )

    def _tell_missed_goals(self, warm_up: WarmUp) -> None:
        assert warm_up.goal is not None
        self._forget_missed_goals()
        for i, reached in warm_up.missed():
            goal = float(warm_up.goal[i])
            why = (
                "ask for more, or give a longer warm_up (without any pull, too, images may excite it more)"
                if reached > goal
                else "ask for less, or give a longer warm_up"
            )
            self.notes.tell(
                f"the goal {goal:.4g} was not met by neuron {self.neurons[i].label}, whose mean activation was "
                f"{reached:.4g} in the second half of the warm-up: {why}"
            )

    def _forget_missed_goals(self) -> None:
        for old in [note for note in self.notes if note.startswith("the goal ")]:
            self.notes.remove(old)

    def _tell_dead(self, dead: Tensor, neurons: Neurons) -> None:
        chains = dead.view(len(neurons.neurons), -1)
        labels = [n.label for n, row in zip(neurons.neurons, chains, strict=True) if bool(row.any())]
        listed = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        self.notes.tell(
            f"the gradient of neuron {listed} is exactly zero at the start of {int(dead.sum())} of {len(dead)} chains, "
            f"also after {_START_AGAIN} other starts (a dead ReLU, or a saturated layer): noise and priors alone move "
            "them. leaky=0.1 lets a gradient through"
        )

    def _may_leave_neurons_out(self) -> bool:
        if self.discriminator is None:
            raise ValueError("discriminator_only needs a Discriminator among the regularizers")
        return True

    def _make_warm_up(self) -> WarmUp | None:
        measures, adapts, goal = self._scale == "frozen", self._finds_step_size(), self._goals()
        if not (measures or adapts or goal is not None):
            return None
        usual = 200 if self._prior is None else defaults.NATURAL_WARM_UP
        length = self._warm_up_steps or (usual if goal is None else defaults.GOAL_WARM_UP)
        return WarmUp(
            length, self._per_neuron, adapts, measures, follows=measures and self._prior is not None, goal=goal,
            rungs=self._rungs,
        )  # fmt: skip

    def _follow_goal(self) -> None:
        """On the thread that steps: find T for a goal that has moved; scales stay as they are."""
        self._goal_moved = False
        goal = self._goals()
        if goal is None:
            if self._warm_up is not None and self._warm_up.goal is not None:
                self._warm_up = self._warm_up.aiming_at(None)
                if not (self._warm_up.measures or self._warm_up.adapts):
                    self._warm_up = None
                    self._count_anew()
            return
        length = self._warm_up_steps or defaults.GOAL_WARM_UP
        self._found = None
        if self._warm_up is not None and self._warm_up.measures:  # it goes on for the new goal
            self._warm_up = self._warm_up.aiming_at(goal)
            return
        self._warm_up = WarmUp(length, self._per_neuron, self._finds_step_size(), False, goal=goal, rungs=self._rungs)

    def _finds_step_size(self) -> bool:
        return hasattr(self.kernel, "adapt") and getattr(self.kernel, "step_size", 0.0) is None

    @property
    def _per_neuron(self) -> int:
        return self.chains * self._rungs

    def _draws_kept(self, neurons: int) -> int:
        return int(min(2000, max(100, _HISTORY_NUMBERS // (64 * neurons * self.chains))))

    def _cold(self, tensor: Tensor | None) -> Tensor:
        """Of a ladder, the rung that is shown: (chain · rungs, …) -> (chain, …)."""
        assert tensor is not None
        return coldest(tensor, self._rungs)

    def _fold(self, tensor: Tensor) -> Tensor:
        """(chain · rungs, …) -> (N, C, …) of the coldest rung."""
        return self._cold(tensor).view(len(self.neurons), self.chains, *tensor.shape[1:])

    @torch.inference_mode(False)
    def _aim(self, layer: str | None, neurons: Iterable[Any] | None, default_layer: str | None = None) -> Neurons:
        return Neurons(
            self._view,
            layer,
            neurons,
            chains=self._per_neuron,
            input_shape=self.input_shape,
            preprocess=self._preprocess,
            class_names=self.class_names,
            at=self._at,
            notes=self.notes,
            default_layer=default_layer,
            leaky=self._leaky,
        )

    def _make_target(
        self, neurons: Neurons, scales: dict[str, Tensor], kernel: Kernel | None = None, **changes: Any
    ) -> Target:
        kernel = self.kernel if kernel is None else kernel
        energy_needed = kernel.needs_energy or self._ladder is not None
        transforms, fixed = self._transforms_with(kernel), None
        if transforms is not None and energy_needed:
            own = torch.Generator().manual_seed(0)
            numbers = torch.rand(_FIXED, 1, transforms.numbers, generator=own, dtype=torch.float64)
            fixed = numbers.expand(-1, len(neurons.neurons) * self._per_neuron, -1).to(self._device)
        factors = changes.get("factors", self._factors)
        plain = Target(
            {NEURON: neurons, **{r.name: r for r in self._regularizers}},
            {NEURON: 0.0 if self._only else 1.0, **{r.name: self._params[r.name] for r in self._regularizers}},
            self._params.get("temperature", 1.0) * self._params["heat"],
            self._coordinates,
            self._params.get("prior_scale", 1.0),
            frozenset({NEURON, *(r.name for r in self._regularizers if r.learned)}),
            energy_needed,
            scales,
            transforms,
            fixed,
        )
        if self._ladder is None and factors is None:
            return plain
        return replace(plain, temperature=self._temperatures(self._params["heat"], len(neurons.neurons), factors))

    def _plain_target(self) -> Target:
        """The target at the temperature of the samples shown."""
        temperature: float | Tensor = self.temperature_asked
        if self._factors is not None:
            temperature = temperature * self._factors.repeat_interleave(self._per_neuron).to(self._device)
        return replace(self._target, temperature=temperature)

    def _temperatures(self, heat: float, neurons: int | None = None, factors: Tensor | None = None) -> float | Tensor:
        temperature = self._params.get("temperature", 1.0) * heat
        factors = self._factors if factors is None else factors
        if self._ladder is None and factors is None:
            return temperature
        count = len(self.neurons) if neurons is None else neurons
        each: Tensor | float = temperature
        if factors is not None:
            each = temperature * factors.repeat_interleave(self._per_neuron).to(self._device)
        if self._ladder is None:
            assert isinstance(each, Tensor)
            return each
        rungs = self._ladder.temperatures(1.0, count * self.chains, self._device)
        return rungs * each

    def _of_kernel(self) -> dict[str, float]:
        """The kernel's own values of its live parameters, as far as they are plain numbers."""
        known = {p.name for p in self.kernel.parameters}
        return {
            name: value
            for name, value in _fields(self.kernel).items()
            if name in known and value is not None and not isinstance(value, PolynomialDecay)
        }

    def _if_known(self, temperature: float | None) -> dict[str, float]:
        """A kernel without a temperature must not be given one silently."""
        if any(p.name == "temperature" for p in self.kernel.parameters):
            usual = self._natural_temperature() if self._prior is not None else 1.0
            return {"temperature": usual if temperature is None else temperature}
        if temperature not in (None, 1.0):
            raise ValueError(f"temperature={temperature}: {self.kernel.name} has no temperature")
        return {}


def _fields(kernel: Any) -> dict[str, Any]:
    return {field.name: getattr(kernel, field.name) for field in fields(kernel)}


def _no_gradient(state: State) -> Tensor:
    """Chains (chain,) whose neuron has a gradient of exactly zero."""
    return ~state.evaluation.grads[NEURON].flatten(1).any(1)
