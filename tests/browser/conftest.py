"""One server and one browser for all browser tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from .chromium import FLAGS, install
from .lab import PATIENCE, Server

expect.set_options(timeout=1e3 * PATIENCE)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page."""
    with watched_page(browser) as page:
        yield page


@contextmanager
def watched_page(browser: Browser) -> Iterator[Page]:
    """A page of its own; an exception in it, or an error that it logs of ours, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(1e3 * PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: None if _notebooks_own(error) else faults.append(error.stack or str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" and "ldam" in m.text.lower() else None)
    yield page
    context.close()
    assert not faults, faults


def _notebooks_own(error: Error) -> bool:
    """Two faults of Jupyter's own, with nothing but its code on the stack.

    Notebook 7.6 fails once at its start, for want of a setting. JupyterLab, which draws the visible cells alone, now
    and then takes one away twice when the window changes its size.
    """
    files = re.findall(r"https?://[^\s)]+", error.stack or "")
    places = ("/static/notebook/", "/static/lab/") if "removeChild" in error.message else ("/static/notebook/",)
    return bool(files) and all(any(place in file for place in places) for file in files)
