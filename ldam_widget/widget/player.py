"""`Player`: the Python interface common to our widgets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ..core.target import Kernel
from ..network.memory import give_back
from ..parametrizations import Natural, Transforms
from ..pictures import images
from ..pictures.bundle import read_bundle
from ..sampling.heat import HeatPulse
from ..sampling.starts import Start
from . import lifetime, replay
from .panel import Panel
from .parts import recorder
from .parts.diagnosis import DiagnosisLine
from .parts.display import DisplayChoice
from .parts.law import Law
from .parts.picker import Picker
from .parts.picture import Picture
from .parts.recorder import Recorder
from .replay import MessageLog


class Player(Panel):
    """A panel that can be played, paused, stepped, saved, recorded and closed."""

    _display: DisplayChoice
    _diagnosis: DiagnosisLine
    _law: Law
    _picker: Picker
    _picture: Picture

    # ---- parameters ------------------------------------------------------------------------------------------------

    def set(self, **params: Any) -> None:
        """Change several live parameters at once, all or none. Raises ValueError or TypeError as `Sampler.set`."""
        self._require_open()
        self._sliders.set(params)

    # ---- neurons ---------------------------------------------------------------------------------------------------

    @property
    def neurons(self) -> list[int | str]:
        """The displayed neurons, as ints where they are plain units, named as in the first model.

        Can be set. Neurons that stay keep their chains, averages and burn-in; new ones start.
        """
        return [neuron.plain for neuron in self.sampler.neurons]

    @neurons.setter
    def neurons(self, neurons: Iterable[Any]) -> None:
        self._call(lambda: self._picker.select(None, neurons))

    # ---- kernel and prior ------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """The kernel. Set it to continue from the current samples with another: ``w.kernel = kernels.GHMC()``."""
        return self.sampler.kernel

    @kernel.setter
    def kernel(self, kernel: Kernel) -> None:
        self._call(lambda: self._law.use_kernel(kernel))

    def use_kernel(self, kernel: Kernel | str) -> None:
        """Continue from the current samples with another kernel, or a name such as "GHMC", as in the panel's selector.

        Each kernel's settings are remembered: selected by name, a kernel comes back as last used.

        Raises:
            ValueError, TypeError: as `Sampler.use_kernel`.
        """
        self._call(lambda: self._law.use_kernel(kernel))

    @property
    def prior(self) -> Natural | None:
        """The natural prior in use; None for plain pixels.

        Can be set to a `Natural`, "natural" (the one used before, or what "auto" would choose), "pixels" or None, or
        "auto". Chains continue from their pictures; temperature and step size get the new prior's defaults.
        """
        return self.runner.prior

    @prior.setter
    def prior(self, prior: Natural | Literal["auto", "natural", "pixels"] | None) -> None:
        self._call(lambda: self._law.use_prior(prior))

    @property
    def transforms(self) -> Transforms | None:
        """Transforms applied to the picture before it reaches the neuron; set when the widget is created."""
        return self.sampler.transforms

    def heat_pulse(self, pulse: HeatPulse = HeatPulse()) -> None:  # noqa: B008  (frozen)
        """Raise the temperature, hold and cool: chains leave their mode and settle in another."""
        self._call(lambda: self.runner.heat_pulse(pulse))

    def measure_scales(self) -> None:
        """Measure the frozen gradient scales again, at the chains' present state. RuntimeError if there are none."""
        self._call(lambda: self.runner.measure_scales())

    # ---- what is shown of the pictures -----------------------------------------------------------------------------

    @property
    def contrast(self) -> str:
        """Of the tiles: "as it is", or "stretched", which makes each tile's smallest value black and its largest white.

        Can be set. Stretched tiles show faint pictures, and cannot be compared with each other. `display_scale` and
        `display_base` act on top of it. Files and figures follow.
        """
        return self._display.contrast

    @contrast.setter
    def contrast(self, contrast: str) -> None:
        self._call(lambda: self._display.change_contrast(contrast))

    @property
    def bands(self) -> int | tuple[int, ...]:
        """The channel shown in grey, or the three shown as red, green and blue, counted from 0. Can be set.

        ``w.bands = (3, 2, 1)``; None is the default: all of an RGB image, else the first channel. The `slice` of a
        volume is a live parameter.
        """
        bands = self._display.bands
        return bands[0] if len(bands) == 1 else bands

    @bands.setter
    def bands(self, bands: int | Iterable[int] | None) -> None:
        self._call(lambda: self._display.change_bands(bands))

    @property
    def crop(self) -> bool:
        """Whether tiles show only the receptive fields of their neurons, and what transforms move into them.

        Can be set; None is the default: if the field is at most half as high and as wide as the picture. Always False
        if a neuron sees the whole picture.
        """
        return self._display.cropped

    @crop.setter
    def crop(self, crop: bool | None) -> None:
        self._call(lambda: self._display.change_crop(crop))

    def enlarge(self, neuron: Any, chain: int = 0, model: str | None = None) -> None:
        """Enlarge one tile in the page, as a click on it does.

        Args:
            neuron: one of `neurons`; None: show all tiles again.
            chain: from 0. `chains_shown` is raised to show it.
            model: of a comparison, by name; None: the first.

        Raises:
            ValueError, TypeError: no such neuron among the displayed ones, chain, or model.
        """
        message = self._call(lambda: self._picture.enlargement(neuron, chain, model))
        if neuron is not None and chain >= self.params.get("chains_shown", chain + 1):
            self.set(chains_shown=chain + 1)
        self.post(message)

    # ---- running ---------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether it is sampling, or will start once displayed."""
        return self._top_bar.playing

    def play(self) -> None:
        """Sample until paused."""
        self._require_open()
        self._top_bar.play()

    def pause(self) -> None:
        """Stop; returns when the step in progress is done. The picture is then sent lossless."""
        self._require_open()
        self._top_bar.pause()
        self._loop.pause()

    def step(self, n: int = 1) -> None:
        """Advance n steps and return when they are done. Raises SamplingError as `Sampler.step`."""
        self._call(lambda: self._loop.advance(n))
        self._loop.show()

    def restart(self, seed: int | None = None, start: Start | None = None) -> None:
        """Restart with new start images; averages restart. See `Sampler.restart`."""
        self._call(lambda: self._top_bar.restart(seed, start))

    def reset_average(self) -> None:
        """Discard the average; the chains continue."""
        self._call(self._top_bar.reset_average)

    @property
    def error(self) -> str | None:
        """The error that stopped the run, or None. Fix the cause, then play again."""
        error = self._notices.error
        return None if error is None else error["message"]

    @property
    def stats(self) -> dict[str, Any]:
        """steps_per_second, frames_per_second, bytes_per_frame, round_trip_ms (NaN before the first acknowledgement)
        and execution: how the network is run, and why (see `Sampler.execution`)."""
        return {**self._loop.stats, "execution": self.sampler.execution_report}

    def close(self) -> None:
        """Stop the thread, release the model and its device memory, and remove the widget from the page."""
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
        """The displayed picture with labels."""
        return self._call(self._top_bar.snapshot)

    def save(self, path: str | Path) -> None:
        """Save `snapshot()`; the file extension determines the format."""
        self.snapshot().save(path)

    def record(self, seconds: float, path: str | Path) -> None:
        """Record a GIF of the run, at 12 pictures a second; returns when it is written.

        A paused widget is stepped for the same number of pictures and stays paused.

        Raises:
            ValueError: seconds not in (0, 60].
            RuntimeError: the run stopped with an error.
        """
        film = self._top_bar.film(_pictures_in(seconds))
        self._fill(film)
        images.save_gif(film.pages, path, recorder.PER_SECOND)

    def export_html(self, path: str | Path, seconds: float = 10) -> None:
        """Record the run and save it as a web page that plays without kernel, network or other files.

        The page shows the panel: pictures, averages, trace, and the parameters as they were, at 12 pictures a second.
        A paused widget is stepped for the same number of pictures and stays paused.

        Args:
            path: of the page; an existing file is replaced.
            seconds: of the recording, in (0, 60].

        Raises:
            ValueError: seconds not in (0, 60].
            RuntimeError: the run stopped with an error.
            OSError: the file cannot be written.
        """
        wanted, path = _pictures_in(seconds), Path(path)
        made = not path.exists()
        path.open("ab").close()  # fails now rather than after the recording
        try:
            log = MessageLog(self._setup, self._state, lambda: self._diagnosis.newest, self._stream.complete)
            film = Recorder(log.picture, wanted)
            self._fill(film)
            messages = [message for picture in film.pages for message in picture]
            path.write_text(replay.page(self._title, messages, recorder.PER_SECOND, read_bundle()), encoding="utf-8")
        except BaseException:
            if made:
                path.unlink(missing_ok=True)  # leave no empty page
            raise

    def _fill(self, film: Recorder[Any]) -> None:
        """Run until the recorder has all its pictures."""
        self._loop.pacer.wake(time.monotonic())  # end a rest
        self._call(lambda: self._loop.observers.append(film))
        try:
            while not film.full.is_set():
                if self.error is not None:
                    raise RuntimeError(f"the run stopped: {self.error}")
                film.paced = self._loop.playing
                if film.paced:
                    self._loop.pacer.wake(time.monotonic())  # the recording counts as a viewer, even if no page is open
                    film.full.wait(0.05)
                else:
                    self.step(self.steps_per_frame)
        finally:
            self._call(lambda: self._loop.observers.remove(film))

    def _require_open(self) -> None:
        _ = self.runner


def _pictures_in(seconds: Any) -> int:
    """Number of pictures in a recording. Raises ValueError."""
    number = float(seconds) if isinstance(seconds, Real) else math.nan
    if not 0 < number <= recorder.LONGEST:
        raise ValueError(f"seconds must be above 0 and at most {recorder.LONGEST:g}; got {seconds!r}")
    return max(1, round(number * recorder.PER_SECOND))
