"""The settings of a Jupyter server that make widgets faster, in JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from playwright.sync_api import Browser
from traitlets.config import PyFileConfigLoader

import ldam_widget

from ..documents.blocks import ROOT
from .conftest import watched_page
from .lab import Notebook, Server, soon
from .test_saved import MAKE

SETTINGS = Path(ldam_widget.__file__).parent / "command_line" / "jupyter_server_config.py"
STATUS = """() => {
  window.statuses = 0;
  window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.statusChanged.connect(() => window.statuses++);
}"""


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(SETTINGS.parent))
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.mark.browser
def test_the_busy_indicator_rests_while_pictures_and_sliders_move(browser: Browser, quick: Server) -> None:
    with watched_page(browser) as page:
        notebook = Notebook(page, quick, quick.write([MAKE]))
        notebook.run_cell(0)
        widget = notebook.widget().wait()
        at_first = float(notebook.python("print(w.step_size)"))  # the cell has ended
        page.evaluate(STATUS)
        for _ in range(5):
            widget.slider("step size").press("ArrowRight")
            assert widget.pixels_change()
        assert page.evaluate("window.statuses") == 0
        assert soon(lambda: float(notebook.python("print(w.step_size)")) > at_first)
        assert page.evaluate("window.statuses") > 0, "of what is run it does not"


def test_messages_leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ZMQChannelsWebsocketConnection, "connect", lambda self: "connected")  # put back afterwards
    PyFileConfigLoader(SETTINGS.name, path=str(SETTINGS.parent)).load_config()
    said: list[bool] = []
    connection = SimpleNamespace(websocket_handler=SimpleNamespace(set_nodelay=said.append))
    assert ZMQChannelsWebsocketConnection.connect(connection) == "connected"
    assert said == [True]


def test_the_documentation_shows_the_same_settings() -> None:
    whole = SETTINGS.read_text(encoding="utf-8")
    code = re.sub("  # .*", "", whole[whole.index("from jupyter_server") :])
    assert code in (ROOT / "docs" / "front-ends.md").read_text(encoding="utf-8")
