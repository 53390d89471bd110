"""Frees widgets that are neither referenced nor shown; ipywidgets alone would keep every one forever."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from ipywidgets.widgets import widget as registry

from .kernel import current_cell, forget_result

_shown: set[Any] = set()
_of_cell: dict[str, list[tuple[int, weakref.ref[Any]]]] = {}  # cell -> execution count and widget shown


class _Handle:
    """Stands for a widget in ipywidgets' registry; `close_all` may find it dead."""

    def __init__(self, widget: Any) -> None:
        self._widget = weakref.ref(widget)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # or containers would not accept it as a widget
        return type(self._widget())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._widget(), name)

    def close(self) -> None:
        widget = self._widget()
        if widget is not None:
            widget.close()


_dropped = False  # whether one has been released since the last garbage collection


def hold_weakly(widget: Any) -> None:
    """Replace ipywidgets' and the comm's strong references to a widget with weak ones."""
    me = weakref.ref(widget)

    def receive(message: Any) -> None:
        alive = me()
        if alive is not None:
            alive._handle_msg(message)

    widget.comm.on_msg(receive)
    registry._instances[widget.model_id] = _Handle(widget)
    # also if it never came to be, by an error in its making, and cannot be closed
    weakref.finalize(widget, registry._instances.pop, widget.model_id, None).atexit = False


def keep(widget: Any) -> None:
    """Keep a widget alive while it is shown, even if the user holds no reference."""
    _shown.add(widget)


def shown_by_cell(widget: Any) -> None:
    """A cell is about to show a widget: those that it has shown in an earlier run are not results any more."""
    cell = current_cell()
    if cell is None:
        return
    name, run = cell
    others = [(at, seen) for at, seen in _of_cell.pop(name, []) if seen() is not None]
    for at, seen in others:
        if at != run:
            forget_result(seen())
    _of_cell[name] = [*((at, seen) for at, seen in others if at == run), (run, weakref.ref(widget))]


def let_go(widget: Any) -> None:
    """No page shows the widget any more: it lives as long as the user holds it."""
    global _dropped
    _dropped = _dropped or widget in _shown
    _shown.discard(widget)


def collect() -> None:
    """Collect released widgets; by itself, Python may take long to find reference cycles."""
    global _dropped
    if _dropped:
        _dropped = False
        gc.collect()
