"""What a user of the panel can see and reach, checked in a browser;  no notebook and no kernel are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from .bare import BarePanel
from .conftest import watched_page

pytestmark = pytest.mark.browser

Open = Callable[..., BarePanel]
AVERAGE = {"name": "average", "labels": ["average\n100 frames"]}


@pytest.fixture
def panel(browser: Browser) -> Iterator[Open]:
    """Opens a panel in a page of its own."""
    with watched_page(browser) as page:

        def open_panel(width: int = 1100, height: int = 900, *, still: bool = False, **host: Any) -> BarePanel:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(reduced_motion="reduce" if still else "no-preference")
            return BarePanel(page, **host)

        yield open_panel


def paused(shown: BarePanel) -> bool:
    return any(message.get("what") == "pause" for message in shown.page.evaluate("window.sent"))


@pytest.mark.parametrize(("width", "least"), [(700, 56), (1000, 84), (1400, 84)])
def test_ten_digits_are_as_large_as_the_room_allows(panel: Open, width: int, least: int) -> None:
    shown = panel(width)
    shown.setup(10)
    shown.frame({}, AVERAGE, size=(28, 28, 1))
    rows = shown.root.locator(".ldam-side").evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")
    assert set(rows) == {rows[0]}
    assert rows[0] >= least
    trace = shown.root.locator(".ldam-plot").bounding_box()
    assert trace
    assert trace["height"] <= 140


@pytest.mark.parametrize("width", [700, 1200])
def test_sliders_stay_in_sight_beside_a_long_picture(panel: Open, width: int) -> None:
    shown = panel(width, 700)
    shown.setup(40)
    shown.frame({}, AVERAGE, size=(28, 28, 1))
    side = shown.root.locator(".ldam-side").last
    side.scroll_into_view_if_needed()
    assert shown.page.evaluate("scrollY") > 100
    expect(side).to_be_in_viewport()
    expect(shown.root.get_by_role("slider", name="step size")).to_be_in_viewport()


def test_the_picture_stays_in_sight_beside_many_sliders(panel: Open) -> None:
    shown = panel(1100, 500)
    each = {"low": 0.01, "high": 10, "default": 1, "log": True, "zero": False, "integer": False, "unit": "", "help": ""}
    parameters = [each | {"name": f"p{i}", "label": f"p{i}", "group": "sampler"} for i in range(24)]
    shown.setup(4, parameters=parameters, params={p["name"]: 1 for p in parameters})
    shown.frame(size=(28, 28, 1))
    last = shown.root.get_by_role("slider", name="p23")
    last.scroll_into_view_if_needed()
    expect(last).to_be_in_viewport()
    expect(shown.root.locator(".ldam-head").first).to_be_in_viewport()


def test_a_canvas_that_takes_keys_is_no_image(panel: Open) -> None:
    shown = panel()
    shown.setup(["zero", "one"])
    shown.frame()
    picture = shown.root.get_by_role("application", name="samples of layer fc")
    picture.focus()
    picture.press("ArrowRight")
    expect(shown.root.locator(".ldam-readout")).to_contain_text("1 one")
    assert shown.root.get_by_role("img").count() == 0


def test_chips_are_one_tab_stop(panel: Open) -> None:
    shown = panel()
    shown.setup(12)
    shown.frame()
    layer = shown.root.get_by_role("combobox", name="layer")
    layer.focus()
    press = shown.page.keyboard.press
    press("Tab")
    expect(shown.root.get_by_role("button", name="remove 0")).to_be_focused()
    press("ArrowRight")
    press("ArrowRight")
    expect(shown.root.get_by_role("button", name="remove 2")).to_be_focused()
    press("Tab")
    expect(shown.root.get_by_role("combobox", name="search units")).to_be_focused()
    press("Shift+Tab")
    expect(shown.root.get_by_role("button", name="remove 2")).to_be_focused()


def test_many_chips_fold_and_none_means_none(panel: Open) -> None:
    shown = panel()
    shown.setup(40)
    shown.frame()
    chips = shown.root.locator(".ldam-chip")
    assert chips.count() == 16
    shown.root.get_by_role("button", name="and 24 more").click()
    assert chips.count() == 40
    shown.root.get_by_role("button", name="none").click()
    assert chips.count() == 0
    expect(shown.root.get_by_role("combobox", name="search units")).to_be_focused()
    assert not any(message["kind"] == "select" for message in shown.page.evaluate("window.sent"))
    shown.root.get_by_role("button", name="keep the last ones").click()
    assert chips.count() == 40


def test_the_bar_of_checkpoints_has_ticks_and_words(panel: Open) -> None:
    shown = panel()
    watch = {"iteration": 900, "kept": [100, 400, 900], "shown": 900, "following": True, "source": "weights"}
    shown.setup(4, watch=watch | {"sources": ["weights"], "cost": 0.1, "snapshot_ms": 2})
    shown.frame()
    bar = shown.root.locator(".ldam-watch")
    for word in ("checkpoint", "100", "900"):
        expect(bar).to_contain_text(word)
    ticks = bar.locator(".ldam-ticks i").evaluate_all("all => all.map(e => e.getBoundingClientRect().x)")
    assert len(ticks) == 3
    slider = bar.get_by_role("slider", name="checkpoint").bounding_box()
    assert slider
    assert ticks[0] - slider["x"] < 10
    assert slider["x"] + slider["width"] - ticks[2] < 10
    assert abs(ticks[1] - (ticks[0] + ticks[2]) / 2) < 1


def test_reduced_motion_ends_on_a_still_after_burn_in(panel: Open) -> None:
    shown = panel(still=True)
    shown.setup(4)
    shown.frame()
    first = shown.root.locator("canvas").first.evaluate("c => c.toDataURL()")
    for _ in range(3):
        shown.frame(size=(8, 9, 1))  # another shape: painted, it would be seen
    assert shown.root.locator("canvas").first.evaluate("c => c.toDataURL()") == first
    assert not paused(shown)
    shown.frame(size=(8, 9, 1), burn_in_step=6)
    assert shown.root.locator("canvas").first.evaluate("c => c.toDataURL()") != first
    assert paused(shown)


def test_a_recording_says_that_it_stands_still(panel: Open) -> None:
    shown = panel()
    shown.setup(4, playing=False, recording=True)
    button = shown.root.get_by_role("button", name="stop recording")
    expect(button).to_contain_text("paused")
    shown.setup(4, playing=True, recording=True)
    expect(button).to_contain_text("0 s")


NAMES = ["epoch 1", "epoch 10", "epoch 100"]


@pytest.mark.parametrize("width", [700, 1400])
def test_a_comparison_names_the_models(panel: Open, width: int) -> None:
    shown = panel(width)
    panes = [{"name": f"sample:{k}", "model": k, "labels": [f"{name}\nnow"]} for k, name in enumerate(NAMES)]
    panes += [
        {"name": f"difference:{k}", "model": k, "labels": [f"{NAMES[k]}\nminus epoch 1"], "colors": "signed"}
        for k in (1, 2)
    ]
    shown.setup(2, models=[{"name": name, "note": ""} for name in NAMES], show="samples")
    found = {"difference": 0.1, "correlation": 0.9, "gap": -4.0, "activations": [20.0, 21.0, 16.0]}
    activations = [[20.0, 20.0], [21.0, 21.0], [16.0, 16.0]]
    shown.frame(*panes, agreement=[unit | found for unit in shown.neurons], activations=activations)
    assert [legend.is_visible() for legend in shown.root.locator(".ldam-signed").all()].count(True) == 1
    table = shown.root.get_by_role("table", name="most changed neurons")
    expect(table).to_contain_text("gap to epoch 1")
    expect(table.locator("tbody tr").first).to_contain_text("epoch 100 −4.00")
    shown.root.get_by_role("combobox", name="trace of").select_option("all models")
    keys = shown.root.locator(".ldam-trace-key")
    assert keys.all_inner_texts() == NAMES
