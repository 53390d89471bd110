"""Blocks show widgets and leave them to whoever reads them; here nobody does."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import ipywidgets
import pytest

from ..widget.conftest import loop_threads


@pytest.fixture(autouse=True)
def widgets_are_closed() -> Iterator[None]:
    yield
    ipywidgets.Widget.close_all()
    gc.collect()
    for thread in loop_threads():
        thread.join(timeout=30)
    assert not loop_threads()
