"""A cell runs: pictures go on in every kernel, controls wherever the kernel takes messages meanwhile.

ipykernel 6 takes none until the cell ends, whether it computes or awaits; so does ipykernel 7.4 on its main shell
while a cell computes. Nothing that we send or register can change that.
"""

from __future__ import annotations

import time

import pytest

from .client import KernelClient, View
from .conftest import MAIN_SHELL
from .environments import VERSIONS

pytestmark = [pytest.mark.kernel, pytest.mark.parametrize("shared", [*VERSIONS, MAIN_SHELL], indirect=True)]

CELLS = {
    "asleep": "time.sleep(4)",
    "computing": "end = time.monotonic() + 4\nwhile time.monotonic() < end: pass",
    "awaiting": "await asyncio.sleep(4)",
}


@pytest.mark.parametrize("doing", CELLS)
def test_a_cell_of_four_seconds(kernel: KernelClient, view: View, doing: str) -> None:
    begin = time.monotonic()
    cell = kernel.start(CELLS[doing])
    time.sleep(1)
    revision = view.set(step_size=0.25)
    end = kernel.finish(cell).replied_at
    assert end - begin > 3.5
    # Python hands the interpreter over every 5 ms, and beside a loop that never lets go of it by itself, each of the
    # some hundred torch calls of a picture waits as long. Only the fewest cells are such a loop.
    assert view.rate(begin + 0.5, end - 0.2) >= (0.5 if doing == "computing" else 2)
    answer = view.next("state", lambda s: s["rev"] == revision)
    handles = kernel.handles_while_awaiting if doing == "awaiting" else kernel.handles_while_busy
    assert answer.at < (end - 0.5 if handles else end + 2)
    assert kernel.value("w.step_size") == 0.25
    view.flows()  # back at full speed


def test_a_cell_longer_than_it_takes_to_rest(kernel: KernelClient, view: View) -> None:
    """A page whose messages wait for longer than it takes to rest is not taken for closed."""
    if kernel.handles_while_busy:
        pytest.skip("this kernel handles messages of the page")
    begin = time.monotonic()
    end = kernel.finish(kernel.start("time.sleep(9)")).replied_at
    assert view.rate(begin + 6, end - 0.2) >= 2
    steps = [m.content["steps"] for m in view.of("frame", begin + 6) if m.at < end]
    assert steps == sorted(set(steps))  # sampled, not only sent


def test_views_that_appear_while_a_cell_runs(kernel: KernelClient) -> None:
    """A view's hello may be handled only after the cell that shows it; it must be able to draw all the same."""
    cell = kernel.start("w = widget()\ndisplay(w)\ntime.sleep(5)")
    kernel.wait(lambda: cell.shown)
    view = View(kernel, cell.model_id)
    time.sleep(2.5)
    view.answers = False
    reloaded = View(kernel, cell.model_id)
    end = kernel.finish(cell).replied_at
    assert view.next("setup").at < end - 2.5
    assert view.rate(view.of("setup")[0].at, end - 0.2) >= 2
    assert reloaded.next("setup").at < end - 0.5
    assert reloaded.rate(reloaded.of("setup")[0].at, end) >= 2
