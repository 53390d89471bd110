"""The page of a layer in a real browser: units opened by click and by keyboard, files, both themes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .axe import violations_in_both_themes
from .bridge import Bridge

pytestmark = pytest.mark.browser

SHAPE = (3, 16, 16)
EVIL = "<img src=x onerror='document.title=1'>"
Make = Callable[..., Bridge]


def network() -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 3), nn.Flatten(), nn.Linear(200, 2048)), 1
    ).eval()


@pytest.fixture(scope="module")
def survey() -> ldam.Survey:
    images = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0))
    return ldam.survey(network(), images, ["0", "2"], labels=["cat", EVIL] * 20, correlation=False, progress=False)


@pytest.fixture
def make(page: Page, survey: ldam.Survey) -> Iterator[Make]:
    widgets: list[ldam.LayerPage] = []

    def made(layer: str = "2", *, dark: bool = False, width: str = "auto") -> Bridge:
        widget = ldam.LayerPage(
            network(), layer, survey=survey, title="net", pixel_range=(0, 1), kernel=ldam.kernels.BAOAB(0.1), prior=None
        )
        widgets.append(widget)
        bridge = Bridge(page, widget, dark=dark, width=width)
        bridge.until(lambda: any(content["kind"] == "unit_table" for content in bridge.said))
        bridge.settle()
        return bridge

    yield made
    for widget in widgets:
        widget.close()


def shown(bridge: Bridge) -> list[int]:
    """Units of the rows in sight, in order."""
    box: Any = bridge.root.locator(".ldam-units-rows").bounding_box()
    rows = bridge.root.locator(".ldam-units tbody tr[aria-rowindex]").all()
    inside = []
    for row in rows:
        own: Any = row.bounding_box()
        if box["y"] + 20 <= own["y"] and own["y"] + own["height"] <= box["y"] + box["height"] + 1:
            inside.append(int(row.locator("td").first.inner_text()))
    return inside


def opened(bridge: Bridge) -> int | None:
    """The last unit whose histograms the page has been sent."""
    told: list[int] = [content["unit"] for content in bridge.said if content["kind"] == "unit_bars"]
    return told[-1] if told else None


def test_sorted_searched_and_opened(make: Make) -> None:
    bridge = make()
    root, widget, keyboard = bridge.root, bridge.widget, bridge.page.keyboard
    expect(root.locator(".ldam-body")).to_be_hidden()
    grid = root.get_by_role("grid", name="units of the layer")
    assert shown(bridge) == list(range(11))
    root.get_by_role("button", name="mean", exact=True).click()
    expect(root.get_by_role("columnheader", name="mean")).to_have_attribute("aria-sort", "descending")
    ordered = [row.unit for row in widget.table.by("mean")]
    assert shown(bridge) == ordered[:11]
    grid.focus()
    for _ in range(14):
        keyboard.press("ArrowDown")
    assert shown(bridge) == ordered[4:15]
    keyboard.press("End")
    assert shown(bridge) == ordered[-11:]
    keyboard.press("Home")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    bridge.until(lambda: opened(bridge) == ordered[1])
    expect(root.locator(".ldam-body")).to_be_visible()
    expect(root.locator("tr.ldam-units-open td").first).to_have_text(str(ordered[1]))
    assert violations_in_both_themes(root) == []
    keyboard.type("img 9")  # letters go into the search box
    box = root.get_by_role("searchbox", name="search units")
    expect(box).to_be_focused()
    expect(box).to_have_value("img 9")
    found = [row.unit for row in widget.table.find("img 9").by("mean")]
    assert shown(bridge) == found
    box.fill("cat")
    found = [row.unit for row in widget.table.find("cat").by("mean")]
    root.locator(".ldam-units tbody tr[aria-rowindex]").nth(2).click()
    bridge.until(lambda: opened(bridge) == found[2])
    expect(root.get_by_role("img", name=f"activations of unit {found[2]}")).to_be_visible()
    assert bridge.page.title() == "test"  # a class name stayed text


def test_files(make: Make, survey: ldam.Survey, tmp_path: Path) -> None:
    bridge = make("0")
    root = bridge.root
    root.get_by_role("button", name="max", exact=True).click()
    root.get_by_role("searchbox", name="search units").fill("1")
    for i, (name, ending) in enumerate((("save csv", "csv"), ("save sheet", "png"))):
        with bridge.page.expect_download() as told:
            root.get_by_role("button", name=name).click()
            bridge.until(lambda i=i: [content["kind"] for content in bridge.said].count("download") > i)
        told.value.save_as(tmp_path / f"file.{ending}")
        bridge.settle()
    (row,) = csv.DictReader(io.StringIO((tmp_path / "file.csv").read_text("utf-8"), newline=""))
    assert float(row["max"]) == survey.table("0")[1].max
    survey.sheet("0", tmp_path / "sheet.png", [1])
    assert Image.open(tmp_path / "file.png").tobytes() == Image.open(tmp_path / "sheet.png").tobytes()


@pytest.mark.parametrize(("dark", "width"), [(False, "1200px"), (True, "700px"), (False, "420px")])
def test_what_does_not_fit_scrolls_in_the_table(make: Make, dark: bool, width: str) -> None:
    bridge = make("0", dark=dark, width=width)
    assert bridge.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    cut = bridge.root.locator(".ldam-units td, .ldam-units th button").evaluate_all(
        "all => all.filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    )
    assert [text for text in cut if "<img" not in text] == []
