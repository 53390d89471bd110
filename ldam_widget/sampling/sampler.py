"""`Sampler`: chains of images for the neurons of a network, without a browser and without threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from ..core.notes import Notes
from ..core.target import NEURON, BindContext, Kernel, Regularizer
from ..data import RealImages
from ..execution import check_execution
from ..network.memory import give_back
from ..network.trace import Preprocess, check_shape
from ..network.view import choose_device, private_view
from ..network.wiring import Wiring, neurons_of
from ..objectives import Discriminator
from ..parametrizations import Natural, Transforms
from . import checks, priors
from .averages import EMA, Average
from .burn_in import BurnIn
from .chains import same_neurons
from .faults import SamplingError, forget_missed_goals
from .fixed import Fixed
from .frame import Frame
from .heat import HeatPulse
from .ladder import Ladder
from .monitor import Change
from .run import Run, in_turn
from .settings import Settings

_SCALE_FOLLOWS = 0.2  # of the way to the present gradient, at every change of the discriminator

__all__ = ["Sampler", "SamplingError"]


class Sampler(Run):
    """Samples x from P(x) ∝ exp((f_α(x) + Σ λ_i R_i(x)) / T) for several neurons α at once.

    N neurons, C chains each; an image has the shape `input_shape`. With the natural prior (`Natural`), which is the
    default for RGB images and where there is a dataset, the density has the images' own statistics as its base measure.

    Args:
        model: any `nn.Module`. It comes back untouched; its weights are shared, not copied, where the device allows.
        layer: dotted module name; None is the last layer before any softmax.
        neurons: ints, (channel, y, x), "5", "5@3,4", "layer:5", class names, or direction tensors (units,).
            None: the first ten. An int on a convolution is the unit at the centre of the map (`at`).
        input_shape: of one image without the batch axis, e.g. (1, 28, 28).
        kernel: how the chains move. None: `BAOAB`, with a step size that suits the size of the picture, or that chains
            find by themselves with the natural prior.
        regularizers: R_i with their weights; an `L2` of weight 0 is added if none is given, so that its slider exists.
        temperature: T ≥ 0. What it means depends on the kernel; see there. None: with frozen scales, cool enough for
            strokes to stand out from the noise, with the natural prior so that the neuron shows (see `defaults.PULL`);
            else 1.
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
            p ∝ exp((f/s_f + Σ λ_i R_i/s_i)/T). "none" leaves E as it is. None: "frozen" for calibrated kernels, "none"
            for `Algorithm1` in pixels, or where it normalises by itself.
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
        shape, pixels = check_shape(input_shape), checks.pixel_range(pixel_range)
        self.seed = checks.seed(seed)
        average, burn_in = checks.average(average), checks.burn_in(burn_in)
        if preprocess is not None and not callable(preprocess):
            raise TypeError(f"preprocess must be a function of a batch of images, or None; got {preprocess!r}")
        real = RealImages.checked(dataset, shape, pixels)
        found_prior = priors.resolved(prior, shape, pixels, real)
        terms = checks.regularizers(regularizers)
        execution = check_execution(execution)
        view = private_view(model, choose_device(model, device), self.notes)
        device = next((p.device for p in view.parameters()), torch.device("cpu"))
        fixed = Fixed(
            input_shape=shape, pixel_range=pixels, chains=checks.count("chains", chains), leaky=checks.leaky(leaky),
            ladder=ladder if ladder is None or isinstance(ladder, Ladder) else Ladder(ladder), dataset=real, at=at,
            transforms=priors.checked_transforms(transforms, shape), class_names=checks.class_names(class_names),
            warm_up=None if warm_up is None else checks.count("warm_up", warm_up), preprocess=preprocess,
            view=view, device=device, notes=self.notes,
        )  # fmt: skip
        context = BindContext(model, shape, pixels, device, self.notes)
        terms = tuple(r.bound(context) if hasattr(r, "bound") else r for r in terms)
        given = {"steps_per_frame": steps_per_frame, "average": average.time}
        settings = Settings.begun(
            fixed, kernel, terms, scale, found_prior, temperature=temperature, goal=goal, given=given
        )
        super().__init__(settings, average, burn_in, model, execution)
        if discriminator_only:
            self._settings = replace(settings, neurons_left_out=self._may_leave_neurons_out())
        self._start(fixed.aim(layer, neurons), self.seed)

    # ---- settings, from any thread; they never wait for a step -----------------------------------------------------

    def set(self, **params: Any) -> None:
        """Change live parameters; all or none of them, from the next step on.

        `step_size` also takes a `PolynomialDecay`, `goal` a percentile such as "p99", or None.

        Raises:
            ValueError: unknown name (all known ones are listed) or out of range.
            TypeError: no number.
        """
        asked = self._settings.goals_asked
        self._change(lambda settings: settings.changed(self._present_temperature, **params))
        if self._settings.goals_asked != asked:
            forget_missed_goals(self._settings.fixed)

    @property
    def discriminator_only(self) -> bool:
        """Are the neurons left out? Activations are shown all the same. Setting it lets the chains go on from where
        they are; averages begin anew. ValueError if there is no discriminator."""
        return self._settings.neurons_left_out

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        left_out = bool(only) and self._may_leave_neurons_out()
        self._change(lambda settings: replace(settings, neurons_left_out=left_out))

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold, and cool again, so that chains leave their mode; averages begin anew after it.

        Raises:
            TypeError: no `HeatPulse`.
        """
        if not isinstance(pulse, HeatPulse):
            raise TypeError(f"pulse must be HeatPulse(peak, rise, hold, cool); got {pulse!r}")
        self._change(lambda settings: settings.with_pulse(pulse, self.steps))

    # ---- other neurons, kernels, priors, terms; they wait for the step in progress ---------------------------------

    @in_turn
    def select(
        self,
        layer: str | None = None,
        neurons: Iterable[Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Aim at other neurons. Those of the same layer that stay keep chains, averages and burn-in; others start.

        Args:
            layer: None keeps the present one.
            neurons: None is the first ten of a new layer, or the present ones of the same layer.
            names: key -> what a neuron is called beside its number, where it has no class name.

        Raises:
            ValueError, SamplingError: as the constructor; the sampler then goes on with what it had.
        """
        if neurons is None and layer in (None, self.layer):
            return
        aimed = self._settings.fixed.aim(layer, neurons, self.layer)
        aimed.neurons = [n if n.name else n._replace(name=(names or {}).get(n.key, "")) for n in aimed.neurons]
        places = same_neurons(self._chains.neurons, aimed)
        if self.steps and any(place is not None for place in places):
            self._regroup(aimed, places)
        else:
            self._start(aimed, self.seed)
        give_back()  # other layers need memory in other pieces

    @in_turn
    def restart(self, seed: int | None = None) -> None:
        """New start images x0 ~ N(0, 1) scaled to the pixel range (and clamped to it); averages begin anew.

        Args:
            seed: None repeats the run with the same noise.

        Raises:
            SamplingError: the activation of the start images is not finite; the sampler then goes on with what it had.
        """
        self._start(self._chains.neurons, self.seed if seed is None else checks.seed(seed))

    @in_turn
    def reset_average(self) -> None:
        """Forget the average; the chains go on."""
        self._put(self._chains, Change.AVERAGE)

    @torch.inference_mode(False)
    @in_turn
    def use_kernel(self, kernel: Kernel | str, scale: Literal["none", "frozen"] | None = None) -> None:
        """Go on from the present samples with another kernel; averages begin anew.

        Args:
            kernel: its step size, friction and noise are its own, all else stays; T is converted where its unit
                changes. A name, such as "GHMC", is the kernel as it was used last, or with what suits the picture.
            scale: as of the constructor; None: as it was asked for before, or what suits the kernel.

        Raises:
            TypeError: no kernel.
            ValueError: an unknown name; a kernel that does not go with the ladder or the scale.
        """
        fixed = self._settings.fixed
        kernel = self._kernel_called(kernel) if isinstance(kernel, str) else checks.kernel(kernel)
        kernel = fixed.suited(kernel, self._settings.prior)
        checks.ladder(fixed.ladder, kernel)
        self._go_on(lambda settings: settings.with_kernel(kernel, scale), self._chains.state.x, same_prior=True)

    @torch.inference_mode(False)
    @in_turn
    def use_prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        """Go on with another prior, or with plain pixels; neurons, kind of kernel, regularisers and seed stay.

        Chains go on from the pictures where they stand, as far as the new coordinates can show them; T, step size,
        friction and a `scale` that was not asked for become what suits them, a goal is dropped where it cannot be
        sought, and averages begin anew.

        Raises:
            TypeError, ValueError: as the constructor; the sampler then goes on with what it had.
        """
        fixed = self._settings.fixed
        chosen = priors.resolved(prior, fixed.input_shape, fixed.pixel_range, fixed.dataset)
        coordinates = fixed.coordinates_of(chosen)
        z = coordinates.place(self._chains.picture)
        self._go_on(lambda settings: settings.with_prior(chosen, coordinates), z, same_prior=False)

    @torch.inference_mode(False)
    @in_turn
    def use_discriminator(self, discriminator: Discriminator) -> None:
        """Go on from the present samples with another discriminator, or with one where there was none.

        Its weight is taken over. Raises ValueError if it does not take the images.
        """
        if not isinstance(discriminator, Discriminator):
            raise TypeError(f"discriminator must be Discriminator(net_or_path, weight); got {discriminator!r}")
        fixed = self._settings.fixed
        bound = discriminator.bound(
            BindContext(fixed.view, fixed.input_shape, fixed.pixel_range, fixed.device, self.notes)
        )
        self._change(lambda settings: settings.with_discriminator(bound))
        if self.scale == "frozen" and bound.name not in self._settings.scales:
            self._rescale(bound.name, 1.0)
        self.discriminator_changed()

    @torch.inference_mode(False)
    def discriminator_changed(self) -> None:
        """Tell that the discriminator's weights have changed: what it said of the present images is forgotten.

        A frozen scale of it follows its gradient, which grows while it learns.
        """
        self._reevaluate(Discriminator.name, _SCALE_FOLLOWS)

    @torch.inference_mode(False)
    @in_turn
    def weights_changed(self, follow: float = _SCALE_FOLLOWS) -> None:
        """Tell that the model's weights were changed in place: what it said of the present images is forgotten.

        Args:
            follow: how far, 0…1, a frozen scale goes towards the gradient there is now.

        Raises:
            SamplingError: with these weights an activation is not finite.
        """
        self._execution.follow(changed=True)
        self._standing = None
        self._reevaluate(NEURON, follow)

    @in_turn
    def measure_scales(self) -> None:
        """Measure the gradient scales once more, in a new warm-up from where the chains are.

        Raises:
            RuntimeError: the sampler has no scales.
        """
        if self.scale == "none":
            raise RuntimeError('there are no scales to measure: make the sampler with scale="frozen"')
        self._put(self._chains.measuring(self._goals))

    # ---- running ---------------------------------------------------------------------------------------------------

    def step(self, n: int = 1) -> Frame:
        """Advance n ≥ 1 steps and return the picture.

        Raises:
            SamplingError: an activation or gradient became NaN or infinite, or memory ran out; the chains
                stand at the last picture, up to `steps_per_frame` steps before, and earlier steps of these n count.
            ValueError: n is no positive integer.
        """
        remaining = checks.count("n", n)
        while remaining:
            remaining -= self._advance(remaining)
        return self.frame()

    def frames(self, steps: int | None = None) -> Iterator[Frame]:
        """A picture every `steps_per_frame` steps, `steps` steps in all (None: for ever)."""
        remaining = checks.count("steps", steps) if steps is not None else None
        while remaining is None or remaining > 0:
            chunk = int(self._settings.params["steps_per_frame"])
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

    # ---- questions that run the network ----------------------------------------------------------------------------

    def wired_to(self, class_index: int | str, k: int = 20) -> Wiring:
        """The k units of the layer below that are most strongly wired to a class; see `neurons_of`."""
        return neurons_of(
            self.view, class_index, k, input_shape=self.input_shape, class_names=self.class_names,
            preprocess=self.preprocess,
        )  # fmt: skip

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _present_temperature(self) -> float:
        """T as found so far for the goal that is sought."""
        settings, chains = self._settings, self._chains
        return chains.present_temperature if chains.goals_sought == settings.goals_asked else settings.temperature

    def _may_leave_neurons_out(self) -> bool:
        if self.discriminator is None:
            raise ValueError("discriminator_only needs a Discriminator among the regularizers")
        return True
