"""The map under fingers, and maps side by side in JupyterLab."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

import ldam_widget as ldam

from .bridge import Bridge
from .conftest import watched_page
from .lab import Notebook, Server, soon
from .test_scatter import POINTS, SIDE, at, canvas, inside, selected

pytestmark = pytest.mark.browser

Place = tuple[float, float]


class Hand:
    """Fingers on a page, as a touch screen reports them."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})

    def _tell(self, kind: str, *fingers: Place) -> None:
        points = [{"x": x, "y": y, "id": nth} for nth, (x, y) in enumerate(fingers)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def tap(self, place: Place) -> None:
        self._tell("touchStart", place)
        self._tell("touchEnd")

    def drag(self, *places: Place, steps: int = 8) -> None:
        """One finger along places."""
        self.move([(place,) for place in places], steps)

    def move(self, places: list[tuple[Place, ...]], steps: int = 8) -> None:
        """Several fingers, from each of their places to the next, one after the other onto the glass."""
        for count in range(1, len(places[0]) + 1):
            self._tell("touchStart", *places[0][:count])
        for before, after in itertools.pairwise(places):
            for step in range(1, steps + 1):
                share = step / steps
                pairs = zip(before, after, strict=True)
                self._tell("touchMove", *((x + share * (u - x), y + share * (v - y)) for (x, y), (u, v) in pairs))
        self._tell("touchEnd")


@pytest.fixture
def bridge(page: Page) -> Iterator[Bridge]:
    widget = ldam.Scatter(POINTS)
    bridge = Bridge(page, widget)
    page.add_style_tag(content="main { padding-bottom: 2000px }")
    bridge.until(lambda: any(each["kind"] == "ack" for each in bridge.heard))
    bridge.settle(0.15)
    yield bridge
    widget.close()


def scrolled(bridge: Bridge) -> float:
    return float(bridge.page.evaluate("scrollY"))


def test_one_finger_scrolls_the_page_until_the_map_is_tapped(bridge: Bridge) -> None:
    hand = Hand(bridge.page)
    hand.drag(at(bridge, 5.5, 3), at(bridge, 5.5, 9))
    bridge.settle(0.3)
    assert scrolled(bridge) > 50
    assert not canvas(bridge).evaluate("e => e === document.activeElement")
    bridge.page.evaluate("document.body.style.overflow = 'hidden'; scrollTo(0, 0)")  # or it would glide on
    bridge.settle(0.5)
    bridge.page.evaluate("document.body.style.overflow = ''; scrollTo(0, 0)")
    hand.tap(at(bridge, 3, 4))
    selected(bridge, [SIDE * 4 + 3])
    tip = bridge.root.locator(".ldam-sc-tip")
    expect(tip).to_contain_text("point 51")
    hand.drag(at(bridge, 3, 4), at(bridge, 5, 7))  # the map follows
    bridge.settle(0.2)
    assert scrolled(bridge) == 0
    hand.tap(at(bridge, 5, 7))
    selected(bridge, [51])
    hand.tap(at(bridge, 3, 4))
    selected(bridge, [SIDE * 1 + 1])


def test_a_finger_draws_a_lasso(bridge: Bridge) -> None:
    hand = Hand(bridge.page)
    hand.tap(at(bridge, 0, 0))
    bridge.root.get_by_role("button", name="lasso", exact=True).click()
    canvas(bridge).focus()
    corners = [(-0.5, -0.5), (4.5, -0.5), (4.5, 3.5), (-0.5, 3.5)]
    hand.drag(*(at(bridge, *corner) for corner in corners))
    selected(bridge, inside(-1, 4.5, -1, 3.5))


@pytest.mark.parametrize("tool", ["move", "lasso"])
@pytest.mark.parametrize("tapped", [True, False])
def test_two_fingers_move_and_zoom(bridge: Bridge, tool: str, tapped: bool) -> None:
    """What lies under each finger stays there, whatever one finger would do."""
    hand = Hand(bridge.page)
    if tapped:
        hand.tap(at(bridge, 0, 0))
    bridge.root.get_by_role("button", name=tool, exact=True).click()
    if tapped:
        canvas(bridge).focus()
    before = bridge.widget.selection.tolist()
    hand.move([(at(bridge, 4, 5), at(bridge, 6, 5)), (at(bridge, 2, 7), at(bridge, 8, 7))])
    bridge.settle(0.2)
    assert scrolled(bridge) == 0
    assert bridge.widget.selection.tolist() == before, "nothing was drawn or picked"
    for place, expected in (((2, 7), SIDE * 5 + 4), ((8, 7), SIDE * 5 + 6), ((2, 10), SIDE * 6 + 4)):
        hand.tap(at(bridge, *place))
        selected(bridge, [expected])
    bridge.root.get_by_role("button", name="fit map").click()
    hand.move([(at(bridge, 2, 5), at(bridge, 8, 5)), (at(bridge, 3, 5), at(bridge, 7, 5))])
    hand.tap(at(bridge, 7, 5))
    selected(bridge, [SIDE * 5 + 8])


TWO = """
import numpy as np, ipywidgets, ldam_widget as ldam
points = np.stack(np.divmod(np.arange(100), 10)[::-1], 1)
pictures = np.zeros((100, 1, 8, 8), np.uint8)
a, b = (ldam.Scatter(p, images=pictures, labels=np.arange(100) % 9, title=t)
        for p, t in ((points, "first"), (points[:, ::-1], "second")))
a.link(b)
ipywidgets.HBox([a, b])
"""


def test_two_maps_side_by_side_in_jupyterlab(browser: Browser, server: Server) -> None:
    """Beside each other or, where there is no room, below: nothing is cut off, and they share the selection."""
    with watched_page(browser) as page:
        page.set_viewport_size({"width": 1400, "height": 900})
        notebook = Notebook(page, server, server.write([TWO], "maps.ipynb"))
        notebook.run_cell(0)
        maps = page.locator("canvas.ldam-sc-map")
        for nth in (0, 1):
            expect(maps.nth(nth)).to_have_attribute("aria-label", re.compile("map of 100 points"), timeout=60_000)
        boxes = "e => { const {left, right, top} = e.getBoundingClientRect(); return [left, right, top]; }"
        area = page.locator(".jp-OutputArea-output:has(.ldam-sc)")
        for width in (1400, 900):
            page.set_viewport_size({"width": width, "height": 900})
            beside = width == 1400
            assert soon(lambda beside=beside: (len({m.evaluate(boxes)[2] for m in maps.all()}) == 1) == beside)
            left, right, _ = area.evaluate(boxes)
            shown = page.locator(".ldam-sc :is(button, select, canvas, .ldam-speed):visible").all()
            assert len(shown) > 2 * 12
            places = [each.evaluate(boxes) for each in shown]
            assert all(left <= first and last <= right + 1 for first, last, _ in places)
            assert area.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
            assert all(m.evaluate("e => e.clientWidth > 300 && e.clientHeight >= 320") for m in maps.all())
        said = page.locator(".ldam-sc .ldam-speed")
        expect(said.nth(0)).to_have_text("first · 100 points")
        expect(said.nth(1)).to_have_text("second · 100 points")
        maps.nth(0).focus()
        page.keyboard.press("a")
        expect(page.locator(".ldam-sc-side b").nth(1)).to_have_text("100 selected")
        assert soon(lambda: notebook.python("print(len(b.selection))") == "100")
        notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
        try:
            page.wait_for_timeout(1500)  # style sheets are taken away and come again
            for each in maps.all():
                assert each.evaluate("e => e.clientWidth === e.parentElement.clientWidth"), "as wide as its place"
        finally:
            notebook.command("apputils:change-theme", {"theme": "JupyterLab Light"})
            page.wait_for_timeout(500)
        notebook.python("a.close(); b.close()")


def test_a_map_that_is_hidden_in_the_next_frame_has_the_size_of_its_place(bridge: Bridge) -> None:
    """As when JupyterLab changes its theme."""
    bridge.page.evaluate(
        """() => new Promise((done) => {
          const [place, stage] = [document.getElementById("place"), document.querySelector(".ldam-sc-stage")];
          let before = 0;
          new ResizeObserver(() => {
            if (!before) return void (before = stage.clientWidth);
            if (stage.clientWidth === before) return;
            before = stage.clientWidth;
            requestAnimationFrame(() => { place.style.display = ""; done(); });
          }).observe(stage);
          setTimeout(() => requestAnimationFrame(() => {
            place.style.width = "900px"; // the map is told in this frame, and answers in the next
            requestAnimationFrame(() => (place.style.display = "none"));
          }), 100);
        })"""
    )
    bridge.settle(0.3)
    own, place = (
        bridge.page.locator(each).evaluate("e => e.clientWidth") for each in (".ldam-sc-map", ".ldam-sc-stage")
    )
    assert own == place > 400
