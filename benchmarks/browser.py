"""A JupyterLab and a Chromium for the benchmarks that need a page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.browser.chromium import FLAGS, install
from tests.browser.lab import Notebook, Server

__all__ = ["Notebook", "Server", "jupyterlab"]


@contextmanager
def jupyterlab() -> Iterator[tuple[Server, Browser]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=install(), args=FLAGS)
            yield server, browser
            browser.close()
        finally:
            server.close()
