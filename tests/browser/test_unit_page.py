"""The page of a unit in a real browser: by click and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .axe import violations_in_both_themes
from .bridge import Bridge

pytestmark = pytest.mark.browser

SHAPE = (3, 12, 12)
Make = Callable[..., tuple[Any, Bridge]]


def network() -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3)), 1
    ).eval()


@pytest.fixture
def make(page: Page) -> Iterator[Make]:
    widgets: list[Any] = []

    def made(kind: Any, **options: Any) -> tuple[Any, Bridge]:
        images = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(3))
        r = ldam.survey(network(), images, progress=False)
        settings = {"input_shape": SHAPE, "pixel_range": (0, 1), "prior": None, "warm_up": 4, "play": False}
        widgets.append(kind(network(), survey=r, **settings | options))
        bridge = Bridge(page, widgets[-1], width="900px")
        bridge.until(lambda: page.evaluate("document.querySelector('canvas.ldam-canvas').width") > 300)
        return widgets[-1], bridge

    yield made
    for widget in widgets:
        widget.close()


def complete(bridge: Bridge) -> bool:
    units = [message for message in bridge.said if message["kind"] == "unit"]
    return bool(units) and any("complete" in m for m in units if m["id"] == units[-1]["id"])


def test_by_keyboard_and_by_click_to_other_units(make: Make) -> None:
    w, bridge = make(ldam.UnitPage, layer="2", unit=3)
    bridge.until(lambda: complete(bridge))
    bridge.settle()
    region = bridge.root.get_by_role("region", name="unit 3 of 2")
    expect(region.get_by_role("img", name="histogram of 60 real images")).to_be_visible()
    top = region.get_by_role("group", name="strongest real images")
    expect(top.get_by_role("button")).to_have_count(9)
    painted = (
        top.get_by_role("button")
        .first.locator("canvas")
        .evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
    )
    assert painted > 10
    expect(region.get_by_role("img", name="optimised picture")).to_be_visible()
    assert violations_in_both_themes(bridge.root) == []
    bridge.root.locator("canvas.ldam-canvas").press("]")
    bridge.until(lambda: w.unit == 4)
    bridge.root.locator("canvas.ldam-canvas").press("]")
    bridge.until(lambda: w.unit == 0)
    bridge.root.locator("canvas.ldam-canvas").press("[")
    bridge.until(lambda: w.unit == 4)
    bridge.root.get_by_role("button", name="previous unit").press("Enter")
    bridge.until(lambda: w.unit == 3)
    bridge.until(lambda: complete(bridge))
    bridge.settle()
    driver = bridge.root.get_by_role("group", name="driven by").get_by_role("button").first
    assert driver.inner_text().startswith("0:")
    driver.click()
    bridge.until(lambda: w.layer == "0")
    bridge.settle()
    bridge.root.get_by_role("button", name="back", exact=True).click()
    bridge.until(lambda: (w.layer, w.unit) == ("2", 3))


def test_a_tile_leads_to_its_page_and_an_image_to_the_chain(make: Make) -> None:
    w, bridge = make(ldam.LDAM, layer="2", neurons=[0, 3])
    w.step(4)
    bridge.settle()
    canvas = bridge.root.locator("canvas.ldam-canvas")
    canvas.focus()
    canvas.press("ArrowRight")
    canvas.press("u")
    expected = bridge.root.get_by_role("region", name="unit 3 of 2")
    bridge.until(lambda: expected.is_visible() and complete(bridge))
    bridge.settle()
    bridge.root.get_by_role("button", name="close unit page").click()
    bridge.until(lambda: not expected.is_visible())
    canvas.press("Enter")  # enlarges
    bridge.root.get_by_role("button", name="about unit 3").click()
    bridge.until(lambda: expected.is_visible())
    bridge.until(lambda: complete(bridge))
    bridge.settle()
    first = bridge.root.get_by_role("group", name="strongest real images").get_by_role("button").first
    first.focus()
    first.press("Enter")
    expect(first).to_have_attribute("aria-pressed", "true")
    bridge.root.get_by_role("button", name="start a chain from this image").click()
    picture = w._unit._teller.seen.pictures[0]
    bridge.until(lambda: torch.allclose(w.sampler.images[1, 0], picture, atol=1e-6))
    bridge.root.get_by_role("button", name="0", exact=True).click()  # the chip
    bridge.until(lambda: bridge.root.get_by_role("region", name="unit 0 of 2").is_visible())


def test_an_image_that_was_clicked_stays_while_other_bands_are_shown(page: Page) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)), 1).eval()
    images = torch.rand(60, 5, 12, 12, generator=torch.Generator().manual_seed(3))
    r = ldam.survey(model, images, progress=False, pixel_range=(0, 1))
    w = ldam.UnitPage(model, "0", 2, survey=r, prior=None, warm_up=4, play=False)
    bridge = Bridge(page, w, width="900px")
    bridge.until(lambda: complete(bridge))
    bridge.settle()
    third = bridge.root.get_by_role("group", name="strongest real images").get_by_role("button").nth(2)
    third.click()
    whole = bridge.root.get_by_role("img", name="whole")
    expect(whole).to_be_visible()
    for band in (1, 4):
        w.bands = [band]
        expected = (images[r.top("0", 2)[2].image, band] * 255).flatten()

        def right(expected: torch.Tensor = expected) -> bool:
            red = whole.evaluate(
                "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0)"
            )
            return float((torch.tensor(red) - expected).abs().max()) <= 1

        bridge.until(right)
        expect(third).to_have_attribute("aria-pressed", "true")
    w.close()
