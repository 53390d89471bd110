"""Widgets appear, rest and close."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .client import KernelClient, View
from .conftest import start
from .environments import VERSIONS

pytestmark = pytest.mark.kernel


def test_rests_when_no_view_is_visible(kernel: KernelClient) -> None:
    """Three widgets at once, since it takes its time: two pages fall silent, one is hidden."""
    silent, reloaded, hidden = views = [View(kernel, kernel.run(f"w{i} = widget()\nw{i}").model_id) for i in range(3)]
    for view in views:
        view.next("frame", lambda f: f["seq"] > 10)
    silent.answers = reloaded.answers = hidden.visible = False
    begin = time.monotonic()

    def last(view: View) -> float:
        return view.of("frame")[-1].at

    # meanwhile no cell runs, which would explain the silence
    kernel.wait(lambda: time.monotonic() - max(begin, *map(last, views)) > 4, complaint="pictures go on")
    for view in (silent, reloaded):
        assert last(view) - begin > 4
        assert last(view) > last(hidden) + 1
    assert kernel.value("loops()") == 0
    assert kernel.value("w0.playing and w1.playing and w2.playing")

    woken = time.monotonic()
    silent.answers = hidden.visible = True  # seen with the next heartbeat
    for view in (silent, hidden, View(kernel, reloaded.comm_id)):
        view.next("frame", since=woken)
    for view in views:
        view.flows()
    assert kernel.value("loops()") == 3


def test_rerunning_a_cell_leaves_one_thread(kernel: KernelClient, view: View) -> None:
    cell = kernel.run("w = widget()\nw")
    view.close()  # the output is cleared
    again = View(kernel, cell.model_id)
    assert again.comm_id != view.comm_id
    time.sleep(3.5)
    assert kernel.value("loops()") == 1
    again.flows()


def _only_one_stays(kernel: KernelClient) -> None:
    """The page's goodbye to the one before may still be on its way."""
    end = time.monotonic() + 60
    while kernel.value("[gc.collect() and 0, len(seen), loops()]")[1:] != [1, 1] and time.monotonic() < end:
        time.sleep(0.2)
    assert kernel.value("[len(seen), loops()]") == [1, 1]


@pytest.mark.parametrize("shows", ["w", "display(w)"])
def test_a_cell_that_runs_again_gives_back_its_widget(kernel: KernelClient, shows: str) -> None:
    """IPython keeps what cells return: `Out`, `_` and `_3`. More: `benchmarks/rerun.py`."""
    kernel.run("import gc, weakref\nseen = weakref.WeakSet()")
    view = None
    for _ in range(5):
        if view is not None:
            view.close()
        cell = kernel.run(f"w = widget()\nseen.add(w)\n{shows}", name="the cell")
        view = View(kernel, cell.model_id)
        view.next("frame")
    _only_one_stays(kernel)
    assert kernel.value("[loops(), w in seen, w.playing]") == [1, True, True]
    view.flows()


def test_a_cell_that_runs_again_gives_back_its_map(kernel: KernelClient) -> None:
    kernel.run("import gc, weakref, numpy as np\nseen = weakref.WeakSet()")
    view = None
    for _ in range(4):
        if view is not None:
            view.close()
        cell = kernel.run("m = ldam.Scatter(np.random.rand(50, 2))\nseen.add(m)\nm", name="the map's cell")
        view = View(kernel, cell.model_id)
        view.next("setup")
    _only_one_stays(kernel)
    assert kernel.value("m in seen")


def test_a_result_stays_while_its_cell_is_not_run_again(kernel: KernelClient) -> None:
    number = kernel.value("get_ipython().execution_count") + 1
    view = View(kernel, kernel.run("widget()", name="one").model_id)
    view.next("frame")
    other = View(kernel, kernel.run("widget()", name="another").model_id)
    other.next("frame")
    view.close()
    kernel.run("import gc; _ = gc.collect()")
    assert kernel.value(f"Out[{number}].playing")


def test_closing_ends_the_thread(kernel: KernelClient, view: View) -> None:
    kernel.run("w.close()")
    assert kernel.value("loops()") == 0
    closed = time.monotonic()
    view.set(step_size=0.3)  # too late to have an effect
    view.say(kind="hello")
    time.sleep(0.5)
    assert not [m for m in view.messages if m.at > closed]


@pytest.fixture(params=[*VERSIONS])
def own(request: pytest.FixtureRequest) -> Iterator[KernelClient]:
    client = start(request.param)
    yield client
    client.close()


def test_a_playing_kernel_shuts_down(own: KernelClient) -> None:
    View(own, own.run("w = widget()\nw").model_id).next("frame", lambda f: f["seq"] > 10)
    own.shut_down()
    assert "Traceback" not in own.noise()
    assert "Exception" not in own.noise()
