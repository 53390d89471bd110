"""A real Jupyter server with JupyterLab, Notebook 7 and real kernels, driven through a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import nbformat
from playwright.sync_api import Locator, Page

# Seconds for what must happen. Only a failure takes as long, so that a busy machine is given time.
PATIENCE = 60.0


class Server:
    """JupyterLab, and Notebook beside it, on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "runtime").mkdir()
        self.root = folder / "notebooks"
        self.root.mkdir()
        self.token = uuid.uuid4().hex
        private = {
            "JUPYTER_CONFIG_DIR": folder / "config",
            "JUPYTER_RUNTIME_DIR": folder / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        }
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"),
                *("--ServerApp.port=0", f"--IdentityProvider.token={self.token}", f"--notebook-dir={self.root}"),
                *("--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"),
            ],
            env=os.environ | {name: str(path) for name, path in private.items()} | {"OMP_WAIT_POLICY": "PASSIVE"},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.url = self._wait()

    def _wait(self) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            for info in (self.folder / "runtime").glob("jpserver-*.json"):
                with contextlib.suppress(ValueError, KeyError):
                    return str(json.loads(info.read_text())["url"])
            if self._process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not start:\n{(self.folder / 'server.log').read_text()[-3000:]}")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def write(self, cells: list[str], name: str = "test.ipynb") -> str:
        """Put a notebook into the server's folder; returns its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)
        return name


class Notebook:
    """One notebook open in a page: in JupyterLab, or with `app="notebooks"` in Notebook."""

    def __init__(
        self, page: Page, server: Server, name: str, *, app: Literal["lab/tree", "notebooks"] = "lab/tree"
    ) -> None:
        self.page, self.server, self.name = page, server, name
        page.goto(f"{server.url}{app}/{name}?token={server.token}&reset")
        self.ready()

    def ready(self) -> None:
        """Wait until the notebook has a kernel that answers."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        self.page.wait_for_function(f"{_PANEL} && {_KERNEL} && {_KERNEL}.status === 'idle'", timeout=90_000)

    def command(self, name: str, args: dict[str, Any] | None = None) -> None:
        """Run a command of JupyterLab by its id, without waiting for its end."""
        self.page.evaluate("([n, a]) => { window.jupyterapp.commands.execute(n, a); }", [name, args or {}])

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def run_cell(self, index: int) -> None:
        """Select the cell and run it, as a click and Ctrl+Enter do."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", index)
        self.command("notebook:run-cell")

    def save(self) -> None:
        self.page.evaluate(f"{_PANEL}.context.save()")

    def python(self, code: str) -> str:
        """Run code in the kernel, beside the cells; returns what it printed, raises with what it raised."""
        result: dict[str, str] = self.page.evaluate(
            """async code => {
              const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              let text = "", error = "";
              const future = kernel.requestExecute({code, store_history: false});
              future.onIOPub = message => {
                if (message.header.msg_type === "stream") text += message.content.text;
                if (message.header.msg_type === "error") error = message.content.traceback.join("\\n");
              };
              await future.done;
              return {text, error};
            }""",
            code,
        )
        if result["error"]:
            raise RuntimeError(result["error"])
        return result["text"].strip()

    def widget(self) -> Widget:
        """The widget in the page."""
        return Widget(self.page)


_PANEL = "window.jupyterapp?.shell?.currentWidget"
_KERNEL = f"{_PANEL}?.sessionContext?.session?.kernel"


class Widget:
    """What a person sees of the widget, found as a screen reader finds it."""

    def __init__(self, page: Page, root: str = ".ldam") -> None:
        self.page = page
        self.root = page.locator(root).first
        self.canvas = self.root.locator("canvas").first

    def wait(self, timeout: float = 60_000) -> Widget:
        """Until the first picture is there."""
        self.page.wait_for_function(
            "() => document.querySelector('.ldam canvas')?.getAttribute('aria-label')?.includes('neuron')",
            timeout=timeout,
        )
        return self

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def slider(self, name: str) -> Locator:
        return self.root.get_by_role("slider", name=name, exact=True)

    def pixels(self) -> str:
        """The picture as it is painted, to compare."""
        text: str = self.canvas.evaluate("canvas => canvas.toDataURL()")
        return text

    def label(self) -> str:
        return self.canvas.get_attribute("aria-label") or ""

    def pixels_change(self, within: float = PATIENCE) -> bool:
        """Does the picture change within so many seconds?"""
        first = self.pixels()
        return any(self.pixels() != first for _ in pauses(within))


def soon(check: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether the condition becomes true within so many seconds."""
    return bool(check()) or any(check() for _ in pauses(seconds))


def pauses(seconds: float, pause: float = 0.1) -> Iterator[None]:
    """Once every `pause`, for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(pause)
        yield
