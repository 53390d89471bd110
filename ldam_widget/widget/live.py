"""`LDAM`: the live widget of one model."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from .. import checks, figures, images
from ..defaults import default_kernel, default_temperature, size_of
from ..discriminator.build import DiscriminatorNet, build_discriminator
from ..discriminator.real import RealImages
from ..discriminator.recipe import Recipe
from ..discriminator.train import Trainer
from ..heat import HeatPulse
from ..neurons import check_shape
from ..regularizers import Discriminator
from ..sampler import Sampler
from ..types import Kernel, Regularizer
from . import recording
from .panel import STATIC, Panel
from .recording import Recorder
from .training import LiveTraining


class LDAM(Panel):
    """A live picture of the images that neurons like, with sliders for everything.

    Takes the arguments of `Sampler`, and:

    Args:
        model: any `nn.Module`; comes back untouched.
        play: start sampling when displayed.
        title: heading of figures and name of saved files; the model's class name by default.
        kernel: None is `BAOAB` with a step size that suits the size of the picture.
        scale: as of `Sampler`; None is "frozen" for calibrated kernels, so that one range of sliders serves every
            network, and "none" for `Algorithm1`, which normalises by itself.
        temperature: None is cool enough for strokes to stand out from the noise if the scales are frozen, else 1.
        dataset: real images to train a discriminator on while it is watched (see `RealImages`): a map-style Dataset,
            tensor or array. Without a `Discriminator` among the regularisers, a fresh one of weight 0 is added.

    Every live parameter is an attribute that follows its slider and moves it: ``w.temperature = 3``. Parameters can be
    observed like any trait. The sampler runs on a thread of its own while the widget is looked at.

    Raises:
        ValueError, TypeError: as `Sampler`.
        FileNotFoundError: the front end was not built (only in a source tree).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        play: bool = True,
        title: str | None = None,
        kernel: Kernel | None = None,
        scale: Literal["none", "frozen"] | None = None,
        temperature: float | None = None,
        input_shape: Sequence[int],
        pixel_range: tuple[float, float] | None = None,
        regularizers: Sequence[Regularizer] = (),
        dataset: Any = None,
        **sampler: Any,
    ) -> None:
        if not (STATIC / "widget.js").exists():
            raise FileNotFoundError(f"{STATIC / 'widget.js'} is missing: build the front end with `pip install -e .`")
        self._scale = scale
        side, width = size_of(check_shape(input_shape), checks.pixel_range(pixel_range))
        kernel = checks.kernel(default_kernel(side, width) if kernel is None else kernel)
        if temperature is None:
            temperature = default_temperature(side, width) if self._scale_for(kernel) == "frozen" else 1.0
        if dataset is not None:
            RealImages(dataset, check_shape(input_shape), checks.pixel_range(pixel_range))  # bad data are told now
            regularizers = tuple(regularizers)
            if not any(isinstance(term, Discriminator) for term in regularizers):
                regularizers = (Discriminator(build_discriminator(model, input_shape), 0.0), *regularizers)
        built = Sampler(
            model, kernel=kernel, scale=self._scale_for(kernel), temperature=temperature, input_shape=input_shape,
            pixel_range=pixel_range, regularizers=regularizers, **sampler,
        )  # fmt: skip
        super().__init__(built, play, type(model).__name__ if title is None else str(title), dataset)

    def __repr__(self) -> str:
        if self._sampler is None:
            return "LDAM(closed)"
        return f"LDAM({self._title}, layer {self.layer}, {len(self.neurons)} neurons)"

    # ---- neurons ---------------------------------------------------------------------------------------------------

    @property
    def neurons(self) -> list[int | str]:
        """The neurons on show, ints where they are plain units. Set it to choose others; the chains start afresh."""
        return [n.unit if n.unit is not None and n.key == str(n.unit) else n.key for n in self.sampler.neurons]

    @neurons.setter
    def neurons(self, neurons: Iterable[Any]) -> None:
        self._loop.call(lambda: self._select(None, neurons))

    @property
    def layer(self) -> str:
        """Dotted name of the layer on show. Set it to choose another; its first ten neurons are shown."""
        return self.sampler.layer

    @layer.setter
    def layer(self, layer: str) -> None:
        self._loop.call(lambda: self._select(layer, None))

    def _select(self, layer: str | None, neurons: Iterable[Any] | None) -> None:
        self.sampler.select(layer, neurons)
        self._anew()

    # ---- the kernel ------------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """How the chains move. Set it to go on from the present samples with another: ``w.kernel = kernels.GHMC()``."""
        return self.sampler.kernel

    @kernel.setter
    def kernel(self, kernel: Kernel) -> None:
        self._loop.call(lambda: self._use_kernel(kernel))

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold and cool: chains leave their mode and settle in another."""
        self._loop.call(lambda: self.sampler.heat_pulse(pulse))

    def measure_scales(self) -> None:
        """Measure the frozen gradient scales once more, where the chains are now. RuntimeError if there are none."""
        self._loop.call(self.sampler.measure_scales)

    def diagnostics(self) -> dict[str, Any]:
        """How far the chains can be believed; see `Sampler.diagnostics`."""
        return self._loop.call(lambda: self.sampler.diagnostics())

    # ---- the discriminator -----------------------------------------------------------------------------------------

    @property
    def discriminator_only(self) -> bool:
        """Are the neurons left out, so that the chains follow the discriminator alone? Set it to change that."""
        return self.sampler.discriminator_only

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        self._loop.call(lambda: self._leave_neurons_out(only))

    def train_discriminator(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        """Train the discriminator against the sampler (Algorithm 2) between the pictures; returns at once.

        The sampler uses the newest one all the time. Training goes on from the present discriminator, of which it
        takes a copy, or begins with one like the classifier; it does not stop while the widget is paused or hidden.

        Args:
            dataset: real images, see `RealImages`; None: those given to the widget.
            recipe: all settings; None: those of the last training, or `Recipe()`.

        Raises:
            RuntimeError: it is being trained.
            ValueError, TypeError: no data, or data that do not fit; see `Trainer`.
        """
        self._loop.call(lambda: self._start_training(dataset, recipe))

    def stop_training(self) -> None:
        """Stop; the sampler keeps the discriminator as it is.

        Raises:
            TrainingError: it collapsed, so that it must not be called trained.
        """
        error = self._loop.call(self._end_training)
        if error is not None:
            raise error

    @property
    def trainer(self) -> Trainer | None:
        """The training under way or the last one: ``w.trainer.save("d.safetensors")``; None before the first."""
        return None if self._training is None else self._training.trainer

    def _start_training(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        if self.training:
            raise RuntimeError("the discriminator is being trained; stop_training() first")
        data = self._dataset if dataset is None else dataset
        if data is None:
            raise ValueError("there are no real images to learn from: train_discriminator(images) or LDAM(…, dataset=)")
        sampler, last = self.sampler, self._training
        if recipe is None:
            recipe = Recipe() if last is None else last.trainer.recipe
        same = last is not None and last.current(sampler) and dataset is None and last.trainer.recipe == recipe
        if last is not None and same:
            trainer = last.trainer  # as it was left, its pool included
        else:
            net = None if sampler.discriminator is None else sampler.discriminator.net
            trainer = sampler.trainer(data, recipe, copy.deepcopy(net) if isinstance(net, DiscriminatorNet) else None)
        self._dataset = data
        self._training = LiveTraining(trainer, sampler, self._on_training_ended)
        self._declare()
        self._loop.chore = self._training
        self._send_setup()

    def _end_training(self) -> Exception | None:
        """On the loop."""
        if not self.training or self._training is None:
            return None
        self._loop.chore = None
        self._send_state()
        return self._training.collapse()

    def _stop_training(self) -> None:
        error = self._end_training()
        if error is not None:
            raise error

    def _on_training_ended(self, error: Exception) -> None:
        self._loop.chore = None
        self._report(error)
        self._send_state()

    def _leave_neurons_out(self, out: bool) -> None:
        self.sampler.discriminator_only = out
        self._average_due = 0.0
        self._send_state()
        if not self._loop.playing:
            self._loop.send_now()

    def _use_kernel(self, kernel: Kernel) -> None:
        self.sampler.use_kernel(kernel, self._scale_for(checks.kernel(kernel)))
        self._declare()
        self._anew()

    def _scale_for(self, kernel: Kernel) -> Literal["none", "frozen"]:
        return self._scale if self._scale is not None else "frozen" if kernel.calibrated else "none"

    # ---- running ---------------------------------------------------------------------------------------------------

    @property
    def sampler(self) -> Sampler:
        """The sampler. While the widget plays, its thread owns it: read, and `set`, but step through the widget."""
        if self._sampler is None:
            raise RuntimeError("the widget is closed; make a new one")
        return self._sampler

    @property
    def playing(self) -> bool:
        """Is it sampling, or will it once displayed?"""
        return self._loop.playing or self._will_play

    def play(self) -> None:
        """Sample until paused."""
        self._require_open()
        self._will_play = False
        self._fault = None
        self._loop.play()
        self._send_error()
        self._send_state()

    def pause(self) -> None:
        """Stop; returns when the step in progress is done. The picture is then sent without loss."""
        self._require_open()
        self._will_play = False
        self._loop.pause()
        self._send_state()
        self._loop.submit(self._loop.send_now)

    def step(self, n: int = 1) -> None:
        """Advance n steps and return when they are done. Raises SamplingError as `Sampler.step`."""
        self._loop.call(lambda: self._loop.advance(n))
        self._loop.submit(self._loop.send_now)

    def restart(self, seed: int | None = None) -> None:
        """New start images; averages begin anew. seed=None repeats the same noise."""

        def restart() -> None:
            self.sampler.restart(seed)
            self._anew()

        self._loop.call(restart)

    def reset_average(self) -> None:
        """Forget the average; the chains go on."""

        def reset() -> None:
            self.sampler.reset_average()
            self._average_due = 0.0
            if not self._loop.playing:
                self._loop.send_now()

        self._loop.call(reset)

    @property
    def error(self) -> str | None:
        """What stopped the run, or None. Play again after mending the cause."""
        return None if self._fault is None else self._fault["message"]

    @property
    def stats(self) -> dict[str, float]:
        """steps_per_second, frames_per_second, bytes_per_frame, round_trip_ms (NaN before the first answer)."""
        return self._loop.stats

    def close(self) -> None:
        """Stop the thread, let go of the model and its device, and remove the widget from the page."""
        loop = self.__dict__.get("_loop")
        if loop is not None and not loop.closed:
            self._finalizer()
            self._sampler = None
            del loop.sampler
        super().close()

    # ---- pictures --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Image.Image:
        """What is shown, as a labelled picture."""
        return self._page()

    def save(self, path: str | Path) -> None:
        """Write `snapshot()`; the ending chooses the format."""
        self.snapshot().save(path)

    def record(self, seconds: float, path: str | Path) -> None:
        """Record a GIF of the run, at 12 pictures a second; returns when it is written.

        A paused widget is stepped for as many pictures and stays paused.

        Raises:
            ValueError: seconds not in (0, 60].
            RuntimeError: the run stopped with an error.
        """
        if not 0 < seconds <= recording.LONGEST:
            raise ValueError(f"seconds must be above 0 and at most {recording.LONGEST:g}; got {seconds!r}")
        wanted = max(1, round(seconds * recording.PER_SECOND))
        recorder = Recorder(self._film_page, wanted)
        self._loop.pacer.wake(time.monotonic())  # out of a rest
        self._loop.call(lambda: self._loop.observers.append(recorder))
        try:
            while not recorder.full.wait(0.05 if self._loop.playing else 0):
                if self._fault is not None:
                    raise RuntimeError(f"the run stopped: {self.error}")
                if self._loop.playing:
                    self._loop.pacer.wake(time.monotonic())  # we are looking, even if no page is
                else:
                    recorder.paced = False
                    self.step(self.steps_per_frame)
        finally:
            self._loop.call(lambda: self._loop.observers.remove(recorder))
        images.save_gif(recorder.pages, path, recording.PER_SECOND)

    def figure(self) -> Figure:
        """A matplotlib figure with labels and parameters, for a paper."""
        sampler = self.sampler
        return figures.samples(
            sampler.frame(),
            [n.label for n in sampler.neurons],
            pixel_range=sampler.pixel_range,
            title=f"{self._title}, layer {sampler.layer}",
            chains=self._rows(),
        )

    def diagnostics_figure(self) -> Figure:
        """Trace, autocorrelation and ranks of the activation, with temperatures and verdicts, for a paper."""
        return self._loop.call(lambda: figures.diagnostics(self.sampler, title=self._title))
