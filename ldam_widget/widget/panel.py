"""`Panel`: the common base of our widgets, with a loop, a connection, and parts.

Developer notes. Messages from the front end arrive on whatever thread the kernel picks (the main one or a subshell's),
so `_receive` puts work on the loop and returns. The loop's thread sends messages and never sets a trait. Live
parameters are not synchronised traits: they travel in our own messages, which cost less, carry a revision so that a
slider can ignore its own echo, and keep working while trait sync is stuck behind a running cell.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import traitlets
from PIL import Image

from ..core.schedules import PolynomialDecay
from ..live.loop import Loop
from ..sampling.comparison import Comparison
from ..sampling.sampler import Sampler
from . import lifetime
from .base import Base, joined, of
from .kernel import cell_running
from .parts.notices import Notices
from .parts.part import Command, Part
from .parts.picture import Picture
from .parts.saved import TILE
from .parts.sliders import Sliders
from .parts.top_bar import TopBar
from .protocol import Ack, Bye, Do, Hello, Other, Set, fault
from .stream import Stream
from .traits import WidgetSettings

T = TypeVar("T")


class Panel(Base):
    """A widget around the loop's runner; `LDAM` and `Compare` are its public subclasses. The `Host` of its parts.

    Args:
        runner: a `Sampler`, or a `Comparison` of several; owned by the widget from now on.
        title: heading of figures and name of saved files.
    """

    _INSTEAD = 'w.export_html("run.html") and w.snapshot() save what it would show'
    settings = WidgetSettings()
    _sliders: Sliders
    _held: dict[str, tuple[Any, Any]] | None = None  # what observers of live parameters have not been told yet

    def __init__(self, runner: Sampler | Comparison, title: str) -> None:
        self._title = title
        self._running: Sampler | Comparison | None = runner
        self._changing = threading.RLock()  # messages may arrive on two threads at once
        self._stating = threading.RLock()  # two threads send states: an older one must not arrive last
        self._gen = 0  # generation of panes: a new one invalidates earlier panes
        super().__init__()
        me = weakref.ref(self)
        self._loop = Loop(
            runner,
            publish=lambda seq: of(me, lambda w: w._stream.send(seq, w._gen), 0),
            on_fault=lambda error: of(me, lambda w: w._on_fault(error), None),
            cell_running=cell_running(),
            keep=lambda: of(me, lambda w: w._stream.keep(), None),
        )

    def _assemble(
        self, sliders: Sliders, picture: Picture, top_bar: TopBar, notices: Notices, others: Sequence[Part]
    ) -> None:
        """Set the parts, and start listening."""
        self._top_bar, self._notices = top_bar, notices
        self._draw = picture.page
        self._save_pictures()
        self._parts: tuple[Part, ...] = (sliders, picture, top_bar, notices, *others)
        self._stream = Stream(self, picture, lambda: self._parts)
        me = weakref.ref(self)
        self._loop.observers.append(lambda: of(me, lambda w: w._on_frame(), None))
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self._sliders = sliders
        self.on_msg(self._receive)

    def _add(self, part: Part) -> None:
        """Add a part: before the widget is shown, if it has a counterpart there."""
        self._parts += (part,)

    def _remove(self, part: Part) -> None:
        self._parts = tuple(each for each in self._parts if each is not part)

    # ---- the `Host` of the parts -----------------------------------------------------------------------------------

    @property
    def runner(self) -> Sampler | Comparison:
        """The sampler, or the comparison of several. RuntimeError if the widget is closed."""
        if self._running is None:
            raise RuntimeError("the widget is closed; make a new one")
        return self._running

    @property
    def sampler(self) -> Sampler:
        """The sampler. While the widget plays, its thread owns it: read it and call `set`, but step via the widget."""
        runner = self.runner
        return runner if isinstance(runner, Sampler) else runner.lead

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name; those with a separate value per model are "step_size@0", "step_size@1", …."""
        _ = self.runner
        return self._sliders.params

    def _what_is_set(self) -> dict[str, Any]:
        """Layer, neurons and parameters as plain data; {} before assembly and after closing."""
        if self._running is None or "_sliders" not in self.__dict__:
            return {}
        neurons = [neuron.plain for neuron in self.sampler.neurons]
        return {"layer": self.sampler.layer, "neurons": neurons, "params": self.params}

    @property
    def loop(self) -> Loop:
        """The loop that runs the sampler."""
        return self._loop

    @property
    def title(self) -> str:
        """Heading of figures and name of saved files."""
        return self._title

    @property
    def seen(self) -> bool:
        """Whether a page has a view."""
        return self._connection.seen

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        self._connection.post(content, buffers)

    def _setup(self) -> dict[str, Any]:
        """Everything that the page builds its panel from."""
        more = [fields for part in self._parts for fields in (part.setup(), part.state())]
        return {"kind": "setup", "gen": self._gen, "title": self._title} | joined(more)

    def _state(self) -> dict[str, Any]:
        """Everything that may have changed."""
        return {"kind": "state", **self._connection.echo} | joined(part.state() for part in self._parts)

    def post_setup(self) -> None:
        """Send everything that the page builds its panel from."""
        self.post(self._setup())

    def post_state(self) -> None:
        """Send everything that may have changed."""
        with self._stating:
            self.post(self._state())

    def refresh(self) -> None:
        """On the loop: include averages and gauges in the next frame; while paused, send it now."""
        self._stream.refresh()
        self.show_still()

    def show_still(self) -> None:
        """On the loop: while paused, send the picture again."""
        if not self._loop.playing:
            self._loop.send_now()

    def begin_anew(self) -> None:
        """On the loop: start over with other chains or other panes."""
        self._gen += 1
        for part in self._parts:
            part.on_new_chains()
        self._stream.refresh()
        self.post_setup()
        self._loop.send_now()

    def redeclare(self, *, keep_defaults: bool = True) -> None:
        """The live parameters have changed; see `Sliders.declare`."""
        self._sliders.declare(keep_defaults=keep_defaults)

    def warn(self, message: str, hint: str) -> None:
        """Show a warning in the banner, with a hint on what to do."""
        self._notices.show({"message": message, "hint": hint})

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        self._notices.show(None if error is None else fault(error))

    # ---- live parameters as attributes -----------------------------------------------------------------------------

    if TYPE_CHECKING:  # for completion in editors; which of them exist depends on kernel, prior and terms
        step_size: float | PolynomialDecay
        temperature: float
        goal: float | str | None
        natural: float
        prior_scale: float
        noise: float
        momentum: float
        friction: float
        learning_rate: float
        progress: float
        late_progress: float
        decay: float
        blur_width: float
        blur_every: int
        norm_percentile: float
        contribution_percentile: float
        heat: float
        interpolation: float
        l2: float
        discriminator: float
        total_variation: float
        batch_statistics: float
        denoiser: float
        average: float
        steps_per_frame: int
        display_scale: float
        display_base: float
        chains_shown: int
        slice: int
    else:

        def __getattr__(self, name: str) -> Any:
            sliders = self.__dict__.get("_sliders")
            if sliders is not None and name in sliders:
                return sliders.get(name)
            if sliders is not None and sliders.was(name):
                raise sliders.unknown(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        sliders = self.__dict__.get("_sliders")
        if sliders is not None and name in sliders:
            sliders.set({name: value})
            return
        if sliders is not None and not name.startswith("_"):
            users_own = type(self).__module__.partition(".")[0] != __name__.partition(".")[0]
            if sliders.was(name) or not (hasattr(type(self), name) or users_own):
                raise sliders.unknown(name)
        super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(name for name in self.__dict__.get("_sliders", ()) if name.isidentifier())]

    def traits(self, **metadata: Any) -> dict[str, traitlets.TraitType[Any, Any]]:
        """Overrides `HasTraits`: includes live parameters, so that they can be linked to other widgets."""
        sliders = () if metadata else self.__dict__.get("_sliders", ())
        declared: dict[str, traitlets.TraitType[Any, Any]] = super().traits(**metadata)
        return declared | {name: traitlets.Any(help=sliders[name].help) for name in sliders}

    def has_trait(self, name: str) -> bool:
        """Of `HasTraits`; live parameters are among them."""
        return super().has_trait(name) or name in self.__dict__.get("_sliders", ())

    def set_trait(self, name: str, value: Any) -> None:
        """Of `HasTraits`; of a live parameter, as setting the attribute."""
        if name in self.__dict__.get("_sliders", ()):
            setattr(self, name, value)
        else:
            super().set_trait(name, value)

    @contextlib.contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Of `HasTraits`; those who observe a live parameter are told at the end, once each."""
        if self._held is not None:
            yield
            return
        held: dict[str, tuple[Any, Any]] = {}
        self._held = held
        try:
            with super().hold_trait_notifications():
                yield
        finally:
            self._held = None
            for name, (old, new) in held.items():
                self._notify(name, old, new)

    def _notify(self, name: str, old: Any, new: Any) -> None:
        """Notify observers of a live parameter, as for any trait."""
        held = self._held
        if held is None:
            self._notify_trait(name, old, new)
        else:
            held[name] = held.get(name, (old, new))[0], new

    # ---- messages from the front end -------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        self._top_bar.begin()
        return bundle

    @property
    def _pictured(self) -> bool:
        return self.runner.steps > 0

    def _still(self) -> Image.Image | None:
        return self._draw(TILE)

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Handle a message, on whatever thread the kernel picked."""
        if self._loop.closed:
            return
        message = self._connection.read(content)
        match message:
            case Ack():
                self._loop.acknowledge(message.seq, message.visible)
            case Set():
                self._set_from_page(message)
            case Do():
                self._act(message.action)
            case Hello():
                lifetime.keep(self)
                self._top_bar.begin()
                self._run(Command(lambda: self._greet(message.hides), hurry=False))
            case Bye():
                if not self.seen:
                    self._loop.leave()
                if not self._connection.shown:
                    lifetime.let_go(self)
            case Other():
                self._dispatch(message)

    def _set_from_page(self, message: Set) -> None:
        with self._changing:
            self._connection.echo = {"view": message.view, "rev": message.rev}
            self._loop.overtake()
            self._sliders.set_from_page(message.params)
            self._loop.hurry()
            self.post_state()
        if message.seq is not None:  # after the change: a frame that was held back shows the previous state
            self._loop.acknowledge(message.seq, visible=True)

    def _act(self, name: str) -> None:
        for part in self._parts:
            immediate, actions = part.immediate_actions(), part.actions()
            if name in immediate:
                immediate[name]()
            elif name in actions:
                self._run(Command(actions[name]))

    def _dispatch(self, message: Other) -> None:
        for part in self._parts:
            read = part.messages().get(message.kind)
            command = None if read is None else read(message.content)
            if command is not None:
                self._run(command)

    def _run(self, command: Command) -> None:
        """Run on the loop; errors go to the banner, since there is no Python caller to catch them."""

        def run() -> None:
            try:
                command.run()
            except Exception as error:
                self.report(error)
            if command.hurry:
                self._loop.hurry()

        self._loop.submit(run)

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _greet(self, hides: bool) -> None:
        """A view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        self._stream.refresh()
        self.post_setup()
        self._loop.send_now()
        for part in self._parts:
            part.on_greeting()
        self._saved.greeted(hides)

    def _on_frame(self) -> None:
        for part in self._parts:
            part.on_frame()
        self._saved.when_due()

    def _on_fault(self, error: BaseException) -> None:
        """The run has stopped with an error."""
        self.report(error)
        self.post_state()

    def _call(self, action: Callable[[], T]) -> T:
        """Run on the loop and wait for the result. RuntimeError if the widget is closed."""
        return self._loop.call(action)
