"""How wide a panel is in what notebooks and ipywidgets lay out, beside other things and alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator

from .conftest import watched_page
from .lab import Notebook, Server, pauses

pytestmark = pytest.mark.browser

SETUP = """
import torch, ldam_widget as ldam
from ipywidgets import *
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
def panel(**layout):
    w = ldam.LDAM(net, input_shape=(1, 8, 8), neurons=range(4), seed=0)
    w.layout = layout
    return w
"""
FULL, REST = "full", "rest"
ASKED = "HBox([panel(width='400px'), Label('beside')])"
# What each panel must get at least: the width of the output, what a slider leaves of it, or so many pixels.
LAYOUTS = {
    "panel()": [FULL],
    "HBox([FloatSlider(), panel()])": [REST],
    "HBox([panel(), panel()])": [300, 300],
    "HBox([FloatSlider(), VBox([Label('below'), panel()])])": [400],
    "Box([panel()])": [FULL],
    "VBox([FloatSlider(), panel()])": [FULL],
    "GridBox([panel(), panel()], layout={'grid_template_columns': '1fr 1fr'})": [300, 300],
    "Tab([panel()])": [FULL],
    "Accordion([panel()], selected_index=0)": [FULL],
    ASKED: [390],
}
SLIDER = 300  # CSS pixels, what ipywidgets gives it
PADDING = 40  # of tabs and the like, both sides together


@pytest.fixture(scope="module", params=["lab/tree", "notebooks"])
def opened(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Notebook]:
    with watched_page(browser) as page:
        page.set_viewport_size({"width": 1200, "height": 900})
        name = server.write([SETUP, *LAYOUTS], "widths.ipynb")
        notebook = Notebook(page, server, name, app=request.param)
        notebook.run_cell(0)
        yield notebook


@pytest.mark.parametrize("layout", LAYOUTS)
def test_width_of_a_panel(opened: Notebook, layout: str) -> None:
    opened.command("notebook:clear-all-cell-outputs")
    opened.python("Widget.close_all()")
    cell = 1 + list(LAYOUTS).index(layout)
    opened.run_cell(cell)
    shown = opened.page.locator(".jp-Cell").nth(cell)
    # the cell has another output beside a panel, hidden: what is saved of it
    output = shown.locator(".jp-OutputArea-output", has=opened.page.locator(".ldam")).first
    panels = output.locator(".ldam:visible")
    is_there = any(panels.locator(".ldam-main:visible").count() == len(LAYOUTS[layout]) for _ in pauses(30))
    assert is_there, shown.inner_html()
    room = width(output)
    for panel, wanted in zip(panels.all(), LAYOUTS[layout], strict=True):
        assert settled(panel) >= {FULL: room - PADDING, REST: room - SLIDER - PADDING}.get(wanted, wanted)
        assert width(panel) <= (400 if layout == ASKED else room)
    for element in (output, *panels.all(), *output.locator(".widget-box").all()):
        assert overflow(element) == 0, element


def width(element: Locator) -> float:
    return float(element.evaluate("e => e.getBoundingClientRect().width"))


def overflow(element: Locator) -> int:
    return int(element.evaluate("e => e.scrollWidth - e.clientWidth"))


def settled(element: Locator) -> float:
    """The width, once it has stopped changing."""
    now = width(element)
    for _ in pauses(5, pause=0.2):
        before, now = now, width(element)
        if before == now:
            break
    return now
