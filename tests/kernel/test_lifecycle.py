"""Widgets come, rest and go."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .client import KernelClient, View
from .conftest import ROUTES, start

pytestmark = pytest.mark.kernel


def test_rests_when_nobody_answers(kernel: KernelClient) -> None:
    """Two widgets at once, since it takes its time: one is woken by a heartbeat, the other by a new view."""
    first = View(kernel, kernel.run("w = widget()\nw").model_id)
    second = View(kernel, kernel.run("v = widget()\nv").model_id)
    for view in (first, second):
        view.next("frame", lambda f: f["seq"] > 10)
        view.answers = False
    silent = time.monotonic()
    time.sleep(9)
    for view in (first, second):
        last = view.of("frame")[-1].at
        assert 4 < last - silent < 6.5
    assert kernel.value("loops()") == 0
    assert kernel.value("w.playing and v.playing")

    awake = time.monotonic()
    first.answers = True
    first.next("frame", since=awake, timeout=3)
    View(kernel, second.comm_id).next("frame", since=awake, timeout=3)
    assert kernel.value("loops()") == 2
    time.sleep(2)
    assert first.rate(awake + 1.5, time.monotonic()) >= 10


def test_rests_while_hidden(kernel: KernelClient, view: View) -> None:
    view.visible = False
    time.sleep(3)
    hidden = time.monotonic()
    time.sleep(1)
    assert not view.of("frame", since=hidden)
    view.visible = True
    view.say(kind="ack", seq=0, visible=True)
    view.next("frame", since=hidden, timeout=3)
    time.sleep(1)
    now = time.monotonic()
    assert view.rate(now - 0.5, now) >= 10


def test_rerunning_a_cell_leaves_one_thread(kernel: KernelClient, view: View) -> None:
    cell = kernel.run("w = widget()\nw")
    view.close()  # the output is cleared
    again = View(kernel, cell.model_id)
    assert again.comm_id != view.comm_id
    time.sleep(3.5)
    assert kernel.value("loops()") == 1
    now = time.monotonic()
    assert again.rate(now - 1, now) >= 10


def test_closing_ends_the_thread(kernel: KernelClient, view: View) -> None:
    kernel.run("w.close()")
    assert kernel.value("loops()") == 0
    closed = time.monotonic()
    view.set(step_size=0.3)  # too late, and no matter
    view.say(kind="hello")
    time.sleep(0.5)
    assert not [m for m in view.messages if m.at > closed]


@pytest.fixture(params=ROUTES[:-1])
def own(request: pytest.FixtureRequest) -> Iterator[KernelClient]:
    client = start(request.param)
    yield client
    client.close()


def test_a_playing_kernel_shuts_down(own: KernelClient) -> None:
    View(own, own.run("w = widget()\nw").model_id).next("frame", lambda f: f["seq"] > 10)
    assert own.shut_down() < 5
    assert "Traceback" not in own.noise()
    assert "Exception" not in own.noise()
