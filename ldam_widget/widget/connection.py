"""`Connection`: a widget's communication with its pages."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any

from .protocol import Ack, Bye, FromPage, Hello, Set, parse

_VIEWS = 100  # remembered at most: pages that are reloaded repeatedly do not all say goodbye
_SILENT = 1.5  # seconds: a live view acknowledges frames more often than this


class Connection:
    """Parses messages, tracks live views, and sends from any thread.

    Args:
        send: the widget's send method.
    """

    def __init__(self, send: Callable[[dict[str, Any], list[bytes] | None], None]) -> None:
        self.echo: dict[str, Any] = {"view": "", "rev": 0}  # the view that last changed sliders
        self._send = send
        self._context: contextvars.Context | None = None
        self._views: dict[str, float] = {}  # view -> time of its last message; longest silent first
        self._open: dict[str, None] = {}  # views that have not said goodbye, in the same order

    @property
    def seen(self) -> bool:
        """Whether a view exists."""
        return bool(self._views)

    @property
    def shown(self) -> bool:
        """May there be a view? One that is paused or hidden is silent, however long."""
        return bool(self._open)

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send from any thread.

        Sending in the context of the last received message lets ipykernel 7.4 reply on the subshell that the front end
        uses, so controls keep working while a cell runs. Nothing else depends on it.
        """
        context = self._context
        if context is None:
            self._send(content, buffers)
        else:
            context.copy().run(self._send, content, buffers)

    def read(self, content: Any) -> FromPage | None:
        """Parse a message from a page, on whatever thread the kernel picked; None if it is malformed."""
        message = parse(content)
        if message is None:
            return None
        self._context = contextvars.copy_context()
        match message:
            case Hello() | Ack():
                self._hear_of(message.view)
            case Set() if message.seq is not None:
                self._hear_of(message.view)
            case Bye():
                self._views.pop(message.view, None)
                self._open.pop(message.view, None)
                # a live view acknowledges frames; one whose page was closed may not say goodbye
                recently = time.monotonic() - _SILENT
                self._views = {view: heard for view, heard in self._views.items() if heard > recently}
        return message

    def forget_views(self) -> None:
        """The page has discarded its side of the widget, and all views with it."""
        self._views.clear()
        self._open.clear()

    def _hear_of(self, view: str) -> None:
        for views in (self._views, self._open):
            views.pop(view, None)
        self._views[view], self._open[view] = time.monotonic(), None
        for views in (self._views, self._open):
            if len(views) > _VIEWS:
                views.pop(next(iter(views)), None)
