"""Synchronised state that a page or another cell can read from a widget."""

from __future__ import annotations

from typing import Any

import traitlets


class WidgetSettings(traitlets.TraitType[Any, Any]):
    """The widget's settings: {"layer": …, "neurons": […], "params": {…}}.

    marimo re-runs the cells that read a widget's value when its page saves another one. The saved value itself is
    ignored, since changes travel in messages.
    """

    def __init__(self) -> None:
        super().__init__(default_value=None, allow_none=True, read_only=True)
        self.tag(sync=True, echo_update=False)

    def get(self, obj: Any, cls: Any = None) -> Any:
        return obj._what_is_set()

    def set(self, obj: Any, value: Any) -> None:
        """Ignored; assigning the attribute raises, since the trait is read-only."""
