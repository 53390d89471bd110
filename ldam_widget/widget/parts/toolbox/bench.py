"""`Bench`: the toolbox, as seen by its parts."""

from __future__ import annotations

from typing import Any, Protocol

from ....toolbox.explorer import Explorer


class Bench(Protocol):
    """What the parts of a `Toolbox` may use."""

    @property
    def explorer(self) -> Explorer:
        """RuntimeError if the widget is closed."""
        ...

    def look(self) -> None:
        """Show the present picture soon; from any thread."""
        ...

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        ...

    def post_state(self) -> None: ...

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        ...
