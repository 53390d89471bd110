"""`Sampler`: chains of images for the neurons of a network, without a browser and without threads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from ..core.target import NEURON, BindContext, Kernel, Regularizer
from ..data import RealImages
from ..diagnostics.belief import Belief
from ..execution import check_execution
from ..network.first_pass import first_pass
from ..network.inputs import Inputs, call_with
from ..network.memory import give_back
from ..network.surroundings import without_ambient_modes
from ..network.trace import PerImage, Preprocess, check_shape, for_batches
from ..network.view import choose_device, device_of, private_view
from ..objectives import Discriminator
from ..parametrizations import Natural, Transforms
from . import checks, priors, starts
from .averages import EMA, Average
from .belief.assessment import STEPS, Assessment
from .burn_in import BurnIn
from .faults import SamplingError, forget_missed_goals
from .fixed import Fixed
from .heat import HeatPulse
from .ladder import Ladder
from .monitor import Change
from .regrouping import same_neurons
from .run import in_turn
from .settings import Settings
from .starts import Start
from .stepping import Stepping

_SCALE_FOLLOWS = 0.2  # fraction of the way to the present gradient norm, at every change of the discriminator

__all__ = ["Sampler", "SamplingError"]


class Sampler(Stepping):
    """Samples x from P(x) ∝ exp((f_α(x) + Σ λ_i R_i(x)) / T) for several neurons α at once.

    N neurons, C chains each; an image has the shape `input_shape`. With the natural prior (`Natural`), which is the
    default for RGB images and with a dataset, the base measure of the density has the images' own statistics.

    Args:
        model: any `nn.Module`. It is left unchanged; its weights are shared, not copied, where the device allows.
        layer: dotted module name; None is what the model itself returns, before any softmax.
        neurons: ints, (channel, y, x), "5", "5@3,4", "layer:5", class names, direction tensors (units,), or expressions
            of several: "3 + 0.5*5 - 7", "-5" (what the neuron dislikes), "conv2:5@3,4 + fc3:1", or what is made from
            `ldam.neuron`, `ldam.cosine`, `ldam.interpolate` and `ldam.opposites`. None: the first ten. An int on a
            convolution is the unit at the centre of the map (`at`).
        input_shape: of one image without the batch axis, e.g. (1, 28, 28).
        kernel: the MCMC kernel. None: `BAOAB`, with a step size that suits the image size or, with the natural prior,
            that the chains find themselves.
        regularizers: R_i with their weights; an `L2` of weight 0 is added if none is given, so that its slider exists.
        temperature: T ≥ 0; its meaning depends on the kernel. None: with frozen scales, low enough for strokes to stand
            out from the noise or, with the natural prior, such that the neuron shows (see `defaults.PULL`); else 1.
        goal: target mean activation over the chains of a neuron: a number, or a percentile of real images, "p50" …
            "p99.9", which needs `dataset`. T is found during the warm-up, separately for each neuron over all of its
            chains, and then frozen. None: T is as given.
        prior: `Natural`; None: plain pixels; "auto": measured on the dataset if there is one, Natural("photos") for RGB
            images of at least 16 × 16, else pixels.
        transforms: `Jitter`, `Robust` or `Blur`: image transforms, drawn again at each step, over which the neuron is
            averaged; kernels that need energies use four fixed ones. "auto": `Robust` for RGB images of at least
            32 × 32 with the prior of photographs, or of at least 64 × 64 with a measured prior, where it was found to
            help, and only with kernels that need no energies; None: none.
        start: where chains start. "noise": in the prior, in pixels in uniform noise, or where the kernel has its own;
            "grey": all in the middle of the pixel range (0 if unbounded); "data": each in a random image of `dataset`;
            a tensor: in this picture (*input_shape), or in one for each chain of a neuron (chains, *input_shape). With
            the natural prior, they start as near to these pictures as its coordinates allow.
        dataset: real images (see `RealImages`), for `prior`, percentiles, and `standing`.
        chains: chains per neuron, ≥ 1.
        average: `EMA(decay)` or `Window(length)`.
        preprocess: x in `pixel_range` -> model input, e.g. ``lambda x: (x - mean) / std``.
        inputs: the model's arguments besides images, by name (a tensor of one row is expanded to the batch); or a
            function of the batch that returns all it is called with: ``lambda x: {"image": x}``, ``list``, a tuple.
        pixel_range: (lo, hi) or None for unbounded pixels.
        steps_per_frame: steps between pictures, 1 to 101; averages and burn-in count pictures.
        seed: ≥ 0; gives the same chains on the same kind of device, however steps are split, up to rounding.
        device: None is CUDA if available, else the model's device.
        class_names: names of the units of the layer.
        at: "center" or "mean", see `neurons`.
        burn_in: the rule behind `burned_in`.
        scale: "frozen" divides every term by its mean gradient norm, measured during the warm-up and then frozen: one
            range of T and λ then suits every network, and the chains still sample a density,
            p ∝ exp((f/s_f + Σ λ_i R_i/s_i)/T). "none" leaves E as it is. None: "frozen" for calibrated kernels, "none"
            for `Algorithm1` in pixels, or where it normalises gradients itself.
        warm_up: steps in which scales are measured, and step sizes of None, temperatures for a goal, and the rungs of
            `Ladder.auto` are found; without any of these there is no warm-up. Its pictures do not count. None: 200;
            with the natural prior 100; with a goal 600; with `Ladder.auto` 1,000.
        ladder: `Ladder`, such as `Ladder.auto()`, or its factors, for replica exchange with a calibrated kernel.
        leaky: slope in [0, 1) of dead ReLUs in the backward pass; above 0 the samples follow no stated density.
        discriminator_only: leave the neurons out, p ∝ exp(Σ λ_i R_i/T); see the property.
        execution: how the network is run: "auto" tries, at the first step, which of several equivalent ways is fastest
            (see the property); "plain" runs it as written; or another value of the property. A "recorded" network is
            replayed without its Python code, and compared with it once a second (every hundred steps if that is more):
            a pass or `preprocess` that depends on more than its input and the weights is followed within that time.

    Raises:
        ValueError, TypeError: the message names the argument, the value given, and what would work.
    """

    @torch.inference_mode(False)
    @without_ambient_modes()
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
        start: Start = "noise",
        temperature: float | None = None,
        goal: float | str | None = None,
        chains: int = 1,
        average: Average = EMA(0.99),  # noqa: B008  (frozen)
        preprocess: Preprocess | None = None,
        pixel_range: tuple[float, float] | None = None,
        steps_per_frame: int = 2,
        seed: int = 0,
        device: torch.device | str | None = None,
        inputs: Inputs | None = None,
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
        self.notes = self._own_notes()
        shape, pixels = check_shape(input_shape), checks.pixel_range(pixel_range)
        self.seed = checks.seed(seed)
        average, burn_in = checks.average(average), checks.burn_in(burn_in)
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"preprocess must be a function of a batch of images, or None; got {preprocess!r}")
        real = RealImages.checked(dataset, shape, pixels)
        found_prior = priors.resolved(prior, shape, pixels, real, kernel)
        terms = checks.regularizers(regularizers)
        execution = check_execution(execution)
        view = private_view(model, choose_device(model, device), self.notes)
        call_with(view, inputs)
        preprocess = for_batches(preprocess, shape, device_of(view))
        if isinstance(preprocess, PerImage):
            self.notes.tell("preprocess takes one image at a time, and is called for each of a batch, which is slower")
        first_pass(view, model, shape, preprocess, self.notes)
        device = next((p.device for p in view.parameters()), torch.device("cpu"))
        fixed = Fixed(
            input_shape=shape, pixel_range=pixels, chains=checks.count("chains", chains), leaky=checks.leaky(leaky),
            ladder=ladder if ladder is None or isinstance(ladder, Ladder) else Ladder(ladder), dataset=real, at=at,
            transforms=priors.checked_transforms(transforms, shape), class_names=checks.class_names(class_names),
            warm_up=None if warm_up is None else checks.count("warm_up", warm_up), preprocess=preprocess,
            view=view, device=device, notes=self.notes,
        )  # fmt: skip
        context = BindContext(view, shape, pixels, device, self.notes, preprocess)
        terms = tuple(r.bound(context) if hasattr(r, "bound") else r for r in terms)
        given = {"steps_per_frame": steps_per_frame, "average": average.time}
        settings = Settings.begun(
            fixed, kernel, terms, scale, found_prior, temperature=temperature, goal=goal, given=given,
            start=starts.checked(start, shape, pixels, fixed.chains, real),
        )  # fmt: skip
        super().__init__(settings, average, burn_in, model, execution)
        if discriminator_only:
            self._settings = replace(settings, neurons_left_out=self._may_leave_neurons_out())
        self._start(fixed.aim(layer, neurons), self.seed)

    # ---- settings, from any thread; these never wait for a step ----------------------------------------------------

    def set(self, **params: Any) -> None:
        """Change live parameters, all or none of them, from the next step on.

        `step_size` also accepts a `PolynomialDecay`, and `goal` a percentile such as "p99", or None.

        Raises:
            ValueError: an unknown name (the message lists the known ones) or a value out of range.
            TypeError: not a number.
        """
        asked = self._settings.goals_asked
        self._change(lambda settings: settings.changed(self._present_temperature, **params))
        if self._settings.goals_asked != asked:
            forget_missed_goals(self._settings.fixed)

    @property
    def discriminator_only(self) -> bool:
        """Whether the neurons are left out; activations are still shown. After a change the chains continue from where
        they are and averages restart. ValueError if there is no discriminator."""
        return self._settings.neurons_left_out

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        left_out = bool(only) and self._may_leave_neurons_out()
        self._change(lambda settings: replace(settings, neurons_left_out=left_out))

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold, and cool again, so that chains leave their mode; averages restart after it.

        Raises:
            TypeError: not a `HeatPulse`.
        """
        if not isinstance(pulse, HeatPulse):
            raise TypeError(f"pulse must be HeatPulse(peak, rise, hold, cool); got {pulse!r}")
        self._change(lambda settings: settings.with_pulse(pulse, self.steps))

    # ---- other neurons, kernels, priors, terms; these wait for the step in progress --------------------------------

    @in_turn
    def select(
        self,
        layer: str | None = None,
        neurons: Iterable[Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Switch to other neurons. Those of the same layer that stay keep chains, averages and burn-in; others restart.

        Args:
            layer: None keeps the present one.
            neurons: None is the first ten of a new layer, or the present ones of the same layer.
            names: key -> name shown beside the neuron's number, if it has no class name.

        Raises:
            ValueError, SamplingError: as the constructor; the sampler then keeps its previous neurons.
        """
        if layer in (None, self.layer):
            if neurons is None:
                return
            neurons = self.recalled(neurons)
        aimed = self._settings.fixed.aim(layer, neurons, self.layer)
        aimed.neurons = [n if n.name else n._replace(name=(names or {}).get(n.key, "")) for n in aimed.neurons]
        places = same_neurons(self._chains.neurons, aimed)
        if self.steps and any(place is not None for place in places):
            self._regroup(aimed, places)
        else:
            self._start(aimed, self.seed)
        give_back()  # other layers need memory blocks of other sizes

    @in_turn
    def restart(self, seed: int | None = None, start: Start | None = None) -> None:
        """Restart the chains and the averages.

        Args:
            seed: None repeats the run with the same noise.
            start: as in the constructor; None: as last time.

        Raises:
            SamplingError: the activation of the start images is not finite; the sampler then continues as before.
            TypeError, ValueError: an invalid seed or start.
        """
        seed = self.seed if seed is None else checks.seed(seed)
        fixed = self._settings.fixed
        begin = self._settings.start if start is None else start
        begin = starts.checked(begin, fixed.input_shape, fixed.pixel_range, fixed.chains, fixed.dataset)
        self._start(self._chains.neurons, seed, lambda settings: replace(settings.without_pulse(), start=begin))

    @in_turn
    def restart_neuron(self, column: int, start: Start) -> None:
        """Restart the chains of one neuron, such as in a real image; those of the others go on.

        They sample the same law as before: T, scales and step sizes stay. Average and burn-in of this neuron restart,
        the histories of all.

        Args:
            column: of the neuron, from 0.
            start: as in the constructor.

        Raises:
            SamplingError: the activation there is not finite; the sampler then continues as before.
            TypeError, ValueError: an invalid column or start.
        """
        fixed, column = self._settings.fixed, checks.index("column", column, len(self.neurons))
        begin = starts.checked(start, fixed.input_shape, fixed.pixel_range, fixed.chains, fixed.dataset)
        self._begin_again(column, begin)

    @in_turn
    def reset_average(self) -> None:
        """Discard the average; the chains continue."""
        self._put(self._chains, Change.AVERAGE)

    @torch.inference_mode(False)
    @in_turn
    def use_kernel(self, kernel: Kernel | str, scale: Literal["none", "frozen"] | None = None) -> None:
        """Continue from the current samples with another kernel; averages restart.

        Args:
            kernel: brings its own step size, friction and noise; everything else stays, with T converted if its unit
                changes. A name, such as "GHMC", is that kernel as last used, or with defaults that suit the picture.
            scale: as in the constructor; None: as last requested, or the kernel's default.

        Raises:
            TypeError: not a kernel.
            ValueError: an unknown name; a kernel that is incompatible with the ladder or the scale.
        """
        fixed = self._settings.fixed
        kernel = self._kernel_called(kernel) if isinstance(kernel, str) else checks.kernel(kernel)
        kernel = fixed.suited(kernel, self._settings.prior)
        checks.ladder(fixed.ladder, kernel, self._settings.prior)
        self._go_on(lambda settings: settings.with_kernel(kernel, scale), self._chains.state.x, same_prior=True)

    @torch.inference_mode(False)
    @in_turn
    def use_prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        """Switch to another prior, or to plain pixels; neurons, the type of kernel, regularisers and the seed stay.

        Chains continue from their current pictures, as far as the new coordinates can represent them. T, step size,
        friction and a `scale` that was not set explicitly get the new prior's defaults; a goal that can no longer be
        pursued is dropped; averages restart.

        Raises:
            TypeError, ValueError: as the constructor; the sampler then continues as before.
        """
        fixed = self._settings.fixed
        chosen = priors.resolved(prior, fixed.input_shape, fixed.pixel_range, fixed.dataset, self.kernel)
        coordinates = fixed.coordinates_of(chosen)
        z = coordinates.place(self._chains.picture)
        self._go_on(lambda settings: settings.with_prior(chosen, coordinates), z, same_prior=False)

    @torch.inference_mode(False)
    @in_turn
    def use_discriminator(self, discriminator: Discriminator) -> None:
        """Continue from the current samples with another discriminator, or add one.

        Its weight is adopted. Raises ValueError if it does not accept the images.
        """
        if not isinstance(discriminator, Discriminator):
            raise TypeError(f"discriminator must be Discriminator(net_or_path, weight); got {discriminator!r}")
        fixed = self._settings.fixed
        bound = discriminator.bound(
            BindContext(fixed.view, fixed.input_shape, fixed.pixel_range, fixed.device, self.notes, fixed.preprocess)
        )
        self._change(lambda settings: settings.with_discriminator(bound))
        if self.scale == "frozen" and bound.name not in self._settings.scales:
            self._rescale(bound.name, 1.0)
        self.discriminator_changed()

    @torch.inference_mode(False)
    def discriminator_changed(self) -> None:
        """Notify the sampler that the discriminator's weights have changed; its evaluation of the images is discarded.

        Its frozen scale, if any, follows its gradient norm, which grows as it learns.
        """
        self._reevaluate(Discriminator.name, _SCALE_FOLLOWS)

    @torch.inference_mode(False)
    @in_turn
    def weights_changed(self, follow: float = _SCALE_FOLLOWS) -> None:
        """Notify the sampler that the model's weights were changed in place; the neuron's evaluation is discarded.

        Args:
            follow: how far, 0…1, a frozen scale moves towards the present gradient norm.

        Raises:
            SamplingError: an activation is not finite with these weights.
        """
        self._execution.follow(changed=True)
        self._standing = None
        self._chains.neurons.weights_changed()
        self._reevaluate(NEURON, follow)
        for term in self._settings.regularizers:
            if getattr(term, "reads_model", False):
                self._reevaluate(term.name, follow)

    @in_turn
    def measure_scales(self) -> None:
        """Measure the gradient scales again, in a new warm-up from the current state.

        Raises:
            RuntimeError: the sampler has no scales.
        """
        if self.scale == "none":
            raise RuntimeError('there are no scales to measure: make the sampler with scale="frozen"')
        self._put(self._chains.measuring(self._goals))

    # ---- what to believe -------------------------------------------------------------------------------------------

    @torch.inference_mode(False)
    def belief(
        self,
        images: Any = None,
        *,
        judge: nn.Module | None = None,
        judge_preprocess: Preprocess | None = None,
        steps: int = STEPS,
        seed: int = 0,
    ) -> Belief:
        """How far the pictures can be believed: see `Assessment`, which says what is measured and how often it errs.

        The chains, their noise and the averages stay as they are; other chains are run beside them.

        Args:
            images: real images (see `RealImages`); None: `dataset`.
            judge: an independent network, from pictures to class scores (n, classes) in the order of this network's.
            judge_preprocess: pictures in `pixel_range` -> the judge's input; None: it takes them as they are.
            steps: of the other chains after their warm-up, ≥ 2. Too few leave them near their starts, which then makes
                for doubts.
            seed: of these chains.

        Raises:
            ValueError, TypeError: images or judge that do not fit, steps or seed out of range.
            SamplingError: as `step`.
        """
        return Assessment(self, images, judge=judge, judge_preprocess=judge_preprocess, steps=steps, seed=seed).run()

    def _may_leave_neurons_out(self) -> bool:
        if self.discriminator is None:
            raise ValueError("discriminator_only needs a Discriminator among the regularizers")
        return True
