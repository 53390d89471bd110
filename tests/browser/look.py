"""Take screenshots of the widget in JupyterLab, to look at: `python -m tests.browser.look FOLDER`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from .chromium import FLAGS, install
from .lab import Notebook, Server
from .test_lab import MAKE


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(Path(tempfile.mkdtemp()))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=install(), args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            notebook = Notebook(page, server, server.write([MAKE]))
            notebook.run_cell(0)
            widget = notebook.widget().wait()
            time.sleep(6)
            page.screenshot(path=folder / "light.png")
            widget.root.screenshot(path=folder / "widget-light.png")
            notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
            time.sleep(2)
            widget.root.screenshot(path=folder / "widget-dark.png")
            page.set_viewport_size({"width": 900, "height": 900})
            time.sleep(2)
            page.screenshot(path=folder / "narrow.png")
            widget.canvas.focus()
            widget.canvas.press("ArrowRight")
            widget.canvas.press("Enter")
            time.sleep(1)
            widget.root.screenshot(path=folder / "widget-zoom.png")
            print(notebook.python("print(w.stats)"))
            browser.close()
    finally:
        server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
