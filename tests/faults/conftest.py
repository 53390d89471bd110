from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..widget.conftest import wait_until
from .harness import Bench


@pytest.fixture
def set_up(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Bench]]:
    """Makes a `Bench`, and looks at it when the case is over. An exception that leaves a thread fails a test anyway."""
    benches: list[Bench] = []
    threads = set(threading.enumerate())

    def make(*args: Any, **options: Any) -> Bench:
        benches.append(Bench(*args, **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.end()
    wait_until(lambda: set(threading.enumerate()) <= threads)
    # ipywidgets swallows what a message handler raises, and logs it
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def bench(set_up: Callable[..., Bench]) -> Bench:
    return set_up()
