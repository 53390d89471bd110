"""Frames a second painted in JupyterLab, and round trip, beside jupyter_rfb: `python benchmarks/stream.py`.

Both widgets stand in one notebook in headless Chromium and take turns; both show the same 112×280 grey pictures (ten
neurons × four chains of 28×28, from one run of the sampler). Ours makes them live on a network of one layer, so that
what is measured is the stream. Our painted frames are counted in the page, by the animation frames in which the canvas
was drawn on; jupyter_rfb's by its own count of what the page has confirmed.
"""

from __future__ import annotations

import argparse
import json
import statistics

from browser import Notebook, jupyterlab

CELL = """
import time, numpy as np, torch, ldam_widget as ldam, jupyter_rfb
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
w = ldam.LDAM(model, input_shape=(1, 28, 28), pixel_range=(0, 1), chains=4, steps_per_frame=1, play=False)

still = ldam.Sampler(model, input_shape=(1, 28, 28), pixel_range=(0, 1), chains=4)
pictures = []
for frame in still.frames(steps=200):
    tiles = (frame.images[:, :, 0].permute(1, 2, 0, 3).reshape(112, 280).numpy() * 255).astype(np.uint8)
    pictures.append(tiles)

class Rival(jupyter_rfb.RemoteFrameBuffer):
    drawn = 0
    on = False
    def get_frame(self):
        if not self.on:
            return None
        self.drawn += 1
        self.request_draw()
        return pictures[self.drawn % len(pictures)]
rival = Rival(css_width="280px", css_height="112px", max_buffered_frames=2)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with jupyterlab() as (server, browser):
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.add_init_script(COUNT_PAINTS)
        notebook = Notebook(page, server, server.write([CELL, SHOW]))
        notebook.run_all()
        notebook.widget().wait().root.scroll_into_view_if_needed()  # what is not seen is not painted
        rows = []
        for _ in range(options.rounds):
            rows.append((ours(notebook, options.seconds), theirs(notebook, options.seconds)))
    print("\n| 112×280 grey, JupyterLab | frames/s painted, median (range) | round trip, ms |\n|---|---|---|")
    for name, index in (("ours", 0), ("jupyter_rfb", 1)):
        fps = [row[index][0] for row in rows]
        trip = statistics.median(row[index][1] for row in rows)
        print(f"| {name} | {statistics.median(fps):.0f} ({min(fps):.0f}–{max(fps):.0f}) | {trip:.0f} |")
    print(f"| ratio | {statistics.median(a[0] / b[0] for a, b in rows):.2f} | |")


if __name__ == "__main__":
    main()
