"""The map in a real browser without WebGL: every gesture by mouse and by keyboard; and in JupyterLab."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from torch import Tensor

import ldam_widget as ldam

from .axe import violations_in_both_themes
from .bridge import Bridge
from .chromium import FLAGS, install
from .conftest import watched_page
from .lab import Notebook, Server, pauses

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror='document.title=1'>"
SIDE = 12  # points are a square of so many rows and columns
COUNT = SIDE * SIDE
POINTS = np.stack(np.divmod(np.arange(COUNT), SIDE)[::-1], 1).astype(np.float32)  # index = 12 y + x
IMAGES = np.broadcast_to(
    (np.arange(COUNT) * 255 // COUNT).astype(np.uint8)[:, None, None, None], (COUNT, 1, 8, 8)
).copy()
LABELS = np.array(["left", EVIL])[(POINTS[:, 0] >= SIDE // 2).astype(int)]
Make = Callable[..., Bridge]


@pytest.fixture
def make(page: Page) -> Iterator[Make]:
    widgets: list[ldam.Scatter] = []

    def made(points: Any = POINTS, *, dark: bool = False, width: str = "auto", **options: Any) -> Bridge:
        widget = ldam.Scatter(points, **({"images": IMAGES, "labels": LABELS} | options))
        widgets.append(widget)
        bridge = Bridge(page, widget, dark=dark, width=width)
        bridge.until(lambda: any(each["kind"] == "ack" for each in bridge.heard))
        if not widget.running:  # a run is never silent
            bridge.settle(0.15)
        return bridge

    yield made
    for widget in widgets:
        widget.close()


def canvas(bridge: Bridge) -> Locator:
    return bridge.root.get_by_role("application", name="map of")


def at(bridge: Bridge, x: float, y: float) -> tuple[float, float]:
    """Where a place of the map is on the screen, as long as the whole map is shown."""
    box = canvas(bridge).bounding_box()
    assert box is not None
    scale = 0.9 * min(box["width"], box["height"]) / (SIDE - 1)
    middle = (SIDE - 1) / 2
    return box["x"] + box["width"] / 2 + (x - middle) * scale, box["y"] + box["height"] / 2 - (y - middle) * scale


def drag(bridge: Bridge, *places: tuple[float, float], keys: tuple[str, ...] = ()) -> None:
    """Along places of the map, with keys held down."""
    mouse, keyboard = bridge.page.mouse, bridge.page.keyboard
    for key in keys:
        keyboard.down(key)
    mouse.move(*at(bridge, *places[0]))
    mouse.down()
    for place in places[1:]:
        mouse.move(*at(bridge, *place), steps=3)
    mouse.up()
    for key in keys:
        keyboard.up(key)


def inside(left: float, right: float, bottom: float, top: float) -> list[int]:
    x, y = POINTS.T
    return np.flatnonzero((x > left) & (x < right) & (y > bottom) & (y < top)).tolist()


def selected(bridge: Bridge, expected: list[int]) -> None:
    bridge.until(lambda: bridge.widget.selection.tolist() == sorted(expected), 10)


def press(bridge: Bridge, *keys: str) -> None:
    for key in keys:
        bridge.page.keyboard.press(key)


def test_mouse_lasso_rectangle_add_remove_clear(make: Make) -> None:
    bridge = make()
    root = bridge.root
    root.get_by_role("button", name="lasso", exact=True).click()
    expect(root.get_by_role("button", name="lasso", exact=True)).to_have_attribute("aria-pressed", "true")
    drag(bridge, (-0.5, -0.5), (4.5, -0.5), (4.5, 3.5), (-0.5, 3.5))
    selected(bridge, inside(-1, 4.5, -1, 3.5))
    expect(root.locator(".ldam-sc-side b")).to_have_text("20 selected")
    drag(bridge, (-0.5, 11.5), (11.5, 11.5), (11.5, 9.5))  # a triangle
    triangle = [i for i in range(COUNT) if POINTS[i, 1] > 11.5 - (POINTS[i, 0] + 0.5) * 2 / 12]
    selected(bridge, triangle)
    root.get_by_role("button", name="rectangle", exact=True).click()
    drag(bridge, (5.5, 5.5), (8.5, 2.5), keys=("Shift",))
    selected(bridge, sorted({*triangle, *inside(5.5, 8.5, 2.5, 5.5)}))
    drag(bridge, (-0.5, 11.5), (11.5, 8.5), keys=("Alt",))
    selected(bridge, inside(5.5, 8.5, 2.5, 5.5))
    bridge.page.mouse.move(*at(bridge, 1, 1))
    bridge.page.mouse.down()
    bridge.page.mouse.move(*at(bridge, 5, 5), steps=3)
    press(bridge, "Escape")  # gives up the shape alone
    bridge.page.mouse.up()
    bridge.settle(0.2)
    selected(bridge, inside(5.5, 8.5, 2.5, 5.5))
    press(bridge, "Escape")
    selected(bridge, [])
    root.get_by_role("button", name="move", exact=True).click()
    drag(bridge, (-0.5, -0.5), (1.5, -0.5), (1.5, 1.5), (-0.5, 1.5), keys=("Shift",))  # while moving, too
    selected(bridge, [0, 1, 12, 13])
    root.get_by_role("button", name="clear selection").click()
    selected(bridge, [])


def test_mouse_click_hover_pan_and_zoom(make: Make) -> None:
    bridge = make()
    mouse = bridge.page.mouse
    for keys, place, expected in [
        ((), (3, 4), [51]),
        (("Shift",), (8, 0), [8, 51]),
        (("Alt",), (3, 4), [8]),
        ((), (0, 0), [0]),
    ]:
        drag(bridge, place, keys=keys)
        selected(bridge, expected)
    drag(bridge, (0.5, 0.5))  # between points: nothing changes
    bridge.settle(0.2)
    selected(bridge, [0])
    mouse.move(*at(bridge, 9, 7))
    tip = bridge.root.locator(".ldam-sc-tip")
    expect(tip).to_contain_text("point 93")
    bridge.until(lambda: EVIL in tip.inner_text())
    expect(tip.get_by_role("img")).to_be_visible()
    assert bridge.page.title() == "test"  # it stayed text
    mouse.move(*at(bridge, 9.5, 7.5))
    expect(tip).to_be_hidden()
    drag(bridge, (3, 4), (5, 7))  # the map follows
    drag(bridge, (5, 7))
    selected(bridge, [51])
    mouse.move(*at(bridge, 5, 7))
    mouse.wheel(0, -500)
    drag(bridge, (5, 7))  # what is under the pointer stays
    selected(bridge, [51])
    bridge.root.get_by_role("button", name="zoom out").click()
    bridge.root.get_by_role("button", name="zoom in").click()
    drag(bridge, (5, 7), keys=("Shift",))
    selected(bridge, [51])
    bridge.root.get_by_role("button", name="fit map").click()
    drag(bridge, (5, 7))
    selected(bridge, [89])


def test_keyboard_alone(make: Make) -> None:
    bridge = make()
    canvas(bridge).focus()
    press(bridge, "a")
    selected(bridge, list(range(COUNT)))
    press(bridge, "Escape")
    selected(bridge, [])
    press(bridge, "Enter")  # of the four around the middle
    bridge.until(lambda: len(bridge.widget.selection) == 1)
    first = int(bridge.widget.selection[0])
    assert first in (65, 66, 77, 78)
    press(bridge, *["ArrowRight"] * 3, "ArrowUp", "Shift+Enter")
    bridge.until(lambda: len(bridge.widget.selection) == 2)
    other = next(i for i in bridge.widget.selection.tolist() if i != first)
    assert POINTS[other, 0] > POINTS[first, 0]
    assert POINTS[other, 1] > POINTS[first, 1]
    press(bridge, "Alt+Enter")
    selected(bridge, [first])
    press(bridge, "0", *["+"] * 4, "a")  # the middle of the map
    bridge.until(lambda: 4 <= len(bridge.widget.selection) < COUNT / 2)
    few = len(bridge.widget.selection)
    press(bridge, "-", "a")
    bridge.until(lambda: len(bridge.widget.selection) > few)
    press(bridge, "Home", "Shift+ArrowRight", "a")
    bridge.until(lambda: 0 < len(bridge.widget.selection) < COUNT)
    assert POINTS[bridge.widget.selection, 0].min() > 2
    press(bridge, "l")
    expect(bridge.root.get_by_role("button", name="lasso", exact=True)).to_have_attribute("aria-pressed", "true")
    press(bridge, "r", "m", "?")
    expect(bridge.root.get_by_role("note", name="keys")).to_be_visible()
    press(bridge, "Escape")
    expect(bridge.root.get_by_role("note", name="keys")).to_be_hidden()
    said = bridge.root.get_by_role("status")
    bridge.until(lambda: "0 selected" in " ".join(said.all_inner_texts()))


def test_one_tab_stop_with_a_visible_focus(make: Make) -> None:
    bridge = make()
    assert bridge.root.locator("canvas[tabindex='0']").count() == 1
    bridge.root.get_by_role("button", name="help").focus()
    press(bridge, "Tab")
    assert canvas(bridge).evaluate("e => e === document.activeElement && e.matches(':focus-visible')")
    assert canvas(bridge).evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    names = bridge.root.locator("button:visible, select:visible, canvas:visible").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label') || e.getAttribute('aria-hidden') || e.textContent.trim())"
    )
    assert all(names)
    assert len(set(names)) == len(names)


def test_nothing_to_object_to(make: Make) -> None:
    bridge = make()
    bridge.widget.selection = [1, 2]
    canvas(bridge).focus()
    press(bridge, "?")
    bridge.settle(0.2)
    assert violations_in_both_themes(bridge.root) == []


def test_the_legend_hides_classes(make: Make) -> None:
    bridge = make()
    entry = bridge.root.get_by_role("button", name=f"{EVIL}, 72 points")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")
    canvas(bridge).focus()
    press(bridge, "a")
    selected(bridge, np.flatnonzero(POINTS[:, 0] < SIDE // 2).tolist())
    entry.focus()
    press(bridge, "Space")
    canvas(bridge).focus()
    press(bridge, "a")
    selected(bridge, list(range(COUNT)))


def color(where: Locator, x: float, y: float) -> list[int]:
    """Of the pixel at a place of a canvas, in CSS pixels."""
    return where.evaluate(
        "(c, place) => Array.from(c.getContext('2d').getImageData(...place, 1, 1).data).slice(0, 3)",
        [round(x), round(y)],
    )


@pytest.mark.parametrize("dark", [False, True])
def test_discs_pictures_and_themes(make: Make, dark: bool) -> None:
    bridge = make(dark=dark, images=None)
    box = canvas(bridge).bounding_box()
    assert box is not None
    x, y = at(bridge, 3, 4)
    where = x - box["x"], y - box["y"]
    background = color(canvas(bridge), where[0] + 20, where[1] + 20)
    assert max(background) < 60 if dark else min(background) > 240
    red, _, blue = color(canvas(bridge), *where)
    assert max(red, blue) - min(red, blue) > 40
    bridge.widget.selection = [0]
    bridge.until(lambda: color(canvas(bridge), *where) != [red, _, blue])
    bridge.widget.color = np.linspace(0, 1, COUNT)
    bridge.settle(0.2)
    expect(bridge.root.get_by_role("img", name="colour, from 0 to 1")).to_be_visible()


def test_thumbnails_near_and_the_gallery_beside(make: Make) -> None:
    bridge = make()  # 144 points are far enough apart for pictures at once
    box = canvas(bridge).bounding_box()
    assert box is not None
    for index in (0, 51, 143):
        x, y = at(bridge, *POINTS[index].tolist())
        bridge.until(
            lambda i=index, x=x, y=y: color(canvas(bridge), x - box["x"], y - box["y"]) == [i * 255 // COUNT] * 3
        )
    bridge.widget.selection = [0, 143]
    gallery = bridge.root.get_by_role("img", name="pictures of the selection")
    bridge.until(lambda: gallery.is_visible() and color(gallery, 60, 20)[0] == 143 * 255 // COUNT)
    asked = [each["indices"] for each in bridge.heard if each["kind"] == "pictures"]
    assert max(map(len, asked)) <= 100
    assert sum(map(len, asked)) == COUNT  # once each


def test_files_from_the_page(make: Make, tmp_path: Path) -> None:
    bridge = make(title="my map")
    with bridge.page.expect_download() as download:
        bridge.root.get_by_role("button", name="save png").click()
    download.value.save_as(tmp_path / "x.png")
    assert download.value.suggested_filename == "my map.png"
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20
    with bridge.page.expect_download() as download:
        bridge.root.get_by_role("button", name="save csv").click()
        bridge.settle(0.3)
    download.value.save_as(tmp_path / "x.csv")
    bridge.widget.to_csv(tmp_path / "y.csv")
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()


def test_chains_are_drawn_named_and_picked(make: Make) -> None:
    bridge = make(images=None)
    picked: list[int] = []
    bridge.widget._chains.on_pick = picked.append
    over = bridge.root.locator("canvas.ldam-sc-over")
    box = canvas(bridge).bounding_box()
    assert box is not None
    for step in range(5):
        bridge.widget._chains.show([[2 + step / 4, 2.5], [7.5, 6.5]], [0, 1], [True, False], [EVIL, "seven"])
        bridge.settle(0.1)
    x, y = at(bridge, 3, 2.5)
    bridge.until(lambda: color(over, x - box["x"], y - box["y"]) != [0, 0, 0])
    trail_x, _ = at(bridge, 2.6, 2.5)
    assert color(over, trail_x - box["x"], y - box["y"]) != [0, 0, 0]
    hollow = at(bridge, 7.5, 6.5)
    assert color(over, hollow[0] - box["x"], hollow[1] - box["y"]) == [0, 0, 0]
    bridge.page.mouse.move(x, y)
    expect(bridge.root.locator(".ldam-sc-tip")).to_contain_text(EVIL)
    bridge.page.mouse.click(*hollow)
    bridge.until(lambda: picked == [1])
    press(bridge, "c")
    bridge.until(lambda: picked == [1, 1])
    bridge.widget._chains.show([[3, 2.5], [7.1, 6.1]], [0, 1], [True, False], [EVIL, "seven"])  # on a point
    bridge.settle(0.3)
    bridge.page.keyboard.down("Shift")
    bridge.page.mouse.click(*at(bridge, 7.1, 6.1))
    bridge.page.keyboard.up("Shift")
    selected(bridge, [SIDE * 6 + 7])
    assert picked == [1, 1]
    expect(canvas(bridge)).to_have_attribute("aria-label", re.compile("2 chains"))


class Slow(ldam.TSNE):
    """Takes a minute, and moves for the first third of it, on any machine."""

    def __iter__(self) -> Iterator[Tensor]:
        for positions in super().__iter__():
            time.sleep(0.01)
            yield positions


def test_t_sne_moves_and_is_stopped(make: Make) -> None:
    features = np.random.default_rng(0).normal(size=(COUNT, 6))
    bridge = make(Slow(features, perplexity=10, steps=6000, device="cpu"))
    moved = len([frame for frame in bridge.frames() if frame["map"]])
    bridge.until(lambda: len([frame for frame in bridge.frames() if frame["map"]]) > moved + 2)
    before = canvas(bridge).evaluate("c => c.toDataURL()")
    bridge.until(lambda: canvas(bridge).evaluate("c => c.toDataURL()") != before)
    bridge.root.get_by_role("button", name="stop").click()
    bridge.until(lambda: not bridge.widget.running)
    bridge.settle(0.3)
    expect(bridge.root.get_by_role("button", name="run", exact=True)).to_be_visible()
    count = len(bridge.frames())
    bridge.settle(0.3)
    assert len(bridge.frames()) == count


@pytest.mark.parametrize("width", ["500px", "700px", "1200px"])
def test_nothing_overflows(make: Make, width: str) -> None:
    bridge = make(width=width)
    bridge.widget.selection = list(range(100))
    bridge.settle(0.2)
    assert bridge.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    box, own = canvas(bridge).bounding_box(), bridge.root.bounding_box()
    assert box is not None
    assert own is not None
    assert box["width"] > 250
    assert box["x"] + box["width"] <= own["x"] + own["width"] + 1


def test_without_webgl(browser: Browser) -> None:
    """In a browser that has none at all."""
    bare = browser.browser_type.launch(executable_path=install(), args=[*FLAGS, "--disable-3d-apis"])
    widget = ldam.Scatter(POINTS, labels=LABELS)
    with watched_page(bare) as page:
        bridge = Bridge(page, widget)
        assert page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
        bridge.until(lambda: any(each["kind"] == "ack" for each in bridge.heard))
        bridge.root.get_by_role("button", name="lasso", exact=True).click()
        drag(bridge, (-0.5, -0.5), (4.5, -0.5), (4.5, 3.5), (-0.5, 3.5))
        selected(bridge, inside(-1, 4.5, -1, 3.5))
    widget.close()
    bare.close()


LAB = """
import numpy as np, ldam_widget as ldam
points = np.stack(np.divmod(np.arange(100), 10)[::-1], 1)
s = ldam.Scatter(points, images=np.zeros((100, 1, 8, 8), np.uint8), labels=np.arange(100) % 5)
s
"""


def test_in_jupyterlab(browser: Browser, server: Server) -> None:
    """A selection reaches a real kernel and comes back, and keys stay in the map."""
    with watched_page(browser) as page:
        notebook = Notebook(page, server, server.write([LAB, "'last'"], "scatter.ipynb"))
        notebook.run_cell(0)
        map_ = page.locator("canvas.ldam-sc-map")
        expect(map_).to_have_attribute("aria-label", re.compile("map of 100 points"), timeout=60_000)
        cells = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"
        before = page.evaluate(cells)
        map_.focus()
        for key in ("ArrowRight", "ArrowDown", "+", "a", "m", "0", "Enter"):
            page.keyboard.press(key)
        assert any(notebook.python("print(len(s.selection))") == "1" for _ in pauses(20))
        page.keyboard.press("a")
        assert any(notebook.python("print(len(s.selection))") == "100" for _ in pauses(20))
        assert page.evaluate(cells) == before
        notebook.python("s.selection = [1, 2, 3]")
        expect(page.locator(".ldam-sc-side b")).to_have_text("3 selected")
        box = map_.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.keyboard.down("Shift")
        page.mouse.down()
        for x, y in ((0.98, 0.02), (0.98, 0.98), (0.02, 0.98)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        page.mouse.up()
        page.keyboard.up("Shift")
        assert any(notebook.python("print(len(s.selection))") == "100" for _ in pauses(20))
        notebook.python("s.close()")
