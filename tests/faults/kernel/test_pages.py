"""Pages that send too much, too little, or nonsense, and pages that disappear."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import Any

import pytest

from ...kernel.client import KernelClient, View
from .conftest import NEWEST, close_comm, eventually

pytestmark = pytest.mark.kernel

A_SECOND = 1000  # moves of a slider
SECONDS = float(os.environ.get("LDAM_HAIL_SECONDS", "1"))


@pytest.mark.parametrize("shared", ["6.31.0", "7.4.0"], indirect=True)
def test_a_burst_of_moves(kernel: KernelClient, view: View) -> None:
    """More than a kernel can take, ours or not: every one is answered, in order, and then there is no more lag.

    ipykernel itself needs some milliseconds for a message. The page sends one an animation frame.
    """
    begin, sent = time.monotonic(), 0
    while (now := time.monotonic()) < begin + SECONDS:
        while sent < (now - begin) * A_SECOND:
            sent = view.set(step_size=0.01 + sent % 500 / 1000)
        time.sleep(0.002)
    frames = len(view.of("frame"))
    last = view.set(step_size=0.75)
    view.next("state", lambda s: s["rev"] == last, timeout=60 + 0.1 * sent)
    answered = [m.content["rev"] for m in view.of("state") if m.content["view"] == view.name]
    assert answered == sorted(answered)
    assert {*answered} == {*range(1, last + 1)}
    assert len(view.of("frame")) > frames, "pictures stood still"
    view.flows()

    # nothing is left in the queues: a move is answered by the next state, and at most some pictures are on their way
    before = len(view.messages)
    again = view.set(step_size=0.5)
    view.next("state", lambda s: s["rev"] == again)
    kinds = [m.content["kind"] for m in view.messages[before:]]
    assert kinds.index("state") < 30
    assert kernel.value("[w.step_size, w.playing, w.error]") == [0.5, True, None]


@NEWEST
def test_a_page_that_never_answers(kernel: KernelClient) -> None:
    """It gets a window of pictures, then one every quarter of a second for five seconds, then none."""
    view = View(kernel, kernel.run("w = widget()\nw").model_id, answers=False)
    view.next("frame")
    time.sleep(9)  # five to rest, two for the thread; meanwhile no cell runs, which would explain the silence
    eventually(kernel, "loops()", 0)
    count = len(view.of("frame"))
    assert 3 <= count <= 2 + 6 / 0.25
    time.sleep(1)
    assert len(view.of("frame")) == count
    assert kernel.value("[w.playing, w.error]") == [True, None]
    other = View(kernel, view.comm_id)
    other.flows()
    other.answers = False


@NEWEST
def test_a_page_that_acknowledges_what_was_never_sent(kernel: KernelClient, view: View) -> None:
    view.answers = False
    begin = time.monotonic()
    for seq in [10**6, 10**15, -1, 0, 2**53 - 1] * 40:
        view.say(kind="ack", seq=seq, visible=True)
        time.sleep(0.01)
    view.next("frame", since=begin)  # kept alive
    sent, acknowledged = kernel.value("[w.loop.pacer.sent, w.loop.pacer.acknowledged]")
    assert acknowledged <= sent < 10**6
    view.answers = True
    view.flows()
    sequence = [m.content["seq"] for m in view.of("frame")]
    assert all(b == a + 1 for a, b in pairwise(sequence))


def test_a_comm_that_the_page_closes(kernel: KernelClient, view: View) -> None:
    """The thread rests; a page that is loaded again finds the widget as it was."""
    view.next("frame", lambda f: f["steps"] >= 60)
    view.answers = False
    kernel.detach(view)
    close_comm(kernel, view.comm_id)
    eventually(kernel, "loops()", 0)
    steps = kernel.value("w.sampler.steps")
    assert kernel.value("[w.playing, w.error]") == [True, None]
    assert view.comm_id in kernel.ask("shell", "comm_info_request", {"target_name": "jupyter.widget"})["comms"]

    again = View(kernel, view.comm_id)
    setup = again.next("setup").content
    assert setup["trace"]["steps"][-1] <= steps
    frame = again.next("frame").content
    assert frame["steps"] >= steps >= 60
    again.flows()
    revision = again.set(l2=1)
    again.next("state", lambda s: s["rev"] == revision)
    assert kernel.run("w").model_id == view.comm_id
    assert kernel.value("[w.l2, loops()]") == [1, 1]


@NEWEST
def test_two_views_agree(kernel: KernelClient, view: View) -> None:
    other = View(kernel, view.comm_id)
    other.next("setup")
    for mover, watcher, value in ((view, other, 0.25), (other, view, 0.5)):
        revision = mover.set(step_size=value)
        for seen_by in (mover, watcher):
            answer = seen_by.next("state", lambda s, r=revision, m=mover: (s["view"], s["rev"]) == (m.name, r))  # type: ignore[misc]
            assert answer.content["params"]["step_size"] == value
    begin = time.monotonic()
    view.flows()
    other.flows()
    shown: list[dict[int, Any]] = [{m.content["seq"]: m.buffers for m in v.of("frame", begin)} for v in (view, other)]
    common = shown[0].keys() & shown[1].keys()
    assert len(common) >= 8
    assert all(shown[0][seq] == shown[1][seq] for seq in common)
    view.close()  # one of two: the other goes on
    other.flows()
    assert kernel.value("loops()") == 1


@NEWEST
def test_ten_widgets(kernel: KernelClient) -> None:
    """Each gets its share, and those that stay go on while others are closed."""
    kernel.run("many = [widget() for _ in range(10)]")
    views = [View(kernel, kernel.run(f"many[{i}]").model_id) for i in range(10)]
    for view in views:
        view.next("frame")
    begin = time.monotonic()

    def counts() -> list[int]:
        return [len(view.of("frame", begin)) for view in views]

    kernel.wait(lambda: sum(counts()) >= 300, 120, "pictures do not flow")
    shares = counts()
    assert min(shares) >= sum(shares) / 30, shares
    assert kernel.value("loops()") == 10
    for left in (5, 1, 0):
        kernel.run(f"while len(many) > {left}: many.pop(0).close()")
        assert kernel.value("loops()") == left
        since = time.monotonic()
        for view in views[10 - left :]:
            view.next("frame", since=since)
    assert kernel.value("loops()") == 0


HUGE: list[Any] = [
    {"kind": "set", "rev": 1, "params": {"x" * 5_000_000: 1}},
    {"kind": "set", "rev": 1, "params": {f"p{i}": i for i in range(100_000)}},
    {"kind": "set", "rev": 1, "params": {"step_size": [[0] * 1000] * 1000}},
    {"kind": "select", "layer": None, "neurons": [str(i) for i in range(300_000)]},
    {"kind": "units", "layer": "1", "query": "7" * 5_000_000, "offset": 0, "limit": 10},
    {"kind": "hello", "view": "v" * 5_000_000},
    {"kind": "x" * 5_000_000},
]


@NEWEST
@pytest.mark.parametrize("content", HUGE, ids=range(len(HUGE)))
def test_huge_messages(kernel: KernelClient, view: View, content: Any) -> None:
    view.send(content)
    revision = view.set(l2=1)
    view.next("state", lambda s: (s["view"], s["rev"]) == (view.name, revision))
    assert kernel.value("[w.l2, w.neurons, w.playing]") == [1, [0, 1, 2], True]
    assert all(len(str(m.content)) < 20_000 for m in view.of("error"))
    view.flows()
