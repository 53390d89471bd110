"""A stand-in for the page: it records what a widget sends, and sends messages as the front end does."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]


class FakePage:
    """One widget's page.

    Args:
        widget: any of the package's widgets.
    """

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.sent: list[tuple[Message, list[bytes]]] = []  # contents with their buffers, oldest first
        widget.send = self.record

    def record(self, content: Message, buffers: list[bytes] | None = None) -> None:
        """Called in place of the widget's `send`."""
        self.sent.append((content, buffers or []))

    def deliver(self, content: Any) -> None:
        """Hand over any content, as the comm does."""
        self.widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def receive(self, **content: Any) -> None:
        """Deliver a message to the widget."""
        self.deliver(content)

    def settle(self) -> None:
        """Wait until the loop has carried out every command it has been given."""
        if not self.widget.loop.closed:
            self.widget.loop.call(lambda: None)

    @property
    def gen(self) -> int:
        """Generation of the picture: it rises with every setup that replaces chains or panes."""
        gen: int = self.widget._gen
        return gen

    def of(self, kind: str) -> list[Message]:
        """All messages of a kind that the widget has sent."""
        return [content for content, _ in tuple(self.sent) if content["kind"] == kind]

    def last(self, kind: str) -> Message:
        """The newest message of a kind."""
        return self.of(kind)[-1]


class SettlingPage(FakePage):
    """A page whose `receive` returns only when the loop has carried the message out."""

    def receive(self, **content: Any) -> None:
        super().receive(**content)
        self.settle()
