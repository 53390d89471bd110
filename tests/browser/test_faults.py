"""What happens to a page: cleared outputs, closed or hidden tabs, cut connections, restarted kernels, hostile names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import watched_page
from .lab import Notebook, Server, Widget, soon

pytestmark = pytest.mark.browser

MAKE = """
import threading, torch, ldam_widget as ldam
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
w = ldam.LDAM(model, input_shape=(1, 8, 8))
w
"""
TWICE = "from IPython.display import display\ndisplay(w)\ndisplay(w)"
LONG = 10_000
HOSTILE = f"""
names = ["<img src=x onerror='window.hit=1'>", "<script>window.hit=1</script>", "x" * {LONG}]
w = ldam.LDAM(model, input_shape=(1, 8, 8), class_names=names, title="<b onclick='window.hit=1'>" + "y" * {LONG})
w
"""
LOOPS = "print(sum(t.name == 'ldam-loop' for t in threading.enumerate()))"

# A network that can be cut: sockets close, and new ones are refused, until it is restored.
SOCKETS = """{
  const Real = window.WebSocket, open = new Set();
  window.WebSocket = class extends Real {
    constructor(url, protocols) {
      super(window.isCut ? "ws://127.0.0.1:9/" : url, protocols);
      open.add(this);
    }
  };
  window.cut = () => {
    window.isCut = true;
    const sockets = [...open].filter((socket) => socket.readyState === Real.OPEN);
    open.clear();
    for (const socket of sockets) socket.close();
    return sockets.length;
  };
}"""


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    """One notebook for all tests of this module: opening JupyterLab takes most of the time."""
    with watched_page(browser) as page:
        page.add_init_script(SOCKETS)
        yield Notebook(page, server, server.write([MAKE, TWICE, HOSTILE], "faults.ipynb"))


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """The notebook with one new widget, which plays."""
    opened.command("notebook:clear-all-cell-outputs")
    opened.python("import ipywidgets; ipywidgets.Widget.close_all(); w = None")
    opened.run_cell(0)
    opened.widget().wait()
    assert opened.widget().pixels_change()
    return opened


def from_elsewhere(page: Page, kernel: str, code: str) -> str:
    """Run code in a kernel by its id, whatever tab is in front; returns what it printed."""
    text: str = page.evaluate(
        """async ([id, code]) => {
          const kernel = window.jupyterapp.serviceManager.kernels.connectTo({model: {id, name: "python3"}});
          let text = "";
          const future = kernel.requestExecute({code, store_history: false});
          future.onIOPub = ({header, content}) => { if (header.msg_type === "stream") text += content.text; };
          await future.done;
          kernel.dispose();
          return text;
        }""",
        [kernel, code],
    )
    return text.strip()


def kernel_of(notebook: Notebook) -> str:
    kernel: str = notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
    return kernel


def works(notebook: Notebook) -> None:
    """Pictures move, a slider moves its attribute, and there is no fault."""
    widget = notebook.widget().wait()
    assert soon(widget.pixels_change)
    before = float(notebook.python("print(w.step_size)"))
    widget.slider("step size").press("ArrowRight")
    assert soon(lambda: float(notebook.python("print(w.step_size)")) > before)
    assert notebook.python("print(w.playing, w.error)") == "True None"


def test_the_output_is_cleared(notebook: Notebook) -> None:
    notebook.command("notebook:clear-all-cell-outputs")
    expect(notebook.page.locator(".ldam")).to_have_count(0)
    assert soon(lambda: notebook.python(LOOPS) == "0"), "the thread goes on with no view left"
    notebook.run_cell(0)
    works(notebook)
    assert notebook.python(LOOPS) == "1"


def test_the_notebook_is_closed_and_opened_again(notebook: Notebook) -> None:
    page, kernel = notebook.page, kernel_of(notebook)
    notebook.save()
    page.evaluate("window.jupyterapp.shell.currentWidget.close()")
    expect(page.locator(".ldam")).to_have_count(0)
    assert soon(lambda: from_elsewhere(page, kernel, LOOPS) == "0"), "the thread goes on with no view left"
    steps = int(from_elsewhere(page, kernel, "print(w.sampler.steps)"))
    notebook.command("docmanager:open", {"path": notebook.name})
    notebook.ready()
    assert kernel_of(notebook) == kernel
    works(notebook)
    assert int(notebook.python("print(w.sampler.steps)")) > steps


def behind_another_tab(notebook: Notebook) -> Callable[[], None]:
    page = notebook.page
    mine = page.evaluate("window.jupyterapp.shell.currentWidget.id")
    notebook.command("launcher:create")
    page.wait_for_function("id => window.jupyterapp.shell.currentWidget?.id !== id", arg=mine)
    return lambda: page.evaluate("id => window.jupyterapp.shell.activateById(id)", mine)


def in_the_background(notebook: Notebook) -> Callable[[], None]:
    """As when the browser's window is behind another one."""
    say = """hidden => {
      Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    notebook.page.evaluate(say, True)
    return lambda: notebook.page.evaluate(say, False)


@pytest.mark.parametrize("hide", [behind_another_tab, in_the_background])
def test_out_of_sight_for_a_while(notebook: Notebook, hide: Callable[[Notebook], Callable[[], None]]) -> None:
    page, kernel = notebook.page, kernel_of(notebook)
    come_back = hide(notebook)
    assert soon(lambda: from_elsewhere(page, kernel, LOOPS) == "0"), "the thread goes on with no view left"
    ask = "print(w.loop.pacer.sent, w.sampler.steps, w.playing)"
    before = from_elsewhere(page, kernel, ask)
    assert before.endswith("True")
    time.sleep(10)
    assert from_elsewhere(page, kernel, ask) == before, "sent, or sampled, although hidden"
    come_back()
    works(notebook)
    expect(page.locator(".ldam-silence")).to_have_text("")


def test_the_connection_is_cut(notebook: Notebook) -> None:
    page = notebook.page
    assert page.evaluate("window.cut()") >= 1
    time.sleep(5)
    assert not notebook.widget().pixels_change(within=1), "nothing was cut"
    page.evaluate("window.isCut = false")
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatus === 'connected'",
        timeout=60_000,
    )
    works(notebook)


def test_two_views_of_one_widget(notebook: Notebook) -> None:
    page = notebook.page
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.run_cell(1)
    expect(page.locator(".ldam")).to_have_count(2)
    views = [Widget(page, f".ldam >> nth={i}") for i in range(2)]
    for mover, other in (views, views[::-1]):
        mover.root.scroll_into_view_if_needed()
        assert soon(mover.pixels_change)
        mover.slider("step size").press("ArrowRight")
        assert soon(lambda: len({view.slider("step size").input_value() for view in views}) == 1)
        before = other.slider("step size").input_value()
        mover.slider("step size").press("ArrowRight")
        assert soon(lambda: other.slider("step size").input_value() != before)  # noqa: B023
    assert notebook.python(LOOPS) == "1"


def test_hostile_names(notebook: Notebook) -> None:
    page = notebook.page
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.run_cell(2)
    widget = notebook.widget().wait()
    expect(widget.root).to_contain_text("<img src=x")
    assert widget.pixels_change()
    widget.root.get_by_role("combobox", name="search units", exact=True).fill("x")
    expect(widget.root.get_by_role("listbox").get_by_role("option").first).to_be_visible()
    widget.canvas.hover()
    assert page.evaluate("window.hit") is None, "a name was executed"
    assert widget.root.locator("img, script, b[onclick]").count() == 0
    sizes: dict[str, Any] = widget.root.evaluate(
        "e => ({wide: e.scrollWidth, width: e.clientWidth, room: e.parentElement.clientWidth, height: e.clientHeight})"
    )
    assert sizes["wide"] <= sizes["width"] + 1, sizes
    assert sizes["width"] <= sizes["room"], sizes
    assert sizes["height"] < 2500, sizes
    assert notebook.python("print(w.error)") == "None"


HAIL = """([slider, seconds]) => new Promise((done) => {
  const begin = performance.now(), low = Number(slider.min), high = Number(slider.max);
  let moved = 0;
  const timer = setInterval(() => {
    for (const due = performance.now() - begin; moved < due; moved++) {  // one a millisecond
      slider.value = String(low + (high - low) * (0.2 + 0.6 * Math.random()));
      slider.dispatchEvent(new Event("input", {bubbles: true}));
    }
    if (performance.now() - begin < 1000 * seconds) return;
    clearInterval(timer);
    slider.value = String(high);
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    done(moved);
  }, 4);
})"""


def test_a_slider_that_moves_a_thousand_times_a_second(notebook: Notebook) -> None:
    """The newest wins, and no backlog is left: a later request is answered at once."""
    notebook.python("moves = []\nw.observe(lambda change: moves.append(change.new), names='step_size')")
    high = notebook.python("print(w.sampler.parameters[0].high)")
    slider = notebook.widget().slider("step size")
    moved = notebook.page.evaluate(HAIL, [slider.element_handle(), 10])
    assert moved >= 9000
    seen = int(notebook.python("print(len(moves))"))
    assert soon(lambda: notebook.python("print(float(w.step_size))") == str(float(high)))
    late = int(notebook.python("print(len(moves))")) - seen
    print(f"{moved} moves, {seen + late} seen by the kernel, {late} of them late")
    assert 10 < seen + late < moved / 5
    assert late < 60, "moves queue up"
    assert notebook.widget().pixels_change()
    assert notebook.python("print(w.error)") == "None"


def test_the_kernel_is_restarted(notebook: Notebook) -> None:
    """The panel stands still and says why; the cell makes it work again. Last, since it takes the kernel."""
    page = notebook.page
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    silence = page.locator(".ldam-silence")
    expect(silence).to_contain_text("run the cell again")
    assert not notebook.widget().pixels_change(within=1)
    notebook.ready()
    notebook.run_cell(0)
    assert soon(lambda: notebook.python("print('w' in globals())") == "True")
    expect(silence).to_have_text("")
    works(notebook)
    assert notebook.python(LOOPS) == "1"
