"""A saved notebook as a web page: its pictures, without kernel and network."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from .conftest import watched_page
from .lab import Notebook, Server, soon
from .test_saved import MAKE, MAP, picture

nbconvert = pytest.importorskip("nbconvert", reason="nbconvert comes with JupyterLab, which is not installed")
pytestmark = pytest.mark.browser

VISIBLE = """() => [...document.querySelectorAll(".jp-OutputArea img")].filter(e => e.checkVisibility())
  .map(e => [e.src, e.naturalWidth])"""


@pytest.fixture
def offline(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, offline=True)
    yield context.new_page()
    context.close()


def converted(notebook: Path, page: Page) -> None:
    """Show the notebook as nbconvert makes a page of it."""
    body, _ = nbconvert.HTMLExporter().from_filename(str(notebook))
    made = notebook.with_suffix(".html")
    made.write_text(body, encoding="utf-8")
    page.goto(made.as_uri(), wait_until="domcontentloaded")


def pixels(source: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2]))).convert("RGB"))


def test_a_notebook_saved_beside_a_working_panel(browser: Browser, server: Server, offline: Page) -> None:
    with watched_page(browser) as page:
        notebook = Notebook(page, server, server.write([MAKE], "page.ipynb"))
        notebook.run_cell(0)
        widget = notebook.widget().wait()
        widget.button("pause").click()
        expect(widget.button("play")).to_be_visible()
        notebook.python("import json, numpy as np; w.step(300)")
        wanted = np.array(json.loads(notebook.python("print(json.dumps(np.asarray(w._still()).tolist()))")), np.uint8)
        assert soon(lambda: np.array_equal(picture(notebook), wanted))
        notebook.save()
        path = server.root / notebook.name
        assert soon(lambda: any("image/png" in o["data"] for o in json.loads(path.read_text())["cells"][0]["outputs"]))
        notebook.python("w.close()")
    converted(path, offline)
    ((source, width),) = offline.evaluate(VISIBLE)
    assert width == wanted.shape[1]
    assert np.array_equal(pixels(source), wanted)
    assert offline.locator("button:visible").count() == 0


def test_steps_in_later_cells_reach_the_picture(tmp_path: Path) -> None:
    show = "print(json.dumps(np.asarray(w._still()).tolist()))"
    codes = [MAKE, "import json, numpy as np; w.pause()", "w.step(20)\n" + show]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    wanted = np.array(json.loads(notebook.cells[2].outputs[0]["text"]), np.uint8)
    (shown,) = [
        o["data"]["text/html"] for o in notebook.cells[0].outputs if "ldam-saved" in o["data"].get("text/html", "")
    ]
    assert np.array_equal(pixels(re.search('src="([^"]+)"', shown)[1]), wanted)


@pytest.mark.parametrize("code", [MAKE.replace("\nw\n", "\nw.step(20)\nw"), MAP], ids=["panel", "map"])
def test_a_notebook_that_no_page_has_shown(code: str, tmp_path: Path, offline: Page) -> None:
    """As `jupyter nbconvert --execute` runs it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    path = tmp_path / "run.ipynb"
    nbformat.write(notebook, path)
    converted(path, offline)
    ((source, width),) = offline.evaluate(VISIBLE)
    assert width > 100
    assert len(np.unique(pixels(source))) > 10
