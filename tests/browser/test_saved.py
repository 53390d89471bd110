"""What a saved notebook keeps of a panel or a map, in JupyterLab."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from .conftest import watched_page
from .lab import Notebook, Server, soon

pytestmark = pytest.mark.browser

MAKE = """
import torch, ldam_widget as ldam
w = ldam.LDAM(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval(), input_shape=(1, 8, 8), seed=0)
w
"""
MAP = """
import numpy as np, ldam_widget as ldam
s = ldam.Scatter(np.random.default_rng(0).normal(size=(50, 2)), labels=["a", "b"] * 25)
s
"""
VIEW = "application/vnd.jupyter.widget-view+json"
OUTPUTS = "() => window.jupyterapp.shell.currentWidget.context.model.toJSON().cells[0].outputs"


@pytest.fixture
def notebook(browser: Browser, server: Server) -> Iterator[Notebook]:
    with watched_page(browser) as page:
        yield Notebook(page, server, server.write([MAKE], "saved.ipynb"))


def outputs(notebook: Notebook) -> list[dict[str, Any]]:
    """Data of the cell's outputs, as they would be saved now."""
    return [output["data"] for output in notebook.page.evaluate(OUTPUTS)]


def picture(notebook: Notebook) -> np.ndarray:
    found = [data["image/png"] for data in outputs(notebook) if "image/png" in data]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0])))) if found else np.zeros(())


def test_the_newest_picture_is_saved_and_shown_where_there_is_no_panel(notebook: Notebook) -> None:
    notebook.run_cell(0)
    widget = notebook.widget().wait()
    widget.button("pause").click()
    expect(widget.button("play")).to_be_visible()
    notebook.python("import numpy as np; w.step(500)")
    notebook.python("snap = np.asarray(w._still()); print(snap.shape)")
    wanted = np.array(json.loads(notebook.python("import json; print(json.dumps(snap.tolist()))")), np.uint8)
    assert soon(lambda: np.array_equal(picture(notebook), wanted))
    assert soon(lambda: [VIEW in data for data in outputs(notebook)] == [False, True])
    images = notebook.page.locator(".jp-OutputArea img")
    expect(images).to_have_count(1)
    expect(images).to_be_hidden()  # beside the panel

    notebook.save()
    cell = json.loads((notebook.server.root / notebook.name).read_text())["cells"][0]
    saved = [output["data"]["image/png"] for output in cell["outputs"] if "image/png" in output["data"]]
    assert len(saved) == 1
    notebook.page.reload()  # another page that finds the kernel again
    notebook.ready()
    notebook.widget().wait()
    expect(images).to_be_hidden()
    notebook.python("w.close()")
    notebook.command("kernelmenu:shutdown")
    notebook.page.reload()
    notebook.page.wait_for_selector(".jp-Notebook .jp-Cell")
    expect(images).to_be_visible()
    assert notebook.page.locator(".ldam button:visible").count() == 0


def test_of_a_map_the_newest_selection_is_kept(browser: Browser, server: Server) -> None:
    with watched_page(browser) as page:
        notebook = Notebook(page, server, server.write([MAP], "map.ipynb"))
        notebook.run_cell(0)
        page.locator(".ldam canvas").first.wait_for()
        notebook.python("s.selection = range(20)")
        assert soon(lambda: any("20 selected" in data["text/plain"] for data in outputs(notebook)))
        wanted = notebook.python(
            "s.selection = range(30); from hashlib import sha256; print(sha256(s._still().tobytes()).hexdigest())"
        )
        assert soon(lambda: sha256(picture(notebook).tobytes()).hexdigest() == wanted)
        images = page.locator(".jp-OutputArea img")
        expect(images).to_have_count(1)
        expect(images).to_be_hidden()
        notebook.save()
        notebook.python("s.close()")
        notebook.command("kernelmenu:shutdown")
        page.reload()
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        expect(images).to_be_visible()


def test_a_line_of_text_stays_where_there_are_no_panels(browser: Browser, server: Server) -> None:
    """A server without anywidget, as one that is older than the install."""
    with watched_page(browser) as page:
        page.route("**/anywidget/**", lambda route: route.abort())
        notebook = Notebook(page, server, server.write([MAKE], "blocked.ipynb"))
        notebook.run_cell(0)
        line = page.locator(".ldam-saved")
        expect(line).to_contain_text("pip install anywidget")
        expect(line).to_be_visible()
        page.wait_for_timeout(3000)
        expect(line).to_be_visible()
        assert page.locator(".ldam").count() == 0
