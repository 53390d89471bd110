"""The widget as a person meets it: JupyterLab, a real kernel, a real browser, mouse and keyboard."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import watched_page
from .lab import Notebook, Server, soon

pytestmark = pytest.mark.browser

MAKE = """
import ldam_widget as ldam
demo = ldam.demo.mnist("final")
w = ldam.LDAM(demo.model, neurons=range(10), regularizers=[ldam.L2(0.4)], **demo.settings)
w
"""
THREADS = "import threading; print(sum(t.name == 'ldam-loop' for t in threading.enumerate()))"


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    """One notebook for all tests of this module: opening JupyterLab takes most of the time."""
    with watched_page(browser) as page:
        yield Notebook(page, server, server.write([MAKE, "w.l2 = 1"]))


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """The notebook with a new widget: its cell is run again."""
    opened.python("w = None")
    opened.run_cell(0)
    assert soon(lambda: opened.python("print(w is not None and w.sampler.steps > 0)") == "True")
    opened.widget().wait()
    return opened


def value_of(notebook: Notebook, name: str) -> float:
    return float(notebook.python(f"print(w.{name})"))


def test_picture_moves_while_playing_and_stands_still_when_paused(notebook: Notebook) -> None:
    widget = notebook.widget()
    assert widget.pixels_change()
    widget.button("pause").click()
    expect(widget.button("play")).to_be_visible()
    assert soon(lambda: not widget.pixels_change(within=1.0))  # the last frame, lossless, may still be on its way
    still, steps = widget.pixels(), notebook.python("print(w.sampler.steps)")
    assert not widget.pixels_change(within=2.0), "a paused picture changed"
    assert notebook.python("print(w.sampler.steps)") == steps
    widget.button("step").click()
    assert soon(lambda: widget.pixels() != still)
    assert int(notebook.python("print(w.sampler.steps)")) == int(steps) + 2  # steps_per_frame
    widget.button("play").click()
    assert widget.pixels_change()


def test_the_prior_is_chosen_in_its_box(notebook: Notebook) -> None:
    widget = notebook.widget()
    box = widget.root.get_by_role("combobox", name="prior", exact=True)
    expect(box).to_have_count(0)  # there is no natural prior for grey images
    notebook.python("import torch; w.prior = ldam.Natural.of(torch.rand(40, 1, 28, 28))")
    expect(box).to_have_value("natural")
    expect(box.locator("option").first).to_have_text("natural: 40 images")
    expect(widget.slider("prior scale")).to_be_visible()
    box.select_option("pixels")
    assert soon(lambda: notebook.python("print(w.prior)") == "None")
    expect(widget.slider("prior scale")).to_have_count(0)
    expect(box).to_have_value("pixels")
    assert widget.pixels_change()
    box.select_option("natural")
    assert soon(lambda: notebook.python("print(w.prior)") == "Natural(40 images)")
    assert notebook.python("print(w.error)") == "None"


@pytest.mark.parametrize(("name", "attribute"), [("step size", "step_size"), ("L2", "l2")])
def test_slider_by_mouse_and_by_keyboard_changes_attribute_and_picture(
    notebook: Notebook, name: str, attribute: str
) -> None:
    widget = notebook.widget()
    slider = widget.slider(name)
    for act in (lambda: slider.press("ArrowRight"), lambda: drag(slider, to=0.8), lambda: drag(slider, to=0.3)):
        before = value_of(notebook, attribute)
        act()
        assert soon(lambda before=before: value_of(notebook, attribute) != before)
    assert float(slider.input_value()) > 0
    assert notebook.python("print(w.error)") == "None"


def drag(slider, to: float) -> None:
    """Press the mouse on the slider at a share of its length."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    slider.page.mouse.click(box["x"] + box["width"] * to, box["y"] + box["height"] / 2)


def test_l2_visibly_changes_the_picture(notebook: Notebook) -> None:
    """Strong L2 pulls a picture to grey. Contrast is judged from the painted canvas."""
    widget = notebook.widget()

    def contrast() -> float:
        return float(
            widget.canvas.evaluate(
                """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
                let n = 0, sum = 0; for (let i = 0; i < d.length; i += 4)
                if (d[i+3] === 255 && d[i] === d[i+1] && d[i] === d[i+2]) { sum += Math.abs(d[i] - 127.5); n++; }
                return sum / n; }"""
            )
        )

    slider = widget.slider("L2")
    slider.focus()
    slider.press("Home")
    time.sleep(3)
    free = contrast()
    slider.press("End")
    assert soon(lambda: contrast() < free / 2), (free, contrast())


def test_setting_an_attribute_in_a_cell_moves_the_slider(notebook: Notebook) -> None:
    widget = notebook.widget()
    before = widget.slider("L2").input_value()
    notebook.run_cell(1)
    assert soon(lambda: widget.slider("L2").input_value() != before)
    expect(widget.root.get_by_role("spinbutton", name="L2 value", exact=True)).to_have_value("1")


def test_typed_value_and_reset_by_double_click(notebook: Notebook) -> None:
    widget = notebook.widget()
    box = widget.root.get_by_role("spinbutton", name="temperature value", exact=True)
    began = value_of(notebook, "temperature")
    box.fill("3")
    box.press("Enter")
    assert soon(lambda: value_of(notebook, "temperature") == 3.0)
    widget.slider("temperature").dblclick()
    assert soon(lambda: value_of(notebook, "temperature") == began)


def test_the_kernel_is_named_chosen_and_measured(notebook: Notebook) -> None:
    widget = notebook.widget()
    box = widget.root.get_by_role("combobox", name="kernel", exact=True)
    expect(box).to_have_value("BAOAB")
    expect(widget.root).to_contain_text("samples p ∝ exp(E/T)")
    notebook.python("w.sampler; w.step(300)")
    expect(widget.root).to_contain_text("measured")  # the thermometer, beside the temperature
    box.select_option("GHMC")
    assert soon(lambda: notebook.python("print(w.kernel.name)") == "GHMC")
    expect(widget.root).to_contain_text("accepts")
    box.select_option("Algorithm 1")
    assert soon(lambda: notebook.python("print(w.kernel.name)") == "Algorithm 1")
    expect(widget.slider("noise")).to_be_visible()
    expect(widget.root).to_contain_text("heuristic")
    assert widget.pixels_change()
    assert notebook.python("print(w.error)") == "None"


def test_a_heat_pulse_is_seen_on_its_slider(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.root.get_by_role("button", name="heat pulse", exact=True).click()
    assert soon(lambda: value_of(notebook, "heat") > 2)
    assert soon(lambda: float(widget.slider("heat").input_value()) > 0)
    notebook.python("w.heat = 1")
    assert value_of(notebook, "heat") == 1


def test_strongest_inputs_of_a_class(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.root.get_by_role("combobox", name="strongest inputs of", exact=True).select_option("seven")
    assert soon(lambda: notebook.python("print(w.layer, len(w.neurons))") == "fc2 20")
    assert soon(lambda: "seven" in widget.label())


def test_choosing_neurons_3_and_7_shows_two_tiles(notebook: Notebook) -> None:
    widget = notebook.widget()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for number, name in enumerate(names):
        if number not in (3, 7):
            widget.button(f"remove {number} {name}").click()
    assert soon(lambda: notebook.python("print(w.neurons)") == "[3, 7]")
    assert soon(lambda: "2 neurons" in widget.label() and "three" in widget.label() and "seven" in widget.label())
    assert "zero" not in widget.label()
    assert widget.pixels_change()


def test_picker_finds_a_unit_by_name(notebook: Notebook) -> None:
    widget = notebook.widget()
    notebook.python("w.neurons = [0]")
    assert soon(lambda: "1 neuron" in widget.label())
    search = widget.root.get_by_role("combobox", name="search units", exact=True)
    search.fill("nin")
    expect(widget.root.get_by_role("listbox").get_by_role("option").first).to_contain_text("nine")
    search.press("ArrowDown")
    search.press("Enter")
    assert soon(lambda: notebook.python("print(w.neurons)") == "[0, 9]")


def test_an_expression_is_typed_and_interpolates(notebook: Notebook) -> None:
    widget = notebook.widget()
    notebook.python("w.neurons = [0]")
    assert soon(lambda: "1 neuron" in widget.label())
    search = widget.root.get_by_role("combobox", name="search units", exact=True)
    search.fill("three - 0.5*fc2:7")
    option = widget.root.get_by_role("listbox").get_by_role("option")
    expect(option).to_have_text("three - 0.5·fc2:7")
    search.press("Enter")
    assert soon(lambda: notebook.python("print(w.neurons)") == "[0, '3 - 0.5*fc2:7']")
    assert soon(lambda: "three - 0.5·fc2:7" in widget.label())
    expect(widget.button("remove three - 0.5·fc2:7")).to_be_visible()
    search.fill("thre -> 5")
    expect(widget.root.get_by_text("did you mean 'three'")).to_be_visible()
    search.press("Enter")  # now the banner shows it
    expect(widget.root.get_by_role("alert")).to_contain_text("did you mean 'three'")
    search.fill("three -> five")
    expect(option).to_have_text("three → five")
    search.press("Enter")
    slider = widget.slider("interpolation")
    expect(slider).to_be_visible()
    assert soon(lambda: "three → five" in widget.label())
    slider.press("ArrowRight")
    assert soon(lambda: value_of(notebook, "interpolation") > 0)
    assert widget.pixels_change()


def test_choosing_another_layer(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.root.get_by_role("combobox", name="layer", exact=True).select_option(value="conv1")
    assert soon(lambda: notebook.python("print(w.layer, w.neurons)") == "conv1 [0, 1, 2, 3, 4, 5]")
    assert soon(lambda: "conv1" in widget.label())


def test_page_reload_finds_the_widget_again(notebook: Notebook) -> None:
    notebook.save()
    steps = int(notebook.python("print(w.sampler.steps)"))
    time.sleep(1)
    notebook.page.reload()
    notebook.ready()
    widget = notebook.widget().wait()
    assert widget.pixels_change()
    assert int(notebook.python("print(w.sampler.steps)")) > steps
    before = value_of(notebook, "step_size")
    widget.slider("step size").press("ArrowRight")
    assert soon(lambda: value_of(notebook, "step_size") > before)


def test_running_the_cell_again_leaves_one_thread(notebook: Notebook) -> None:
    assert notebook.python(THREADS) == "1"
    for _ in range(2):
        notebook.run_cell(0)
        time.sleep(1)
        notebook.widget().wait()
    assert soon(lambda: notebook.python(THREADS) == "1"), notebook.python(THREADS)
    assert notebook.widget().pixels_change()


def test_keys_stay_in_the_widget(notebook: Notebook) -> None:
    """JupyterLab takes arrow keys to move between cells and `b` to insert one."""
    widget = notebook.widget()
    cells = notebook.page.locator(".jp-Notebook .jp-Cell").count()
    slider = widget.slider("temperature")
    before = value_of(notebook, "temperature")
    slider.focus()
    for key in ("ArrowUp", "b", "a", "ArrowRight"):
        slider.press(key)
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert soon(lambda: value_of(notebook, "temperature") > before)


def test_zoom_of_a_tile_by_click_and_keyboard(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.button("pause").click()
    expect(widget.button("play")).to_be_visible()
    assert soon(lambda: not widget.pixels_change(within=1.0))
    whole = widget.pixels()
    widget.canvas.focus()
    widget.canvas.press("ArrowRight")
    widget.canvas.press("Enter")
    assert soon(lambda: widget.pixels() != whole)
    widget.canvas.press("Escape")
    assert soon(lambda: "10 neurons" in widget.label())


def test_snapshot_and_record_give_files(notebook: Notebook) -> None:
    from PIL import Image

    widget = notebook.widget()
    with notebook.page.expect_download() as download:
        widget.button("snapshot").click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500
    widget.button("record").click()
    stop = widget.root.get_by_role("button", name="stop recording", exact=True)
    expect(stop).to_be_visible()
    time.sleep(3)
    with notebook.page.expect_download() as download:
        stop.click()
    with Image.open(download.value.path()) as film:
        assert film.format == "GIF"
        assert film.n_frames >= 5


def test_a_fault_in_the_model_shows_in_the_panel(page: Page, server: Server) -> None:
    code = """
import torch, ldam_widget as ldam
fuse = 10**6  # a global: what a model counts in its own attributes is restored before each pass
class Fragile(torch.nn.Module):
    def __init__(self):
        super().__init__(); self.fc = torch.nn.Linear(64, 3)
    def forward(self, x):
        global fuse
        fuse -= 1
        if fuse <= 0: raise RuntimeError("<b>the model is tired</b>")
        return self.fc(x.flatten(1))
w = ldam.LDAM(Fragile(), input_shape=(1, 8, 8), class_names=["<img src=x onerror=alert(1)>", "b", "c"])
fuse = 200
w
"""
    notebook = Notebook(page, server, server.write([code], "fault.ipynb"))
    notebook.run_cell(0)
    alert = notebook.page.locator(".ldam").get_by_role("alert")
    expect(alert).to_contain_text("<b>the model is tired</b>")
    assert "tired" in notebook.python("print(w.error)")
    assert notebook.page.locator(".ldam img").count() == 0, "a class name became HTML"
    assert notebook.python(THREADS) in ("0", "1")


def test_dark_theme_is_dark(notebook: Notebook) -> None:
    widget = notebook.widget()
    shade = "e => getComputedStyle(e).backgroundColor"
    light = widget.root.evaluate(shade)
    notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    try:
        assert soon(lambda: widget.root.evaluate(shade) != light)
    finally:
        notebook.command("apputils:change-theme", {"theme": "JupyterLab Light"})


def test_sliders_stay_behind_while_the_longer_picture_is_scrolled_through(notebook: Notebook) -> None:
    """JupyterLab's boxes around an output cut off what leaves them, and nothing is sticky in a box that does."""
    widget, page = notebook.widget(), notebook.page
    size = page.viewport_size
    assert size
    try:
        page.set_viewport_size({"width": 1440, "height": 560})
        places = [widget.slider("step size"), widget.root.locator(".ldam-plot")]
        before = [place.bounding_box() for place in places]
        places[1].scroll_into_view_if_needed()
        slider, trace = (
            a["y"] - b["y"] for a, b in zip(before, (p.bounding_box() for p in places), strict=True) if a and b
        )
        left = (
            widget.root.locator(".ldam-side-panel").bounding_box(),
            widget.root.locator(".ldam-controls").bounding_box(),
        )
        assert left[0]
        assert left[1]
        slack = left[0]["height"] - left[1]["height"]  # which the sliders can stay behind at most
        assert slack > 100
        assert trace - slider > slack - 40
    finally:
        page.set_viewport_size(size)
