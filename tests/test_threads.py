"""Settings, neurons and kernels that change from several threads while a ladder runs.

LDAM_STRESS: seconds that each test goes on; 4 unless set.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC
from ldam_widget.sampling.fair_lock import FairLock

from .conftest import UNSCALED

SECONDS = float(os.environ.get("LDAM_STRESS", "4"))
UNITS = 10


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Linear(24, UNITS)).eval()


def made(**more: Any) -> ldam.Sampler:
    return ldam.Sampler(
        network(), input_shape=(1, 6, 6), pixel_range=(0, 1), neurons=[0, 1], kernel=BAOAB(step_size=0.05), chains=2,
        ladder=(1, 2, 4), scale="frozen", warm_up=6, temperature=0.1, execution="plain", regularizers=[ldam.L2(0.1)],
        **more,
    )  # fmt: skip


def together(*jobs: Callable[[], None]) -> None:
    """Run the jobs again and again, each on a thread of its own; the first error of any is raised."""
    errors: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def repeat(job: Callable[[], None]) -> None:
        try:
            while time.monotonic() < end and not errors:
                job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 60)
        assert not thread.is_alive(), "a thread waits for ever"
    if errors:
        raise errors[0]


def test_no_selection_is_lost_and_no_label_is_wrong() -> None:
    s, model = made(), network()
    chosen, moved, frames = 0, 0, 0

    def step() -> None:
        nonlocal frames
        frame, frames = s.step(1), frames + 1
        labels = [neuron.unit for neuron in frame.neurons]
        assert len(frame.images) == len(frame.average_images) == len(frame.burned_in) == len(labels)
        with torch.no_grad():
            expected = model(frame.images.flatten(0, 1)).view(len(labels), 2, UNITS)
        for row, (unit, activation) in enumerate(zip(labels, frame.activation, strict=True)):
            torch.testing.assert_close(activation, expected[row, :, unit], rtol=1e-3, atol=1e-4)
        before, scales = s.target, s.scales
        if s.target is before:  # else another thread has come between
            assert scales is not None
            used = {name: scale[::6].tolist() for name, scale in before.scales.items()}
            assert scales == used

    def select() -> None:
        nonlocal chosen
        chosen += 1
        units = [chosen % UNITS, (chosen + 3) % UNITS, (chosen + 7) % UNITS][: 1 + chosen % 3]
        s.select(neurons=units)
        assert [neuron.unit for neuron in s.neurons] == units

    def slide() -> None:
        nonlocal moved
        moved += 1
        heat, size = 1 + moved % 5, 0.01 * (1 + moved % 7)
        s.set(heat=heat, temperature=0.1 * (1 + moved % 4))
        s.set(step_size=size)
        assert (s.params["heat"], s.params["step_size"]) == (heat, pytest.approx(size))
        time.sleep(0.001)

    together(step, select, slide)
    assert min(chosen, moved, frames) > 5 * SECONDS


def test_the_last_kernel_wins_and_sliders_keep_their_values() -> None:
    s = made()
    rounds = 0

    def change() -> None:
        nonlocal rounds
        rounds += 1
        kernel = (BAOAB(step_size=0.03), GHMC(step_size=0.02))[rounds % 2]
        s.use_kernel(kernel)
        assert (s.kernel, s.params["step_size"]) == (kernel, kernel.step_size)

    def slide() -> None:
        value = 0.01 * (1 + time.monotonic_ns() % 50)
        s.set(l2=value)
        assert s.params["l2"] == pytest.approx(value)
        time.sleep(0.001)

    def step() -> None:
        s.step(1)

    together(step, change, slide)
    assert rounds > 5 * SECONDS
    s.step(1)
    assert s.target.weights["l2"] == s.params["l2"]


@pytest.mark.parametrize("slow", [0.3])
def test_a_slider_never_waits_for_a_step(slow: float) -> None:
    """Neither does what is read; choosing neurons does, and comes as soon as the step is done."""
    begun, go_on = threading.Event(), threading.Event()

    class Held(nn.Linear):
        held = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if type(self).held:
                begun.set()
                assert go_on.wait(60)
            return super().forward(x)

    s = ldam.Sampler(
        nn.Sequential(nn.Flatten(), Held(16, 3)), input_shape=(1, 4, 4), pixel_range=(0, 1), neurons=[0],
        kernel=BAOAB(step_size=0.05), execution="plain", **UNSCALED,
    )  # fmt: skip
    s.step(1)
    Held.held = True
    stepping = threading.Thread(target=lambda: s.step(5))
    stepping.start()
    assert begun.wait(60)
    s.set(temperature=3.0)  # would never return
    s.heat_pulse()
    assert s.params["temperature"] == 3.0
    assert s.frame().steps == 1
    selecting = threading.Thread(target=lambda: s.select(neurons=[1, 2]))
    selecting.start()
    selecting.join(slow)
    assert selecting.is_alive()
    Held.held = False
    go_on.set()
    for thread in (stepping, selecting):
        thread.join(60)
        assert not thread.is_alive()
    assert [neuron.unit for neuron in s.neurons] == [1, 2]
    assert s.target.temperature == pytest.approx(3.0 * s.heat)


def test_what_is_set_during_another_threads_turn_is_followed_after_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Held(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if threading.current_thread().name == "quenching":
                begun.set()
                assert go_on.wait(60)
            return super().forward(x)

    s = ldam.Sampler(
        nn.Sequential(nn.Flatten(), Held(16, 3)), input_shape=(1, 4, 4), pixel_range=(0, 1), neurons=[0],
        kernel=BAOAB(step_size=0.05), execution="plain", **UNSCALED,
    )  # fmt: skip
    s.step(1)
    quenching = threading.Thread(target=lambda: s.quenched(2), name="quenching")
    quenching.start()
    assert begun.wait(60)
    s.set(temperature=3.0)
    assert s.target.temperature == 1.0
    go_on.set()
    quenching.join(60)
    assert s.target.temperature == 3.0


def test_a_lock_is_taken_in_the_order_of_coming() -> None:
    lock, order = FairLock(), []
    first = lock.ticket()
    lock.take(first)
    again = lock.ticket()
    assert lock.take_if_free(again)  # of the same thread
    lock.tickets.pop(again)

    def take(name: int) -> None:
        ticket = lock.ticket()
        try:
            lock.take(ticket)
            order.append(name)
        finally:
            lock.tickets.pop(ticket, None)

    others = []
    for name in range(5):
        others.append(threading.Thread(target=take, args=(name,)))
        others[-1].start()
        while len(lock.tickets) < name + 2:
            time.sleep(1e-3)
    assert order == []
    lock.tickets.pop(first)
    for other in others:
        other.join(10)
    assert order == [0, 1, 2, 3, 4]
    assert not lock.tickets


def test_the_turn_is_kept_although_a_lower_number_comes_later() -> None:
    """A thread may be interrupted between drawing its number and waiting."""
    lock = FairLock()
    early, late = lock.ticket(), lock.ticket()
    has_it: list[bool] = []
    other = threading.Thread(target=lambda: has_it.append(lock.take_if_free(late)))
    other.start()
    other.join(10)
    assert has_it == [True]
    assert not lock.take_if_free(early)
    lock.tickets.pop(late)
    assert lock.take_if_free(early)


def test_when_the_first_goes_the_next_alone_has_the_turn() -> None:
    """The first may give the lock back in the midst of another's look at the tickets."""

    class GoneMeanwhile(dict[int, tuple[int, int]]):
        def copy(self) -> dict[int, tuple[int, int]]:
            seen = dict(self)
            self.pop(0, None)
            return seen

        def get(self, number: int, default: Any = None) -> Any:
            self.pop(0, None)
            return super().get(number, default)

    lock = FairLock()
    first, second, third = (lock.ticket() for _ in range(3))
    lock.tickets = GoneMeanwhile({first: (os.getpid(), -1), second: (os.getpid(), -2)})  # of other threads
    assert not lock.take_if_free(third)
    assert list(lock.tickets) == [second, third]
