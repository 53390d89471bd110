"""Threads take short turns while a loop runs, and only then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from ldam_widget.live.turns import SECONDS, short_turns

from .conftest import wait_until
from .test_loop import Run


@pytest.fixture(autouse=True)
def interval() -> Iterator[float]:
    before = sys.getswitchinterval()
    assert before > SECONDS, "left over by another test"
    yield before
    sys.setswitchinterval(before)


def test_as_long_as_a_thread_runs(interval: float) -> None:
    run, other = Run(), Run()
    for each in (run, other):
        each.loop.play()
        wait_until(lambda each=each: len(each.frames) >= 3)  # type: ignore[misc]
        assert sys.getswitchinterval() == pytest.approx(SECONDS, rel=0.02)
    run.loop.close()
    assert sys.getswitchinterval() == pytest.approx(SECONDS, rel=0.02), "the other one still runs"
    other.loop.close()
    wait_until(lambda: sys.getswitchinterval() == pytest.approx(interval))


def test_after_a_fault_too(interval: float) -> None:
    with pytest.raises(ZeroDivisionError), short_turns():
        _ = 1 / 0
    assert sys.getswitchinterval() == pytest.approx(interval)


@pytest.mark.parametrize("own", [SECONDS / 5, 0.02])
def test_what_others_set_is_left_alone(own: float) -> None:
    with short_turns():
        sys.setswitchinterval(own)
    assert sys.getswitchinterval() == pytest.approx(own, rel=0.02)


def test_shorter_ones_stay() -> None:
    sys.setswitchinterval(SECONDS / 5)
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(SECONDS / 5, rel=0.02)
    assert sys.getswitchinterval() == pytest.approx(SECONDS / 5, rel=0.02)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_no_loop(interval: float) -> None:
    with short_turns():
        child = os.fork()
        if child == 0:
            os._exit(0 if abs(sys.getswitchinterval() - interval) < 1e-6 else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
