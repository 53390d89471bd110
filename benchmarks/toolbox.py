"""Pictures per second through a live toolbox: `python benchmarks/toolbox.py [--seconds 6] [--browser]`.

ResNet-18 at 224 × 224, fed with JPEG pictures as the page's camera sends them, and acknowledged as soon as a frame is
sent: what the kernel's side can do, without browser and network. The page keeps two pictures unanswered, as in a
notebook. A plain forward pass of the same network in the same process is measured before and after. The machine's load
is printed, since other work on it counts.

`--browser`: instead, the same network in JupyterLab, fed by the made-up camera of a headless Chromium, which draws in
software on the same processors; pictures painted per second with one thread of the widget's loop and with two.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import resnet18
from PIL import Image

import ldam_widget as ldam
from ldam_widget.execution import cpu_threads

SIDE = 224
LAYERS = ("conv1", "layer1", "layer3", "fc")
RULES = ("off", "guided")


def camera(count: int = 8) -> list[bytes]:
    """Pictures of 299 × 224, as a camera's are sent: smooth, with some noise."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:224, 0:299] / 224
    pictures = []
    for i in range(count):
        waves = [np.sin(6 * x + 4 * y + i + c) for c in range(3)]
        levels = 128 + 90 * np.stack(waves, -1) + generator.normal(0, 6, (224, 299, 3))
        buffer = io.BytesIO()
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(buffer, "jpeg", quality=92)
        pictures.append(buffer.getvalue())
    return pictures


CELL = """
import sys, torch, ldam_widget as ldam
sys.path.insert(0, {folder!r})
from networks import resnet18
network = resnet18()
torch.set_num_threads(2 * {threads})  # the loop takes half of them
t = ldam.Toolbox(
    network.model, input_shape=(3, 224, 224), preprocess=network.preprocess(torch.device("cpu")), layer="layer1"
)
t
"""


class Page:
    """Sends the camera's pictures, two ahead of the answers, and acknowledges every frame at once."""

    def __init__(self, widget: ldam.Toolbox) -> None:
        self.widget, self.pictures = widget, camera()
        self.times: list[float] = []  # of frames
        self.bytes = 0
        self._sent = self._answered = 0
        self._room = threading.Condition()
        widget.send = self._hear
        self._tell({"kind": "hello", "view": "a"})
        self._tell({"kind": "source", "what": "camera"})

    def _tell(self, content: dict[str, Any], *buffers: bytes) -> None:
        data = [memoryview(each) for each in buffers]
        self.widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": data})

    def _hear(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if content["kind"] == "frame":
            self.times.append(time.perf_counter())
            self.bytes = sum(map(len, buffers or []))
            self._tell({"kind": "ack", "view": "a", "seq": content["seq"], "visible": True})
            with self._room:
                self._answered = max(self._answered, content["answers"] or 0)
                self._room.notify()

    def run(self, seconds: float) -> tuple[float, float]:
        """Pictures per second, and per second of processor time."""
        began, busy, self.times = time.perf_counter(), time.process_time(), []
        while time.perf_counter() < began + seconds:
            with self._room:
                self._room.wait_for(lambda: self._sent - self._answered < 2, timeout=5)
            self._sent += 1
            picture = self.pictures[self._sent % len(self.pictures)]
            self._tell({"kind": "picture", "name": "camera", "camera": True, "number": self._sent}, picture)
        busy = time.process_time() - busy
        return len(self.times) / (time.perf_counter() - began), len(self.times) / busy


def forward_rate(model: torch.nn.Module, threads: int, seconds: float) -> tuple[float, float]:
    """Plain forward passes per second, and per second of processor time."""
    x = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), cpu_threads(threads):
        model(x)
        began, busy, passes = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            model(x)
            passes += 1
    return passes / (time.perf_counter() - began), passes / (time.process_time() - busy)


def in_a_browser(seconds: float, rounds: int = 3) -> None:
    from browser import jupyterlab
    from stream import COUNT_PAINTS, Notebook

    with jupyterlab() as (server, browser):
        for i in range(2 * rounds):
            threads = 1 + i % 2
            page = browser.new_page(viewport={"width": 1400, "height": 1400})
            page.add_init_script(COUNT_PAINTS.replace('matches(".ldam-canvas")', 'closest(".ldam")'))
            cell = CELL.format(folder=str(Path(__file__).parent), threads=threads)
            Notebook(page, server, server.write([cell], f"{i}.ipynb")).run_all()
            page.get_by_role("button", name="camera", exact=True).click(timeout=60_000)
            page.wait_for_timeout(3000)
            first = page.evaluate("[painted, performance.now()]")
            page.wait_for_timeout(seconds * 1000)
            last = page.evaluate("[painted, performance.now()]")
            print(
                f"{threads} thread(s): {(last[0] - first[0]) / (last[1] - first[1]) * 1e3:.1f}/s  ({load()})",
                flush=True,
            )
            page.close()


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    if options.browser:
        in_a_browser(options.seconds)
    else:
        alone(options.seconds)


def alone(seconds: float) -> None:
    network = resnet18()
    threads = max(1, torch.get_num_threads() // 2)  # what the widget's loop takes
    print(f"{network.title}; {network.weights}; torch {torch.__version__}; {threads} thread(s); {load()}")
    plain(network.model, threads, seconds)
    for layer in LAYERS:
        for rule in RULES:
            widget = ldam.Toolbox(
                network.model,
                input_shape=(3, SIDE, SIDE),
                preprocess=network.preprocess(torch.device("cpu")),
                layer=layer,
            )
            widget.rule = rule
            page = Page(widget)
            page.run(1)
            rate, per_core = page.run(seconds)
            size = f"{page.bytes / 1e3:.0f} kB a frame"
            print(
                f"{layer:7} backward {rule:7} {rate:5.1f}/s, {per_core:5.1f} per CPU s, {size}  ({load()})", flush=True
            )
            widget.close()
    plain(network.model, threads, seconds)
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB at most")


def plain(model: torch.nn.Module, threads: int, seconds: float) -> None:
    rate, per_core = forward_rate(model, threads, seconds)
    print(f"plain forward pass: {rate:.1f}/s, {per_core:.1f} per CPU s  ({load()})", flush=True)


if __name__ == "__main__":
    main()
