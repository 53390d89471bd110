from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ldam_widget.live import loop


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ldam-loop"]


def wait_until(condition: Callable[[], object], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in loop_threads():
        thread.join(timeout=30)
    assert not loop_threads()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits of tenths of seconds."""
    monkeypatch.setattr(loop.Pacer, "KEEP_ALIVE", 0.05)
    monkeypatch.setattr(loop.Pacer, "REST", 0.4)
    monkeypatch.setattr(loop, "LINGER", 0.1)
