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

from . import checks
from .averages import EMA, Average
from .burn_in import BurnIn
from .diagnostics import History, Samples, Thermometer, report, spread, thumbnails
from .discriminator.build import DiscriminatorNet
from .discriminator.recipe import Recipe
from .discriminator.train import Trainer
from .execution import CudaGraph, Execution, check_execution, give_back
from .execution.memory import is_out_of_memory
from .heat import HEAT, HeatPulse
from .kernels import Algorithm1
from .ladder import Climb, Ladder, coldest, exchange
from .models import Notes, check_weights, choose_device, private_view
from .neurons import LayerTable, Neuron, Neurons, Preprocess, check_shape
from .noise import ChainNoise, first_images
from .parameters import AVERAGE, DISPLAY_BASE, DISPLAY_SCALE, STEPS_PER_FRAME, Parameter, check_all
from .quench import quench
from .regularizers import Discriminator
from .schedules import PolynomialDecay
from .target import NEURON, Target, per_image, weight_of
from .types import Evaluation, Frame, Kernel, Regularizer, Setting, State
from .warm_up import WarmUp, as_scales, present_norms
from .whole_steps import WholeSteps
from .wiring import Wiring, neurons_of

P = ParamSpec("P")
R = TypeVar("R")

_START_AGAIN = 5  # times that other noise is tried for a chain whose gradient is exactly zero
_ACCEPTANCE_MEMORY = 100  # pictures
_PICTURE_ONLY = {"steps_per_frame", "average", "display_scale", "display_base"}  # change no law
_KEPT_EVERY = 4  # steps: pictures nearer to each other say the same
_MEASURED_EVERY = 4, 16  # steps: temperature is read often at first, then less: it costs as much as a picture
_READINGS_TO_BE_SURE = 100
_SCALE_FOLLOWS = 0.2  # of the way to the present gradient, at every change of the discriminator
_HISTORY_NUMBERS = 4e6  # of all thumbnails kept: 16 MB


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

    N neurons, C chains each; an image has the shape `input_shape`.

    Args:
        model: any `nn.Module`. It comes back untouched; its weights are shared, not copied, where the device allows.
        layer: dotted module name; None is the last layer before any softmax.
        neurons: ints, (channel, y, x), "5", "5@3,4", "layer:5", class names, or direction tensors (units,).
            None: the first ten. An int on a convolution is the unit at the centre of the map (`at`).
        input_shape: of one image without the batch axis, e.g. (1, 28, 28).
        kernel: how the chains move.
        regularizers: R_i with their weights; an `L2` of weight 0 is added if none is given, so that its slider exists.
        temperature: T ≥ 0. What it means depends on the kernel; see there.
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
            p ∝ exp((f/s_f + Σ λ_i R_i/s_i)/T). "none" leaves E as it is.
        warm_up: steps in which scales are measured and step sizes of None are found; without these there is none.
            Its pictures do not count.
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
        temperature: float = 1.0,
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
        scale: Literal["none", "frozen"] = "none",
        warm_up: int = 200,
        ladder: Ladder | Sequence[float] | None = None,
        leaky: float = 0.0,
        discriminator_only: bool = False,
        execution: str = "auto",
    ) -> None:
        self.notes = Notes()
        self.input_shape = check_shape(input_shape)
        self.pixel_range = checks.pixel_range(pixel_range)
        self.chains = checks.count("chains", chains)
        self.seed = checks.seed(seed)
        self.class_names = checks.class_names(class_names)
        self.average = checks.average(average)
        self.kernel: Kernel = checks.kernel(Algorithm1() if kernel is None else kernel)
        self.burn_in = checks.burn_in(burn_in)
        self._regularizers = checks.regularizers(regularizers)
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"preprocess must be a function of a batch of images, or None; got {preprocess!r}")
        self._preprocess = preprocess
        self._at: Literal["center", "mean"] = at
        self._leaky = checks.leaky(leaky)
        self._scale: Literal["none", "frozen"] = checks.scale(scale, self.kernel)
        self._warm_up_steps = checks.count("warm_up", warm_up)
        self._ladder = checks.ladder(ladder, self.kernel)
        self._rungs = 1 if self._ladder is None else len(self._ladder.factors)
        self._pulse: tuple[HeatPulse, int] | None = None  # and the step it began at
        self._scales: dict[str, Tensor] = {}
        self._acceptance: Tensor | None = None  # (chain · rung,), mean over the last pictures
        self._accepted_pictures = 0

        self._params: dict[str, float] = {p.name: p.default for p in self.parameters}
        given: dict[str, Any] = {r.name: r.weight for r in self._regularizers}
        given |= {"steps_per_frame": steps_per_frame, "average": self.average.time} | self._if_known(temperature)
        self._params |= check_all(self.parameters, given | self._of_kernel())

        execution = check_execution(execution)
        self._view = private_view(model, choose_device(model, device), self.notes)
        self._execution = Execution(self._view, model, execution)
        self._whole_steps = WholeSteps(CudaGraph, self._execution.marks)
        self._device = next((p.device for p in self._view.parameters()), torch.device("cpu"))
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
        return (
            *self.kernel.parameters,
            HEAT,
            STEPS_PER_FRAME,
            *(r.parameter for r in self._regularizers),
            AVERAGE,
            DISPLAY_SCALE,
            DISPLAY_BASE,
        )

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

    def trainer(self, dataset: Any, recipe: Recipe, net: DiscriminatorNet | None = None) -> Trainer:
        """Algorithm 2 for this sampler's classifier, layer and images; see `Trainer`."""
        return Trainer(
            self._view, dataset, net=net, layer=self.layer, input_shape=self.input_shape, device=self._device,
            pixel_range=self.pixel_range, preprocess=self._preprocess, recipe=recipe,
        )  # fmt: skip

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

        `step_size` also takes a `PolynomialDecay`.

        Raises:
            ValueError: unknown name (all known ones are listed) or out of range.
            TypeError: no number.
        """
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
        self._params = self._params | values
        if "average" in values:
            self._accumulator.set_time(values["average"])
        if "heat" in values:
            self._pulse = None
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
        kernel = checks.kernel(kernel)
        scale = checks.scale(self._scale if scale is None else scale, kernel)
        checks.ladder(self._ladder, kernel)
        self._execution.follow()
        state = kernel.init(self._state.x, self._make_target(self._neurons, {}, kernel))
        self.kernel, self._scale = kernel, scale
        kept = {name: value for name, value in self._params.items() if name not in _fields(kernel)}
        self._params = {p.name: kept.get(p.name, p.default) for p in self.parameters} | self._of_kernel()
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
        self._warm_up = self._make_warm_up()

    # ---- running ---------------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> Frame:
        """Advance n ≥ 1 steps and return the picture.

        Raises:
            SamplingError: an activation or gradient became NaN or infinite, or memory ran out; the chains are back
                where they were before.
            ValueError: n is no positive integer.
        """
        n = checks.count("n", n)
        remaining = n
        while remaining:
            chunk = min(remaining, max(1, int(self._params["steps_per_frame"]) - self._phase))
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
        return self._fold(self._state.x)

    def quenched(self, steps: int = 150) -> Tensor:
        """The maxima of E that the present samples belong to, like `images`; the chains stay where they are.

        Cost: `steps` gradients. See `quench`.
        """
        self._execution.follow()
        energetic = replace(self._plain_target(), energy_needed=True)
        x = self._state.x
        with torch.inference_mode(False):
            return self._fold(quench(x, energetic, checks.count("steps", steps)))

    @property
    def average_images(self) -> Tensor:
        """Averages like `images`; before the first picture, the current samples."""
        mean = self._accumulator.mean
        return self._fold(self._state.x if mean is None else mean)

    @property
    def activation(self) -> Tensor:
        """f_α of the current samples (N, C), before any scaling."""
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
        return term.score(self._cold(self._state.x)).view(len(self.neurons), self.chains)  # its weight is 0

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
        """T times heat: what the samples shown should have."""
        return self._params.get("temperature", 1.0) * self.heat

    @property
    def measured_temperature(self) -> list[float]:
        """The temperature that the samples have, by the virial (see `diagnostics.thermometer`), N numbers.

        Over the pictures since the last change of a parameter; NaN where they do not tell it yet.
        """
        return self._thermometer.read()

    @property
    def acceptance(self) -> Tensor | None:
        """Share of proposals accepted lately, (N, C); None for kernels that accept everything."""
        return None if self._acceptance is None else self._fold(self._acceptance)

    @property
    def temperature_in_truth(self) -> float | None:
        """The temperature the chains have by the kernel's closed form; None where none is known."""
        value = self.kernel.temperature(self._plain_target(), self.steps)
        return None if value is None else float(value)

    @property
    def kernel_note(self) -> str:
        """One line on what is known of the law of the samples."""
        if self._leaky:
            return f"the backward pass leaks (slope {self._leaky:g}): no known law"
        if self._only:
            return "neurons are left out: " + self.kernel.note(self._plain_target(), self.steps)
        return self.kernel.note(self._plain_target(), self.steps)

    def diagnostics(self) -> dict[str, Any]:
        """How far the chains can be believed, from the pictures that `recorded` gives.

        Returns:
            `temperature`: `asked`, `measured` by the virial (N numbers), `ratio` of the two, and `closed_form`, what
            the kernel runs at by its formula, or None. `acceptance` (N, C), None for kernels that accept everything.
            `ess`, `r_hat`, `autocorrelation_time` (steps) of the activation, `ess_per_second`, `ess_per_gradient`,
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
                "ratio": [value / asked if asked else math.nan for value in measured],
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
        asked, measured = self.temperature_asked, self.measured_temperature
        promised = self.kernel.calibrated and asked > 0 and not self._leaky
        ratios = [value / asked for value in measured] if promised else []
        return Samples(draws, small, steps, self._seconds / max(1, self.steps), start is not None, ratios)

    # ---- inside ----------------------------------------------------------------------------------------------------

    @torch.inference_mode(False)  # tensors made in the caller's inference mode could never have a gradient
    @_telling_memory
    def _start(self, neurons: Neurons, seed: int) -> None:
        """Begin the chains of `neurons`; if they cannot begin, all stays as it was."""
        self._execution.follow()
        noise = ChainNoise(seed, len(neurons.neurons), self._per_neuron, self.input_shape, self._device)
        target = self._make_target(neurons, {})
        state = self.kernel.init(first_images(noise.start(0), self.pixel_range), target)
        dead = _no_gradient(state)
        attempt = 0
        while bool(dead.any()) and attempt < _START_AGAIN:  # a ReLU that is shut everywhere may open elsewhere
            attempt += 1
            x = torch.where(per_image(dead, state.x), first_images(noise.start(attempt), self.pixel_range), state.x)
            state = self.kernel.init(x, target)
            dead = _no_gradient(state)
        self._require_finite(state, neurons, target)
        if bool(dead.any()):
            self._tell_dead(dead, neurons)
        self._noise, self.seed, self._pulse = noise, seed, None
        self._seconds = 0.0  # spent on all steps so far
        self._history, self._thumbnails = (History(self._draws_kept(len(neurons.neurons))) for _ in range(2))
        self._begin(neurons, state)
        self._burn_in = self.burn_in.start(self.activation)

    def _begin(self, neurons: Neurons, state: State) -> None:
        """Take over chains that stand somewhere: scales, warm-up and all that is measured begin anew."""
        self._neurons, self._state = neurons, state
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
        self._thermometer = Thermometer(self.pixel_range, len(self.neurons))
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

    def _take(self, n: int) -> None:
        state, target, warm_up, climb = self._state, self._target, self._warm_up, self._climb
        captured = self._execution.decision.plan.captured
        step = functools.partial(self._whole_steps.step, self.kernel) if captured else self.kernel.step
        accepted: Tensor | None = None
        mark = self._noise.mark()
        began = time.perf_counter()
        try:
            for _ in range(n):
                if self._pulse is not None:
                    pulse, first = self._pulse
                    target = replace(self._target, temperature=self._temperatures(pulse.at(state.step - first)))
                state, info = step(state, target, self._noise)
                if info.acceptance is not None:
                    accepted = info.acceptance if accepted is None else accepted + info.acceptance
                if warm_up is not None:
                    warm_up, state = warm_up.after(self.kernel, target, state, info)
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
        self._accumulator.add(state.x)
        activation = self.activation
        if self._warm_up is None:
            before = self._burn_in.step
            self._burn_in.add(activation, state.step)
            if before != self._burn_in.step:  # from here on the readings count
                self._thermometer = Thermometer(self.pixel_range, len(self.neurons))
        self._history.add(activation.cpu().numpy(), state.step)
        if state.step >= self._keep_at:
            self._keep_at = state.step + _KEPT_EVERY
            self._thumbnails.add(lambda: thumbnails(self.images, len(self.input_shape)).cpu().numpy(), state.step)
        if state.step >= self._measure_at:
            often, seldom = _MEASURED_EVERY
            sure = (state.step - self._law_since) // _READINGS_TO_BE_SURE
            self._measure_at = state.step + min(max(often, sure), seldom)
            evaluation = self._target.complete(state.evaluation, state.x)
            self._thermometer.add(self._cold(state.x), self._cold(self._target.drift(evaluation)))

    def _settle(self, warm_up: WarmUp) -> None:
        """The warm-up is over: freeze what it found."""
        self._warm_up = None
        if warm_up.measures:
            self._scales = warm_up.scales(self._plain_target(), self._state)
            self._target = self._make_target(self._neurons, self._scales)
        self._count_anew()

    def _count_anew(self) -> None:
        """From here on the chains follow their density: what came before counts for nothing."""
        self.reset_average()
        self._thermometer = Thermometer(self.pixel_range, len(self.neurons))
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
        measures = self._scale == "frozen"
        adapts = self._finds_step_size()
        return WarmUp(self._warm_up_steps, self._per_neuron, adapts, measures) if measures or adapts else None

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

    def _make_target(self, neurons: Neurons, scales: dict[str, Tensor], kernel: Kernel | None = None) -> Target:
        kernel = self.kernel if kernel is None else kernel
        plain = Target(
            {NEURON: neurons, **{r.name: r for r in self._regularizers}},
            {NEURON: 0.0 if self._only else 1.0, **{r.name: self._params[r.name] for r in self._regularizers}},
            self._params.get("temperature", 1.0) * self._params["heat"],
            self.pixel_range,
            frozenset({NEURON, *(r.name for r in self._regularizers if r.learned)}),
            kernel.needs_energy or self._ladder is not None,
            scales,
        )
        if self._ladder is None:
            return plain
        return replace(plain, temperature=self._temperatures(self._params["heat"], len(neurons.neurons)))

    def _plain_target(self) -> Target:
        """The target at the temperature of the samples shown."""
        return replace(self._target, temperature=self.temperature_asked)

    def _temperatures(self, heat: float, neurons: int | None = None) -> float | Tensor:
        temperature = self._params.get("temperature", 1.0) * heat
        if self._ladder is None:
            return temperature
        count = len(self.neurons) if neurons is None else neurons
        return self._ladder.temperatures(temperature, count * self.chains, self._device)

    def _of_kernel(self) -> dict[str, float]:
        """The kernel's own values of its live parameters, as far as they are plain numbers."""
        known = {p.name for p in self.kernel.parameters}
        return {
            name: value
            for name, value in _fields(self.kernel).items()
            if name in known and value is not None and not isinstance(value, PolynomialDecay)
        }

    def _if_known(self, temperature: float) -> dict[str, float]:
        """A kernel without a temperature must not be given one silently."""
        if any(p.name == "temperature" for p in self.kernel.parameters):
            return {"temperature": temperature}
        if temperature != 1.0:
            raise ValueError(f"temperature={temperature}: {self.kernel.name} has no temperature")
        return {}


def _fields(kernel: Any) -> dict[str, Any]:
    return {field.name: getattr(kernel, field.name) for field in fields(kernel)}


def _no_gradient(state: State) -> Tensor:
    """Chains (chain,) whose neuron has a gradient of exactly zero."""
    return ~state.evaluation.grads[NEURON].flatten(1).any(1)
