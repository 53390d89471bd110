"""The layout of a panel, measured in a browser;  no notebook and no kernel are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from .bare import BarePanel
from .conftest import watched_page

pytestmark = pytest.mark.browser

Open = Callable[..., BarePanel]


@pytest.fixture
def panel(browser: Browser) -> Iterator[Open]:
    """Opens a panel in a page so many pixels wide."""
    with watched_page(browser) as page:

        def open_panel(width: int = 1100, **host: Any) -> BarePanel:
            page.set_viewport_size({"width": width, "height": 900})
            return BarePanel(page, **host)

        yield open_panel


# How hosts style plain elements: JupyterLab of lists in outputs, the classic notebook (Bootstrap) of many more.
HOSTS = {
    "lab": """.host dl, .host dt, .host dd { display: block; }
        .host dl { width: 100%; overflow: hidden; padding: 0; margin: 0; }
        .host dt { font-weight: bold; float: left; width: 20%; } .host dd { float: left; width: 80%; }""",
    "classic": """label { display: inline-block; max-width: 100%; margin-bottom: 5px; font-weight: bold; }
        dl { margin-bottom: 18px; } dt { font-weight: bold; } dd { margin-left: 0; }
        ul { margin-bottom: 9px; } small { font-size: 85%; } b { font-weight: bold; }
        input[type="range"] { display: block; width: 100%; } input[type="number"] { width: auto; }
        table { border-collapse: collapse; } th { text-align: left; } *, *::before { box-sizing: border-box; }""",
}


@pytest.mark.parametrize("host", HOSTS)
def test_remarks_are_readable_whatever_the_host_does_to_lists(panel: Open, host: str) -> None:
    shown = panel(host_css=HOSTS[host], host_class="host")
    shown.setup(10)
    shown.frame()
    remarks = [{"label": f"{i}", "text": "R-hat 1.01, 400 effective samples " * 6} for i in range(10)]
    shown.post({"kind": "diagnosis", "level": "good", "text": "chains agree", "neurons": remarks})
    shown.root.get_by_role("button", name="each neuron").click()
    remarks = shown.root.get_by_label("diagnosis of each neuron")
    assert remarks.locator("> *").count() == 10
    remarks.hover()
    for _ in range(20):
        shown.page.mouse.wheel(0, 200)
    shown.settle()
    box, last = remarks.bounding_box(), remarks.locator("> *").last.bounding_box()
    assert box
    assert last
    assert last["y"] + last["height"] <= box["y"] + box["height"] + 1
    assert box["height"] <= 140


def test_a_host_leaves_the_weight_of_labels_alone(panel: Open) -> None:
    shown = panel(host_css=HOSTS["classic"])
    shown.setup()
    shown.frame()
    for label in shown.root.locator("label").all():
        if label.is_visible():
            assert label.evaluate("e => getComputedStyle(e).fontWeight") == "400", label.inner_text()
            assert label.evaluate("e => getComputedStyle(e).marginBottom") == "0px", label.inner_text()


INK = """canvas => { const {width, height} = canvas;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  return Array.from({length: width}, (_, x) => { for (let y = 0; y < height; y++) {
    const [r, g, b, a] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
    if (a > 150 && Math.max(r, g, b) - Math.min(r, g, b) > 60) return 1; } return 0; }); }"""


def test_the_trace_draws_nothing_over_steps_without_frames(panel: Open) -> None:
    shown = panel()
    shown.setup(1)
    for steps in (*range(2, 42, 2), *range(1000, 1040, 2)):
        shown.frame(steps=steps, activation=[[float(steps % 7)]], settle=False)
    shown.settle()
    columns: list[int] = shown.root.locator(".ldam-plot canvas").evaluate(INK)
    middle = columns[len(columns) // 4 : 3 * len(columns) // 4]
    assert sum(columns) > 10
    assert sum(middle) == 0


@pytest.mark.parametrize("width", range(500, 1300, 130))
def test_the_height_stays_while_it_plays(panel: Open, width: int) -> None:
    shown = panel(width)
    shown.setup(4)
    shown.frame(stats={"frames_per_second": 5.1, "steps_per_second": 9.5, "round_trip_ms": 9})
    before = shown.root.bounding_box()
    shown.frame(
        stats={"frames_per_second": 59.9, "steps_per_second": 12_345, "round_trip_ms": 9},
        burn_in_step=12_345,
        steps=1_234_567,
    )
    shown.page.wait_for_timeout(600)  # figures of speed are written twice a second
    shown.post({"kind": "diagnosis", "level": "wait", "text": "too early to say", "neurons": []})
    shown.settle()
    assert shown.root.bounding_box() == before


def test_the_height_stays_when_models_are_compared_first(panel: Open) -> None:
    shown = panel()
    models = [{"name": "a", "note": ""}, {"name": "b", "note": ""}]
    panes = [{"name": f"sample:{k}", "model": k, "labels": [f"{name}\nnow"]} for k, name in enumerate("ab")]
    shown.setup(4, models=models, show="samples")
    shown.frame(*panes)
    before = shown.root.bounding_box()
    found = {"difference": 0.1, "correlation": 0.9, "gap": 2.0, "activations": [1.0, 3.0]}
    shown.frame(*panes, agreement=[unit | found for unit in shown.neurons])
    assert "0.100" in shown.root.get_by_role("table").inner_text()
    assert shown.root.bounding_box() == before
