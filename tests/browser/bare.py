"""The panel in a real browser without a notebook: the test is the kernel. For what is a matter of layout."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

STATIC = Path(__file__).parents[2] / "ldam_widget" / "static"
ADDRESS = "http://panel.test/"
TYPES = {".js": "text/javascript", ".css": "text/css"}
SHELL = """<!doctype html><meta charset="utf-8">
<link rel="icon" href="data:,"><link rel="stylesheet" href="widget.css">
<style>body { margin: 8px; } %s</style>
<div class="%s"><div id="place"></div></div>
<script type="module">
  import widget from "./widget.js";
  const handlers = new Set();
  window.sent = [];
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  window.post = (content, buffers) => handlers.forEach((handle) => handle(content, buffers.map(bytes)));
  const on = (event, handle) => event === "msg:custom" && handlers.add(handle);
  const model = { on, off() {}, send: (message) => window.sent.push(message) };
  widget.render({ model, el: document.getElementById("place") });
  window.ready = true;
</script>"""


class BarePanel:
    """A panel in a page of its own; `setup` and `frame` send what a kernel would."""

    def __init__(self, page: Page, *, host_css: str = "", host_class: str = "", dark: bool = False) -> None:
        self.page = page
        html = SHELL % (host_css, host_class)
        if dark:
            html = html.replace("<style>", '<style>body { background: #111; } </style><body data-theme="dark"><style>')

        def serve(route: Route) -> None:
            name = route.request.url.removeprefix(ADDRESS)
            if not name:
                route.fulfill(body=html, content_type="text/html")
            else:
                route.fulfill(path=STATIC / name, content_type=TYPES[Path(name).suffix])

        page.route(ADDRESS + "**", serve)
        page.goto(ADDRESS)
        page.wait_for_function("window.ready")
        self.root = page.locator(".ldam")
        self.neurons: list[dict[str, str]] = []
        self.seq = 0

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        encoded = [base64.b64encode(data).decode() for data in buffers or []]
        self.page.evaluate("([content, buffers]) => window.post(content, buffers)", [content, encoded])

    def setup(self, names: list[str] | int = 4, **changes: Any) -> None:
        """`names` of neurons, or how many there are."""
        if isinstance(names, int):
            names = [""] * names
        self.neurons = [{"key": f"{i}", "label": f"{i}", "name": name} for i, name in enumerate(names)]
        plain = {"low": 0.01, "high": 10, "default": 1, "log": True, "zero": False, "integer": False}
        plain |= {"unit": "", "help": ""}
        parameters = [
            plain | {"name": "step_size", "label": "step size", "group": "sampler"},
            plain | {"name": "temperature", "label": "temperature", "group": "sampler"},
            plain | {"name": "l2", "label": "L2", "group": "image prior"},
        ]
        self.post(
            {
                "kind": "setup",
                "gen": 1,
                "title": "net",
                "device": "cpu",
                "layer": "fc",
                "layers": [{"name": "fc", "type": "Linear", "shape": [10], "units": 10}],
                "neurons": self.neurons,
                "parameters": parameters,
                "params": {each["name"]: 1 for each in parameters},
                "chains": 1,
                "playing": True,
                "recording": False,
                "notes": [],
                "error": None,
                "trace": {"steps": [], "activation": []},
                "kernel": {"name": "BAOAB", "note": "samples p ∝ exp(E/T)", "calibrated": True, "choices": []},
            }
            | changes
        )

    def frame(
        self, *panes: dict[str, Any], size: tuple[int, int, int] = (8, 8, 1), settle: bool = True, **changes: Any
    ) -> None:
        """`panes`: what is unlike one row of samples; `size`: height, width, channels; `settle`: wait for the paint."""
        described, buffers = [], []
        for pane in panes or ({},):
            whole = {"name": "sample", "encoding": "raw", "range": [0, 1], "labels": ["sample\nchain 1 of 1"]} | pane
            shape = [len(whole["labels"]), len(self.neurons), *size]
            described.append(whole | {"shape": shape})
            buffers.append(bytes(37 * i % 251 for i in range(math.prod(shape))))
        self.seq += 1
        self.post(
            {
                "kind": "frame",
                "gen": 1,
                "seq": self.seq,
                "steps": 2 * self.seq,
                "panes": described,
                "activation": [[20.0 + i] for i in range(len(self.neurons))],
                "burned_in": [[True] for _ in self.neurons],
                "burn_in_step": None,
                "stats": {"frames_per_second": 30, "steps_per_second": 60, "round_trip_ms": 9},
            }
            | changes,
            buffers,
        )
        if settle:
            self.settle()

    def settle(self) -> None:
        """Wait until all that was sent has been painted."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(done), 250)))"
        )

    @property
    def tiles(self) -> list[dict[str, float]]:
        """Boxes of the heads over the tiles, in CSS pixels."""
        return self.root.locator(".ldam-head").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")

    def shoot(self, path: str) -> None:
        self.root.screenshot(path=path)
