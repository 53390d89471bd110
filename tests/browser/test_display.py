"""What is shown of the pictures, and how large: contrast, bands, slices, receptive fields, full width, full screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from .bare import BarePanel
from .conftest import watched_page
from .lab import Notebook, Server, Widget, soon

pytestmark = pytest.mark.browser

BANDS = """
import torch, ldam_widget as ldam
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(12, 6, 5), torch.nn.Flatten(), torch.nn.Linear(6 * 20 * 20, 4)).eval()
w = ldam.LDAM(net, input_shape=(12, 24, 24), pixel_range=(0, 1), layer="0", seed=0)
w
"""
VOLUME = """
import torch, ldam_widget as ldam
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 8 * 10 * 10, 4)).eval()
w = ldam.LDAM(net, input_shape=(1, 10, 12, 12), pixel_range=(0, 1), seed=0)
w
"""
IS_FULL = "() => document.fullscreenElement?.matches('.ldam') ?? false"
FORBIDDEN = "() => { Element.prototype.requestFullscreen = () => Promise.reject(new TypeError('not allowed')); }"


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    with watched_page(browser) as page:
        yield Notebook(page, server, server.write([BANDS, VOLUME], "display.ipynb"))


def run(notebook: Notebook, cell: int) -> Widget:
    """The widget of a cell that is run again, alone on the page."""
    notebook.python("w = None")
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.run_cell(cell)
    assert soon(lambda: notebook.python("print(w is not None and w.sampler.steps > 0)") == "True")
    return notebook.widget().wait()


def box(widget: Widget, name: str) -> Locator:
    return widget.root.get_by_role("combobox", name=name, exact=True)


def value_of(notebook: Notebook, name: str) -> str:
    return notebook.python(f"print(w.{name})")


def test_contrast_bands_and_receptive_field(opened: Notebook) -> None:
    widget = run(opened, 0)
    field = widget.root.get_by_role("checkbox", name="only the receptive field, 5×5 of 24×24")
    expect(field).to_be_checked()
    field.uncheck()
    assert soon(lambda: value_of(opened, "crop") == "False")
    box(widget, "band of 12").select_option("7")
    assert soon(lambda: value_of(opened, "bands") == "7")
    box(widget, "colours of the bands").select_option("colour")
    box(widget, "red band").select_option("3")
    assert soon(lambda: value_of(opened, "bands") == "(3, 1, 2)")
    grey = "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
    grey += " for (let i = 0; i < d.length; i += 4) n += d[i] !== d[i + 1]; return n; }"
    assert soon(lambda: widget.canvas.evaluate(grey) > 500), "no colours"
    box(widget, "contrast").select_option("stretched")
    assert soon(lambda: value_of(opened, "contrast") == "stretched")
    assert soon(lambda: "each tile stretched" in widget.label())
    widget.button("pause").click()
    heads: list[Any] = []  # None while the heads are being replaced
    assert soon(lambda: heads.append(widget.root.locator(".ldam-head").first.bounding_box()) or heads[-1])
    head = heads[-1]
    opened.page.mouse.move(head["x"] + head["width"] / 2, head["y"] + head["height"] + 20)
    readout = widget.root.locator(".ldam-readout")
    expect(readout).to_contain_text("stretched: black")
    expect(widget.root.locator(".ldam-side").first).to_contain_text("stretched")
    opened.python("w.contrast = 'as it is'; w.bands = 0")
    expect(box(widget, "contrast")).to_have_value("as it is")
    expect(box(widget, "band of 12")).to_have_value("0")
    expect(readout).not_to_contain_text("stretched")


def test_the_slice_of_a_volume_by_keyboard(opened: Notebook) -> None:
    widget = run(opened, 1)
    widget.button("pause").click()
    expect(widget.button("play")).to_be_visible()
    slider = widget.slider("slice")
    slider.focus()
    assert soon(lambda: not widget.pixels_change(within=1.0))
    seen = [widget.pixels()]
    for key, number in (("ArrowRight", 6), ("ArrowRight", 7), ("Home", 0), ("End", 9)):
        slider.press(key)
        assert soon(lambda number=number: value_of(opened, "slice") == str(number))
        assert soon(lambda: widget.pixels() not in seen), f"the picture did not change with slice {number}"
        seen.append(widget.pixels())
    opened.python("w.slice = 5")
    assert soon(lambda: widget.pixels() == seen[0]), "another picture of the same slice"
    expect(widget.root.locator(".ldam-side").first).to_contain_text("slice 5")


def test_full_width_and_full_screen(opened: Notebook) -> None:
    widget = run(opened, 1)
    canvas, page = widget.canvas, opened.page
    usual = canvas.bounding_box()
    wide = widget.button("full width")
    wide.click()
    expect(wide).to_have_attribute("aria-pressed", "true")
    assert usual
    assert soon(lambda: (canvas.bounding_box() or usual)["width"] > usual["width"] + 200)
    wide.click()
    canvas.focus()
    canvas.press("f")
    page.wait_for_function(IS_FULL)
    assert soon(lambda: canvas.bounding_box()["height"] > 1.2 * usual["height"])
    assert widget.pixels_change()
    expect(widget.button("pause")).to_be_in_viewport()
    canvas.press("f")
    page.wait_for_function(f"() => !({IS_FULL})()")
    assert soon(lambda: canvas.bounding_box()["height"] == usual["height"])


def test_where_full_screen_is_forbidden_the_window_is_filled(opened: Notebook) -> None:
    widget = run(opened, 1)
    page = opened.page
    page.evaluate(FORBIDDEN)
    before = widget.root.bounding_box()
    widget.button("full screen").click()
    window = {"x": 0, "y": 0, **(page.viewport_size or {})}
    assert soon(lambda: widget.root.bounding_box() == window)
    top = page.evaluate("() => document.elementFromPoint(5, 5).closest('.ldam') !== null")
    assert top, "something of JupyterLab covers the panel"
    expect(widget.root.get_by_role("status").last).to_contain_text("Escape leaves")
    widget.canvas.press("Enter")  # enlarges a tile: Escape leaves that first
    widget.canvas.press("Escape")
    assert widget.root.bounding_box() == window
    widget.canvas.press("Escape")
    assert soon(lambda: widget.root.bounding_box() == before)


@pytest.mark.parametrize(("width", "columns", "least"), [(700, 4, 76), (1400, 5, 120)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_ten_photographs(browser: Browser, width: int, columns: int, least: int, dark: bool) -> None:
    """Few rows of about equal length, all names in their columns, and no tile that is tiny."""
    with watched_page(browser) as page:
        page.set_viewport_size({"width": width, "height": 950})
        panel = BarePanel(page, dark=dark)
        panel.setup(
            ["goldfish", "hen", "scorpion", "macaw", "flamingo", "retriever", "lion", "airliner", "car", "daisy"]
        )
        panel.frame({}, {"name": "average", "labels": ["average\n100 frames"]}, size=(224, 224, 3))
        heads = panel.tiles
        rows = sorted({head["y"] for head in heads})
        assert [sum(head["y"] == row for head in heads) for row in rows][:-1] == [columns] * (len(rows) - 1)
        sides = panel.root.locator(".ldam-side").evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")
        assert min(sides) >= least
        stage = panel.root.locator(".ldam-stage").bounding_box()
        assert stage
        assert stage["height"] <= 660
        cut = panel.root.locator(".ldam-name").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth).length"
        )
        assert cut == 0
