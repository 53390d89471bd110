"""A cell runs: pictures go on in every kernel, controls wherever the kernel takes messages meanwhile.

ipykernel 6 takes none until the cell ends, whether it computes or awaits; so does ipykernel 7.4 on its main shell
while a cell computes. Nothing that we send or register can change that.
"""

from __future__ import annotations

import time

import pytest

from .client import KernelClient, View

pytestmark = pytest.mark.kernel

COMPUTING = {
    "asleep": "time.sleep(4)",
    "computing": "end = time.monotonic() + 4\nwhile time.monotonic() < end: pass",
}


@pytest.mark.parametrize("code", COMPUTING.values(), ids=COMPUTING)
def test_a_cell_that_occupies_the_main_thread(kernel: KernelClient, view: View, code: str) -> None:
    check(kernel, view, code, kernel.hears_while_busy)


def test_a_cell_that_awaits(kernel: KernelClient, view: View) -> None:
    check(kernel, view, "await asyncio.sleep(4)", kernel.hears_while_awaiting)


def check(kernel: KernelClient, view: View, code: str, hears: bool) -> None:
    begin = time.monotonic()
    cell = kernel.start(code)
    time.sleep(1.5)
    revision = view.set(step_size=0.25)
    end = kernel.finish(cell).replied_at
    assert end - begin > 3.5
    assert view.rate(begin + 0.5, end - 0.2) >= 2
    answer = view.next("state", lambda s: s["rev"] == revision)
    assert answer.at < (end - 0.5 if hears else end + 2)
    assert kernel.value("w.step_size") == 0.25
    time.sleep(2)
    now = time.monotonic()
    assert view.rate(now - 1, now) >= 10  # back at full speed


@pytest.mark.parametrize("shared", ["6.31.0", "7.4.0 main shell"], indirect=True)
def test_a_cell_longer_than_the_patience_of_the_loop(kernel: KernelClient, view: View) -> None:
    """The page cannot be heard for longer than it takes to rest; it is there all the same."""
    begin = time.monotonic()
    end = kernel.finish(kernel.start("time.sleep(9)")).replied_at
    assert view.rate(begin + 6, end - 0.2) >= 2
    steps = [m.content["steps"] for m in view.of("frame", begin + 6) if m.at < end]
    assert steps == sorted(set(steps))  # sampled, not only sent


def test_shown_by_a_cell_that_goes_on_working(kernel: KernelClient) -> None:
    """The hello of the view is heard after the cell; until then the page must be able to draw all the same."""
    cell = kernel.start("w = widget()\ndisplay(w)\ntime.sleep(5)")
    kernel.wait(lambda: cell.outputs)
    view = View(kernel, cell.model_id)
    end = kernel.finish(cell).replied_at
    setup = view.next("setup")
    assert setup.at < end - 2
    assert view.rate(setup.at, end - 0.2) >= 2


def test_reloaded_while_a_cell_runs(kernel: KernelClient, view: View) -> None:
    cell = kernel.start("time.sleep(5)")
    time.sleep(0.5)
    view.answers = False
    again = View(kernel, view.comm_id)
    end = kernel.finish(cell).replied_at
    setup = again.next("setup")
    assert setup.at < end - 1
    assert again.rate(setup.at, end - 0.2) >= 2
