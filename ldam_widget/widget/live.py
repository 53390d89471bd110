"""`LDAM`: the live widget.

Developer notes. Messages of the front end arrive on whatever thread the kernel picks (the main one, or a subshell's);
`_receive` therefore puts work on the loop and returns. The loop's thread sends and never sets a trait. Live parameters
are traits that are not synchronised: they travel by our own messages, which cost less, carry a revision so that a
slider can ignore its own echo, and go on working where trait sync is stuck behind a running cell.
"""

from __future__ import annotations

import contextvars
import difflib
import threading
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from .. import figures, images
from ..loop import Loop
from ..parameters import Parameter
from ..sampler import Sampler
from ..schedules import PolynomialDecay
from . import wire
from .kernel import cell_running, keep_hearing

_STATIC = Path(__file__).parent.parent / "static"
_AVERAGE_PERIOD = 0.2  # seconds: averages change slowly and go at 5 Hz
_SETUP_PERIOD = 1.0  # seconds, while no view can be heard
_RECORDED_PER_SECOND = 12
_RECORDED_TILE = 56  # pixels: a film of noise grows large
_LONGEST_RECORDING = 60.0  # seconds


class UnknownParameterError(AttributeError, ValueError):
    """An attribute was set that the widget does not have."""


class _Live(traitlets.TraitType[Any, Any]):
    """A live parameter as a trait that checks like the parameter itself."""

    def __init__(self, parameter: Parameter, value: float) -> None:
        self._parameter = parameter
        super().__init__(default_value=value, help=parameter.help)

    def validate(self, obj: Any, value: Any) -> float:
        with obj._changing:  # two threads that set different parameters must not lose either
            if self.name == "step_size" and isinstance(value, PolynomialDecay):
                obj.sampler.set(step_size=value)
                return value.at(obj.sampler.steps)
            number = self._parameter.check(value)
            if self.name is not None and self.name in obj.sampler.params:
                # here and not in an observer: a number also replaces a schedule that happens to stand at this number
                obj.sampler.set(**{self.name: number})
            return number


class LDAM(anywidget.AnyWidget):
    """A live picture of the images that neurons like, with sliders for everything.

    Takes the arguments of `Sampler`, and:

    Args:
        model: any `nn.Module`; comes back untouched.
        play: start sampling when displayed.
        title: heading of figures and name of saved files; the model's class name by default.

    Every live parameter is an attribute that follows its slider and moves it: ``w.temperature = 3``. Parameters can be
    observed like any trait. The sampler runs on a thread of its own while the widget is looked at.

    Raises:
        ValueError, TypeError: as `Sampler`.
        FileNotFoundError: the front end was not built (only in a source tree).
    """

    _esm = _STATIC / "widget.js" if (_STATIC / "widget.js").exists() else "export default {}"
    _css = _STATIC / "widget.css" if (_STATIC / "widget.css").exists() else ""

    def __init__(self, model: nn.Module, *, play: bool = True, title: str | None = None, **sampler: Any) -> None:
        if not (_STATIC / "widget.js").exists():
            raise FileNotFoundError(f"{_STATIC / 'widget.js'} is missing: build the front end with `pip install -e .`")
        built = Sampler(model, **sampler)
        self._title = type(model).__name__ if title is None else str(title)
        self._sampler: Sampler | None = built
        self._parameters: tuple[Parameter, ...] = built.parameters
        if built.chains > 1:
            rows = Parameter(
                "chains_shown", 1, built.chains, min(built.chains, 4), "Chains on show, one a row.",
                group="picture", integer=True,
            )  # fmt: skip
            self._parameters = (*self._parameters, rows)
        values = {p.name: built.params.get(p.name, p.default) for p in self._parameters}
        self.add_traits(**{p.name: _Live(p, values[p.name]) for p in self._parameters})
        self._gen = 0
        self._fault: dict[str, str] | None = None
        self._will_play = bool(play)
        self._recorder: _Recorder | None = None
        self._average_due = self._setup_due = 0.0
        self._echo = {"view": "", "rev": 0}
        self._changing = threading.RLock()  # messages may arrive on two threads at once
        self._quiet = False
        self._context: contextvars.Context | None = None
        self._views: dict[str, float] = {}  # view -> when it was last heard of
        keep_hearing()
        super().__init__()
        me = weakref.ref(self)
        self._loop = Loop(
            built,
            publish=lambda seq: _of(me, lambda w: w._send_frame(seq), 0),
            on_fault=lambda error: _of(me, lambda w: w._stop_for(error), None),
            cell_running=cell_running(),
        )
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.observe(self._on_parameter, names=[p.name for p in self._parameters])
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        if self._sampler is None:
            return "LDAM(closed)"
        return f"LDAM({self._title}, layer {self.layer}, {len(self.neurons)} neurons)"

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name."""
        now = self.sampler.params  # a decaying step size has moved on since it was set
        return {p.name: now.get(p.name, getattr(self, p.name)) for p in self._parameters}

    def set(self, **params: Any) -> None:
        """Change several live parameters at once, all or none. Raises ValueError or TypeError as `Sampler.set`."""
        known = {p.name: p for p in self._parameters}
        for name, value in params.items():
            if name not in known:
                raise self._unknown(name)
            if not isinstance(value, PolynomialDecay):
                known[name].check(value)
        for name, value in params.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name) and "_finalizer" in self.__dict__:
            raise self._unknown(name)
        super().__setattr__(name, value)

    def _unknown(self, name: str) -> UnknownParameterError:
        known = [p.name for p in self._parameters]
        near = difflib.get_close_matches(name, [*known, "neurons", "layer"], n=2)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        return UnknownParameterError(f"unknown parameter {name!r}{hint}; known are: {', '.join(known)}")

    def _on_parameter(self, change: Any) -> None:
        if not self._quiet:
            self._send_state()
        if not self._loop.playing and change.name in {"display_scale", "display_base", "chains_shown"}:
            self._loop.submit(self._loop.send_now)

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
        if not 0 < seconds <= _LONGEST_RECORDING:
            raise ValueError(f"seconds must be above 0 and at most {_LONGEST_RECORDING:g}; got {seconds!r}")
        wanted = max(1, round(seconds * _RECORDED_PER_SECOND))
        recorder = _Recorder(self._film_page, wanted)
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
        images.save_gif(recorder.pages, path, _RECORDED_PER_SECOND)

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

    def _film_page(self) -> Image.Image:
        return self._page(tile=_RECORDED_TILE)

    def _page(self, tile: int = 84) -> Image.Image:
        sampler = self.sampler
        return images.page(
            sampler.frame(),
            [n.label for n in sampler.neurons],
            len(sampler.input_shape),
            sampler.pixel_range,
            self._rows(),
            tile,
        )

    def _rows(self) -> int:
        return int(self.chains_shown) if self.sampler.chains > 1 else 1

    # ---- to the front end ------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._begin()
        return super()._repr_mimebundle_(**kwargs)

    def _begin(self) -> None:
        """Play on display."""
        if self._will_play and not self._loop.closed:
            self._will_play = False
            self._loop.play()

    def _anew(self) -> None:
        """On the loop: chains have started afresh."""
        self._gen += 1
        self._average_due = 0.0
        self._send_setup()
        self._loop.send_now()

    def _send_setup(self) -> None:
        self._post(
            wire.setup(
                self.sampler,
                self._parameters,
                self.params,
                gen=self._gen,
                title=self._title,
                playing=self.playing,
                recording=self._recorder is not None,
                error=self._fault,
            )
        )

    def _send_state(self) -> None:
        self._post(
            {
                "kind": "state",
                **self._echo,
                "params": self.params,
                "playing": self.playing,
                "recording": self._recorder is not None,
                "kernel_note": self.sampler.kernel_note,
            }
        )

    def _send_error(self) -> None:
        self._post({"kind": "error", "error": self._fault})

    def _send_frame(self, seq: int) -> int:
        """On the loop: encode and send the present picture; returns its size in bytes."""
        now = time.monotonic()
        if seq - self._loop.pacer.acknowledged > self._loop.pacer.WINDOW and now >= self._setup_due:
            # A view may have appeared while a cell keeps the kernel from hearing it; it cannot draw without this.
            self._setup_due = now + _SETUP_PERIOD
            self._send_setup()
        still = not self._loop.playing
        with_average = still or now >= self._average_due
        if with_average:
            self._average_due = now + _AVERAGE_PERIOD
        sampler = self.sampler
        content, buffers = wire.frame(
            sampler,
            sampler.frame(),
            self._rows(),
            with_average=with_average,
            lossless=still,
            gen=self._gen,
            seq=seq,
            stats=wire.stats(self._loop.stats),
        )
        self._post(content, buffers)
        return sum(map(len, buffers))

    def _stop_for(self, error: BaseException) -> None:
        """On the loop: the run stopped."""
        self._fault = wire.fault(error)
        self._send_error()
        self._send_state()

    def _post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send from any thread.

        Sending in the context of the last message received lets ipykernel 7.4 answer on the subshell that the front
        end uses, so that controls work while a cell runs. Nothing else depends on it.
        """
        context = self._context
        if context is None:
            self.send(content, buffers)
        else:
            context.copy().run(self.send, content, buffers)

    # ---- from the front end ----------------------------------------------------------------------------------------

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """A message, on whatever thread the kernel picked."""
        message = wire.parse(content)
        if message is None or self._loop.closed:
            return
        self._context = contextvars.copy_context()
        match message:
            case wire.Ack():
                self._views[message.view] = time.monotonic()
                self._loop.acknowledge(message.seq, message.visible)
            case wire.Set():
                self._set_from_view(message)
            case wire.Do():
                self._do(message.what)
            case wire.Hello():
                self._views[message.view] = time.monotonic()
                self._begin()
                self._loop.submit(self._greet)
            case wire.Bye():
                self._views.pop(message.view, None)
                # a view that lives acknowledges frames; one whose page was closed said no word
                recently = time.monotonic() - 1.5
                self._views = {view: heard for view, heard in self._views.items() if heard > recently}
                if not self._views:
                    self._loop.leave()
            case wire.Select():
                self._from_view(lambda: self._select(message.layer, message.neurons))
            case wire.Units():
                self._from_view(lambda: self._post(wire.units(self.sampler, message)))

    def _greet(self) -> None:
        """On the loop: a view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        self._average_due = 0.0
        self._send_setup()
        self._loop.send_now()

    def _set_from_view(self, message: wire.Set) -> None:
        with self._changing:
            self._echo = {"view": message.view, "rev": message.rev}
            self._quiet = True  # one answer for all of them
            known = {p.name: p for p in self._parameters}
            try:
                for name, value in message.params.items():
                    if name in known:  # a page of another version may know other sliders
                        try:
                            setattr(self, name, known[name].check(value))
                        except (ValueError, TypeError, OverflowError) as error:
                            self._report(error)
            finally:
                self._quiet = False
            self._send_state()

    def _do(self, what: str) -> None:
        if what == "play":
            self.play()
        elif what == "pause":
            self._will_play = False
            self._loop.playing = False
            self._loop.submit(self._loop.send_now)
            self._send_state()
        elif what == "step":
            self._from_view(self._step_from_view)
        elif what in {"restart", "reset_average"}:
            self._from_view(self.restart if what == "restart" else self.reset_average)
        elif what == "snapshot":
            self._from_view(lambda: self._download(images.encode_page(self._page(), "png"), "png"))
        elif what == "record":
            self._from_view(self._start_recording)
        elif what == "stop_record":
            self._from_view(self._stop_recording)
        elif what == "dismiss_error":
            self._fault = None
            self._send_error()

    def _step_from_view(self) -> None:
        self._loop.advance(self.steps_per_frame)
        self._loop.send_now()

    def _from_view(self, command: Any) -> None:
        """Run on the loop; a fault goes to the banner, since no Python caller is there to catch it."""

        def run() -> None:
            try:
                command()
            except Exception as error:
                self._report(error)

        self._loop.submit(run)

    def _report(self, error: Exception) -> None:
        self._fault = wire.fault(error)
        self._send_error()

    def _start_recording(self) -> None:
        if self._recorder is None:
            self._recorder = _Recorder(self._film_page, round(_LONGEST_RECORDING * _RECORDED_PER_SECOND))
            self._loop.observers.append(self._recorder)
        self._send_state()

    def _stop_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._loop.observers.remove(recorder)
            if recorder.pages:
                self._download(images.gif_bytes(recorder.pages, _RECORDED_PER_SECOND), "gif")
        self._send_state()

    def _download(self, data: bytes, ending: str) -> None:
        name = "".join(c if c.isalnum() else "-" for c in f"{self._title}-{self.sampler.layer}")[:80]
        filename = f"{name}-step-{self.sampler.steps}.{ending}"
        self._post({"kind": "download", "filename": filename, "mime": f"image/{ending}"}, [data])

    def _require_open(self) -> None:
        _ = self.sampler


class _Recorder:
    """Collects pictures of the run, called on the loop's thread after every frame."""

    def __init__(self, page: Any, wanted: int) -> None:
        self.pages: list[Image.Image] = []
        self.full = threading.Event()
        self.paced = True  # one picture each twelfth of a second; else every frame
        self._page, self._wanted, self._due = page, wanted, 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if self.full.is_set() or (self.paced and now < self._due):
            return
        self._due = max(self._due + 1 / _RECORDED_PER_SECOND, now)
        self.pages.append(self._page())
        if len(self.pages) >= self._wanted:
            self.full.set()


def _of(reference: Any, use: Any, otherwise: Any) -> Any:
    """Use the widget if it is still there: the loop must not keep it alive."""
    widget = reference()
    return otherwise if widget is None else use(widget)
