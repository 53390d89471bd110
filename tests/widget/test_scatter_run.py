"""A map whose points move: t-SNE and other iterators, run by the widget's thread; pages that are slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import ldam_widget as ldam

from .conftest import wait_until
from .map_page import POINTS, RNG, View, make

__all__ = ["make"]


@pytest.mark.slow
def test_t_sne_runs_stops_and_goes_on(make: Any) -> None:
    features = RNG.normal(size=(60, 8))
    run = ldam.TSNE(features, perplexity=8, steps=400, device="cpu")
    view = View(make(run, play=False), slow=True)
    widget = view.widget
    wait_until(lambda: view.of("frame"))
    assert (widget.running, run.done) == (False, 0)
    view.slow = False
    view.tell({"kind": "ack", "view": "a", "seq": view.newest("frame")[0]["seq"], "visible": True})
    view.do("run")
    wait_until(lambda: run.done > 20)
    view.do("stop")
    wait_until(lambda: not widget.running)
    view.settle()
    done = run.done
    wait_until(lambda: view.newest("frame")[0]["run"] == {"running": False, "done": done, "steps": 400})
    assert np.abs(view.positions() - widget.points).max() < np.ptp(widget.points) / 65000
    torch.testing.assert_close(torch.from_numpy(widget.points), run.points)
    assert widget.embedding.settings["steps"] == done < 400
    widget.play()
    assert widget.running
    wait_until(lambda: not widget.running, 60)
    assert run.done == 400
    assert widget.embedding is widget.embedding
    alone = ldam.TSNE(features, perplexity=8, steps=400, device="cpu")
    for _ in alone:
        pass
    torch.testing.assert_close(torch.from_numpy(widget.points), alone.points)
    wait_until(lambda: np.abs(view.positions() - widget.points).max() < np.ptp(widget.points) / 65000)
    widget.play()
    assert not widget.running
    view.settle()


@pytest.mark.slow
def test_positions_are_sent_ten_times_a_second_at_most(make: Any) -> None:
    def walk() -> Iterator[np.ndarray]:
        for step in range(100_000):
            yield POINTS + step

    view = View(make(walk()))
    began = time.monotonic()
    wait_until(lambda: len(view.of("frame")) >= 6)
    assert time.monotonic() - began >= 0.3
    view.widget.pause()
    done = view.newest("state")[0]["run"]
    assert (done["running"], done["steps"]) == (False, None)
    assert done["done"] > 6
    view.settle()


def test_an_iterator_that_ends_or_fails(make: Any) -> None:
    view = View(make(iter([POINTS, POINTS + 1])))
    wait_until(lambda: view.of("frame") and not view.widget.running)
    assert (view.widget.points == POINTS + 1).all()

    def broken() -> Iterator[np.ndarray]:
        yield POINTS
        yield POINTS + 2
        raise ArithmeticError("no more")

    view = View(make(broken()))
    wait_until(lambda: view.widget.error)
    assert view.widget.error == "ArithmeticError: no more"
    assert (view.widget.points == POINTS + 2).all()
    assert not view.widget.running
    with pytest.raises(ValueError, match="the iterator of positions is at its end"):
        make(iter([]))


def test_a_slow_page_gets_the_newest(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    widget = make()
    monkeypatch.setattr(type(widget._loop.pacer), "KEEP_ALIVE", 1e9)
    view = View(widget, slow=True)
    wait_until(lambda: view.of("frame"))
    for step in range(30):
        widget._chains.show([[step, 0.0]], [0], [True], ["3"])
        view.settle()
    assert len(view.of("frame")) == 2
    view.tell({"kind": "ack", "view": "a", "seq": 2, "visible": True})
    wait_until(lambda: len(view.of("frame")) == 3)
    content, buffers = view.newest("frame")
    assert content["map"] is None
    assert np.frombuffer(buffers[0], "<f4").tolist() == [29, 0, 0, 1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.full_like(POINTS, np.nan), "points holds numbers that are NaN"),
        (POINTS[:3], "the iterator gave 3 positions, before 40"),
        (None, "points must be rows of numbers"),
    ],
)
def test_wrong_positions_end_an_iterator_and_are_told(make: Any, wrong: Any, words: str) -> None:
    def walk() -> Iterator[Any]:
        yield POINTS
        yield POINTS + 1
        yield "no positions" if wrong is None else wrong
        while True:
            yield POINTS + 3

    view = View(make(walk()))
    wait_until(lambda: view.widget.error)
    assert words in view.widget.error
    wait_until(lambda: not view.widget.running)
    assert (view.widget.points == POINTS + 1).all()
    wait_until(lambda: np.abs(view.positions() - view.widget.points).max() < 1e-3)
    view.settle()


def test_an_iterator_may_change_its_array_in_place(make: Any) -> None:
    own = POINTS.copy()

    def walk() -> Iterator[np.ndarray]:
        yield own
        own[:] = 0
        yield own

    widget = make(walk(), play=False)
    before = widget.points
    widget.play()
    wait_until(lambda: not widget.running)
    assert (before == POINTS).all()
    assert not widget.points.any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_t_sne_of_few_points_is_finished(make: Any, count: int) -> None:
    widget = make(ldam.TSNE(np.eye(3)[:count], device="cpu"))
    wait_until(lambda: not widget.running)
    assert widget.points.shape == (count, 2)
