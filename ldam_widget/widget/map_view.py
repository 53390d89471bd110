"""`MapView`: the map without its public face; a loop that answers messages and advances embeddings.

Developer notes. Positions and chains travel in frames: whoever has something new calls `offer`, and a frame with all
that is due is sent once the page can take it (`Pacer`). So a slow page gets fewer positions, and the newest. Work that
takes long, such as t-SNE, is a generator given to `start`; the loop advances it between messages.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import traitlets
from PIL import Image

from ..core.notes import Notes
from .base import joined, of
from .parts.scatter.chains import ChainOverlay
from .parts.scatter.colours import ColourChoice
from .parts.scatter.export import picture
from .parts.scatter.positions import Positions
from .parts.scatter.selecting import PointIndices, of_bits, to_bits
from .parts.scatter.thumbnails import Thumbnails
from .protocol import Other, integer, text
from .tool import Tool


class MapView(Tool):
    """The `Plot` of the map's parts.

    Args:
        positions, colours, pictures: the parts.
        title: heading.
        notes: for the user.
        follows: whether there is a sampler that can start from the selection.
    """

    _INSTEAD = 's.save("map.png") saves what it would show'
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
        self._follows = follows
        self._jobs: deque[Iterator[None]] = deque()
        self._selected_by = ("", 0)
        super().__init__(title, notes, torch.device("cpu"))
        self._positions, self._colours, self._pictures, self._chains = positions, colours, pictures, ChainOverlay()
        self._parts = (positions, colours, pictures, self._chains)
        for part in (positions, colours, pictures, self._chains):
            part.plot = self
        self._open()
        me = weakref.ref(self)
        self.observe(lambda _: of(me, lambda w: w._post_selection(), None), "selection")

    def _before_closing(self) -> None:
        self._positions.close()

    def _forget(self) -> None:
        self._jobs.clear()
        self._pictures.images = None

    # ---- the `Plot` of the parts -----------------------------------------------------------------------------------

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        self._connection.post(content, buffers)

    def post_state(self) -> None:
        """Send everything that may have changed."""
        self.post({"kind": "state"} | joined(part.state() for part in self._parts))

    def offer(self) -> None:
        """Send a frame with all that is due, soon, when the page can take it; from any thread."""
        self._request_turn()

    def start(self, job: Iterator[None]) -> None:
        """Advance a generator on the loop, between messages, until it ends."""
        me = weakref.ref(self)

        def begin() -> None:
            self._jobs.append(job)
            self._loop.chore = lambda: of(me, lambda w: w._work(), None)

        self._loop.submit(begin)

    # ---- messages from the page, on whatever thread the kernel picked ----------------------------------------------

    def _hear(self, message: Other, buffers: Sequence[Any]) -> None:
        if message.kind != "select":
            super()._hear(message, buffers)
            return
        view, rev = text(message.content, "view"), integer(message.content, "rev")
        selection = of_bits(buffers, self.count)
        if view is not None and rev is not None and selection is not None:
            self._selected_by = view, rev
            try:
                self.selection = selection  # observers run here, as those of any widget
            finally:
                self._selected_by = "", 0

    def _post_selection(self) -> None:
        view, rev = self._selected_by
        content = {"kind": "selected", "view": view, "rev": rev, "count": len(self.selection)}
        self.post(content, [to_bits(self.selection, self.count)])
        self._loop.submit(lambda: None)  # so that it falls idle, and its picture is saved

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

    def _turn(self) -> None:
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

    def _still(self) -> Image.Image:
        return picture(self._positions.points, self._colours.shown, self.selection, self._title)

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
