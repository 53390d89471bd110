"""The stop button and the restart button while pictures flow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ...kernel.client import KernelClient, View
from ...kernel.conftest import PRELUDE
from .conftest import NEWEST, begun, interrupt, pid_of, runs

pytestmark = pytest.mark.kernel

CELLS = {
    "asleep": "print('begun')\ntime.sleep(60)",
    "computing": "print('begun')\nwhile True: pass",
    # of short sleeps: an interrupt is noticed when the next one ends, with a widget or without
    "awaiting": "print('begun')\nwhile True: await asyncio.sleep(0.05)",
}


@pytest.mark.parametrize("doing", CELLS)
def test_an_interrupted_cell(kernel: KernelClient, view: View, doing: str) -> None:
    cell = begun(kernel, CELLS[doing])
    assert interrupt(kernel, cell) in {"KeyboardInterrupt", "CancelledError"}
    view.flows()
    revision = view.set(step_size=0.25)
    view.next("state", lambda s: s["rev"] == revision)
    assert kernel.value("[w.step_size, w.playing, w.error, loops()]") == [0.25, True, None, 1]


# A stop button that strikes only lines of ours that handle a message, up to 500 times a second. A real one can strike
# between messages, or half a message that is being sent, and so end ipykernel 6.31, with any widget or none.
STRIKES = """
import signal

def strike(number, frame):
    ours = "/ldam_widget/" in frame.f_code.co_filename
    while frame is not None and frame.f_code.co_name != "dispatch_shell":
        frame = frame.f_back
    if ours and frame is not None:
        strikes.append(1)
        raise KeyboardInterrupt

strikes = []
_ = signal.signal(signal.SIGALRM, strike), signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
"""


def test_messages_that_are_interrupted(kernel: KernelClient, view: View) -> None:
    """On kernels without subshells the main thread handles messages, and an interrupt hits it there."""
    kernel.run(STRIKES)
    for _ in range(20):
        for _ in range(25):
            view.set(step_size=0.25)
        time.sleep(0.02)
    kernel.run("signal.setitimer(signal.ITIMER_REAL, 0)")
    assert kernel.handles_while_busy or kernel.value("len(strikes)") > 0
    again = view.set(step_size=0.5)  # the last of the burst may have been interrupted
    view.next("state", lambda s: s["rev"] == again)
    view.flows()
    assert kernel.value("[w.step_size, w.playing, w.error, loops()]") == [0.5, True, None, 1]
    noise = kernel.noise()
    assert all("KeyboardInterrupt caught in kernel" in line for line in noise.splitlines()), noise


@NEWEST
def test_an_idle_kernel_that_is_interrupted(kernel: KernelClient, view: View) -> None:
    """A subshell handles the messages: the interrupt strikes an idle main thread. Few: one in 3,000 ends the kernel."""
    for _ in range(3):
        for _ in range(10):
            revision = view.set(step_size=0.25)
        kernel.manager.interrupt_kernel()
        time.sleep(0.02)
    view.next("state", lambda s: s["rev"] == revision)
    view.flows()
    assert kernel.value("[w.step_size, w.playing, w.error, loops()]") == [0.25, True, None, 1]
    noise = kernel.noise()
    assert all("KeyboardInterrupt" in line for line in noise.splitlines()), noise


@NEWEST
def test_many_steps_that_are_interrupted(kernel: KernelClient) -> None:
    """No cell waits for them any more: the thread is free again."""
    view = View(kernel, kernel.run("w = widget(play=False)\nw").model_id)
    view.next("setup")
    cell = begun(kernel, "print('begun')\nw.step(10**9)")
    time.sleep(0.5)
    assert interrupt(kernel, cell) == "KeyboardInterrupt"
    steps = kernel.value("w.step(2).__class__ and w.sampler.steps")
    assert 2 < steps < 10**9
    assert kernel.value("[w.sampler.steps, w.playing, w.error]") == [steps, False, None]
    view.do("play")
    view.next("frame", lambda f: f["steps"] > steps)


class Restarted(KernelClient):
    """A kernel that is restarted, as from the menu."""

    def restart(self) -> None:
        self._subscribed = False
        self._subshell = None
        self.manager.restart_kernel(stderr=self.stderr)
        self._greet()


@pytest.fixture(params=["6.31.0", "7.4.0"])
def own(request: pytest.FixtureRequest) -> Iterator[Restarted]:
    client = Restarted(request.param)
    client.run(PRELUDE)
    client.noise()
    yield client
    client.close()


def test_a_restart_while_it_plays(own: Restarted) -> None:
    old = View(own, own.run("w = widget()\nw").model_id)
    old.next("frame", lambda f: f["seq"] > 10)
    before, process = pid_of(own), own.manager.provisioner.process
    own.manager.shutdown_wait_time = 60  # a busy machine may take longer than a page waits
    own.restart()
    assert process.poll() == 0, "it had to be killed"
    assert not runs(before)
    old.set(step_size=0.25)  # the page still has the panel; there is no kernel for it to talk to
    old.say(kind="hello")
    own.run(PRELUDE)
    new = View(own, own.run("w = widget()\nw").model_id)
    new.flows()
    assert pid_of(own) != before
    assert own.value("[w.error, loops()]") == [None, 1]
    assert "Traceback" not in own.noise()
