"""Two checkpoints side by side, and a model that trains, in JupyterLab with a real kernel and a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from .conftest import watched_page
from .lab import Notebook, Server, soon
from .test_lab import drag

pytestmark = pytest.mark.browser

COMPARE = """
import ldam_widget as ldam
first, last = ldam.demo.mnist("epoch1"), ldam.demo.mnist("final")
w = ldam.compare({"epoch 1": first.model, "epoch 10": last.model}, neurons=range(10), **last.settings)
w
"""
WATCH = """
import torch, ldam_widget as ldam
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
w = ldam.watch(net, every=10, input_shape=(1, 8, 8), decay=0.9)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(torch.randn(32, 1, 8, 8)), torch.randint(3, (32,))).backward()
    optimizer.step()
    w.update()
"""


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    with watched_page(browser) as page:
        yield Notebook(page, server, server.write([COMPARE, WATCH], "compare.ipynb"))


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    return shown(opened, 0)


def shown(opened: Notebook, cell: int) -> Notebook:
    opened.python("globals().get('w') and w.close(); w = None")
    opened.command("notebook:clear-all-cell-outputs")
    opened.run_cell(cell)
    assert soon(lambda: opened.python("print(w is not None and w.sampler.steps > 0)") == "True")
    opened.widget().wait()
    return opened


def values(notebook: Notebook, name: str) -> list[float]:
    return [float(v) for v in notebook.python(f"print(*[s.params['{name}'] for s in w.samplers.values()])").split()]


def test_two_checkpoints_appear_and_the_picture_moves(notebook: Notebook) -> None:
    widget = notebook.widget()
    for name in ("epoch 1", "epoch 10", "difference"):
        expect(widget.root.locator(".ldam-side", has_text=name).first).to_be_attached()
    assert "10 neurons" in widget.label()
    assert widget.pixels_change()
    # the painted difference row has colours, the first row, of a model, has none
    coloured = """c => {
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, rows = new Array(8).fill(0);
        for (let i = 0; i < d.length; i += 4) if (Math.abs(d[i] - d[i + 2]) > 40)
          rows[Math.floor(8 * (i / 4) / (c.width * c.height))]++;
        return [rows[0], Math.max(...rows)]; }"""
    assert soon(lambda: widget.canvas.evaluate(coloured)[1] > 500)
    assert widget.canvas.evaluate(coloured)[0] == 0


def test_one_slider_moves_both_and_a_lock_frees_one(notebook: Notebook) -> None:
    widget = notebook.widget()
    before = values(notebook, "temperature")
    assert before[0] == before[1]
    drag(widget.slider("temperature"), to=0.7)
    assert soon(lambda: values(notebook, "temperature")[0] > before[0])
    together = values(notebook, "temperature")
    assert together[0] == together[1]

    lock = widget.button("lock temperature")
    expect(lock).to_have_attribute("aria-pressed", "true")
    lock.click()
    expect(widget.slider("temperature, epoch 1")).to_be_visible()
    drag(widget.slider("temperature, epoch 10"), to=0.2)
    assert soon(lambda: values(notebook, "temperature")[1] < together[1])
    assert values(notebook, "temperature")[0] == together[0]

    widget.button("lock temperature").click()
    expect(widget.slider("temperature")).to_be_visible()
    assert soon(lambda: values(notebook, "temperature") == [together[0], together[0]])


def test_blink_flips_two_models_in_place(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.button("pause").click()
    widget.root.get_by_role("combobox", name="rows").select_option("samples")
    assert soon(lambda: notebook.python("print(w.show)") == "samples")
    assert soon(lambda: not widget.pixels_change(0.5))
    widget.button("blink").click()
    expect(widget.button("blink")).to_have_attribute("aria-pressed", "true")
    seen = set()
    assert soon(lambda: seen.add(widget.pixels()) or len(seen) >= 2)
    assert not soon(lambda: seen.add(widget.pixels()) or len(seen) > 3, 3)  # two models, and one moment of change
    widget.button("blink").click()
    assert not widget.pixels_change(1.5)


def test_the_list_sorts_and_ranks_the_layer(notebook: Notebook) -> None:
    widget = notebook.widget()
    table = widget.root.get_by_role("table", name="most changed neurons")
    rows = table.locator("tbody tr")
    assert soon(lambda: rows.count() == 10)
    assert soon(lambda: "–" not in rows.locator("td:nth-child(4)").all_inner_texts())
    widget.button("pause").click()
    head = table.get_by_role("button", name="gap")
    sorted_by = table.get_by_role("columnheader", name="gap")

    def gaps() -> list[float]:
        return [
            float(text.replace("−", "-").replace("+", "")) for text in rows.locator("td:nth-child(4)").all_inner_texts()
        ]

    def stands_still() -> bool:
        before = gaps()
        notebook.page.wait_for_timeout(500)
        return gaps() == before

    assert soon(stands_still)  # rows stay where they are under a mouse, also when the last pictures come in late
    head.click()
    assert soon(lambda: sorted_by.get_attribute("aria-sort") in ("ascending", "descending"))
    way = sorted_by.get_attribute("aria-sort")
    assert soon(lambda: gaps() == sorted(gaps(), reverse=way == "descending")), gaps()
    head.click()
    assert soon(lambda: sorted_by.get_attribute("aria-sort") not in (way, None, "none"))
    assert soon(lambda: gaps() == sorted(gaps(), reverse=way == "ascending")), gaps()

    widget.button("rank the whole layer").click()
    assert soon(lambda: notebook.python("print(len(w.ranking))") == "10")
    expect(widget.button("rank the whole layer")).to_be_visible()


def test_a_click_on_a_tile_enlarges_both(notebook: Notebook) -> None:
    widget = notebook.widget()
    widget.canvas.click(position={"x": 125, "y": 80})  # a tile of the first model, right of its label
    expect(widget.root.locator(".ldam-zoomed")).to_be_attached()
    heads = widget.root.locator(".ldam-zoomed .ldam-name")
    text = " ".join(heads.all_inner_texts())
    assert "epoch 1" in text
    assert "epoch 10" in text
    notebook.page.keyboard.press("Escape")
    expect(widget.root.locator(".ldam-zoomed")).to_have_count(0)


def test_going_back_to_an_earlier_checkpoint_of_a_training(opened: Notebook) -> None:
    notebook = shown(opened, 1)
    widget = notebook.widget()
    assert soon(lambda: notebook.python("print(w.iteration)") == "60")
    slider = widget.slider("checkpoint")
    expect(slider).to_have_attribute("aria-valuetext", "iteration 60")  # the page learns of it with a picture
    slider.focus()
    slider.press("Home")
    assert soon(lambda: notebook.python("print(w.shown, w.following)") == "0 False")
    widget.root.get_by_role("combobox", name="weights").select_option("average")
    assert soon(lambda: notebook.python("print(w.source)") == "average")
    widget.button("follow").click()
    assert soon(lambda: notebook.python("print(w.shown, w.following)") == "60 True")
    assert notebook.python("print(w.error)") == "None"
