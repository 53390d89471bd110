"""`Workbench`: the toolbox without its public face; a loop that looks at pictures when it is asked to, and messages.

Developer notes. The loop never plays: a picture is looked at when the page sends one, when something is chosen, or when
Python asks. The page sends the camera's pictures only while few are unanswered, and the newest wins; a look is put off
while the page has not painted what it was sent. So a slow network or connection costs pictures and no delay.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import traitlets
from torch import Tensor, nn

from ..core.notes import Notes
from ..data import PictureError, images_of
from ..live.loop import Loop
from ..network.memory import give_back
from ..network.trace import Preprocess, check_shape
from ..sampling.checks import pixel_range as checked_range
from ..toolbox.explorer import Explorer
from . import lifetime
from .base import Base, joined, of
from .idle import Idle
from .kernel import cell_running
from .parts.part import Command, Feature
from .parts.toolbox import screens
from .parts.toolbox.choices import Choices
from .parts.toolbox.sources import Sources
from .protocol import Ack, Bye, Do, Hello, Message, Other, Set, fault, plains

T = TypeVar("T")


class Workbench(Base):
    """The `Bench` of the toolbox's parts. Takes the arguments of `Toolbox`."""

    _kind = traitlets.Unicode("toolbox").tag(sync=True)  # tells the page what to show

    def __init__(
        self,
        model: nn.Module,
        *,
        input_shape: Sequence[int],
        images: Any,
        labels: Sequence[str] | None,
        compare: nn.Module | None,
        preprocess: Preprocess | None,
        pixel_range: tuple[float, float],
        device: torch.device | str | None,
        title: str | None,
    ) -> None:
        shape, (low, high) = check_shape(input_shape), checked_range(pixel_range) or (0.0, 1.0)
        if len(shape) != 3:
            raise ValueError(f"input_shape must be (channels, height, width); got {shape}")
        notes = Notes()
        found = None if images is None else images_of(images, shape, (low, high), notes=notes)
        self._explorer: Explorer | None = Explorer(
            model, shape, preprocess=preprocess, device=device, labels=() if labels is None else labels, other=compare,
            pixel_range=(low, high), notes=notes,
        )  # fmt: skip
        self._title = type(model).__name__ if title is None else str(title)
        self._notes = notes
        self._error: dict[str, str] | None = None
        super().__init__()
        me = weakref.ref(self)
        self._loop = Loop(
            Idle(self._explorer.probe.device),
            publish=lambda seq: of(me, lambda w: w._publish(seq), 0),
            on_fault=lambda error: of(me, lambda w: w.report(error), None),
            cell_running=cell_running(),
        )
        self._lock = threading.Lock()
        self._queued = False  # a look is on the loop's queue
        self._due = False  # a look was put off: the window is full, or nobody sees it
        self._ready: Message | None = None
        self._sources = Sources(self, found, shape, (low, high))
        self._parts: tuple[Feature, ...] = (self._sources, Choices(self, self._set_echo))
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.on_msg(self._receive)

    def close(self) -> None:
        """Stop the thread, forget the model and the pictures, and remove the widget from the page."""
        loop = self.__dict__.get("_loop")
        if loop is not None and not loop.closed and "_finalizer" in self.__dict__:
            self._finalizer()
            self._sources.close()
            self._explorer, self._ready = None, None
            lifetime.let_go(self)
            give_back()
        super().close()

    # ---- the `Bench` of the parts ----------------------------------------------------------------------------------

    @property
    def explorer(self) -> Explorer:
        """What looks at pictures; use it between calls only. RuntimeError if the widget is closed."""
        if self._explorer is None:
            raise RuntimeError("the widget is closed; make a new one")
        return self._explorer

    def look(self) -> None:
        """Show the present picture soon; from any thread. Several requests are one."""
        with self._lock:
            if self._queued:
                return
            self._queued = True
        self._loop.submit(self._look)

    def post_state(self) -> None:
        """Send everything that may have changed."""
        self._connection.post({"kind": "state", **self._connection.echo} | joined(part.state() for part in self._parts))

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        said = None if error is None else fault(error) | {"hint": ""}
        if said == self._error:  # with a camera, the same again at every picture
            return
        self._error = said
        self._connection.post({"kind": "error", "error": self._error})

    # ---- messages from the page, on whatever thread the kernel picked -----------------------------------------------

    def _receive(self, _widget: Any, content: Any, buffers: Any) -> None:
        if self._loop.closed:
            return
        message = self._connection.read(content)
        match message:
            case Ack():
                self._loop.acknowledge(message.seq, message.visible)
                if self._due and message.visible:
                    self.look()
            case Hello():
                lifetime.keep(self)
                self._run(Command(self._greet))
            case Bye():
                if not self._connection.shown:
                    lifetime.let_go(self)
            case Do(action="dismiss_error"):
                self.report(None)
            case Do():
                for part in self._parts:
                    if message.action in part.actions():
                        self._run(Command(part.actions()[message.action]))
            case Other(kind="picture"):
                self._run(self._sources.hear(message.content, buffers or ()))
            case Other():
                for part in self._parts:
                    read = part.messages().get(message.kind)
                    self._run(None if read is None else read(message.content))
            case Set() | None:
                pass

    def _run(self, command: Command | None) -> None:
        """Run on the loop; errors go to the banner, since there is no Python caller to catch them."""
        if command is None:
            return

        def run() -> None:
            try:
                command.run()
            except Exception as error:
                self.report(error)

        self._loop.submit(run)

    def _set_echo(self, view: str, rev: int) -> None:
        self._connection.echo = {"view": view, "rev": rev}

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        """A view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        more = [fields for part in self._parts for fields in (part.setup(), part.state())]
        device = str(self.explorer.probe.device)
        head = {
            "kind": "setup",
            "title": self._title,
            "device": device,
            "notes": list(self._notes),
            "error": self._error,
        }
        self._connection.post(head | self._connection.echo | joined(more))
        self.look()

    def _look(self) -> None:
        """Find out what the present picture does, and send it, unless the page cannot take it now."""
        with self._lock:
            self._queued = False
        if self._explorer is None:
            return
        self._due = True  # first: an answer may come just now
        if not self._connection.seen or not self._loop.pacer.may_send(time.monotonic()):
            return
        self._due = False
        try:
            began = time.perf_counter()
            picture = self._sources.current(self.explorer.choice.fit)
            if picture is None:
                return
            content, buffers = screens.message(self.explorer.look(picture))
            content |= {
                "name": self._sources.name[:200],
                "answers": self._sources.answers,
                "ms": 1e3 * (time.perf_counter() - began),
            }
            self._ready = content, buffers
        except Exception as error:
            if not self._loop.closed:
                self.report(error)
            return
        self._loop.send_now()

    def _publish(self, seq: int) -> int:
        if self._ready is None:
            return 0
        content, buffers = self._ready
        stats = self._loop.stats
        speed = {name: stats[name] for name in ("frames_per_second", "round_trip_ms")}
        self._connection.post(content | {"seq": seq, "stats": plains(speed)}, buffers)
        return sum(map(len, buffers))

    def _picture(self) -> Tensor:
        picture = self._sources.current(self.explorer.choice.fit)
        if picture is None:
            raise PictureError("there is no picture yet: set image, or give one in the page")
        return picture

    # ---- from Python -----------------------------------------------------------------------------------------------

    def _change(self, action: Callable[[], object]) -> None:
        """Change something on the loop; errors are raised here."""
        _ = self.explorer

        def change() -> None:
            action()
            self.report(None)
            self.post_state()

        self._call(change)
        self.look()

    def _call(self, action: Callable[[], T]) -> T:
        return self._loop.call(action)
