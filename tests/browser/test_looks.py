"""What is told by colours, and small or dense screens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import nn

import ldam_widget as ldam

from ..atlas.synthetic import synthetic_atlas
from ..conftest import with_fixed_weights
from .bare import BarePanel
from .bridge import Bridge

pytestmark = pytest.mark.browser
PAINTED = """e => { const s = getComputedStyle(e); return [s.backgroundColor, s.backgroundImage].join(); }"""


@contextmanager
def seen(browser: Browser, widget: Any, **settings: Any) -> Iterator[Bridge]:
    """A widget in a page with such settings."""
    context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | settings))
    try:
        bridge = Bridge(context.new_page(), widget)
        bridge.settle()
        yield bridge
    finally:
        context.close()
        widget.close()


def toolbox() -> ldam.Toolbox:
    net = with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 5)), 1
    ).eval()
    made = ldam.Toolbox(net, input_shape=(3, 16, 16), images=torch.rand(2, 3, 16, 16), labels=list("abcde"))
    made.rule = "guided"
    return made


def colours(page: Page, selector: str) -> list[str]:
    """What paints the elements, as the browser computes it: in forced colours, mostly the page's own colour."""
    return [each.evaluate(PAINTED) for each in page.locator(selector).all()]


def outline(page: Page, selector: str) -> float:
    """Width of an element's outline in pixels, 0 for none."""
    width = page.locator(selector).first.evaluate(
        "e => { const s = getComputedStyle(e); return s.outlineStyle === 'none' ? '0px' : s.outlineWidth; }"
    )
    return float(width.removesuffix("px"))


def test_the_legend_of_a_map_keeps_its_colours_where_colours_are_forced(browser: Browser) -> None:
    points = np.random.default_rng(0).normal(size=(40, 2))
    with seen(browser, ldam.Scatter(points, labels=list("abcd") * 10), forced_colors="active") as bridge:
        assert len(set(colours(bridge.page, ".ldam-sc-swatch"))) == 4
        bridge.page.get_by_role("button", name="lasso").click()
        assert outline(bridge.page, ".ldam-button[aria-pressed=true]") == 2
        assert outline(bridge.page, ".ldam-button[aria-pressed=false]") == 0


def test_probabilities_have_bars_where_colours_are_forced(browser: Browser) -> None:
    with seen(browser, toolbox(), forced_colors="active") as bridge:
        bridge.until(lambda: bridge.page.locator(".ldam-tb-bar").count() == 5)
        (bar,) = set(colours(bridge.page, ".ldam-tb-bar"))
        assert bar not in colours(bridge.page, ".ldam-tb-classes") + colours(bridge.page, "body")


def test_the_layer_that_is_shown_has_a_frame_where_colours_are_forced(browser: Browser, tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", {"conv": 70, "fc": 10}))
    with seen(browser, view, forced_colors="active") as bridge:
        assert outline(bridge.page, ".ldam-at-layer[aria-current]") == 2
        assert outline(bridge.page, ".ldam-at-layer:not([aria-current])") == 0


def test_the_marks_of_an_atlas_do_not_cover_its_pictures(browser: Browser, tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", {"conv": 70}))
    with seen(browser, view) as bridge:
        unit = bridge.page.locator("[data-state=warn]").first
        unit.wait_for()
        bridge.until(lambda: unit.locator(".ldam-at-picture").count())
        picture = unit.locator(".ldam-at-picture").first.bounding_box()
        mark = unit.locator(".ldam-at-mark").bounding_box()
        assert picture
        assert mark
        assert mark["y"] >= picture["y"] + picture["height"] - 1


@pytest.mark.parametrize("width", [640, 716])
def test_a_narrow_toolbox_has_its_pictures_side_by_side(browser: Browser, width: int) -> None:
    viewport = {"width": width, "height": 450}
    with seen(browser, toolbox(), viewport=viewport, device_scale_factor=2) as bridge:
        figures = bridge.page.locator(".ldam-tb-figure:visible")
        bridge.until(lambda: figures.count() == 3)
        bridge.settle()
        boxes = [box for each in figures.all() if (box := each.bounding_box())]
        assert len({round(box["x"]) for box in boxes}) == 2  # columns
        assert max(box["y"] + box["height"] for box in boxes) - min(box["y"] for box in boxes) < 560
        assert bridge.page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_keep_the_colours_of_their_lines_where_colours_are_forced(browser: Browser) -> None:
    context = browser.new_context(forced_colors="active")
    try:
        panel = BarePanel(context.new_page())
        panel.setup(4)
        panel.frame()
        bars = panel.root.locator(".ldam-bar").evaluate_all("all => all.map(e => getComputedStyle(e).borderTopColor)")
        assert len(set(bars)) == 4
    finally:
        context.close()
