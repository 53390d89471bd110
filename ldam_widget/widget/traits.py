"""What a page or another cell may read of a widget as synchronised state."""

from __future__ import annotations

from typing import Any

import traitlets


class WidgetSettings(traitlets.TraitType[Any, Any]):
    """What a widget is set to: {"layer": …, "neurons": […], "params": {…}}.

    marimo runs the cells that read a widget's value when its page saves another one. Saving is all that is needed: what
    is saved is not taken over, as changes travel by messages.
    """

    def __init__(self) -> None:
        super().__init__(default_value=None, allow_none=True, read_only=True)
        self.tag(sync=True, echo_update=False)

    def get(self, obj: Any, cls: Any = None) -> Any:
        return obj._what_is_set()

    def set(self, obj: Any, value: Any) -> None:
        """Nothing; by hand it cannot be set at all."""
