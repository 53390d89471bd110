"""How long the map takes to pan and to select: `python benchmarks/scatter.py [--points 50000 200000 1000000]`.

A real page in headless Chromium without a GPU and without WebGL, 600 × 540 pixels of map, ten classes. Times are
processor times of the page's thread, so that other work on the machine does not count: a pan is its pointer event, the
painting that it asks for, and the browser's own work for the frame; a lasso is the event that closes it, after which
the selection is known and on its way to Python; then comes the painting of the selection. Means of twenty.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

import ldam_widget as ldam

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser.bridge import Bridge
from tests.browser.chromium import FLAGS, install

ROUNDS = 20
SCRIPT = """() => {
  const canvas = document.querySelector("canvas.ldam-sc-map");
  const frame = window.requestAnimationFrame.bind(window);
  canvas.setPointerCapture = () => {};
  window.act = async (steps, paint) => {
    const box = canvas.getBoundingClientRect();
    for (const [type, x, y, shiftKey] of steps) {
      const where = {clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, button: 0};
      canvas.dispatchEvent(new PointerEvent(type, {...where, shiftKey, bubbles: true, cancelable: true}));
      if (paint) await new Promise((done) => frame(() => frame(done)));
    }
  };
  const asked = [];
  window.hold = () => { // nothing is painted until `go`
    window.requestAnimationFrame = (call) => asked.push(call);
  };
  window.go = async () => {
    window.requestAnimationFrame = frame;
    asked.splice(0).forEach((call) => frame(call));
    await new Promise((done) => frame(() => frame(done)));
  };
}"""


def cloud(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Thirty clumps of points, and ten classes."""
    rng = np.random.default_rng(0)
    clump = rng.integers(0, 30, count)
    points = rng.normal(0, 30, (30, 2))[clump] + rng.normal(0, 4, (count, 2))
    return points.astype(np.float32), clump % 10


class Clock:
    """Processor time of the page's thread, in milliseconds."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def __call__(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(1e3 * each["value"] for each in metrics if each["name"] == "ThreadTime")


def measure(page: Page, count: int) -> dict[str, str]:
    points, labels = cloud(count)
    widget = ldam.Scatter(points, labels=labels)
    bridge = Bridge(page, widget, width="840px")
    bridge.until(lambda: any(each["kind"] == "ack" for each in bridge.heard), 60)
    bridge.settle(1.0)
    page.evaluate(SCRIPT)
    clock = Clock(page)

    def act(steps: list[list[Any]], paint: bool = True) -> None:
        page.evaluate("([steps, paint]) => window.act(steps, paint)", [steps, paint])

    act([["pointerdown", 0.5, 0.5, False], ["pointermove", 0.51, 0.5, False]])
    began = clock()
    act([["pointermove", 0.51 + 0.01 * i, 0.5 + 0.005 * i, False] for i in range(1, ROUNDS + 1)])
    pan = (clock() - began) / ROUNDS
    act([["pointerup", 0.5, 0.5, False]])
    turn = np.linspace(0, 2 * np.pi, 40)
    around = [["pointermove", 0.5 + 0.2 * float(np.cos(a)), 0.5 + 0.2 * float(np.sin(a)), True] for a in turn]
    lasso = painting = 0.0
    for _ in range(ROUNDS):
        page.evaluate("window.hold()")
        act([["pointerdown", 0.7, 0.5, True], *around], paint=False)
        began = clock()
        act([["pointerup", 0.7, 0.5, True]], paint=False)
        lasso += (clock() - began) / ROUNDS
        began = clock()
        page.evaluate("window.go()")
        painting += (clock() - began) / ROUNDS
    bridge.until(lambda: len(widget.selection))
    found = len(widget.selection)
    widget.close()
    return {"pan": f"{pan:.1f}", "lasso": f"{lasso:.1f}", "painting it": f"{painting:.1f}", "selected": f"{found:,}"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    sizes = parser.parse_args().points
    print(f"load {os.getloadavg()[0]:.0f}; milliseconds")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=[*FLAGS, "--disable-3d-apis"])
        for count in sizes:
            page = browser.new_page(viewport={"width": 900, "height": 800})
            found = measure(page, count)
            print(f"{count:>9,}  " + "  ".join(f"{name} {value}" for name, value in found.items()), flush=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
