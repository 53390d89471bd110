"""The real thread with a fake sampler and a fake page."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
import torch

from ldam_widget.live import loop as module
from ldam_widget.live.loop import Loop

from .conftest import loop_threads, wait_until


class Chains:
    """In place of a sampler."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.params = {"steps_per_frame": 2}
        self.steps = 0
        self.asked: list[int] = []
        self.fault: Exception | None = None
        self.threads: set[threading.Thread] = set()
        self.before: Callable[[], Any] = lambda: None

    def step(self, n: int) -> None:
        self.before()
        self.threads.add(threading.current_thread())
        self.asked.append(n)
        if self.fault is not None:
            raise self.fault
        self.steps += n


class Run:
    """A loop, and a page that answers every frame."""

    def __init__(self, **options: Any) -> None:
        self.chains, self.frames, self.faults = Chains(), [], []
        self.answers = True
        self.loop = Loop(self.chains, self.publish, self.faults.append, **options)  # type: ignore[arg-type]

    def publish(self, seq: int) -> int:
        self.frames.append((seq, self.chains.steps))
        if self.answers:
            self.loop.acknowledge(seq, True)
        return 10


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.loop.close()


def test_frames_in_order(run: Run) -> None:
    run.loop.play()
    wait_until(lambda: len(run.frames) >= 30)
    run.loop.close()
    assert [seq for seq, _ in run.frames] == list(range(1, len(run.frames) + 1))
    assert [steps for _, steps in run.frames] == [2 * seq for seq, _ in run.frames]
    assert [thread.name for thread in run.chains.threads] == ["ldam-loop"]


def test_no_more_frames_than_a_display_shows(run: Run) -> None:
    run.loop.play()
    time.sleep(1)
    assert len(run.frames) <= 70


def test_steps_go_on_while_answers_are_out(run: Run) -> None:
    run.answers = False
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 50)
    assert len(run.frames) < 10


def test_a_picture_held_back_goes_with_the_next_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Pacer, "KEEP_ALIVE", 60)
    run.answers = False
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 10)
    monkeypatch.setattr(module, "FRAME_PERIOD", 60)  # after one more, nothing is made for long
    time.sleep(0.1)
    assert len(run.frames) == 2
    run.loop.acknowledge(1, True)
    wait_until(lambda: len(run.frames) == 3)
    assert run.frames[-1] == (3, run.chains.steps)
    run.loop.acknowledge(2, True)  # room for one more, but there is nothing new
    time.sleep(0.1)
    assert len(run.frames) == 3


def test_pictures_that_find_no_room_go_with_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of them, in order; the one that is sent is not among them."""
    monkeypatch.setattr(module.Pacer, "KEEP_ALIVE", 60)
    taken: list[tuple[list[int], int]] = []
    run = Run(keep=lambda: run.chains.steps)
    run.answers = False
    run.loop.pacer.round_trip = 0.1
    plain = run.publish
    monkeypatch.setattr(
        run.loop, "_publish", lambda seq: taken.append((list(run.loop.earlier), run.chains.steps)) or plain(seq)
    )
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 20)
    run.loop.acknowledge(2, True)
    wait_until(lambda: len(taken) == 4)
    run.loop.close()
    assert [before for before, _ in taken[:2]] == [[], []]
    before, newest = taken[2]
    assert before == list(range(newest - 2 * module.EARLIER, newest, 2))  # two steps a picture
    assert taken[3][0] == []


def test_pictures_of_before_a_command_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Pacer, "KEEP_ALIVE", 60)
    run = Run(keep=lambda: run.chains.steps)
    run.answers = False
    run.loop.pacer.round_trip = 0.1
    run.loop.play()
    wait_until(lambda: len(run.loop.earlier) == module.EARLIER)
    seen = run.loop.call(lambda: len(run.loop.earlier))
    run.loop.close()
    assert seen == 0


def test_a_command_that_was_given_up_is_harmless_on_close(run: Run) -> None:
    began, go = threading.Event(), threading.Event()
    first = run.loop.submit(lambda: (began.set(), go.wait(5)))
    began.wait(5)
    given_up, third = run.loop.submit(int), run.loop.submit(int)
    given_up.cancel()
    threading.Timer(0.1, go.set).start()
    run.loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        third.result(5)
    assert first.done()


def test_newest_parameters_win(run: Run) -> None:
    run.loop.play()
    for steps in range(3, 30):
        run.chains.params = {"steps_per_frame": steps}
        seen = len(run.chains.asked)
        wait_until(lambda seen=seen: len(run.chains.asked) >= seen + 2)  # type: ignore[misc]
        assert run.chains.asked[seen + 1] == steps  # the one before had begun


def test_a_change_in_the_page_is_answered_by_the_next_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a picture of before, nor by one that is many steps away."""
    monkeypatch.setattr(module, "FRAME_PERIOD", 60)  # nothing comes by itself
    run.chains.params = {"steps_per_frame": 50, "temperature": 1}
    begun: list[int] = []  # what every step began with

    def change() -> None:
        begun.append(run.chains.params["temperature"])
        if len(begun) in (3, 6):
            run.chains.params = run.chains.params | {"temperature": len(begun)}
            run.loop.hurry()

    run.chains.before = change
    run.loop._step_time = 1.0  # so that it steps one by one
    run.loop.hurry()
    run.loop.play()
    wait_until(lambda: len(run.frames) >= 1)
    while run.chains.params["temperature"] != 6:
        run.loop.hurry()
        time.sleep(0.02)
    wait_until(lambda: begun[-1] == 6)
    time.sleep(0.1)
    run.loop.pause()
    first = {value: begun.index(value) + 1 for value in (3, 6)}  # the step that first began with it
    for value in (3, 6):
        answered = next(steps for _, steps in run.frames if steps >= first[value])
        assert answered == first[value], (run.frames, begun)


def test_changes_without_end_do_not_stop_the_pictures(run: Run) -> None:
    run.chains.before = lambda: run.loop.hurry()
    run.loop.play()
    time.sleep(1)
    assert len(run.frames) >= 5


def test_changes_without_acknowledgements_speed_nothing_up() -> None:
    """A cell that changes a parameter for ever, and blocks the messages of the page: a frame every KEEP_ALIVE."""
    run = Run(cell_running=lambda: True)
    run.answers = False
    run.loop.pacer.REST = 0.2  # type: ignore[misc]
    run.loop.play()
    time.sleep(0.3)
    before, steps = len(run.frames), run.chains.steps
    for _ in range(100):
        run.loop.hurry()
        time.sleep(0.01)
    run.loop.close()
    assert 2 <= len(run.frames) - before <= 8
    assert run.chains.steps - steps <= 20


def test_chains_go_on_while_a_slider_is_dragged(run: Run) -> None:
    """Between two changes, more is computed than one early picture."""
    run.chains.params = {"steps_per_frame": 10}
    run.chains.before = lambda: time.sleep(0.001)
    run.loop._step_time = 0.001
    run.loop.play()
    for _ in range(60):
        run.loop.hurry()
        time.sleep(0.016)
    assert run.chains.steps >= 3 * 60, "one step a change would be 60"
    assert len(run.frames) >= 10


def test_a_change_by_a_command_is_answered_as_soon(run: Run) -> None:
    run.chains.params = {"steps_per_frame": 100}
    run.chains.before = lambda: time.sleep(0.02)
    run.loop._step_time = 0.02
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 3)
    at = run.loop.call(lambda: (run.loop.hurry(), run.chains.steps)[1])
    wait_until(lambda: any(steps > at for _, steps in run.frames))
    assert next(steps for _, steps in run.frames if steps > at) == at + 1


def test_fewer_steps_a_picture_count_at_once(run: Run) -> None:
    run.chains.params = {"steps_per_frame": 101}
    run.loop.hurry()
    run.chains.before = lambda: time.sleep(0.03)
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 3)
    run.chains.params = {"steps_per_frame": 1}
    run.loop.hurry()
    shown = len(run.frames)
    wait_until(lambda: len(run.frames) >= shown + 5, timeout=1.5)  # 100 steps would take 3


def test_a_long_picture_is_given_up_for_a_change(run: Run) -> None:
    """Also the first one, and the change itself need not wait for it."""
    run.chains.params = {"steps_per_frame": 101}
    run.chains.before = lambda: time.sleep(0.03)
    run.loop._step_time = 0.03  # known from before
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 4)
    run.loop.overtake()
    run.loop.hurry()
    at = run.chains.steps
    wait_until(lambda: len(run.frames) >= 1)
    assert run.frames[0][1] <= at + 5


def test_a_place_is_kept_for_the_answer_to_a_change(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Pacer, "KEEP_ALIVE", 60)
    run.answers = False
    run.loop.hurry()
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 20)
    assert [seq for seq, _ in run.frames] == [1]
    run.loop.hurry()
    wait_until(lambda: len(run.frames) == 2)
    run.loop.hurry()
    time.sleep(0.2)
    assert len(run.frames) == 2, "no more than two are out"
    run.loop.acknowledge(2, True)
    wait_until(lambda: len(run.frames) >= 3)


def test_while_the_reader_changes_things_old_pictures_are_not_taken_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Pacer, "KEEP_ALIVE", 60)
    run = Run(keep=lambda: run.chains.steps)
    run.answers = False
    run.loop.pacer.round_trip = 0.1
    run.loop.hurry()
    run.loop.play()
    wait_until(lambda: run.chains.steps >= 20)
    assert not run.loop.earlier
    run.loop.close()


def test_paused_means_stopped(run: Run) -> None:
    run.chains.before = lambda: time.sleep(0.05)
    run.loop.play()
    wait_until(lambda: run.frames)
    run.loop.pause()
    steps = run.chains.steps
    time.sleep(0.2)
    assert run.chains.steps == steps
    run.loop.play()
    wait_until(lambda: run.chains.steps > steps)


def test_nothing_is_sent_after_close(run: Run) -> None:
    run.loop.play()
    wait_until(lambda: run.frames)
    run.loop.close()
    assert not run.loop.alive
    sent = len(run.frames)
    run.loop.play()
    run.loop.acknowledge(sent, True)
    time.sleep(0.2)
    assert len(run.frames) == sent
    assert not loop_threads()


@pytest.mark.parametrize("freed", [True, False])
def test_closed_in_the_middle_of_a_long_step(run: Run, freed: bool) -> None:
    go, inside = threading.Event(), threading.Event()
    run.chains.before = lambda: (inside.set(), go.wait(10))
    run.loop.play()
    inside.wait(10)
    begin = time.monotonic()
    run.loop.close()
    assert time.monotonic() - begin < 3
    if freed:
        del run.loop.sampler  # as the widget does
    go.set()
    wait_until(lambda: not loop_threads())
    assert not run.frames
    assert not run.faults


def test_a_fault_stops_the_run_and_is_reported_once(run: Run) -> None:
    run.loop.play()
    wait_until(lambda: len(run.frames) >= 3)
    fault = run.chains.fault = RuntimeError("boom")
    wait_until(lambda: run.faults)
    sent = len(run.frames)
    time.sleep(0.2)
    assert run.faults == [fault]
    assert not run.loop.playing
    assert len(run.frames) == sent
    run.chains.fault = None
    run.loop.play()
    wait_until(lambda: len(run.frames) > sent)


def test_a_fault_in_publishing_is_reported_too(run: Run) -> None:
    run.loop._publish = lambda seq: 1 // 0
    run.loop.play()
    wait_until(lambda: run.faults)
    assert isinstance(run.faults[0], ZeroDivisionError)


def test_call_and_submit(run: Run) -> None:
    assert run.loop.call(lambda: threading.current_thread().name) == "ldam-loop"
    with pytest.raises(KeyError, match="x"):
        run.loop.call(lambda: {}["x"])
    assert isinstance(run.loop.submit(lambda: 1 // 0).exception(5), ZeroDivisionError)
    assert run.loop.call(lambda: run.loop.call(lambda: 7)) == 7  # on its own thread
    assert not run.faults
    run.loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        run.loop.call(lambda: None)


def test_commands_come_in_order_between_frames(run: Run) -> None:
    run.loop.play()
    seen: list[int] = []
    futures = [run.loop.submit(lambda i=i: seen.append(i)) for i in range(200)]  # type: ignore[misc]
    futures[-1].result(5)
    assert seen == list(range(200))


def test_no_caller_waits_for_ever_on_a_closed_loop(run: Run) -> None:
    go, inside = threading.Event(), threading.Event()
    run.loop.submit(lambda: (inside.set(), go.wait(10)))
    inside.wait(10)
    late = [run.loop.submit(lambda: None) for _ in range(3)]
    threading.Timer(0.2, go.set).start()
    run.loop.close()
    for future in late:
        with pytest.raises((CancelledError, RuntimeError)):
            future.result(5)


def test_observers_see_every_picture(run: Run) -> None:
    seen: list[int] = []
    run.loop.observers.append(lambda: seen.append(run.chains.steps))
    run.loop.call(lambda: [run.loop.advance(3) for _ in range(4)])
    assert seen == [3, 6, 9, 12]


def test_stats(run: Run) -> None:
    run.loop.play()
    time.sleep(1.1)
    stats = run.loop.stats
    assert stats["bytes_per_frame"] == 10
    assert stats["steps_per_second"] == pytest.approx(2 * stats["frames_per_second"], rel=0.1)
    assert stats["frames_per_second"] > 5
    assert 0 <= stats["round_trip_ms"] < 100


# ---- rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hurried")
def test_an_idle_thread_ends_and_another_takes_over(run: Run) -> None:
    first = run.loop.call(threading.current_thread)
    wait_until(lambda: not run.loop.alive)
    second = run.loop.call(threading.current_thread)
    assert first is not second


@pytest.mark.usefixtures("hurried")
def test_rests_without_acknowledgements_and_wakes(run: Run) -> None:
    run.loop.play()
    wait_until(lambda: len(run.frames) > 5)
    run.answers = False
    wait_until(lambda: not run.loop.alive)
    assert run.loop.playing
    sent = len(run.frames)
    run.loop.acknowledge(0, False)  # hidden: no reason to wake
    assert not run.loop.alive
    run.answers = True
    run.loop.acknowledge(0, True)
    wait_until(lambda: len(run.frames) > sent + 5)


@pytest.mark.usefixtures("hurried")
def test_sends_few_frames_without_acknowledgements_while_a_cell_runs() -> None:
    run = Run(cell_running=lambda: True)
    run.answers = False
    run.loop.play()
    time.sleep(1)
    before, steps = len(run.frames), run.chains.steps
    time.sleep(1)
    run.loop.close()
    assert 5 <= len(run.frames) - before <= 21
    assert run.chains.steps - steps == 2 * (len(run.frames) - before)  # and leaves the processor to the cell


@pytest.mark.usefixtures("hurried")
def test_leaving_rests_at_once_and_play_wakes(run: Run) -> None:
    run.loop.play()
    wait_until(lambda: len(run.frames) > 5)
    run.answers = False
    run.loop.leave()
    wait_until(lambda: not run.loop.alive)
    sent = len(run.frames)
    run.answers = True
    run.loop.play()
    wait_until(lambda: len(run.frames) > sent)


@pytest.mark.usefixtures("hurried")
def test_a_command_that_comes_as_the_thread_ends(run: Run) -> None:
    late: list[Future[int]] = []

    class Commands(queue.SimpleQueue):  # type: ignore[type-arg]
        def get(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().get(*args, **kwargs)
            except queue.Empty:
                if not late:
                    late.append(run.loop.submit(lambda: 7))
                raise

    run.loop._commands = Commands()
    run.loop.call(lambda: None)
    wait_until(lambda: late)
    assert late[0].result(5) == 7


def test_a_thread_whose_start_was_interrupted_is_not_a_second_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have started all the same."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.loop.play()
    monkeypatch.undo()
    run.loop.play()
    wait_until(lambda: len(run.frames) >= 3)
    assert len(loop_threads()) == 1


def test_threads_that_end_as_commands_come(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command may fall between an ending thread and the next, and never may two threads work."""
    monkeypatch.setattr(module, "LINGER", 0.0005)
    inside, overlaps = threading.Lock(), []

    def command() -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return
        inside.release()

    def submit() -> None:
        futures: list[Future[None]] = []
        for i in range(500):
            futures.append(run.loop.submit(command))
            if i % 10 == 0:
                time.sleep(0.0007)
        for future in futures:
            future.result(5)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not overlaps


@pytest.mark.usefixtures("hurried")
def test_closed_by_the_collector_of_garbage_while_its_thread_ends() -> None:
    """It runs at any moment, on any thread, and closes what has no references."""

    def clock() -> float:
        if sys._getframe(1).f_code.co_name == "_stay":
            loop.close()
        return time.monotonic()

    loop = Loop(Chains(), lambda seq: 0, lambda error: None, clock=clock)  # type: ignore[arg-type]
    loop.submit(lambda: None).result(10)
    wait_until(lambda: not loop_threads())
    assert loop.closed
