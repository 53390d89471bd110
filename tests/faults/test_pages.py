"""What a page may do, and what may go wrong on the way to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import pytest
from torch import nn

from ldam_widget.live import loop

from ..conftest import with_fixed_weights
from ..widget.conftest import wait_until
from .harness import Answers, Bench, Net, Switch

Make = Callable[..., Bench]
NAN, INF = float("nan"), float("inf")


# ---- acknowledgements ------------------------------------------------------------------------------------------------

POLITE: dict[str, Answers] = {
    "at once, with all before": lambda seq: range(seq + 1),
    "twice": lambda seq: [seq, seq],
    "backwards": lambda seq: range(seq, -1, -1),
    "every second": lambda seq: [seq] if seq % 2 == 0 else [],
    "between nonsense": lambda seq: [-seq, NAN, seq, "1", seq + 10**6],
}


@pytest.mark.parametrize("answers", POLITE.values(), ids=POLITE.keys())
def test_pages_that_answer_in_their_own_way(set_up: Make, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Pacer, "KEEP_ALIVE", 60.0)  # what is sent is sent for an answer
    open_frames: list[int] = []
    settled = [0]

    def answer(seq: int) -> list[Any]:
        open_frames.append(bench.w.loop.pacer.sent - settled[0])
        said = list(answers(seq))
        settled[0] = max([settled[0], *(number for number in said if number in range(1, seq + 1))])
        return said

    bench = set_up(answers=answer)
    bench.play(steps=150)
    bench.w.pause()
    bench.settle()
    seqs = [frame["seq"] for frame in bench.of("frame")]
    assert seqs == list(range(1, len(seqs) + 1))
    assert max(open_frames[:-1]) <= 2


NONSENSE = [-1, 0, 3, 10**6, 2**52, 10**400, -(10**400), NAN, INF, "1", "", None, True, False, [1], {"seq": 1}]


@pytest.mark.parametrize("nonsense", [[], NONSENSE], ids=["nothing", "nonsense"])
def test_pages_that_never_answer(set_up: Make, nonsense: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Pacer, "KEEP_ALIVE", 60.0)
    bench = set_up(answers=lambda _seq: nonsense)
    bench.w.play()
    wait_until(lambda: bench.w.sampler.steps >= 60)  # sampling goes on
    assert len(bench.of("frame")) == 2
    assert len(bench.w.loop.pacer._sent_at) == 2
    bench.receive(kind="ack", seq=2, visible=True)
    wait_until(lambda: len(bench.of("frame")) == 4)
    assert bench.w.error is None


def test_a_page_that_never_answers_is_sent_a_picture_now_and_then(
    set_up: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Pacer, "KEEP_ALIVE", 0.05)
    bench = set_up(answers=lambda _seq: [])
    bench.w.play()
    wait_until(lambda: len(bench.of("frame")) >= 6)
    monkeypatch.setattr(loop.Pacer, "REST", 0.2)
    wait_until(lambda: not bench.w.loop.alive)  # no view is left
    bench.receive(kind="ack", seq=1, visible=True)
    shown = len(bench.of("frame"))
    wait_until(lambda: len(bench.of("frame")) > shown)


# ---- sliders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("messages", "playing"), [(60_000, True), (3_000, False)])
def test_a_flood_of_sliders(set_up: Make, messages: int, playing: bool) -> None:
    """The newest wins, nothing piles up, and the next picture is of the newest."""
    bench = set_up()
    bench.w.display_scale = 0  # a uniform grey: the level of a pixel is the base that the picture was drawn with
    bench.said = Quiet()
    if playing:
        bench.play()
    piled: list[int] = []

    def slide() -> None:
        for i in range(messages):
            bench.receive(kind="set", view="page", rev=i, params={"display_base": i % 200})
            piled.append(bench.w.loop._commands.qsize())

    thread = threading.Thread(target=slide)
    thread.start()
    thread.join(200)
    assert not thread.is_alive()
    assert max(piled) <= 2
    assert bench.w.display_base == bench.w.sampler.params["display_base"] == 199
    state = bench.of("state")[-1]
    assert (state["rev"], state["params"]["display_base"]) == (messages - 1, 199)
    bench.settle()  # the picture that was under way
    drawn = sum(content["kind"] == "frame" for content, _ in bench.said)
    if playing:
        bench.play()
    frames = [set(buffers[0]) for content, buffers in bench.said if content["kind"] == "frame"]
    assert frames[-1] == {199}
    assert all(levels == {199} for levels in frames[drawn:])
    assert len(frames) <= messages / 2


class Quiet(list[Any]):
    """Remembers frames and errors, and of the answers to sliders only the last."""

    def append(self, message: Any) -> None:
        if message[0]["kind"] == "state" and self and self[-1][0]["kind"] == "state":
            self[-1] = message
        else:
            super().append(message)


# ---- messages --------------------------------------------------------------------------------------------------------


def nested(depth: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = make(value)
    return value


HUGE = "x" * 5_000_000
DIGITS = "1" * 5_000_000
DEEP = [nested(900, lambda v: [v]), nested(900, lambda v: {"a": v}), nested(100_000, lambda v: [v])]
VALUES: list[Any] = [HUGE, DIGITS, *DEEP, -1, NAN, INF, -INF, 10**400, 2**60, None, True, [], {}, [[]], ["-1"], b"\0"]
FIELDS = [
    "view", "seq", "visible", "rev", "params", "what", "layer", "neurons", "kernel", "wired_to", "query", "offset",
    "limit", "name", "locked", "index",
]  # fmt: skip
KINDS = ["hello", "ack", "set", "do", "select", "units", "lock", "show", "scrub", "bye", "of tomorrow", HUGE, DEEP[0]]


@pytest.mark.parametrize("value", range(len(VALUES)), ids=lambda i: str(i))
def test_messages_of_nonsense(set_up: Make, value: int) -> None:
    bench = set_up(class_names=list("abcde"))
    bench.play()
    for kind in KINDS:
        for field in FIELDS:
            bench.deliver({"kind": kind, field: VALUES[value]})
        bench.deliver({"kind": kind, **dict.fromkeys(FIELDS, VALUES[value])})
    for name in bench.w.params:
        bench.receive(kind="set", view="page", rev=1, params={name: VALUES[value]})
    bench.deliver(VALUES[value])
    bench.settle()
    assert max(len(json.dumps(content)) for content, _ in bench.said) < 50_000, "nothing huge comes back"
    bench.receive(kind="do", what="dismiss_error")
    bench.w.set(l2=0.25)
    bench.w.neurons = [0, 1]
    bench.play()
    assert bench.of("state")[-1]["params"]["l2"] == 0.25


def test_many_pages_that_never_say_goodbye(set_up: Make) -> None:
    bench = set_up()
    for i in range(5000):
        bench.receive(kind="ack", seq=0, visible=True, view=f"view {i}")
    assert len(bench.w._connection._views) <= 1000
    bench.play()


# ---- names -----------------------------------------------------------------------------------------------------------

EVIL = "<img src=x onerror=alert(1)>"


def test_names_that_are_html_or_endless(set_up: Make) -> None:
    """They reach the page as text within JSON, once; pictures do not repeat them."""
    names = [EVIL, "n" * 10_000, "</script><script>", "\x00\u202e", "e"]
    model = with_fixed_weights(lambda: type(EVIL + "m" * 10_000, (Net,), {})(Switch()))
    bench = set_up(model=model, class_names=names)
    bench.receive(kind="hello", view="page")
    bench.settle()
    setup = json.loads(json.dumps(bench.of("setup")[-1]))
    assert setup["neurons"][0]["name"] == EVIL
    assert setup["title"].startswith(EVIL)
    bench.play()
    bench.receive(kind="do", what="snapshot")
    bench.receive(kind="units", layer="fc", query="<IMG")
    bench.settle()
    assert max(len(json.dumps(frame)) for frame in bench.of("frame")) < 2000
    filename = bench.of("download")[-1]["filename"]
    assert len(filename) < 120
    assert not set(filename) & set("<>/\\\"' ")
    assert [unit["name"] for unit in bench.of("units")[-1]["units"]] == [EVIL]


# ---- the way there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["closed", "none"])
def test_the_comm_is_closed_under_us(set_up: Make, gone: str) -> None:
    bench = set_up()
    bench.play()
    del bench.w.send  # the real one
    bench.w.comm.close()
    if gone == "none":
        bench.w.comm = None
    steps = bench.w.sampler.steps
    wait_until(lambda: bench.w.sampler.steps > steps)
    bench.w.pause()
    bench.w.play()
    bench.w.step(3)
    bench.w.l2 = 0.5
    bench.w.neurons = [2]
    bench.w.step(3)
    assert bench.w.snapshot()
    assert bench.w.error is None


def test_the_socket_breaks(set_up: Make) -> None:
    bench = set_up()
    bench.play()
    bench.wire_broken = OSError("the socket is closed")
    bench.stops("OSError: the socket is closed")
    bench.wire_broken = None
    bench.goes_on()
    bench.wire_broken = OSError("once more")  # and is still broken when it is closed
    bench.stops("OSError: once more")


def test_the_socket_breaks_while_a_button_is_pressed(set_up: Make) -> None:
    bench = set_up()
    bench.receive(kind="do", what="restart")
    bench.settle()
    bench.wire_broken = OSError("the socket is closed")
    for what in ("step", "reset_average", "snapshot", "record", "stop_record", "heat"):
        bench.receive(kind="do", what=what)
    bench.receive(kind="hello", view="b")
    bench.settle()
    bench.wire_broken = None
    bench.w.restart()
    bench.play()


def test_all_widgets_are_closed_at_once(set_up: Make) -> None:
    benches = [set_up() for _ in range(3)]
    for bench in benches:
        bench.play()
    ipywidgets.Widget.close_all()
    for bench in benches:
        wait_until(lambda bench=bench: not bench.w.loop.alive)  # type: ignore[misc]
        with pytest.raises(RuntimeError, match="closed"):
            bench.w.play()


# ---- callbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), RecursionError("mine"), ValueError("mine")])
def test_an_observer_that_raises(set_up: Make, error: Exception) -> None:
    bench = set_up()

    def observer(change: Any) -> None:
        raise error

    bench.w.observe(observer, names="l2")
    bench.play()
    bench.receive(kind="set", view="page", rev=7, params={"l2": 0.5, "temperature": 2})
    assert "mine" in bench.of("error")[-1]["error"]["message"]
    state = bench.of("state")[-1]  # the slider is answered all the same
    assert (state["rev"], state["params"]["l2"], state["params"]["temperature"]) == (7, 0.5, 2)
    with pytest.raises(type(error), match="mine"):  # a caller who sets it in Python gets the exception
        bench.w.l2 = 0.75
    assert bench.w.l2 == bench.w.sampler.params["l2"] == 0.75
    bench.play()
    bench.w.unobserve(observer, names="l2")
    bench.receive(kind="set", view="page", rev=8, params={"l2": 1})
    assert bench.w.l2 == 1


def test_a_callback_for_messages_that_raises(set_up: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = set_up()

    def callback(*_: Any) -> None:
        raise ZeroDivisionError("mine")

    bench.w.on_msg(callback)
    bench.play()
    bench.receive(kind="set", view="page", rev=1, params={"l2": 1})
    assert bench.w.l2 == 1
    assert {"mine" in str(record.exc_info) for record in caplog.records} == {True}  # ipywidgets logs it
    caplog.clear()
    bench.w.on_msg(callback, remove=True)
    bench.play()
    wait_until(lambda: bench.w.loop.pacer.acknowledged > 0)
    caplog.clear()


def test_a_model_whose_text_is_hostile(set_up: Make) -> None:
    class Hostile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(Switch())

        def forward(self, x: Any) -> Any:
            return self.net(x)

        def __repr__(self) -> str:
            raise RuntimeError("no text")

    bench = set_up(model=with_fixed_weights(Hostile))
    bench.play()
    assert "LDAM(" in repr(bench.w)
