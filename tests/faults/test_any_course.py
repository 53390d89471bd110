"""Any message, any value, any sequence of events."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1
from ldam_widget.live.loop import Loop

from .harness import Bench

# ---- a widget and any message ----------------------------------------------------------------------------------------

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**53, 1e308, -0.0, 5e-324])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
NAN = float("nan")
KERNELS = [Algorithm1(), BAOAB(0.1), GHMC(0.1), MALA(0.05), ULA(0.05)]


@pytest.fixture(scope="module")
def all_kernels() -> Iterator[list[Bench]]:
    benches = [Bench(kernel=kernel, chains=2) for kernel in KERNELS]
    yield benches
    for bench in reversed(benches):
        bench.end()


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_value_for_any_parameter(all_kernels: list[Bench], data: st.DataObject) -> None:
    """It takes effect, within its range; or all stays as it was, and an error names the parameter."""
    bench = data.draw(st.sampled_from(all_kernels))
    declared = {name: bench.w._sliders[name] for name in bench.w._sliders}
    p = declared[data.draw(st.sampled_from(sorted(declared)))]
    value = data.draw(JSON | st.floats(p.low, p.high) | st.integers(math.ceil(p.low), math.floor(p.high)))
    before = dict(bench.w.params)
    bench.said.clear()
    bench.receive(kind="set", view="page", rev=1, params={p.name: value})
    now = bench.w.params
    errors = [error["error"]["message"] for error in bench.of("error")]
    number: Any = value if isinstance(value, (int, float)) and not isinstance(value, bool) else NAN
    inside = p.low <= number <= p.high or (p.zero and number == 0)
    if inside and not (p.integer and number % 1):
        both = {"temperature", "goal"} if p.name in ("temperature", "goal") else set()  # the last one set counts
        assert {k: v for k, v in now.items() if k not in both - {p.name}} == {
            k: v for k, v in (before | {p.name: value}).items() if k not in both - {p.name}
        }
        assert not errors
    else:
        assert now == before
        assert len(errors) == 1
        assert p.name in errors[0]
    assert all(q.low <= now[q.name] <= q.high or (q.zero and now[q.name] == 0) for q in declared.values())
    assert {name: now[name] for name in bench.w.sampler.params} == bench.w.sampler.params
    assert bench.of("state")[-1]["params"] == json.loads(json.dumps(now, allow_nan=False))


KINDS = ["hello", "bye", "ack", "set", "do", "select", "units", "lock", "show", "scrub"]
WORDS = st.sampled_from(
    [
        *("play", "pause", "step", "restart", "heat", "record", "stop_record", "snapshot", "dismiss_error", "train"),
        *("fc", "inside", "", "0", "4", "5@mean", "l2", "chains_shown", "GHMC", "Algorithm 1", "both", "a"),
    ]
)
FIELDS = [
    "view", "seq", "visible", "rev", "params", "what", "layer", "neurons", "kernel", "wired_to", "query", "offset",
    "limit", "name", "locked", "index",
]  # fmt: skip
VALUES = WORDS | st.lists(WORDS, max_size=3) | st.dictionaries(WORDS, NUMBERS, max_size=2) | NUMBERS | JSON
MESSAGES = st.fixed_dictionaries({"kind": st.sampled_from(KINDS)}, optional=dict.fromkeys(FIELDS, VALUES)) | JSON


@pytest.fixture(scope="module")
def any_widget() -> Iterator[Bench]:
    bench = Bench(chains=2, class_names=list("abcde"))
    yield bench
    bench.end()


@settings(deadline=None, max_examples=100)
@given(messages=st.lists(MESSAGES, max_size=8))
def test_any_messages(any_widget: Bench, messages: list[Any]) -> None:
    """Nothing is raised (where ipywidgets would log it), all that is sent is JSON, and the widget goes on listening."""
    logged: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = logged.append  # type: ignore
    logging.getLogger("traitlets").addHandler(handler)
    try:
        for message in messages:
            any_widget.deliver(message)
        any_widget.settle()
        any_widget.receive(kind="set", view="last", rev=9, params={"l2": 0.5})
        answer = any_widget.of("state")[-1]
        assert (answer["view"], answer["rev"], answer["params"]["l2"]) == ("last", 9, 0.5)
    finally:
        logging.getLogger("traitlets").removeHandler(handler)
    assert not [record.getMessage() for record in logged]
    for content, _ in any_widget.said:
        json.dumps(content, allow_nan=False)
    any_widget.said.clear()


# ---- the loop, and any course of events ------------------------------------------------------------------------------

QUARTER = 0.25
STEP_TIME = 0.004


class Course(RuleBasedStateMachine):
    """The loop on the test's own thread, with a clock that moves only where the loop would wait or the chains step.

    The model of it: what was sent, what the page has acknowledged, what the sampler was last told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.until = 100.0
        self.steps = 0
        self.params = {"steps_per_frame": 2}
        self.device = torch.device("cpu")
        self.sent: list[int] = []
        self.settled = 0
        self.last = -math.inf  # when a frame was sent
        self.asked = 0  # frames sent on request, whatever the window
        self.asking = False
        self.heard = self.now  # anything of a page
        self.trickling = False  # a frame has been sent to a page that has long been silent
        self.looked = -math.inf  # when a view was last known to be visible
        self.over = False
        self.stepped_for: list[int] = []
        self.faults: list[BaseException] = []
        self.failing = False
        self.cell = False

    @initialize(cell=st.booleans())
    def begin(self, cell: bool) -> None:
        self.cell = cell
        self.loop = _OnThisThread(
            self,  # type: ignore[arg-type]  # `step`, `steps`, `device` and `params` are below
            publish=self.publish,
            on_fault=self.faults.append,
            cell_running=lambda: self.cell,
            clock=lambda: self.now,
        )
        self.loop._commands = _Commands(self)

    # what the loop sees

    def step(self, n: int) -> None:
        assert 1 <= n <= self.params["steps_per_frame"], "the newest parameters win"
        self.now += STEP_TIME
        if self.failing:
            raise ArithmeticError
        self.steps += n

    def publish(self, seq: int) -> int:
        assert not self.over, "sent after it was closed"
        assert seq == len(self.sent) + 1, "in order, none left out"
        silent = self.now - self.heard >= 5
        if self.asking:
            self.asked += 1
        else:
            assert self.loop.playing
            unanswered = len(self.sent) - self.settled
            # the first of a trickle may come early
            assert unanswered < 2 or self.now - self.last >= QUARTER - 1e-6 or (silent and not self.trickling)
            self.trickling = silent
        self.sent.append(self.params["steps_per_frame"])
        self.last = self.now
        return 1

    # what happens

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.1, 0.3, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        began, self.until = self.now, self.now + seconds
        shown, steps = len(self.sent), self.steps
        with contextlib.suppress(_Waits):
            while self.loop.alive and self.loop._turn():
                pass
        self.now = max(self.now, self.until)
        assert self.over or self.loop._commands.empty(), "nothing waits for ever"
        assert not (self.over and self.loop.playing)
        if self.loop.playing and began - self.looked < 1 and seconds >= 0.3 and not self.failing:
            assert self.steps > steps, "it samples while a view is visible"
            assert len(self.sent) > shown, "and shows it"

    @rule(back=st.integers(-3, 3), visible=st.booleans())
    def acknowledge(self, back: int, visible: bool) -> None:
        """The newest, an older one, one once more, or one that was never sent."""
        seq = len(self.sent) - back
        if self.settled < seq <= len(self.sent):
            self.settled = seq
        self.heard = self.now
        if visible:
            self.looked = self.now
        self.loop.acknowledge(seq, visible)

    @rule(steps=st.integers(1, 101))
    def set(self, steps: int) -> None:
        self.params = {"steps_per_frame": steps}

    @rule()
    def play(self) -> None:
        self.last = min(self.last, self.now - QUARTER)  # a frame is due
        self.looked = self.heard = self.now
        self.loop.play()

    @rule()
    def pause(self) -> None:
        self.loop.pause()
        steps = self.steps
        self.time_passes(0.3)
        assert self.steps == steps

    @rule()
    def hide(self) -> None:
        self.looked = -math.inf
        self.heard = self.now
        self.loop.acknowledge(0, False)

    @rule()
    def leave(self) -> None:
        self.looked, self.heard = -math.inf, math.inf
        self.loop.leave()

    @rule(times=st.integers(1, 5))
    def contrast_moves(self, times: int) -> None:
        """However often it is asked for: one picture."""
        asked = self.asked
        for _ in range(times):
            self.loop.show()
        self.time_passes(0.001)
        assert self.asked == asked + (not self.over)

    @rule(failing=st.booleans())
    def model_fails(self, failing: bool) -> None:
        self.failing = failing

    @precondition(lambda self: self.steps > 50)
    @rule()
    def close(self) -> None:
        self.loop.close()
        self.over = True
        self.time_passes(0.001)
        assert not self.loop.alive

    # what always holds

    @invariant()
    def a_fault_stops_it(self) -> None:
        assert all(isinstance(fault, ArithmeticError) for fault in self.faults), self.faults
        if self.faults:
            self.faults.clear()
            assert not self.loop.playing

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "loop"):
            assert self.loop.pacer.sent == len(self.sent)
            assert self.loop.pacer.acknowledged == self.settled


class _OnThisThread(Loop):
    """`_turn` is called by the test."""

    def _spawn(self) -> None:
        self._thread = threading.current_thread()

    def send_now(self) -> None:
        course: Any = self.sampler
        course.asking = True
        super().send_now()
        course.asking = False


class _Waits(BaseException):
    """The loop would wait beyond the moment that the test is at."""


class _Commands(queue.SimpleQueue):  # type: ignore[type-arg]
    """If the queue is empty, time passes instead of the wait."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[Callable[[], Any], Future[Any]]:
        if self.empty():
            if self.course.now + (timeout or 0) >= self.course.until:
                raise _Waits
            self.course.now += timeout or 0
        return super().get(block=False)  # type: ignore[no-any-return]

    def get_nowait(self) -> tuple[Callable[[], Any], Future[Any]]:
        return self.get()


TestCourse = Course.TestCase
TestCourse.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
