"""A widget's real page in a real browser, connected to the widget in this process, without a notebook between them."""

from __future__ import annotations

import base64
import json
import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Route

STATIC = Path(__file__).parents[2] / "ldam_widget" / "static"
ADDRESS = "http://localhost:9/"  # nothing listens there; pages of localhost may use the camera
TYPES = {".js": "text/javascript", ".css": "text/css"}
SHELL = """<!doctype html><meta charset="utf-8"><title>test</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="widget.css">
<style>body { margin: 8px; background: %s; font-family: sans-serif }</style><body data-theme="%s">
<main><div id="place" style="width: %s"></div></main>
<script type="module">
  import widget from "./widget.js";
  const handlers = new Set();
  const text = (bytes) => {
    const all = new Uint8Array(bytes);
    let letters = "";
    for (let at = 0; at < all.length; at += 8192) letters += String.fromCharCode(...all.subarray(at, at + 8192));
    return btoa(letters);
  };
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  window.post = (messages) => {
    for (const [content, buffers] of messages) handlers.forEach((handle) => handle(content, buffers.map(bytes)));
  };
  const kind = %s;
  const model = {
    get: (name) => (name === "_kind" ? kind : undefined),
    on: (event, handle) => event === "msg:custom" && handlers.add(handle),
    off: (event, handle) => handlers.delete(handle),
    send: (content, callbacks, buffers = []) => window.toKernel(content, buffers.map(text)),
  };
  window.end = widget.render({ model, el: document.getElementById("place") });
  window.ready = true;
</script>"""


class Bridge:
    """Messages go to the widget at once; what it says waits for `pump`, as Playwright serves one thread."""

    def __init__(self, page: Page, widget: Any, *, dark: bool = False, width: str = "auto") -> None:
        self.page, self.widget = page, widget
        self.heard: list[dict[str, Any]] = []  # from the page
        self.said: list[dict[str, Any]] = []
        self._waiting: queue.SimpleQueue[tuple[dict[str, Any], list[str]]] = queue.SimpleQueue()
        widget.send = self._send
        html = SHELL % (
            "#111" if dark else "#fff",
            "dark" if dark else "light",
            width,
            json.dumps(getattr(widget, "_kind", "panel")),
        )

        def serve(route: Route) -> None:
            name = route.request.url.removeprefix(ADDRESS)
            if name:
                route.fulfill(path=STATIC / name, content_type=TYPES[Path(name).suffix])
            else:
                route.fulfill(body=html, content_type="text/html")

        page.route(ADDRESS + "**", serve)
        page.expose_function("toKernel", self._receive)
        page.goto(ADDRESS)
        page.wait_for_function("window.ready")
        self.root: Locator = page.locator(".ldam")

    def _send(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self._waiting.put((content, [base64.b64encode(data).decode() for data in buffers or []]))

    def _receive(self, content: dict[str, Any], buffers: list[str]) -> None:
        self.heard.append(content)
        decoded = [memoryview(base64.b64decode(data)) for data in buffers]
        message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": decoded}
        self.widget._handle_msg(message)

    def pump(self) -> None:
        """Hand what the widget has said to the page, and let the page work."""
        messages = []
        while not self._waiting.empty():
            messages.append(self._waiting.get())
        self.said += [content for content, _ in messages]
        if messages:
            self.page.evaluate("(messages) => window.post(messages)", messages)
        self.page.wait_for_timeout(15)

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Until it comes true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self.pump()

    def settle(self, seconds: float = 0.4) -> None:
        """Until nothing more is said for a while."""
        quiet = time.monotonic() + seconds
        while time.monotonic() < quiet:
            if not self._waiting.empty():
                quiet = time.monotonic() + seconds
            self.pump()

    def frames(self) -> list[dict[str, Any]]:
        return [content for content in self.said if content["kind"] == "frame"]
