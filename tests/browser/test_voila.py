"""The panel in Voilà, which shows a notebook's outputs alone and gives each visitor a kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from .lab import PATIENCE, Widget, soon
from .test_saved import MAKE

pytest.importorskip("voila", reason="Voilà is not installed; pip install -e .[test] installs it")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Voilà server that shows one notebook."""
    folder = tmp_path_factory.mktemp("voila")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(MAKE)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "panel.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    private = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    command = [sys.executable, "-m", "voila", str(folder / "panel.ipynb"), "--no-browser", f"--port={port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--Voila.ip=127.0.0.1"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | private | {"OMP_WAIT_POLICY": "PASSIVE"},
        )
        try:
            assert soon(lambda: process.poll() is not None or _answers(port)), _said(folder)
            assert process.poll() is None, _said(folder)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _said(folder: Path) -> str:
    return (folder / "log").read_text()[-3000:]


def test_picture_moves_stops_and_follows_a_slider(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(1e3 * PATIENCE)
    faults: list[str] = []  # Voilà has some of its own, where fonts of other sites cannot be reached
    page.on("pageerror", lambda error: faults.append(str(error)) if "ldam" in (error.stack or "") else None)
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and "ldam" in m.text.lower() else None)
    page.goto(url, wait_until="commit")
    widget = Widget(page).wait(2e3 * PATIENCE)
    assert widget.pixels_change()
    expect(page.locator(".ldam-saved")).to_have_count(1)
    expect(page.locator(".ldam-saved")).to_be_hidden()  # the line for pages that cannot show the panel
    slider = widget.slider("step size")
    before = slider.input_value()
    slider.press("ArrowRight")
    assert slider.input_value() != before
    assert widget.pixels_change()
    widget.button("pause").click()
    widget.button("play").wait_for()
    assert soon(lambda: not widget.pixels_change(within=1.0))
    assert not widget.pixels_change(within=2.0)
    context.close()
    assert not faults, faults
