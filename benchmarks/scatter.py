"""How long the map takes to pan, zoom and select: `python benchmarks/scatter.py [--points 50000 200000 1000000]`.

A real page in headless Chromium without a GPU and without WebGL, 600 × 540 pixels of map, ten classes. Times are those
of the page's thread: a pan is its pointer event and the painting it asks for; a lasso is the event that closes it,
after which the selection is known and on its way to Python. Medians of twenty and, as other work on the machine counts,
the least of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

import ldam_widget as ldam

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser.bridge import Bridge
from tests.browser.chromium import FLAGS, install

ROUNDS = 20
# Times the events that are dispatched, and the animation frames until the next two are free of work.
SCRIPT = """() => {
window.timed = async (steps) => {
  const canvas = document.querySelector("canvas.ldam-sc-map");
  const frame = window.requestAnimationFrame.bind(window);
  let painting = 0;
  window.requestAnimationFrame = (call) => frame((time) => {
    const began = performance.now();
    call(time);
    painting += performance.now() - began;
  });
  const idle = () => new Promise((done) => frame(() => frame(done)));
  const box = canvas.getBoundingClientRect();
  const found = [];
  canvas.setPointerCapture = () => {};
  for (const [type, x, y, more] of steps) {
    painting = 0;
    const where = {clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, button: 0};
    const event = type === "wheel" ? new WheelEvent(type, {...where, deltaY: more, ctrlKey: true, cancelable: true})
      : new PointerEvent(type, {...where, bubbles: true, cancelable: true, ...more});
    const began = performance.now();
    canvas.dispatchEvent(event);
    const handling = performance.now() - began;
    await idle();
    found.push([type, handling, painting]);
  }
  window.requestAnimationFrame = frame;
  return found;
};
}"""


def cloud(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Thirty clumps of points, and ten classes."""
    rng = np.random.default_rng(0)
    clump = rng.integers(0, 30, count)
    points = rng.normal(0, 30, (30, 2))[clump] + rng.normal(0, 4, (count, 2))
    return points.astype(np.float32), clump % 10


def middle(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} (least {min(times):.1f})"


def measure(page: Page, count: int) -> dict[str, str]:
    points, labels = cloud(count)
    widget = ldam.Scatter(points, labels=labels)
    bridge = Bridge(page, widget, width="840px")
    bridge.until(lambda: any(each["kind"] == "ack" for each in bridge.heard))
    bridge.settle(1.0)
    page.evaluate(SCRIPT)

    def run(steps: list[list[Any]]) -> list[tuple[str, float, float]]:
        return page.evaluate("(steps) => window.timed(steps)", steps)

    turn = np.linspace(0, 2 * np.pi, 40)
    around = [[0.5 + 0.2 * float(np.cos(a)), 0.5 + 0.2 * float(np.sin(a))] for a in turn]
    found: dict[str, str] = {}
    pans = [["pointermove", 0.5 + 0.01 * i, 0.5 + 0.005 * i, {}] for i in range(1, ROUNDS + 2)]
    times = run([["pointerdown", 0.5, 0.5, {}], *pans, ["pointerup", 0.5, 0.5, {}]])
    found["pan"] = middle([a + b for _, a, b in times[2:-1]])
    page.wait_for_timeout(600)
    lassos = []
    for _ in range(ROUNDS):
        page.wait_for_timeout(50)
        moves = [["pointermove", x, y, {"shiftKey": True}] for x, y in around]
        times = run(
            [["pointerdown", 0.7, 0.5, {"shiftKey": True}], *moves, ["pointerup", 0.7, 0.5, {"shiftKey": True}]]
        )
        lassos.append(times[-1])
    found["lasso"] = middle([event for _, event, _ in lassos])
    found["painting it"] = middle([painting for _, _, painting in lassos])
    bridge.until(lambda: len(widget.selection))
    found["selected"] = f"{len(widget.selection):,}"
    widget.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    sizes = parser.parse_args().points
    print(f"load {os.getloadavg()[0]:.0f}")
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
