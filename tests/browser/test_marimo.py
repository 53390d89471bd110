"""The same picture in marimo: another front end, another kernel, the same widget."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from .conftest import watched_page
from .lab import Widget, soon

pytestmark = pytest.mark.browser

APP = """
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import ldam_widget as ldam, torch
    demo = ldam.demo.mnist("final")
    w = ldam.LDAM(demo.model, neurons=range(10), regularizers=[ldam.L2(0.4)], **demo.settings)
    mo.ui.anywidget(w)
    return ldam, mo, torch

@app.cell
def _(ldam, mo, torch):
    def panel():
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
        return mo.ui.anywidget(ldam.LDAM(net, input_shape=(1, 8, 8), neurons=range(4)))
    mo.vstack([mo.hstack([mo.ui.slider(0, 10), panel()]), mo.hstack([panel(), panel()])])
    return

@app.cell
def _(ldam, mo, torch):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    last = mo.ui.anywidget(ldam.LDAM(net, input_shape=(1, 8, 8), neurons=[2, 5], play=False))
    last
    return (last,)

@app.cell
def _(last, mo):
    settings = last.value["settings"]
    mo.md(f"layer {settings['layer']}, neurons {settings['neurons']}, T {settings['params']['temperature']:.6g}")
    return

if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A marimo server that runs the app."""
    tmp_path = tmp_path_factory.mktemp("marimo")
    app = tmp_path / "app.py"
    app.write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "marimo", "run", str(app), "--headless", "--no-token", "--host", "127.0.0.1"]
        private = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"}
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, env=os.environ | private
        )
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_picture_moves_stops_and_follows_a_slider(browser: Browser, url: str) -> None:
    with watched_page(browser) as page:
        page.goto(url)
        page.wait_for_selector(".ldam canvas")  # pierces marimo's shadow roots
        widget = Widget(page)
        widget.canvas.wait_for()
        deadline = time.monotonic() + 30
        while not re.search(r"10 neurons.*three", widget.label()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "10 neurons" in widget.label()
        assert widget.pixels_change()
        slider = widget.slider("step size")
        before = slider.input_value()
        slider.press("ArrowRight")
        assert slider.input_value() != before
        assert widget.pixels_change()
        widget.button("pause").click()
        widget.button("play").wait_for()
        assert soon(lambda: not widget.pixels_change(within=1.0))
        assert not widget.pixels_change(within=2.0)


def test_panels_in_a_row_have_room(browser: Browser, url: str) -> None:
    with watched_page(browser) as page:
        page.set_viewport_size({"width": 1200, "height": 900})
        page.goto(url)
        panels = page.locator(".ldam")
        panels.nth(3).locator(".ldam-main").wait_for(timeout=60_000)
        boxes = [panel.bounding_box() for panel in panels.all()]
        alone, beside_a_slider, left, right, *_ = (box["width"] for box in boxes if box)
        assert alone > 600
        assert beside_a_slider > 450
        assert left == right > 300
        assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 1200 for box in boxes)


def test_cells_that_read_the_value_run_again(browser: Browser, url: str) -> None:
    with watched_page(browser) as page:
        page.goto(url)
        said = page.get_by_text(re.compile(r"^layer 1, neurons"))
        said.wait_for(timeout=60_000)
        panel = page.locator(".ldam").last
        panel.locator(".ldam-main").wait_for(timeout=60_000)
        before = said.inner_text()
        assert "neurons [2, 5]" in before
        panel.get_by_role("slider", name="temperature").press("ArrowRight")
        expect(said).not_to_have_text(before)
        value = float(panel.get_by_role("spinbutton", name="temperature value").input_value())
        expect(said).to_have_text(re.compile(rf"T {value:.4g}"))
        panel.get_by_role("button", name="remove 2").click()
        expect(said).to_have_text(re.compile(r"neurons \[5\]"))
