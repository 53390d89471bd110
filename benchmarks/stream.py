"""Frames a second painted in JupyterLab, and round trip, beside jupyter_rfb: `python benchmarks/stream.py`.

Both widgets stand in one notebook in headless Chromium and take turns; both show the same grey pictures from one run of
the sampler: 112×280 (ten neurons × four chains of 28×28) and 512×512 (one image). Ours makes them live on a network of
one layer, so that what is measured is the stream. Our painted frames are counted in the page, by the animation frames
in which the canvas was drawn on; jupyter_rfb's by its own count of what the page has confirmed.

Last, what streaming costs the sampler: steps a second of the shipped LeNet while the page paints them, over those of
the same sampler in the same kernel that nobody sees.
"""

from __future__ import annotations

import argparse
import json
import statistics

from browser import Notebook, Server, jupyterlab
from playwright.sync_api import Browser

CELL = """
import time, numpy as np, torch, ldam_widget as ldam, jupyter_rfb
side, neurons, chains = {side}, {neurons}, {chains}
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(side * side, neurons))
settings = dict(input_shape=(1, side, side), pixel_range=(0, 1), chains=chains)
w = ldam.LDAM(model, steps_per_frame=1, play=False, **settings)

pictures = []
for frame in ldam.Sampler(model, **settings).frames(steps=40):
    tiles = frame.images[:, :, 0].permute(1, 2, 0, 3).reshape(side * chains, side * neurons)
    pictures.append((tiles.numpy() * 255).astype(np.uint8))

class Rival(jupyter_rfb.RemoteFrameBuffer):
    drawn = 0
    on = False
    def get_frame(self):
        if not self.on:
            return None
        self.drawn += 1
        self.request_draw()
        return pictures[self.drawn % len(pictures)]
rival = Rival(css_width=f"{{side * neurons}}px", css_height=f"{{side * chains}}px", max_buffered_frames=2)
"""
CASES = {"112×280": (28, 10, 4), "512×512": (512, 1, 1)}  # side, neurons, chains
LENET = """
import time, ldam_widget as ldam
demo = ldam.demo.mnist("final")
w = ldam.LDAM(demo.model, neurons=range(10), regularizers=[ldam.L2(0.1)], play=False, **demo.settings)
def unseen(seconds):
    return w._loop.call(lambda: run(seconds))  # on the same thread
def run(seconds):
    steps, end = w.sampler.steps, time.time() + seconds
    while time.time() < end:
        w.sampler.step(w.steps_per_frame)
    return (w.sampler.steps - steps) / seconds
w
"""
COUNT_PAINTS = """
{
  window.painted = 0;
  let last = null;
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...what) {
    if (this.canvas.matches(".ldam-canvas") && document.timeline.currentTime !== last) {
      last = document.timeline.currentTime;
      window.painted++;
    }
    return draw.apply(this, what);
  };
}
"""
SHOW = "from IPython.display import display\ndisplay(rival)\ndisplay(w)"


def ours(notebook: Notebook, seconds: float) -> tuple[float, float]:
    """Painted frames a second, and round trip in ms."""
    notebook.python("w.play()")
    notebook.page.wait_for_timeout(1000)
    start = notebook.page.evaluate("[painted, performance.now()]")
    notebook.page.wait_for_timeout(seconds * 1000)
    end = notebook.page.evaluate("[painted, performance.now()]")
    trip = float(notebook.python("print(w.stats['round_trip_ms'])\nw.pause()"))
    return (end[0] - start[0]) / (end[1] - start[1]) * 1000, trip


def theirs(notebook: Notebook, seconds: float) -> tuple[float, float]:
    """The same from jupyter_rfb's own count."""
    notebook.python("rival.on = True; rival.request_draw()")
    notebook.page.wait_for_timeout(1000)
    notebook.python("rival.reset_stats()")
    notebook.page.wait_for_timeout(seconds * 1000)
    text = notebook.python(
        "import json; s = rival.get_stats(); print(json.dumps([s['fps'], s['roundtrip'] * 1e3]))\nrival.on = False"
    )
    fps, trip = json.loads(text)
    return fps, trip


def compare(browser: Browser, server: Server, size: str, rounds: int, seconds: float) -> None:
    """Print the rows of one size."""
    page = browser.new_page(viewport={"width": 1280, "height": 1900})
    page.add_init_script(COUNT_PAINTS)
    side, neurons, chains = CASES[size]
    cell = CELL.format(side=side, neurons=neurons, chains=chains)
    notebook = Notebook(page, server, server.write([cell, SHOW], f"{side}.ipynb"))
    notebook.run_all()
    notebook.widget().wait().root.scroll_into_view_if_needed()  # what is not seen is not painted
    rows = [(ours(notebook, seconds), theirs(notebook, seconds)) for _ in range(rounds)]
    for name, index in (("ours", 0), ("jupyter_rfb", 1)):
        fps = [row[index][0] for row in rows]
        trip = statistics.median(row[index][1] for row in rows)
        print(f"| {size} | {name} | {statistics.median(fps):.0f} ({min(fps):.0f}–{max(fps):.0f}) | {trip:.0f} |")
    ratio = statistics.median(a[0] / b[0] for a, b in rows)
    print(f"| {size} | ratio | {ratio:.2f} | |", flush=True)
    page.close()


def cost(browser: Browser, server: Server, rounds: int, seconds: float) -> None:
    """Print what streaming costs the sampler."""
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    notebook = Notebook(page, server, server.write([LENET], "lenet.ipynb"))
    notebook.run_all()
    notebook.widget().wait().root.scroll_into_view_if_needed()
    notebook.python("w.step(400)")  # past trial and warm-up
    shares = []
    for _ in range(rounds):
        unseen = float(notebook.python(f"print(unseen({seconds}))"))
        notebook.python("w.play()")
        page.wait_for_timeout(1000)
        seen = float(
            notebook.python(
                f"import asyncio; s, t = w.sampler.steps, time.time()\nawait asyncio.sleep({seconds})\n"
                "print((w.sampler.steps - s) / (time.time() - t)); w.pause()"
            )
        )
        shares.append(seen / unseen)
    share = f"{statistics.median(shares):.2f} ({min(shares):.2f}–{max(shares):.2f})"
    print(f"\nLeNet-5, ten neurons, streamed: {share} of the steps a second that it makes unseen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with jupyterlab() as (server, browser):
        print("\n| grey, JupyterLab | | frames/s painted, median (range) | round trip, ms |\n|---|---|---|---|")
        for size in CASES:
            compare(browser, server, size, options.rounds, options.seconds)
        cost(browser, server, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
