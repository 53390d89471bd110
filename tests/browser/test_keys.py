"""Keys pressed in a panel in Notebook 7, which acts on single keys before the panel receives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from .conftest import watched_page
from .lab import Notebook, Server, soon

pytestmark = pytest.mark.browser

SETUP = """
import torch, ldam_widget as ldam
torch.manual_seed(0)
def network(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
settings = dict(input_shape=(1, 8, 8), seed=0)
"""
PANELS = {
    "one model": "w = ldam.LDAM(network(), neurons=range(3), **settings)\nw",
    "compare": 'w = ldam.compare({"a": network(), "b": network()}, neurons=range(3), **settings)\nw',
    "watch": "w = ldam.watch(network(), every=1, neurons=range(3), **settings)\nfor _ in range(5): w.update()",
}
# Cut, delete, insert, copy, paste, undo, redo, merge, move, to edit mode, to markdown: all single keys of the notebook.
KEYS = ["ArrowUp", "ArrowDown", "x", "d", "d", "a", "b", "c", "v", "z", "Shift+M", "k", "j", "m", "Escape"]
FOCUSABLE = "button:enabled, input, select, canvas[tabindex], [tabindex]:not(canvas)"


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    """One notebook for all tests of this module: a cell before the panels, one behind."""
    with watched_page(browser) as page:
        cells = ["'first'", SETUP, *PANELS.values(), "'last'"]
        notebook = Notebook(page, server, server.write(cells, "keys.ipynb"), app="notebooks")
        notebook.run_cell(1)
        yield notebook


def shown(opened: Notebook, panel: str) -> Notebook:
    """The notebook with a new panel, paused."""
    opened.python("globals().get('w') and w.close(); w = None")
    opened.command("notebook:clear-all-cell-outputs")
    opened.run_cell(2 + list(PANELS).index(panel))
    opened.widget().wait()
    opened.widget().button("pause").click()
    expect(opened.widget().button("play")).to_be_visible()
    return opened


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    return shown(opened, "one model")


def cells(notebook: Notebook) -> Any:
    """What keys may change of a notebook: its cells, which one is chosen, and whether it is being edited."""
    return notebook.page.evaluate(
        """() => {
          const { content } = window.jupyterapp.shell.currentWidget;
          const cells = content.widgets.map(({model}) => [model.id, model.type, model.sharedModel.getSource()]);
          return [cells, content.activeCellIndex, content.mode];
        }"""
    )


def press(element: Locator, *keys: str) -> None:
    """As a person does, to whatever has the focus: `Locator.press` would move it back."""
    element.focus()
    for key in keys:
        element.page.keyboard.press(key)


def test_the_notebook_listens(notebook: Notebook) -> None:
    """The control: otherwise the tests below would prove nothing."""
    before = cells(notebook)
    press(notebook.page.locator(".jp-Cell").first, "b")
    assert soon(lambda: len(cells(notebook)[0]) == len(before[0]) + 1)
    notebook.page.keyboard.press("x")
    assert soon(lambda: cells(notebook)[0] == before[0])


def test_arrows_move_a_slider_and_not_the_selection(notebook: Notebook) -> None:
    before, slider = cells(notebook), notebook.widget().slider("temperature")
    begin = float(slider.input_value())
    press(slider, "ArrowRight", "ArrowUp", "ArrowUp")
    assert float(slider.input_value()) == begin + 3
    press(slider, "ArrowDown", "ArrowLeft")
    assert float(slider.input_value()) == begin + 1
    value = notebook.widget().root.get_by_role("spinbutton", name="temperature value", exact=True).input_value()
    assert soon(lambda: float(notebook.python("print(w.temperature)")) == pytest.approx(float(value), rel=1e-3))
    assert cells(notebook) == before


@pytest.mark.parametrize("panel", PANELS)
def test_keys_pressed_anywhere_in_a_panel_leave_the_cells_alone(opened: Notebook, panel: str) -> None:
    notebook = shown(opened, panel)
    before, root = cells(notebook), notebook.widget().root
    kinds, i = set(), 0
    while i < (all_of_them := root.locator(FOCUSABLE).locator("visible=true")).count():
        element = all_of_them.nth(i)
        what = element.evaluate("e => e.outerHTML.slice(0, 200)")
        kinds.add(element.evaluate("e => e.localName + (e.type ?? '')"))
        press(element, *KEYS)
        assert cells(notebook) == before, what
        i += 1
    assert {"buttonbutton", "inputrange", "inputnumber", "inputtext", "selectselect-one", "canvas"} <= kinds
    notebook.page.wait_for_timeout(1500)  # how long the notebook waits for a second key
    assert cells(notebook) == before


def test_text_arrives_in_number_and_search_fields(notebook: Notebook) -> None:
    before, root = cells(notebook), notebook.widget().root
    box = root.get_by_role("spinbutton", name="temperature value", exact=True)
    press(box, "Control+A", *"0.25", "Enter")
    assert soon(lambda: notebook.python("print(w.temperature)") == "0.25")
    search = root.get_by_role("combobox", name="search units", exact=True)
    press(search, *"abdx")
    expect(search).to_have_value("abdx")
    press(search, "Control+A", "7")
    expect(root.get_by_role("listbox").get_by_role("option")).to_have_count(1)
    press(search, "ArrowDown", "Enter", "Escape")
    assert soon(lambda: notebook.python("print(w.neurons)") == "[0, 1, 2, 7]")
    assert cells(notebook) == before


def test_enter_and_escape_act_on_buttons_and_pictures_only(notebook: Notebook) -> None:
    before, widget = cells(notebook), notebook.widget()
    press(widget.button("play"), "Enter")
    expect(widget.button("pause")).to_be_visible()
    press(widget.canvas, "ArrowRight", "Enter")
    expect(widget.root.locator(".ldam-zoomed")).to_be_attached()
    press(widget.canvas, "x", "d", "d", "Escape")
    expect(widget.root.locator(".ldam-zoomed")).to_have_count(0)
    assert cells(notebook) == before


def test_keys_after_a_click_between_the_controls_and_after_what_was_pressed_is_gone(notebook: Notebook) -> None:
    widget, page = notebook.widget(), notebook.page
    press(widget.root.get_by_role("button", name="remove 1", exact=True), "Enter")
    assert soon(lambda: notebook.python("print(w.neurons)") == "[0, 2]")
    before = cells(notebook)
    for key in KEYS:
        page.keyboard.press(key)
    assert cells(notebook) == before
    for place in (".ldam-label", ".ldam-readout", ".ldam-speed", ".ldam-trace"):
        widget.root.locator(place).first.click()
        for key in KEYS:
            page.keyboard.press(key)
        assert cells(notebook) == before, place


def test_keys_pressed_in_what_opens_later(opened: Notebook) -> None:
    """The ranking of a layer, the lock of a slider, and the error that asks to be dismissed."""
    notebook = shown(opened, "compare")
    widget = notebook.widget()
    widget.button("rank the whole layer").click()
    table = widget.root.get_by_role("table", name="most changed neurons")
    assert soon(lambda: notebook.python("print(len(w.ranking))") == "10")
    widget.button("lock temperature").click()
    notebook.python("w.send({'kind': 'error', 'error': {'message': 'mistake', 'hint': ''}})")
    before = cells(notebook)
    for element in (
        table.get_by_role("button").last,
        widget.slider("temperature, a"),
        widget.root.get_by_role("alert").get_by_role("button"),
    ):
        press(element, *KEYS)
        assert cells(notebook) == before, element
