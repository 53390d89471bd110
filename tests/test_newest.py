"""Work that follows events on a thread of its own."""

from __future__ import annotations

import itertools
import threading
import time

from ldam_widget.live.newest import Newest

PATIENCE = 20  # seconds that a busy machine may take


def test_many_pokes_are_few_calls_and_the_last_is_never_lost() -> None:
    newest, seen, failed = 0, [], []
    caught_up = threading.Event()

    def work() -> None:
        seen.append(newest)
        if newest == 500:
            caught_up.set()

    follower = Newest(work, failed.append, period=0.02)
    for newest in range(1, 501):  # noqa: B007  # read by `work`
        follower.poke()
        time.sleep(0.0005)
    assert caught_up.wait(PATIENCE)
    assert len(seen) < 400
    assert seen == sorted(seen)
    assert not failed


def test_it_takes_a_share_of_the_time() -> None:
    calls: list[tuple[float, float]] = []
    enough = threading.Event()

    def work() -> None:
        began = time.monotonic()
        time.sleep(0.02)
        calls.append((began, time.monotonic()))
        follower.poke()
        if len(calls) == 4:
            enough.set()

    follower = Newest(work, lambda error: None, period=0, share=0.2)
    follower.poke()
    assert enough.wait(PATIENCE)
    follower.stop()
    for (began, ended), (again, _) in itertools.pairwise(calls):
        assert again - ended >= 3.9 * (ended - began) * 0.99


def test_an_error_is_told_and_the_next_poke_tries_again() -> None:
    failed: list[BaseException] = []
    told, done = threading.Event(), threading.Event()
    faults: list[BaseException] = [ValueError("of the work"), SystemExit(3)]

    def work() -> None:
        if faults:
            raise faults.pop(0)
        done.set()

    def tell(error: BaseException) -> None:
        failed.append(error)
        told.set()
        raise RuntimeError("while it was told")

    follower = Newest(work, tell, period=0)
    for _ in range(2):
        told.clear()
        follower.poke()
        assert told.wait(PATIENCE)
    assert not done.wait(0.05)  # without a poke, nothing is tried
    follower.poke()
    assert done.wait(PATIENCE)
    assert [str(error) for error in failed] == ["of the work", "3"]
    assert not follower.stopped
    follower.stop()


def test_after_stop_nothing_is_called() -> None:
    calls: list[int] = []
    stopped = Newest(lambda: calls.append(1), calls.append)  # type: ignore[arg-type]
    stopped.stop()
    stopped.poke()
    time.sleep(0.05)
    assert calls == []


def test_its_thread_ends_when_nothing_comes_and_begins_again(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("ldam_widget.live.newest.LINGER", 0.02)
    done = threading.Event()
    follower = Newest(done.set, lambda error: None, period=0)
    for _ in range(2):
        done.clear()
        follower.poke()
        assert done.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while follower.alive:
            assert time.monotonic() < end
            time.sleep(0.005)
