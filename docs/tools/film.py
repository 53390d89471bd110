"""Film the panel for the home page: `python -m docs.tools.film docs/assets/panel.webp`.

The real front end in a real Chromium, connected to a widget in this process; a picture after every few steps, so that
the film does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import ldam_widget as ldam
from tests.browser.bridge import Bridge
from tests.browser.chromium import FLAGS, install

WIDTH, HEIGHT = 1000, 620  # of the window, px
PER_SECOND, QUALITY = 6, 28
STEPS = 8  # between two pictures


def story() -> Iterator[dict[str, Any]]:
    """Parameters of each picture: digits appear; the prior goes and returns; heat, and cold again."""
    hot = 40.0
    for _ in range(11):
        yield {}
    for i in range(8):
        yield {"natural": 1 - (i + 1) / 8}
    for i in range(5):
        yield {"natural": (i + 1) / 5}
    for i in range(5):
        yield {"temperature": hot ** ((i + 1) / 5)}
    for i in range(7):
        yield {"temperature": hot ** max(0, 1 - (i + 1) / 3)}


def film() -> list[Image.Image]:
    demo = ldam.demo.mnist()
    widget = ldam.LDAM(demo.model, prior=demo.prior, neurons=range(10), play=False, seed=1, **demo.settings)
    widget.step(110)  # the warm-up
    cold = widget.temperature
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        bridge = Bridge(page, widget)
        bridge.until(lambda: bridge.frames())
        pictures = []
        widget.restart(seed=2)
        for changes in story():
            if "temperature" in changes:
                changes = {"temperature": cold * changes["temperature"]}
            widget.set(**changes)
            widget.step(STEPS)
            bridge.settle(0.25)
            pictures.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        browser.close()
    widget.close()
    return pictures


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("path", type=Path)
    path = options.parse_args().path
    first, *others = film()
    first.save(
        path, "WEBP", save_all=True, append_images=others, duration=round(1000 / PER_SECOND), loop=0, quality=QUALITY,
        method=6, minimize_size=True,
    )  # fmt: skip
    print(f"{path}: {len(others) + 1} pictures, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
