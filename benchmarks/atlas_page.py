"""Frame times of an exported atlas while it scrolls: `python benchmarks/atlas_page.py --units 10000`.

A made-up atlas of one wide layer is served by a plain web server and opened in headless Chromium, which draws in
software. The list is scrolled at three paces. The time of a frame is that between two animation frames, as the page
sees it; "nothing" is the machine itself. Its work is the CPU time of the page's main thread, whatever else runs.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import CDPSession, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.atlas.synthetic import synthetic_atlas
from tests.browser.chromium import FLAGS, install

SCROLL = """async ([pixels, frames]) => {
  const element = document.querySelector(".ldam-at-scroll"), times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 0; i < frames; i++) {
    element.scrollTop = (element.scrollTop + pixels) % (element.scrollHeight - element.clientHeight);
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}"""
PACES = {"nothing": 0, "20 pixels a frame": 20, "200 pixels a frame": 200, "leaps of 20,000 pixels": 20_000}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def busy(session: CDPSession) -> float:
    """CPU seconds of the page's main thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--tile", type=int, default=64, help="pixels")
    parser.add_argument("--frames", type=int, default=240)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        atlas = synthetic_atlas(Path(folder) / "atlas", {"wide": asked.units}, tile=asked.tile, chains=1, top=0)
        began = time.perf_counter()
        site = atlas.export(Path(folder) / "site").parent
        print(f"exported in {time.perf_counter() - began:.1f} s; load {os.getloadavg()[0]:.1f}")
        handler = functools.partial(Quiet, directory=str(site))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=install(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector(".ldam-at-tile")
        print(f"{asked.units:,} units, first tiles after {time.perf_counter() - began:.2f} s")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        print("\n| pace | work a frame, ms | between frames, ms: median | 95 % | longest | over 50 ms |")
        print("|---|---|---|---|---|---|")
        for name, pixels in PACES.items():
            before = busy(session)
            times = sorted(page.evaluate(SCROLL, [pixels, asked.frames]))
            work = 1e3 * (busy(session) - before) / len(times)
            late = sum(each > 50 for each in times)
            print(
                f"| {name} | {work:.1f} | {statistics.median(times):.1f} | {times[int(0.95 * len(times))]:.1f} "
                f"| {times[-1]:.1f} | {late} |"
            )
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
