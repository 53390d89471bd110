"""From a slider's event in the page to the first painted picture of the new value: `python benchmarks/latency.py`.

The shipped LeNet-5, ten neurons, in JupyterLab in headless Chromium, for every ipykernel of the tests. The slider of
the temperature is moved three times a second while the kernel is idle, while a cell computes in plain Python without a
pause, and while a cell awaits; every value is another one. The cell that makes the widget notes at which temperature
the steps of a picture began, and says so in its frame. In the page (latency.js) a frame is known again by its pixels
when they are drawn on the canvas, and the clock is read in the task after that animation frame. An event is answered by
the first such picture of its own value or of a later one; in time, if that was painted before the cell ended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from browser import Notebook, Server, jupyterlab
from playwright.sync_api import Browser, Error

from tests.kernel.environments import VERSIONS, environment

PERIOD = 200, 400  # ms between two events, even chances
SETTLE = 1000  # ms before the first event and after the last

MAKE = """
import asyncio, time
import ldam_widget as ldam

demo = ldam.demo.mnist("final")
w = ldam.LDAM(demo.model, neurons=range(10), **demo.settings)
step, send = w.sampler.step, w.send
temperatures = {}  # steps of a picture -> temperature at which the last of them began

def noted(n):
    temperature = w.sampler.params["temperature"]
    result = step(n)
    temperatures[w.sampler.steps] = temperature
    return result

def marked(content, buffers=None):
    if content["kind"] == "frame":
        for picture in (content, *content.get("earlier", ())):
            picture["made_at"] = temperatures.get(picture["steps"], 0)  # 0: no step yet
    send(content, buffers)

w.send = marked
w.sampler.step = noted
w
"""
ECHO = """
import anywidget

class Echo(anywidget.AnyWidget):
    _esm = '''
export default { render({ model, el }) {
  el.className = "ldam-echo";
  const pixel = el.appendChild(document.createElement("canvas")).getContext("2d");
  const painted = new MessageChannel();
  const now = () => performance.timeOrigin + performance.now();
  window.echoes = [];
  painted.port1.onmessage = ({ data }) => echoes.push(now() - data);
  model.on("msg:custom", ({ at }) => requestAnimationFrame(() => {
    pixel.fillRect(0, 0, 1, 1);
    painted.port2.postMessage(at);
  }));
  window.shout = () => model.send({ at: now() });
} }
'''

echo = Echo()
echo.on_msg(lambda _widget, content, _buffers: echo.send(content))
echo
"""
CELLS = {
    "idle": "ended = float('inf')",
    "a cell computes": "end = time.time() + {seconds}\nwhile time.time() < end: pass\nended = time.time()",
    "a cell awaits": (
        "end = time.time() + {seconds}\nwhile time.time() < end: await asyncio.sleep(0.05)\nended = time.time()"
    ),
}


class Row(NamedTuple):
    """One kernel in one condition."""

    heard: list[float]  # ms, of the events that were answered in time
    events: int
    pictures: float  # painted a second


def open_widget(browser: Browser, server: Server, version: str, seconds: float) -> Notebook:
    """The widget in a page of its own, past its warm-up, on this ipykernel."""
    cells = [MAKE, *(cell.format(seconds=seconds) for cell in CELLS.values())]
    name = server.write(cells, f"{version}.ipynb")
    content = json.loads((server.root / name).read_text())
    content["metadata"]["kernelspec"] = {"name": f"ipykernel-{version}", "display_name": version}
    (server.root / name).write_text(json.dumps(content))
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    page.add_init_script(path=Path(__file__).with_suffix(".js"))
    notebook = Notebook(page, server, name)
    assert notebook.python("import ipykernel; print(ipykernel.__version__)") == version
    page.evaluate("listen()")
    notebook.run_cell(0)
    notebook.widget().wait(120_000).root.scroll_into_view_if_needed()  # what is not seen is not painted
    while notebook.python("print(w.sampler.warming_up)") == "True":
        page.wait_for_timeout(500)
    return notebook


def bare_echo(browser: Browser, server: Server, events: int) -> list[float]:
    """Milliseconds from an event to one pixel, with nothing but a comm in between."""
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    notebook = Notebook(page, server, server.write([ECHO], "echo.ipynb"))
    notebook.run_all()
    page.locator(".ldam-echo canvas").wait_for()
    for _ in range(events):
        page.wait_for_timeout(PERIOD[0])
        page.evaluate("shout()")
    page.wait_for_timeout(SETTLE)
    times: list[float] = page.evaluate("echoes")
    page.close()
    assert len(times) == events
    return times


def measure(notebook: Notebook, condition: str, events: int) -> Row:
    page = notebook.page
    notebook.run_cell(1 + list(CELLS).index(condition))
    page.wait_for_timeout(SETTLE)
    page.evaluate("shown.length = 0")
    # to and fro about where the slider stands, but never there: 1, −1, 2, −2, …
    ticks = list(itertools.islice((sign * i for i in itertools.count(1) for sign in (1, -1)), events))
    moved: list[list[float]] = page.evaluate("([ticks, period]) => move(ticks, period)", [ticks, PERIOD])
    page.wait_for_timeout(SETTLE)
    ended = 1000 * float(notebook.python("print(ended)"))  # waits for the cell's end
    page.wait_for_timeout(SETTLE)
    shown: list[list[float]] = page.evaluate("shown")
    page.evaluate("([ticks]) => move(ticks, [0, 0])", [[-ticks[-1]]])  # home again
    page.wait_for_timeout(SETTLE)
    answers = zip(moved, first_answers(moved, shown), strict=True)
    heard = [answered - at for (at, _), answered in answers if answered < ended]
    span = (moved[-1][0] - moved[0][0]) / 1000
    pictures = sum(moved[0][0] <= at <= moved[-1][0] for at, _ in shown)
    return Row(heard, events, pictures / span)


def first_answers(moved: list[list[float]], shown: list[list[float]]) -> list[float]:
    """When the first picture of each event's value, or of a later one, was painted; infinite: never."""
    order = {f"{value:.9g}": i for i, (_, value) in enumerate(moved)}
    assert len(order) == len(moved), "the slider has come to its end"
    pictures = [(at, order.get(f"{value:.9g}", -1)) for at, value in shown]
    return [
        next((at for at, value in pictures if value >= i and at >= moment), float("inf"))
        for i, (moment, _) in enumerate(moved)
    ]


def write_kernels(folder: Path, versions: list[str]) -> None:
    """Specifications of the kernels, for a server to find by JUPYTER_PATH."""
    for version in versions:
        place = folder / "kernels" / f"ipykernel-{version}"
        place.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        settings: dict[str, Any] = {"argv": command, "display_name": version, "language": "python"}
        path = os.pathsep.join([str(environment(version)), str(Path(__file__).parents[1])])  # measure this checkout
        (place / "kernel.json").write_text(json.dumps(settings | {"env": {"PYTHONPATH": path}}))


def tell(version: str, condition: str, row: Row) -> None:
    fast, slow = np.percentile(row.heard, [50, 95]) if row.heard else (np.nan, np.nan)
    times = f"{fast:.0f} | {slow:.0f} | {len(row.heard)} of {row.events}"
    if len(row.heard) < row.events / 2:
        times = f"– | – | {len(row.heard)} of {row.events}: not heard until the cell ends"
    print(f"| {version} | {condition} | {times} | {row.pictures:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60, help="in a condition")
    parser.add_argument("--kernels", nargs="+", choices=VERSIONS, default=list(VERSIONS), metavar="VERSION")
    asked = parser.parse_args()
    seconds = asked.events * PERIOD[1] / 1000 + 3 * SETTLE / 1000
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        write_kernels(Path(folder), asked.kernels)
        os.environ["JUPYTER_PATH"] = folder
        with jupyterlab() as (server, browser):
            fast, slow = np.percentile(bare_echo(browser, server, asked.events), [50, 95])
            print(f"A bare echo, the newest kernel idle: p50 {fast:.0f} ms, p95 {slow:.0f} ms.\n")
            print("| ipykernel | meanwhile | p50, ms | p95, ms | answered in time | pictures/s |\n" + "|---" * 6 + "|")
            for version in asked.kernels:
                try:
                    notebook = open_widget(browser, server, version, seconds)
                    for condition in CELLS:
                        tell(version, condition, measure(notebook, condition, asked.events))
                    notebook.page.close()
                except (Error, RuntimeError, AssertionError) as error:
                    failed.append(f"ipykernel {version}: {error}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
