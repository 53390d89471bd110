"""Server and browser as in `tests/browser`."""

from ...browser.conftest import browser, server

__all__ = ["browser", "server"]
