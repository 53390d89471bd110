"""`Panel`: what every widget of ours shares, the live parameters and the conversation with the page.

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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
from PIL import Image

from ..core.parameters import GOAL, Parameter
from ..core.schedules import PolynomialDecay
from ..core.target import Kernel
from ..live.loop import Loop
from ..pictures import images
from ..sampling.comparison import Comparison
from ..sampling.defaults import KERNELS
from ..sampling.sampler import Sampler
from . import choices, recording, wire
from .diagnosing import Diagnosis
from .kernel import cell_running, hear_where_asked, keep_hearing, stay_open
from .link import Link
from .recording import Recorder
from .traits import Live, UnknownParameterError, WidgetSettings

STATIC = Path(__file__).parent.parent / "static"
_AVERAGE_PERIOD = 0.2  # seconds: averages change slowly and go at 5 Hz
_GAUGE_PERIOD = 0.25  # seconds: numbers that change faster cannot be read
_OF_PICTURE = {"display_scale", "display_base", "chains_shown"}  # seen at once, also while paused
_SETUP_PERIOD = 1.0  # seconds, while no view can be heard
_VIEWS = 100  # that are remembered; pages that are reloaded for ever do not all say goodbye
_RECORDED_TILE = 56  # pixels: a film of noise grows large


class Panel(anywidget.AnyWidget):
    """A widget around what the loop runs; see `LDAM` and `Compare` for public faces.

    Args:
        runner: a `Sampler`, or a `Comparison` of several; owned from now on.
        play: start when displayed.
        title: heading of figures and name of saved files.
    """

    _esm = STATIC / "widget.js" if (STATIC / "widget.js").exists() else "export default {}"
    _css = STATIC / "widget.css" if (STATIC / "widget.css").exists() else ""

    settings = WidgetSettings()

    def __init__(self, runner: Sampler | Comparison, play: bool, title: str) -> None:
        if not (STATIC / "widget.js").exists():
            raise FileNotFoundError(f"{STATIC / 'widget.js'} is missing: build the front end with `pip install -e .`")
        self._title = title
        self._natural = runner.prior  # the one last used, for a way back from pixels
        self._running: Sampler | Comparison | None = runner
        self._changing = threading.RLock()  # messages may arrive on two threads at once
        self._stating = threading.RLock()  # and states leave from two: an older one must not come last
        self._parameters: tuple[Parameter, ...] = ()
        self._declare()
        self._gen = 0
        self._fault: dict[str, str] | None = None
        self._will_play = bool(play)
        self._recorder: Recorder | None = None
        self._average_due = self._gauges_due = self._setup_due = 0.0
        self._echo = {"view": "", "rev": 0}
        self._quiet = False
        self._is_set = False
        self._context: contextvars.Context | None = None
        self._chosen: wire.Select | None = None  # the last choice of neurons that a page has sent
        self._views: dict[str, float] = {}  # view -> when it was last heard of
        keep_hearing()
        super().__init__()
        hear_where_asked(self.comm)
        stay_open(self.comm, self._forsaken)
        me = weakref.ref(self)
        self._diagnosis = Diagnosis(lambda *verdict: _of(me, lambda w: w._send_diagnosis(*verdict), None))
        self._diagnosis.restart()
        self._loop = Loop(
            runner,
            publish=lambda seq: _of(me, lambda w: w._send_frame(seq), 0),
            on_fault=lambda error: _of(me, lambda w: w._stop_for(error), None),
            cell_running=cell_running(),
            keep=lambda: _of(me, lambda w: w._keep(), None),
        )
        self._link = Link()
        self._light = False  # is the present picture small enough to be sent later too?
        self._settled = self._what_settles()
        self._loop.observers.append(lambda: _of(me, lambda w: w._watch(), None))
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.on_msg(self._receive)

    @property
    def _runner(self) -> Sampler | Comparison:
        if self._running is None:
            raise RuntimeError("the widget is closed; make a new one")
        return self._running

    def _refuse_copy(self, *_: Any) -> Any:
        raise TypeError(
            f"a widget ({type(self).__name__}) cannot be copied or pickled: it is tied to its thread and its page. "
            "Keep w.params and the model, and make another one of them"
        )

    __copy__ = __deepcopy__ = __reduce_ex__ = _refuse_copy

    @property
    def sampler(self) -> Sampler:
        """The sampler. While the widget plays, its thread owns it: read, and `set`, but step through the widget."""
        runner = self._runner
        return runner if isinstance(runner, Sampler) else runner.lead

    # ---- parameters ------------------------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name."""
        now = self._runner.params  # a decaying step size has moved on since it was set
        return {p.name: now[p.name] if p.name in now else getattr(self, p.name) for p in self._parameters}

    def _what_is_set(self) -> dict[str, Any]:
        """In plain data; {} once closed."""
        if self._running is None:
            return {}
        neurons = [neuron.plain for neuron in self.sampler.neurons]
        return {"layer": self.sampler.layer, "neurons": neurons, "params": self.params}

    def set(self, **params: Any) -> None:
        """Change several live parameters at once, all or none. Raises ValueError or TypeError as `Sampler.set`."""
        known = {p.name: p for p in self._parameters}
        for name, value in params.items():
            if name not in known:
                raise self._unknown(name)
            if name.partition("@")[0] != GOAL.name and not isinstance(value, PolynomialDecay):
                known[name].check(value)
        with self._changing:
            self._runner.set(**{name: value for name, value in params.items() if self._of_runner(name)})
            self._is_set = True  # the traits follow what has been set
            try:
                for name, value in params.items():
                    setattr(self, name, value)
            finally:
                self._is_set = False

    def _declare(self, *, at_home: bool = True) -> None:
        """Make traits of the parameters there are now; those that a former kernel had are unknown from now on.

        Args:
            at_home: a reset goes back to where it did; False: to what there is now.
        """
        runner = self._runner
        now = (*runner.parameters, *self._own_parameters())
        params = runner.params
        homes = {p.name: p.default for p in self._parameters} if at_home else {}
        homes = {p.name: homes.get(p.name, params.get(p.name, p.default)) for p in now}
        # what a reset goes back to is what the widget began with: no declaration knows the network
        self._parameters = tuple(p._replace(default=homes[p.name]) for p in now)
        for p in self._parameters:
            value = params.get(p.name, p.default)
            if self.has_trait(p.name):
                self._trait_values[p.name] = value  # past its check, which would fix a step size that is being found
                self.traits()[p.name]._parameter = p
            else:
                self.add_traits(**{p.name: Live(p, value)})
                self.observe(self._on_parameter, names=p.name)

    def _own_parameters(self) -> Iterable[Parameter]:
        """Parameters of the picture that the sampler knows nothing of."""
        return ()

    def _of_runner(self, name: str) -> bool:
        """Does the parameter belong to what is run, rather than to the picture alone?"""
        return name in self._runner.params

    def _present(self, name: str | None) -> float | None:
        """What a parameter stands at, if the sampler knows it."""
        runner = self._running
        if runner is None:
            return None
        if not any(p.name == name for p in self._parameters):
            raise self._unknown(str(name))
        return runner.params.get(str(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and "_finalizer" in self.__dict__:
            retired = isinstance(self.traits().get(name), Live) and not any(p.name == name for p in self._parameters)
            users_own = type(self).__module__.partition(".")[0] != __name__.partition(".")[0]
            if retired or not (hasattr(type(self), name) or users_own):
                raise self._unknown(name)
        super().__setattr__(name, value)

    def _unknown(self, name: str) -> UnknownParameterError:
        known = [p.name for p in self._parameters]
        near = difflib.get_close_matches(name, [*known, "neurons", "layer", "kernel", "prior"], n=2)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        return UnknownParameterError(f"unknown parameter {name!r}{hint}; known are: {', '.join(known)}")

    def _on_parameter(self, change: Any) -> None:
        if not self._quiet:
            self._send_state()
        if not self._loop.playing and change.name.partition("@")[0] in _OF_PICTURE:
            self._loop.show()

    # ---- to the front end ------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._begin()
        return super()._repr_mimebundle_(**kwargs)

    def _begin(self) -> None:
        """Play on display."""
        if self._will_play and not self._loop.closed:
            self._will_play = False
            self._loop.play()

    def _use_kernel(self, kernel: Kernel | str) -> None:
        raise NotImplementedError

    def _use_prior(self, prior: Any) -> None:
        raise NotImplementedError

    def _select(self, layer: Any, neurons: Iterable[Any] | None) -> None:
        """On the loop."""
        self._runner.select(layer, neurons)
        self._anew()

    def _select_newest(self, message: wire.Select) -> None:
        """On the loop: unless other neurons of the same layer, or of another, have been chosen since."""
        newest = self._chosen or message
        if message is newest or message.layer is not None or newest[:2] == (None, None):
            self._select(message.layer, message.neurons)

    def _select_wired(self, class_index: int) -> None:
        found = self.sampler.wired_to(class_index)
        self._runner.select(found.layer, found.neurons, {unit.neuron: unit.label.split(" → ")[1] for unit in found})
        self._anew()

    def _anew(self) -> None:
        """On the loop: chains have started afresh."""
        self._gen += 1
        self._settled = self._what_settles()
        self._diagnosis.restart()
        self._average_due = 0.0
        self._send_setup()
        self._loop.send_now()

    def _send_setup(self) -> None:
        self._post(
            wire.setup(
                self.sampler,
                self._on_panel(),
                self.params,
                gen=self._gen,
                title=self._title,
                playing=self.playing,
                recording=self._recorder is not None,
                error=self._fault,
                choices=list(KERNELS),
                wiring=choices.wiring(self.sampler),
                prior=choices.prior(self.sampler, self._natural),
                **self._setup_extras(),
                **self._extras(),
            )
        )

    def _send_state(self) -> None:
        with self._stating:
            self._post(
                {
                    "kind": "state",
                    **self._echo,
                    "params": self.params,
                    "playing": self.playing,
                    "recording": self._recorder is not None,
                    **self._extras(),
                    **wire.settings(self.sampler),
                }
            )

    def _on_panel(self) -> Iterable[Parameter]:
        """Parameters that have a slider."""
        return self._parameters

    def _setup_extras(self) -> dict[str, Any]:
        """What this kind of widget says in its setup alone."""
        return {}

    def _extras(self) -> dict[str, Any]:
        """What this kind of widget says of its state, in setup and state."""
        return {}

    def _gauges(self) -> dict[str, Any]:
        """On the loop: what is measured, at the pace of reading."""
        runner = self._runner
        samplers = [runner] if isinstance(runner, Sampler) else runner.samplers
        return wire.gauges(self.sampler) | {"standing": wire.standing(samplers)}

    def _encode(self, *, with_average: bool, **more: Any) -> wire.Message:
        """On the loop: the present picture."""
        sampler = self.sampler
        return wire.frame(sampler, sampler.frame(), self._rows(), with_average=with_average, **more)

    def _send_diagnosis(self, level: str, text: str, neurons: list[str]) -> None:
        """On a thread of the diagnosis."""
        labels = [neuron.label for neuron in self.sampler.neurons]
        if len(labels) == len(neurons):  # else others were chosen meanwhile
            lines = [{"label": a, "text": b} for a, b in zip(labels, neurons, strict=True)]
            self._post({"kind": "diagnosis", "level": level, "text": text, "neurons": lines})

    def _watch(self) -> None:
        """On the loop, after every frame: tell what the sampler has settled by itself, and judge the chains."""
        settled = self._what_settles()
        if settled != self._settled:
            self._settled = settled
            self._send_state()
        self._diagnosis.offer(self.sampler.recorded, self.sampler.burn_in_step)

    def _what_settles(self) -> tuple[bool, bool]:
        """What changes without anybody setting it: the end of a warm-up, and of a heat pulse."""
        return self.sampler.warming_up, self.sampler.heating

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
        gauges = {}
        if still or now >= self._gauges_due:
            self._gauges_due = now + _GAUGE_PERIOD
            gauges = self._gauges()
        content, buffers = self._encode(
            with_average=with_average,
            lossless=still,
            raw=self._raw_limit(seq, now),
            gen=self._gen,
            seq=seq,
            stats=wire.stats(self._loop.stats),
            heat=self.sampler.heat,
            **gauges,
        )
        self._light = wire.is_light(content)
        content, buffers = wire.with_earlier((content, buffers), self._loop.earlier)
        self._post(content, buffers)
        return sum(map(len, buffers))

    def _raw_limit(self, seq: int, now: float) -> int:
        """On the loop: bytes a pane up to which it goes uncompressed."""
        large_too = not self._light and self._link.choose(seq, now, self._loop.pacer.answered)
        return wire.MOST_RAW if large_too else wire.RAW_LIMIT

    def _keep(self) -> wire.Message | None:
        """On the loop: a picture that there was no sending, to go with the next one; None where that costs too much."""
        return self._encode(with_average=False, lossless=False) if self._light else None

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
                self._hear_of(message.view)
                self._loop.acknowledge(message.seq, message.visible)
            case wire.Set():
                self._set_from_view(message)
                if message.seq is not None:  # after the change: what was held back is of before
                    self._hear_of(message.view)
                    self._loop.acknowledge(message.seq, visible=True)
            case wire.Do():
                self._do(message.what)
            case wire.Hello():
                self._hear_of(message.view)
                self._begin()
                self._loop.submit(self._greet)
            case wire.Bye():
                self._views.pop(message.view, None)
                # a view that lives acknowledges frames; one whose page was closed said no word
                recently = time.monotonic() - 1.5
                self._views = {view: heard for view, heard in self._views.items() if heard > recently}
                if not self._views:
                    self._loop.leave()
            case wire.Select(wired_to=int(index)):
                self._from_view(lambda: self._select_wired(index))
            case wire.Select(kernel=str(name)):
                self._from_view(lambda: self._use_kernel(name))
            case wire.Select(prior=str(name)):
                self._from_view(lambda: self._use_prior(name))
            case wire.Select():
                self._chosen = message
                self._from_view(lambda: self._select_newest(message))
            case wire.Units():
                self._from_view(lambda: self._post(wire.units(self.sampler, message)))
            case wire.Lock() | wire.Show() | wire.Scrub():
                self._from_view(lambda: self._hear(message), hurry=True)

    def _hear_of(self, view: str) -> None:
        self._views.pop(view, None)
        self._views[view] = time.monotonic()  # at the end: the longest silent one stands first
        if len(self._views) > _VIEWS:
            self._views.pop(next(iter(self._views)), None)

    def _forsaken(self) -> None:
        """The page has thrown its side of us away, and all views with it: rest until it is loaded again."""
        self._views.clear()
        if not self._loop.closed:
            self._loop.leave()

    def _hear(self, message: wire.Lock | wire.Show | wire.Scrub) -> None:
        """On the loop: what only some kinds of widgets understand."""

    def _greet(self) -> None:
        """On the loop: a view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        self._average_due = 0.0
        self._send_setup()
        self._loop.send_now()

    def _set_from_view(self, message: wire.Set) -> None:
        with self._changing:
            self._echo = {"view": message.view, "rev": message.rev}
            self._loop.overtake()
            known = {p.name: p for p in self._parameters}
            try:
                self._quiet = True  # one answer for all of them
                for name, value in message.params.items():
                    if name in known:  # a page of another version may know other sliders
                        try:
                            setattr(self, name, known[name].check(value))
                        except Exception as error:  # out of range; or of an observer of the user's
                            self._report(error)
            finally:
                self._quiet = False
            self._loop.hurry()
            self._send_state()

    def _do(self, what: str) -> None:
        if what == "play":
            self.play()
        elif what == "pause":
            self._will_play = False
            self._loop.playing = False
            self._loop.show()
            self._send_state()
        elif what == "step":
            self._from_view(self._step_from_view)
        elif what == "heat":
            self._from_view(lambda: self._runner.heat_pulse(), hurry=True)
        elif what == "measure_scales":
            self._from_view(lambda: self._runner.measure_scales())
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
        elif what in self._own_deeds():
            self._from_view(self._own_deeds()[what], hurry=True)

    def _own_deeds(self) -> dict[str, Callable[[], object]]:
        """Buttons that only this kind of widget has, and what they do on the loop."""
        return {}

    def _step_from_view(self) -> None:
        self._loop.advance(self.steps_per_frame)
        self._loop.send_now()

    def _from_view(self, command: Any, *, hurry: bool = False) -> None:
        """Run on the loop; a fault goes to the banner, since no Python caller is there to catch it."""

        def run() -> None:
            try:
                command()
            except Exception as error:
                self._report(error)
            if hurry:
                self._loop.hurry()

        self._loop.submit(run)

    def _report(self, error: BaseException) -> None:
        self._fault = wire.fault(error)
        self._send_error()

    def _start_recording(self) -> None:
        if self._recorder is None:
            wanted = round(recording.LONGEST * recording.PER_SECOND)
            self._recorder = Recorder(self._film_page, wanted, lambda: self._loop.submit(self._stop_recording))
            self._loop.observers.append(self._recorder)
        self._send_state()

    def _stop_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._loop.observers.remove(recorder)
            if recorder.pages:
                self._download(images.gif_bytes(recorder.pages, recording.PER_SECOND), "gif")
            else:
                hint = "Only pictures that are made while it records are in a recording: play, or step."
                self._fault = {"message": "nothing was recorded, since no picture was made", "hint": hint}
                self._send_error()
        self._send_state()

    def _download(self, data: bytes, ending: str) -> None:
        name = "".join(c if c.isalnum() else "-" for c in f"{self._title}-{self.sampler.layer}")[:80]
        filename = f"{name}-step-{self.sampler.steps}.{ending}"
        self._post({"kind": "download", "filename": filename, "mime": f"image/{ending}"}, [data])

    def _require_open(self) -> None:
        _ = self._runner

    # ---- the picture -----------------------------------------------------------------------------------------------

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
        return 1


def _of(reference: Any, use: Any, otherwise: Any) -> Any:
    """Use the widget if it is still there: the loop must not keep it alive."""
    widget = reference()
    return otherwise if widget is None else use(widget)
