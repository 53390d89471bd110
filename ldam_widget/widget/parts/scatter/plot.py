"""`Plot`: the map, as seen by its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class Plot(Protocol):
    """What the parts of a `Scatter` may use."""

    count: int  # points

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        ...

    def post_state(self) -> None: ...

    def offer(self) -> None:
        """Send a frame with all that is due, soon, when the page can take it; from any thread."""
        ...

    def start(self, job: Iterator[None]) -> None:
        """Advance a generator on the loop, between messages, until it ends; an error in it goes to the banner."""
        ...

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner; None removes the banner."""
        ...

    def retract(self, error: BaseException) -> None:
        """Remove the banner if it shows this error."""
        ...
