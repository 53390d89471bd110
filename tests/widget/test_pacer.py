"""The pacer under a clock moved by hand."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldam_widget.live.pacer import Pacer

NONSENSE = (-1, 0, 3, 10**6, 2**52)


def sent(pacer: Pacer, now: float, most: int = 100) -> int:
    """Send as many frames as may be sent at one instant."""
    count = 0
    while pacer.may_send(now) and count < most:
        pacer.on_send(now)
        count += 1
    return count


def test_a_window_of_two() -> None:
    pacer = Pacer(0.0)
    assert sent(pacer, 0.0) == 2
    assert sent(pacer, 0.2) == 0
    pacer.on_acknowledge(1, True, 0.2)
    assert sent(pacer, 0.2) == 1
    pacer.on_acknowledge(3, True, 0.21)  # settles 2 as well
    assert sent(pacer, 0.21) == 2


def test_more_large_ones_are_on_their_way_where_answers_come_fast() -> None:
    pacer = Pacer(0.0)
    pacer.large = True
    assert sent(pacer, 0.0) == 2  # nothing is known yet of the connection
    pacer.on_acknowledge(2, True, 0.1)
    assert sent(pacer, 0.1) == 4
    pacer.on_acknowledge(4, True, 0.2)  # of every second one
    assert sent(pacer, 0.2) == 2
    pacer.on_change(0.2)
    pacer.on_acknowledge(8, True, 0.25)
    assert sent(pacer, 0.25) == 1, "a change leaves place for the next answer"
    for move in range(6):  # of a slider; nothing is acknowledged
        pacer.on_change(0.26 + move / 100)
        sent(pacer, 0.26 + move / 100)
    assert pacer.sent - pacer.acknowledged == 2, "a queue would delay the answer"
    slow = Pacer(0.0)
    slow.large = True
    assert sent(slow, 0.0) == 2
    slow.on_acknowledge(2, True, 0.5)
    assert sent(slow, 0.5) == 2


def test_one_frame_each_quarter_of_a_second_without_answers() -> None:
    pacer = Pacer(0.0)
    pacer.wake(10.0)
    at = [now / 100 for now in range(1000, 1200) if sent(pacer, now / 100)]
    assert at[0] == 10.0
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert min(gaps) >= 0.2499
    assert max(gaps) <= 0.261


@pytest.mark.parametrize("seq", NONSENSE)
def test_nonsense_settles_nothing(seq: int) -> None:
    pacer = Pacer(0.0)
    sent(pacer, 0.0)
    pacer.on_acknowledge(seq, True, 0.1)
    assert pacer.acknowledged == 0
    assert sent(pacer, 0.1) == 0
    assert pacer.round_trip != pacer.round_trip


def test_round_trip() -> None:
    pacer = Pacer(0.0)
    for i in range(100):
        pacer.on_send(float(i))
        pacer.on_acknowledge(i + 1, True, i + 0.03)
        pacer.on_acknowledge(i + 1, True, i + 0.9)  # a heartbeat says it once more
    assert pacer.round_trip == pytest.approx(0.03)


def test_rest() -> None:
    pacer = Pacer(0.0)
    pacer.on_acknowledge(0, True, 10.0)
    assert not pacer.resting(14.9, cell_running=False)
    assert pacer.resting(15.1, cell_running=False)
    assert not pacer.resting(1000.0, cell_running=True)  # silence proves nothing while a cell runs
    assert pacer.slow(15.1)
    pacer.on_acknowledge(0, True, 1000.0)
    assert not pacer.resting(1001.0, cell_running=False)
    assert not pacer.slow(1001.0)


def test_hidden_views_get_nothing() -> None:
    pacer = Pacer(0.0)
    for second in range(1, 8):
        pacer.on_acknowledge(0, False, float(second))
    assert not pacer.may_send(7.0)
    assert pacer.resting(7.0, cell_running=True)  # their messages arrived, so that the cell does not explain it
    pacer.on_acknowledge(0, True, 7.1)
    assert pacer.may_send(7.1)
    assert not pacer.resting(7.1, cell_running=False)


def test_one_of_two_views_is_visible() -> None:
    pacer = Pacer(0.0)
    for second in range(1, 60):
        pacer.on_acknowledge(0, False, float(second))
        pacer.on_acknowledge(0, True, second + 0.5)
        assert not pacer.resting(second + 0.9, cell_running=False)
        assert pacer.may_send(second + 0.9)


def test_the_last_view_leaves() -> None:
    pacer = Pacer(0.0)
    pacer.leave()
    assert pacer.resting(0.1, cell_running=True)
    assert not pacer.may_send(0.1)
    pacer.wake(0.2)
    assert pacer.may_send(0.2)
    assert not pacer.resting(0.2, cell_running=False)


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 8)),
    st.tuples(st.just("ack"), st.tuples(st.integers(-2, 40), st.booleans())),
    st.tuples(st.just("answer"), st.integers(0, 3)),  # to the newest but so many
    st.tuples(st.sampled_from(["try", "wake", "leave"]), st.none()),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.lists(EVENTS, max_size=60), st.booleans())
def test_any_course_of_events(events: list[tuple[str, Any]], cell_running: bool) -> None:
    pacer, now = Pacer(0.0), 0.0
    frames, settled, last = 0, 0, -1.0
    looking: float | None = 0.0  # when a view was last known to be visible; None: all are known to be hidden
    for kind, value in [*events, ("try", None)]:
        if kind == "wait":
            now += value
        elif kind == "wake":
            pacer.wake(now)
            looking = now
            last = min(last, now - 0.25)
        elif kind == "leave":
            pacer.leave()
            looking = None
        elif kind in {"ack", "answer"}:
            seq, visible = value if kind == "ack" else (frames - value, True)
            pacer.on_acknowledge(seq, visible, now)
            settled = max(settled, seq) if seq <= frames else settled
            looking = now if visible else looking
        else:
            may = pacer.may_send(now)
            assert not (may and frames - settled >= 2 and now - last < 0.2499)
            if looking is not None and now - looking < 1:
                assert may or now - last < 0.2501  # never stuck while a view is visible
                assert not pacer.resting(now, cell_running)
            if looking is None:
                assert not may
                assert pacer.resting(now, cell_running)
            elif now - looking >= 5.001 and not cell_running:
                assert pacer.resting(now, cell_running)
            if may:
                frames, last = frames + 1, now
                assert pacer.on_send(now) == frames
        assert 0 <= pacer.acknowledged <= pacer.sent == frames


def test_acknowledged_on_one_thread_while_sent_on_another() -> None:
    pacer, stop, faults = Pacer(0.0), threading.Event(), []

    def answer() -> None:
        try:
            while not stop.is_set():
                pacer.on_acknowledge(pacer.sent - 1, True, 1.0)
        except RuntimeError as error:
            faults.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(30_000):
        pacer.on_send(0.5)
    stop.set()
    thread.join()
    sys.setswitchinterval(interval)
    assert not faults
