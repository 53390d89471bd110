"""The page of a channel in the toolbox, in a real browser: by click and by keyboard."""

from __future__ import annotations

import re

import pytest
import torch
from playwright.sync_api import Locator, expect

import ldam_widget as ldam

from .axe import violations_in_both_themes
from .test_toolbox import SHAPE, Make, grid, make, network

pytestmark = pytest.mark.browser
__all__ = ["make"]  # a fixture


def painted(canvas: Locator) -> int:
    """How many different levels it shows."""
    levels: int = canvas.evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
    return levels


def test_the_page_of_a_channel_by_click_and_by_keyboard(make: Make) -> None:
    images = torch.rand(30, *SHAPE, generator=torch.Generator().manual_seed(1))
    surveyed = ldam.survey(network(), images, layers=["0", "2"], progress=False)
    bridge = make(images=images, survey=surveyed, width="1000px")
    root, widget, keyboard = bridge.root, bridge.widget, bridge.page.keyboard

    def told() -> bool:
        units = [message for message in bridge.said if message["kind"] == "unit"]
        return bool(units) and any("complete" in m for m in units if m["id"] == units[-1]["id"])

    def page_of(unit: int, layer: str) -> Locator:
        return root.get_by_role("region", name=f"unit {unit} of {layer}", exact=True)

    opener = root.get_by_role("button", name="about unit 0 of 0")
    opener.click()
    bridge.until(lambda: page_of(0, "0").is_visible() and told())
    bridge.settle()
    expect(opener).to_be_hidden()
    top = page_of(0, "0").get_by_role("group", name="strongest real images")
    expect(top.get_by_role("button")).to_have_count(9)
    assert painted(top.get_by_role("button").first.locator("canvas")) > 10
    expect(page_of(0, "0").get_by_role("img", name="histogram of 30 real images")).to_be_visible()
    expect(page_of(0, "0").get_by_role("img", name="optimised picture")).to_be_visible()
    top.get_by_role("button").first.click()
    expect(page_of(0, "0").get_by_role("img", name=re.compile("whole"))).to_be_visible()
    expect(root.get_by_role("button", name="start a chain")).to_have_count(0)  # there are none
    says = page_of(0, "0").locator(".ldam-page-standing").first
    bridge.until(lambda: (says.text_content() or "").startswith("picture "))  # of the picture that was there before
    fifth = surveyed.top("0", 0)[4]
    widget.index = fifth.image
    bridge.until(lambda: f"picture {fifth.value:.2f}: " in (says.text_content() or ""))
    assert "stronger than 8" in (says.text_content() or "")  # % of 30 real images: four are stronger
    assert violations_in_both_themes(root) == []
    assert root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    page_of(0, "0").get_by_role("group", name="drives").get_by_role("button").first.click()
    bridge.until(lambda: widget.layer == "2" and told() and page_of(widget.unit, "2").is_visible())
    bridge.settle()
    root.get_by_role("button", name="back", exact=True).click()
    bridge.until(lambda: (widget.layer, widget.unit) == ("0", 0) and page_of(0, "0").is_visible())
    grid(bridge).focus()
    keyboard.press("ArrowRight")  # an open page follows
    bridge.until(lambda: page_of(1, "0").is_visible())
    keyboard.press("]")
    bridge.until(lambda: widget.unit == 2 and page_of(2, "0").is_visible())
    keyboard.press("[")
    bridge.until(lambda: widget.unit == 1 and page_of(1, "0").is_visible())
    keyboard.press("p")
    bridge.until(lambda: not page_of(1, "0").is_visible())
    keyboard.press("z")  # the enlarged unit in place of the tiles has the button, too
    root.locator(".ldam-tb-stage").get_by_role("button", name="about unit 1 of 0").press("Enter")
    bridge.until(lambda: page_of(1, "0").is_visible())
    root.get_by_role("button", name="close unit page").click()
    bridge.until(lambda: not page_of(1, "0").is_visible())
