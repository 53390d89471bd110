"""Widgets live while somebody holds or shows them; ipywidgets alone would keep every one for ever."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from ipywidgets.widgets import widget as registry

_shown: set[Any] = set()
_dropped = False  # has one been let go of since the last look for garbage?


def hold_weakly(widget: Any) -> None:
    """Take a widget out of the strong hands of ipywidgets and of its comm."""
    me = weakref.ref(widget)

    def receive(message: Any) -> None:
        alive = me()
        if alive is not None:
            alive._handle_msg(message)

    widget.comm.on_msg(receive)
    registry._instances[widget.model_id] = weakref.proxy(widget)


def keep(widget: Any) -> None:
    """It is shown, perhaps without a name of the user's."""
    _shown.add(widget)


def let_go(widget: Any) -> None:
    """No page shows it any more: it lives as long as the user holds it."""
    global _dropped
    _dropped = _dropped or widget in _shown
    _shown.discard(widget)


def collect() -> None:
    """Free what was let go of: Python itself may take long to find objects that refer to each other."""
    global _dropped
    if _dropped:
        _dropped = False
        gc.collect()
