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
  const listen = async () => {
    for (const [content, buffers] of await window.fromKernel())
      handlers.forEach((handle) => handle(content, buffers.map(bytes)));
    setTimeout(listen, 10);
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
  listen();
</script>"""


class Bridge:
    """Messages go to the widget at once. The page fetches what the widget says, whenever Playwright waits for the page,
    as Playwright serves one thread.
    """

    def __init__(self, page: Page, widget: Any, *, dark: bool = False, width: str = "auto") -> None:
        self.page, self.widget = page, widget
        self.heard: list[dict[str, Any]] = []  # from the page
        self.said: list[dict[str, Any]] = []
        self.silent = False  # as a kernel that hangs
        self.faults: list[Exception] = []
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
        page.on("pageerror", lambda error: self.faults.append(error))  # Playwright refuses built-in methods
        page.expose_function("toKernel", self._receive)
        page.expose_function("fromKernel", self._waiting_messages)
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

    def _waiting_messages(self) -> list[tuple[dict[str, Any], list[str]]]:
        messages = []
        while not (self.silent or self._waiting.empty()):
            messages.append(self._waiting.get())
        self.said += [content for content, _ in messages]
        return messages

    def pump(self) -> None:
        """Let the page work, and fetch what the widget has said."""
        self.page.wait_for_timeout(15)
        assert not self.faults, self.faults

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Until it comes true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self.pump()

    def settle(self, seconds: float = 0.4) -> None:
        """Until nothing more is said for a while."""
        said, quiet = -1, 0.0
        while len(self.said) > said or time.monotonic() < quiet:
            if len(self.said) > said:
                said, quiet = len(self.said), time.monotonic() + seconds
            self.pump()

    def frames(self) -> list[dict[str, Any]]:
        return [content for content in self.said if content["kind"] == "frame"]
