"""`Tool`: what the toolbox and the map have in common, widgets that play nothing and answer messages."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from ..core.notes import Notes
from ..live.loop import Loop
from ..network.memory import give_back
from . import lifetime
from .base import Base, of
from .idle import Idle
from .kernel import cell_running
from .parts.part import Action, Command, Feature
from .protocol import Ack, Bye, Do, Hello, Other, Set, fault

T = TypeVar("T")


class Tool(Base):
    """A widget of parts whose loop works only when it is asked to. Subclasses call `_open` once they are complete.

    Args:
        title: heading.
        notes: for the user.
        device: of the network that it uses.
    """

    _parts: tuple[Feature, ...] = ()

    def __init__(self, title: str, notes: Notes, device: torch.device) -> None:
        self._title, self._notes = title, notes
        self._error: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._queued = False  # `_turn` is on the loop's queue
        super().__init__()
        me = weakref.ref(self)
        self._loop = Loop(
            Idle(device),
            publish=lambda seq: of(me, lambda w: w._send_frame(seq), 0),
            on_fault=lambda error: of(me, lambda w: w.report(error), None),
            cell_running=cell_running(),
        )

    def _open(self) -> None:
        """Listen to pages."""
        self._save_pictures()
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.on_msg(self._receive)

    def close(self) -> None:
        """Stop the thread, forget what is shown, and remove the widget from the page."""
        if "_finalizer" in self.__dict__ and not self._loop.closed:
            self._before_closing()
            self._finalizer()
            self._forget()
            lifetime.let_go(self)
            give_back()
        super().close()

    def _before_closing(self) -> None:
        """End what keeps the loop's thread busy."""

    def _forget(self) -> None:
        """Drop references to models and pictures; the loop has ended."""

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        said = None if error is None else fault(error) | {"hint": ""}
        if said != self._error:  # with a camera, the same again at every picture
            self._error = said
            self._connection.post({"kind": "error", "error": said})

    def retract(self, error: BaseException) -> None:
        """Remove the banner if it shows this error."""
        if self._error == fault(error) | {"hint": ""}:
            self.report(None)

    # ---- messages from the page, on whatever thread the kernel picked ----------------------------------------------

    def _receive(self, _widget: Any, content: Any, buffers: Any) -> None:
        if self._loop.closed:
            return
        message = self._connection.read(content)
        match message:
            case Ack():
                self._loop.acknowledge(message.seq, message.visible)
                if message.visible and self._due:
                    self._request_turn()
            case Hello():
                lifetime.keep(self)
                self._run(Command(lambda: self._welcome(message.hides)))
            case Bye():
                if not self._connection.shown:
                    lifetime.let_go(self)
            case Do(action="dismiss_error"):
                self.report(None)
            case Do():
                self._act(message.action)
            case Other():
                self._hear(message, buffers or ())
            case Set() | None:
                pass

    def _act(self, action: str) -> None:
        """A button was pressed."""
        for actions in (self._actions(), *(part.actions() for part in self._parts)):
            if action in actions:
                self._run(Command(actions[action]))

    def _actions(self) -> Mapping[str, Action]:
        """Buttons of the widget itself."""
        return {}

    def _hear(self, message: Other, buffers: Sequence[Any]) -> None:
        """A message of the parts."""
        for part in self._parts:
            read = part.messages().get(message.kind)
            self._run(None if read is None else read(message.content))

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

    def _request_turn(self) -> None:
        """Have `_turn` run soon; from any thread. Several requests are one."""
        with self._lock:
            if self._queued:
                return
            self._queued = True
        self._loop.submit(self._take_turn)

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        with self._lock:
            self._queued = False
        self._turn()

    @property
    def _due(self) -> bool:
        """Whether something waits to be sent: the window was full, or nobody saw it."""
        raise NotImplementedError

    def _turn(self) -> None:
        """Send what is due, unless the page cannot take it now."""
        raise NotImplementedError

    def _welcome(self, hides: bool) -> None:
        self._greet()
        self._saved.greeted(hides)

    def _greet(self) -> None:
        """A view has appeared."""
        raise NotImplementedError

    def _send_frame(self, seq: int) -> int:
        size = self._publish(seq)
        self._saved.when_due()
        return size

    def _publish(self, seq: int) -> int:
        """Send a frame; returns its bytes."""
        raise NotImplementedError

    def _call(self, action: Callable[[], T]) -> T:
        """Run on the loop, for Python; errors are raised here."""
        return self._loop.call(action)
