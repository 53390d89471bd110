"""`Player`: what every widget of ours can be told from Python, whatever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ..core.target import Kernel, Transforms
from ..network.memory import give_back
from ..parametrizations import Natural
from ..pictures import images
from ..sampling.heat import HeatPulse
from . import recording
from .panel import Panel
from .recording import Recorder


class Player(Panel):
    """A panel that is played, paused, stepped, photographed and closed.

    Arguments as of `Panel`.
    """

    # ---- neurons ---------------------------------------------------------------------------------------------------

    @property
    def neurons(self) -> list[int | str]:
        """The neurons on show, ints where they are plain units, as the first model calls them.

        Set it to choose others. Those that stay keep their chains, averages and burn-in; new ones start.
        """
        return [neuron.plain for neuron in self.sampler.neurons]

    @neurons.setter
    def neurons(self, neurons: Iterable[Any]) -> None:
        self._loop.call(lambda: self._select(None, neurons))

    # ---- the kernel ------------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """How the chains move. Set it to go on from the present samples with another: ``w.kernel = kernels.GHMC()``."""
        return self.sampler.kernel

    @kernel.setter
    def kernel(self, kernel: Kernel) -> None:
        self._loop.call(lambda: self._use_kernel(kernel))

    def use_kernel(self, kernel: Kernel | str) -> None:
        """Go on from the present samples with another kernel; a name, such as "GHMC", as in the panel's box.

        Each kernel's settings are remembered: by its name it comes back as it was used last.

        Raises:
            ValueError, TypeError: as `Sampler.use_kernel`.
        """
        self._loop.call(lambda: self._use_kernel(kernel))

    def _use_kernel(self, kernel: Kernel | str) -> None:
        self._runner.use_kernel(kernel)
        self._declare()
        self._anew()

    # ---- the prior -------------------------------------------------------------------------------------------------

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use; None: plain pixels.

        Set it to go on with another: a `Natural`, "natural" (the one used before, or what "auto" would take), "pixels"
        or None, or "auto". Chains go on from their pictures; temperature and step size become what suits them.
        """
        return self._runner.prior

    @prior.setter
    def prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        self._loop.call(lambda: self._use_prior(prior))

    def _use_prior(self, prior: Any) -> None:
        again = isinstance(prior, str) and prior == "natural" and self._natural is not None
        self._runner.use_prior(self._natural if again else prior)
        self._natural = self._runner.prior or self._natural
        self._declare(at_home=False)
        self._anew()

    @property
    def transforms(self) -> Transforms | None:
        """What the picture goes through before the neuron sees it; given when the widget is made."""
        return self.sampler.transforms

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold and cool: chains leave their mode and settle in another."""
        self._loop.call(lambda: self._runner.heat_pulse(pulse))

    def measure_scales(self) -> None:
        """Measure the frozen gradient scales once more, where the chains are now. RuntimeError if there are none."""
        self._loop.call(lambda: self._runner.measure_scales())

    # ---- running ---------------------------------------------------------------------------------------------------

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
        self._loop.show()

    def step(self, n: int = 1) -> None:
        """Advance n steps and return when they are done. Raises SamplingError as `Sampler.step`."""
        self._loop.call(lambda: self._loop.advance(n))
        self._loop.show()

    def restart(self, seed: int | None = None) -> None:
        """New start images; averages begin anew. seed=None repeats the same noise."""

        def restart() -> None:
            self._runner.restart(seed)
            self._anew()

        self._loop.call(restart)

    def reset_average(self) -> None:
        """Forget the average; the chains go on."""

        def reset() -> None:
            self._runner.reset_average()
            self._average_due = 0.0
            if not self._loop.playing:
                self._loop.send_now()

        self._loop.call(reset)

    @property
    def error(self) -> str | None:
        """What stopped the run, or None. Play again after mending the cause."""
        return None if self._fault is None else self._fault["message"]

    @property
    def stats(self) -> dict[str, Any]:
        """steps_per_second, frames_per_second, bytes_per_frame, round_trip_ms (NaN before the first answer), and
        execution: how the network is run, and why (see `Sampler.execution`)."""
        return {**self._loop.stats, "execution": self.sampler.execution_report}

    def close(self) -> None:
        """Stop the thread, let go of the model and its device, and remove the widget from the page."""
        loop = self.__dict__.get("_loop")
        if loop is not None and not loop.closed:
            self._finalizer()
            self._running = None
            del loop.sampler
            give_back()
        super().close()

    # ---- pictures --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Image.Image:
        """What is shown, as a labelled picture."""
        return self._loop.call(self._page)

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
