"""`Player`: what every widget of ours can be told from Python, whatever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ..core.target import Kernel
from ..network.memory import give_back
from ..parametrizations import Natural, Transforms
from ..pictures import images
from ..sampling.heat import HeatPulse
from . import lifetime
from .panel import Panel
from .parts import recorder
from .parts.law import Law
from .parts.picker import Picker


class Player(Panel):
    """A panel that is played, paused, stepped, photographed and closed."""

    _law: Law
    _picker: Picker

    # ---- parameters ------------------------------------------------------------------------------------------------

    def set(self, **params: Any) -> None:
        """Change several live parameters at once, all or none. Raises ValueError or TypeError as `Sampler.set`."""
        self._require_open()
        self._sliders.set(params)

    # ---- neurons ---------------------------------------------------------------------------------------------------

    @property
    def neurons(self) -> list[int | str]:
        """The neurons on show, ints where they are plain units, as the first model calls them.

        Set it to choose others. Those that stay keep their chains, averages and burn-in; new ones start.
        """
        return [neuron.plain for neuron in self.sampler.neurons]

    @neurons.setter
    def neurons(self, neurons: Iterable[Any]) -> None:
        self._call(lambda: self._picker.select(None, neurons))

    # ---- kernel and prior ------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """How the chains move. Set it to go on from the present samples with another: ``w.kernel = kernels.GHMC()``."""
        return self.sampler.kernel

    @kernel.setter
    def kernel(self, kernel: Kernel) -> None:
        self._call(lambda: self._law.use_kernel(kernel))

    def use_kernel(self, kernel: Kernel | str) -> None:
        """Go on from the present samples with another kernel; a name, such as "GHMC", as in the panel's box.

        Each kernel's settings are remembered: by its name it comes back as it was used last.

        Raises:
            ValueError, TypeError: as `Sampler.use_kernel`.
        """
        self._call(lambda: self._law.use_kernel(kernel))

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use; None: plain pixels.

        Set it to go on with another: a `Natural`, "natural" (the one used before, or what "auto" would take), "pixels"
        or None, or "auto". Chains go on from their pictures; temperature and step size become what suits them.
        """
        return self.runner.prior

    @prior.setter
    def prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        self._call(lambda: self._law.use_prior(prior))

    @property
    def transforms(self) -> Transforms | None:
        """What the picture goes through before the neuron sees it; given when the widget is made."""
        return self.sampler.transforms

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold and cool: chains leave their mode and settle in another."""
        self._call(lambda: self.runner.heat_pulse(pulse))

    def measure_scales(self) -> None:
        """Measure the frozen gradient scales once more, where the chains are now. RuntimeError if there are none."""
        self._call(lambda: self.runner.measure_scales())

    # ---- running ---------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Is it sampling, or will it once displayed?"""
        return self._top_bar.playing

    def play(self) -> None:
        """Sample until paused."""
        self._require_open()
        self._top_bar.play()

    def pause(self) -> None:
        """Stop; returns when the step in progress is done. The picture is then sent without loss."""
        self._require_open()
        self._top_bar.pause()
        self._loop.pause()

    def step(self, n: int = 1) -> None:
        """Advance n steps and return when they are done. Raises SamplingError as `Sampler.step`."""
        self._call(lambda: self._loop.advance(n))
        self._loop.show()

    def restart(self, seed: int | None = None) -> None:
        """New start images; averages begin anew. seed=None repeats the same noise."""
        self._call(lambda: self._top_bar.restart(seed))

    def reset_average(self) -> None:
        """Forget the average; the chains go on."""
        self._call(self._top_bar.reset_average)

    @property
    def error(self) -> str | None:
        """What stopped the run, or None. Play again after mending the cause."""
        error = self._notices.error
        return None if error is None else error["message"]

    @property
    def stats(self) -> dict[str, Any]:
        """steps_per_second, frames_per_second, bytes_per_frame, round_trip_ms (NaN before the first answer), and
        execution: how the network is run, and why (see `Sampler.execution`)."""
        return {**self._loop.stats, "execution": self.sampler.execution_report}

    def close(self) -> None:
        """Stop the thread, let go of the model and its device, and remove the widget from the page."""
        loop = self.__dict__.get("_loop")
        if loop is not None and not loop.closed and "_sliders" in self.__dict__:
            self._finalizer()
            for part in self._parts:  # now that nothing is run that may need them
                part.close()
            self._running = None
            del loop.sampler
            lifetime.let_go(self)
            give_back()
        super().close()

    # ---- pictures --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Image.Image:
        """What is shown, as a labelled picture."""
        return self._call(self._top_bar.snapshot)

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
        if not 0 < seconds <= recorder.LONGEST:
            raise ValueError(f"seconds must be above 0 and at most {recorder.LONGEST:g}; got {seconds!r}")
        film = self._top_bar.film(max(1, round(seconds * recorder.PER_SECOND)))
        self._loop.pacer.wake(time.monotonic())  # out of a rest
        self._call(lambda: self._loop.observers.append(film))
        try:
            while not film.full.wait(0.05 if self._loop.playing else 0):
                if self.error is not None:
                    raise RuntimeError(f"the run stopped: {self.error}")
                if self._loop.playing:
                    self._loop.pacer.wake(time.monotonic())  # we are looking, even if no page is
                else:
                    film.paced = False
                    self.step(self.steps_per_frame)
        finally:
            self._call(lambda: self._loop.observers.remove(film))
        images.save_gif(film.pages, path, recorder.PER_SECOND)

    def _require_open(self) -> None:
        _ = self.runner
