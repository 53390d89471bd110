"""`Sampler`: chains of images for the neurons of a network, without a browser and without threads."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from . import checks
from .averages import EMA, Average
from .burn_in import BurnIn
from .diagnostics import History, mixing
from .kernels import Algorithm1
from .models import Notes, choose_device, private_view
from .neurons import LayerTable, Neuron, Neurons, Preprocess, check_shape
from .noise import ChainNoise
from .parameters import AVERAGE, DISPLAY_BASE, DISPLAY_SCALE, STEPS_PER_FRAME, Parameter, check_all
from .schedules import PolynomialDecay
from .target import NEURON, Target
from .types import Frame, Kernel, Regularizer, State


class SamplingError(RuntimeError):
    """The run cannot go on from here; the sampler stands at its last good picture and keeps its averages."""


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
        seed: non-negative; same seed, same chains on the same kind of device, however they are stepped.
        device: None is CUDA if there, else where the model is.
        class_names: names of the units of the layer.
        at: "center" or "mean", see `neurons`.
        burn_in: the rule behind `burned_in`.

    Raises:
        ValueError, TypeError: the message names the argument, what came, and what would work.
    """

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

        self._params: dict[str, float] = {p.name: p.default for p in self.parameters}
        given: dict[str, Any] = {r.name: r.weight for r in self._regularizers}
        given |= {"steps_per_frame": steps_per_frame, "average": self.average.time} | self._if_known(temperature)
        for name, value in _fields(self.kernel).items():
            if name in self._params and not isinstance(value, PolynomialDecay):
                given[name] = value
        self._params |= check_all(self.parameters, given)

        self._view = private_view(model, choose_device(model, device), self.notes)
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
    def device(self) -> torch.device:
        """Where the chains live."""
        return self._state.x.device

    def select(self, layer: str | None = None, neurons: Iterable[Any] | None = None) -> None:
        """Aim at other neurons and start afresh.

        Args:
            layer: None keeps the present one.
            neurons: None is the first ten of a new layer, or the present ones of the same layer.

        Raises:
            ValueError, SamplingError: as the constructor; the sampler then goes on with what it had.
        """
        if neurons is None and layer in (None, self.layer):
            return
        self._start(self._aim(layer, neurons, self.layer), self.seed)

    def restart(self, seed: int | None = None) -> None:
        """New start images x0 ~ N(0, 1) scaled to the pixel range (and clamped to it); averages begin anew.

        Args:
            seed: None repeats the run with the same noise.

        Raises:
            SamplingError: the activation of the start images is not finite; the sampler then goes on with what it had.
        """
        self._start(self._neurons, self.seed if seed is None else checks.seed(seed))

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
            STEPS_PER_FRAME,
            *(r.parameter for r in self._regularizers),
            AVERAGE,
            DISPLAY_SCALE,
            DISPLAY_BASE,
        )

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name, JSON-safe; a decaying step size shows its present value."""
        schedule = getattr(self.kernel, "step_size", None)
        now = {"step_size": schedule.at(self.steps)} if isinstance(schedule, PolynomialDecay) else {}
        return self._params | now

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
            self.kernel = replace(self.kernel, **changes)  # type: ignore[type-var]
        self._params = self._params | values
        if "average" in values:
            self._accumulator.set_time(values["average"])
        self._target = self._make_target(self._neurons)

    # ---- running ---------------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> Frame:
        """Advance n ≥ 1 steps and return the picture.

        Raises:
            SamplingError: an activation became NaN or infinite; the chains are back where they were before.
            ValueError: n is no positive integer.
        """
        n = checks.count("n", n)
        remaining = n
        while remaining:
            chunk = min(remaining, max(1, int(self._params["steps_per_frame"]) - self._phase))
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

    @property
    def average_images(self) -> Tensor:
        """Averages like `images`; before the first picture, the current samples."""
        mean = self._accumulator.mean
        return self._fold(self._state.x if mean is None else mean)

    @property
    def activation(self) -> Tensor:
        """f_α of the current samples (N, C), before any scaling."""
        return self._state.evaluation.values[NEURON].view(len(self.neurons), self.chains)

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
    def temperature_in_truth(self) -> float | None:
        """The temperature the chains have by the kernel's closed form; None where none is known."""
        return self.kernel.temperature(self._target, self.steps)

    @property
    def kernel_note(self) -> str:
        """One line on what is known of the law of the samples."""
        return self.kernel.note(self._target, self.steps)

    def diagnostics(self) -> dict[str, Any]:
        """How far the chains can be believed, from the pictures since burn-in (or all, while it lasts).

        Returns:
            `temperature` (asked, and the closed form the kernel really runs at or None), `acceptance` (N, C) or None
            for kernels that accept everything, `ess`, `r_hat`, `autocorrelation_time` (steps) of the activation, each
            a list of N numbers, NaN where too few pictures are there.
        """
        draws, steps = self._history.draws(), self._history.steps()
        start = self.burn_in_step
        if start is not None:
            draws, steps = draws[steps >= start], steps[steps >= start]
        result: dict[str, Any] = {
            "temperature": {"asked": self._params.get("temperature"), "closed_form": self.temperature_in_truth},
            "acceptance": None if self._acceptance is None else self._acceptance.tolist(),
        }
        spacing = (steps[-1] - steps[0]) / (len(steps) - 1) if len(steps) > 1 else math.nan  # steps between two draws
        for name, value in mixing(draws).items():
            result[name] = (value * spacing if name == "autocorrelation_time" else value).tolist()
        return result

    # ---- inside ----------------------------------------------------------------------------------------------------

    @torch.inference_mode(False)  # tensors made in the caller's inference mode could never have a gradient
    def _start(self, neurons: Neurons, seed: int) -> None:
        """Begin the chains of `neurons`; if they cannot begin, all stays as it was."""
        device = next((p.device for p in self._view.parameters()), torch.device("cpu"))
        noise = ChainNoise(seed, len(neurons.neurons), self.chains, self.input_shape, device)
        x = noise.start()
        if self.pixel_range is not None:
            low, high = self.pixel_range
            x = ((low + high) / 2 + (high - low) / 2 * x).clamp_(low, high)
        target = self._make_target(neurons)
        state = self.kernel.init(x, target)
        self._require_finite(state, neurons)
        self._neurons, self.seed, self._noise, self._target, self._state = neurons, seed, noise, target, state
        self._acceptance: Tensor | None = None
        self._phase = 0  # steps since the last picture
        self.reset_average()
        self._burn_in = self.burn_in.start(self.activation)
        self._history = History()

    @torch.inference_mode(False)
    def _advance(self, n: int) -> None:
        """n steps, no more than are left to the next picture; all of them or none."""
        state, info = self._state, None
        mark = self._noise.mark()
        try:
            for _ in range(n):
                state, info = self.kernel.step(state, self._target, self._noise)
            self._require_finite(state, self._neurons)
        except BaseException:
            self._noise.rewind(mark)
            raise
        phase = self._phase + n
        if phase >= self._params["steps_per_frame"]:
            phase = 0
        self._state, self._phase = state, phase
        if info is not None and info.acceptance is not None:
            self._acceptance = info.acceptance.view(len(self.neurons), self.chains)
        if phase == 0:
            self._accumulator.add(state.x)
            activation = self.activation
            self._burn_in.add(activation, state.step)
            self._history.add(activation.cpu().numpy(), state.step)

    def _require_finite(self, state: State, neurons: Neurons) -> None:
        activation = state.evaluation.values[NEURON].view(len(neurons.neurons), self.chains)
        if not math.isfinite(float(activation.sum())):  # of one that is NaN or infinite, the sum is too
            bad = ~activation.isfinite()
            if not bool(bad.any()):
                return  # finite numbers whose sum overflows
            n, c = (int(i) for i in bad.nonzero()[0])
            label, value = neurons.neurons[n].label, float(activation[n, c])
            raise SamplingError(
                f"the activation of neuron {label} (chain {c + 1}) became {value} at "
                f"step {state.step}. Lower step_size, raise l2, or give a pixel_range; restart begins anew."
            )

    def _fold(self, x: Tensor) -> Tensor:
        return x.view(len(self.neurons), self.chains, *self.input_shape)

    @torch.inference_mode(False)
    def _aim(self, layer: str | None, neurons: Iterable[Any] | None, default_layer: str | None = None) -> Neurons:
        return Neurons(
            self._view,
            layer,
            neurons,
            chains=self.chains,
            input_shape=self.input_shape,
            preprocess=self._preprocess,
            class_names=self.class_names,
            at=self._at,
            notes=self.notes,
            default_layer=default_layer,
        )

    def _make_target(self, neurons: Neurons) -> Target:
        return Target(
            {NEURON: neurons, **{r.name: r for r in self._regularizers}},
            {NEURON: 1.0, **{r.name: self._params[r.name] for r in self._regularizers}},
            self._params.get("temperature", 1.0),
            self.pixel_range,
            frozenset({NEURON, *(r.name for r in self._regularizers if r.learned)}),
            self.kernel.needs_energy,
        )

    def _if_known(self, temperature: float) -> dict[str, float]:
        """A kernel without a temperature must not be given one silently."""
        if any(p.name == "temperature" for p in self.kernel.parameters):
            return {"temperature": temperature}
        if temperature != 1.0:
            raise ValueError(f"temperature={temperature}: {self.kernel.name} has no temperature")
        return {}


def _fields(kernel: Any) -> dict[str, Any]:
    return {field.name: getattr(kernel, field.name) for field in fields(kernel)}
