"""`MapView`: the map without its public face; a loop that answers messages and advances embeddings.

Developer notes. Positions and chains travel in frames: whoever has something new calls `offer`, and a frame with all
that is due is sent once the page can take it (`Pacer`). So a slow page gets fewer positions, and the newest. Work that
takes long, such as t-SNE, is a generator given to `start`; the loop advances it between messages.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
import traitlets

from ..core.notes import Notes
from ..live.loop import Loop
from ..network.memory import give_back
from . import lifetime
from .base import Base, joined, of
from .idle import Idle
from .kernel import cell_running
from .parts.part import Action, Command, Feature
from .parts.scatter.chains import ChainOverlay
from .parts.scatter.colours import ColourChoice
from .parts.scatter.positions import Positions
from .parts.scatter.selecting import PointIndices, of_bits, to_bits
from .parts.scatter.thumbnails import Thumbnails
from .protocol import Ack, Bye, Do, Hello, Other, Set, fault, integer, text

T = TypeVar("T")


class MapView(Base):
    """The `Plot` of the map's parts.

    Args:
        positions, colours, pictures: the parts.
        title: heading.
        notes: for the user.
        follows: whether there is a sampler that can start from the selection.
    """

    _kind = traitlets.Unicode("scatter").tag(sync=True)  # tells the page what to show
    selection = PointIndices()

    def __init__(
        self,
        positions: Positions,
        colours: ColourChoice,
        pictures: Thumbnails,
        *,
        title: str,
        notes: Notes,
        follows: bool,
    ) -> None:
        self.count = len(positions.points)
        self._title, self._notes, self._follows = title, notes, follows
        self._error: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._queued = False  # an offer is on the loop's queue
        self._jobs: deque[Iterator[None]] = deque()
        self._selected_by = ("", 0)
        super().__init__()
        me = weakref.ref(self)
        self._loop = Loop(
            Idle(torch.device("cpu")),
            publish=lambda seq: of(me, lambda w: w._publish(seq), 0),
            on_fault=lambda error: of(me, lambda w: w.report(error), None),
            cell_running=cell_running(),
        )
        self._positions, self._colours, self._pictures, self._chains = positions, colours, pictures, ChainOverlay()
        self._parts: tuple[Feature, ...] = (positions, colours, pictures, self._chains)
        for part in (positions, colours, pictures, self._chains):
            part.plot = self
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.on_msg(self._receive)
        self.observe(lambda _: of(me, lambda w: w._post_selection(), None), "selection")

    def close(self) -> None:
        """Stop the thread, forget points and pictures, and remove the widget from the page."""
        loop = self.__dict__.get("_loop")
        if loop is not None and not loop.closed and "_finalizer" in self.__dict__:
            self._positions.close()
            self._finalizer()
            self._jobs.clear()
            self._pictures.images = None
            lifetime.let_go(self)
            give_back()
        super().close()

    # ---- the `Plot` of the parts -----------------------------------------------------------------------------------

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        self._connection.post(content, buffers)

    def post_state(self) -> None:
        """Send everything that may have changed."""
        self.post({"kind": "state"} | joined(part.state() for part in self._parts))

    def offer(self) -> None:
        """Send a frame with all that is due, soon, when the page can take it; from any thread."""
        with self._lock:
            if self._queued:
                return
            self._queued = True
        self._loop.submit(self._offer)

    def start(self, job: Iterator[None]) -> None:
        """Advance a generator on the loop, between messages, until it ends."""
        me = weakref.ref(self)

        def begin() -> None:
            self._jobs.append(job)
            self._loop.chore = lambda: of(me, lambda w: w._work(), None)

        self._loop.submit(begin)

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        said = None if error is None else fault(error) | {"hint": ""}
        if said != self._error:
            self._error = said
            self.post({"kind": "error", "error": said})

    # ---- messages from the page, on whatever thread the kernel picked ----------------------------------------------

    def _receive(self, _widget: Any, content: Any, buffers: Any) -> None:
        if self._loop.closed:
            return
        message = self._connection.read(content)
        match message:
            case Ack():
                self._loop.acknowledge(message.seq, message.visible)
                if message.visible and self._due:
                    self.offer()
            case Hello():
                lifetime.keep(self)
                self._run(Command(self._greet))
            case Bye():
                if not self._connection.shown:
                    lifetime.let_go(self)
            case Do(action="dismiss_error"):
                self.report(None)
            case Do():
                self._press(message.action)
            case Other(kind="select"):
                view, rev = text(message.content, "view"), integer(message.content, "rev")
                selection = of_bits(buffers or (), self.count)
                if view is not None and rev is not None and selection is not None:
                    self._selected_by = view, rev
                    try:
                        self.selection = selection  # observers run here, as those of any widget
                    finally:
                        self._selected_by = "", 0
            case Other():
                for part in self._parts:
                    read = part.messages().get(message.kind)
                    self._run(None if read is None else read(message.content))
            case Set() | None:
                pass

    def _press(self, action: str) -> None:
        for actions in (self._actions(), *(part.actions() for part in self._parts)):
            if action in actions:
                self._run(Command(actions[action]))

    def _actions(self) -> Mapping[str, Action]:
        """Buttons of the widget itself."""
        return {}

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

    def _post_selection(self) -> None:
        view, rev = self._selected_by
        content = {"kind": "selected", "view": view, "rev": rev, "count": len(self.selection)}
        self.post(content, [to_bits(self.selection, self.count)])

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        """A view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        head = {
            "kind": "setup",
            "title": self._title,
            "notes": list(self._notes),
            "error": self._error,
            "count": self.count,
            "has_pictures": self._pictures.images is not None,
            "follows": self._follows,
        }
        self.post(head | joined(part.state() for part in self._parts))
        self._colours.post()
        self._post_selection()
        self._chains.post_table()
        self._positions.due = self._chains.due = True
        self.offer()

    @property
    def _due(self) -> bool:
        return self._positions.due or self._chains.due

    def _offer(self) -> None:
        with self._lock:
            self._queued = False
        if self._due and self._connection.seen and self._loop.pacer.may_send(time.monotonic()):
            self._loop.send_now()

    def _publish(self, seq: int) -> int:
        content: dict[str, Any] = {"kind": "frame", "seq": seq, "map": None, "chains": None, **self._positions.state()}
        buffers = []
        for name, part in (("map", self._positions), ("chains", self._chains)):
            if part.due:
                content[name], data = part.packed()
                buffers.append(data)
        self.post(content, buffers)
        return sum(map(len, buffers))

    def _work(self) -> None:
        """The next piece of the next job."""
        if not self._jobs:
            self._loop.chore = None
            return
        job = self._jobs.popleft()
        try:
            next(job)
            self._jobs.append(job)
        except StopIteration:
            pass
        except Exception as error:
            self.report(error)

    # ---- from Python -----------------------------------------------------------------------------------------------

    def _call(self, action: Callable[[], T]) -> T:
        """Run on the loop; errors are raised here."""
        return self._loop.call(action)
