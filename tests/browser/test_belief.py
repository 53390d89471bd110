"""The line on belief, in a browser: as a page that a test talks to, and in JupyterLab with a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .bare import BarePanel
from .conftest import watched_page
from .lab import Notebook, Server

pytestmark = pytest.mark.browser

DOUBTS = {
    "running": False,
    "level": "warn",
    "text": "belief: doubtful: 1 of 2 neurons: 3 three: activation comes from units that real images never use",
    "neurons": [
        {"label": "3 three", "text": "100% of the activation comes from units that real images never use"},
        {"label": "4 four", "text": "nothing suspicious"},
    ],
}
# random pixels are no data that this network has learned anything of
DOUBTFUL = """
import torch, ldam_widget as ldam
from torch import nn
first, second = nn.Linear(64, 2), nn.Linear(2, 1)
with torch.no_grad():
    first.weight.fill_(1 / 64); first.weight[1, 0] = -9; first.bias.zero_()
    second.weight.copy_(torch.tensor([[1., 9.]])); second.bias.zero_()
images = torch.rand(100, 1, 8, 8); images[..., 0, 0] = 1
w = ldam.LDAM(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), input_shape=(1, 8, 8), pixel_range=(0, 1),
              dataset=images, prior=None, warm_up=5, seed=0)
w
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_doubts_are_seen_in_both_themes(browser: Browser, dark: bool) -> None:
    with watched_page(browser) as page:
        shown = BarePanel(page, dark=dark)
        shown.setup(2, belief={"running": False, "level": "wait", "text": "belief: not checked", "neurons": []})
        shown.frame()
        line = shown.root.locator(".ldam-belief")
        line.get_by_role("button", name="check belief").click()
        assert page.evaluate("window.sent.some(message => message.what === 'belief')")
        shown.post({"kind": "state", "params": {}, "playing": True, "recording": False, "belief": DOUBTS})
        expect(line.get_by_role("status")).to_contain_text("doubtful: 1 of 2 neurons")
        line.get_by_role("button", name="each neuron").click()
        expect(line.get_by_label("belief of each neuron")).to_contain_text("4 fournothing suspicious")
        inks = [
            element.evaluate("e => getComputedStyle(e).color")
            for element in line.locator(".ldam-verdict, .ldam-sign").all()
        ]
        back = shown.root.evaluate("e => getComputedStyle(e).backgroundColor")
        assert back not in inks
        box, panel = line.bounding_box(), shown.root.bounding_box()
        assert box
        assert panel
        assert box["x"] >= panel["x"]
        assert box["x"] + box["width"] <= panel["x"] + panel["width"] + 1


def test_without_a_belief_there_is_no_line(page: Page) -> None:
    shown = BarePanel(page)
    shown.setup(2)
    expect(shown.root.locator(".ldam-belief")).to_be_hidden()


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Notebook]:
    with watched_page(browser) as page:
        yield Notebook(page, server, server.write([DOUBTFUL], "belief.ipynb"))


def test_a_kernel_raises_doubts_by_itself(opened: Notebook) -> None:
    opened.run_cell(0)
    line = opened.widget().wait().root.locator(".ldam-belief")
    status, check = line.get_by_role("status"), line.get_by_role("button", name="check belief")
    expect(status).to_contain_text("doubtful", timeout=120_000)
    expect(check).to_be_visible(timeout=120_000)
    at_first = re.search(r"at step [\d,]+", status.inner_text())
    assert at_first
    check.click()
    expect(status).not_to_contain_text(at_first[0] + ":", timeout=120_000)
    expect(status).to_contain_text("doubtful", timeout=120_000)
    expect(check).to_be_visible(timeout=120_000)
    assert opened.python("print(w.playing, w.belief(steps=2).images)") == "True 100"
