"""Nothing is left to the cyclic garbage collector: it runs rarely, and what waits for it holds pictures."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.execution import Execution
from ldam_widget.kernels import BAOAB, GHMC, Algorithm1

from .conftest import with_fixed_weights


@contextmanager
def collected() -> Iterator[list[Any]]:
    """What is left for the garbage collector by the code within."""
    found: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [thing for thing in gc.garbage if isinstance(thing, (Tensor, nn.Module, ldam.Sampler))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Execution, "_found", {})


def conv_net() -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 12),
        )
    )  # fmt: skip


WAYS = ["plain", "auto", "banded convolutions", "recorded", "banded convolutions, recorded"]


@pytest.mark.parametrize("execution", [*WAYS, "channels last, packed convolutions, recorded"])
def test_of_a_sampler(execution: str) -> None:
    demo = ldam.demo.mnist("final")
    given: dict[str, Any] = {"neurons": range(4), "regularizers": [ldam.L2(0.1)], "execution": execution}
    s = ldam.Sampler(demo.model, **demo.settings | given)
    s.step(3)

    def play() -> None:
        for layer, neurons in (("conv2", [1, 2]), ("fc1", [3]), ("fc3", range(10))):
            s.select(layer, neurons)
            s.step(5)
        for kernel in (GHMC(), Algorithm1(), BAOAB()):
            s.use_kernel(kernel)
            s.step(5)
        s.restart(1)
        s.set(l2=0.0, temperature=0.5)
        s.heat_pulse()
        s.step(30)
        s.quenched(2)
        s.diagnostics()

    play()  # imports, and what is kept for good
    with collected() as left:
        play()
    assert not left


MAKERS: dict[str, Callable[[nn.Module], ldam.Sampler]] = {
    "folded": lambda net: ldam.Sampler(net, input_shape=(1, 28, 28)),
    "leaky": lambda net: ldam.Sampler(net, input_shape=(1, 28, 28), leaky=0.1),
    "a ladder": lambda net: ldam.Sampler(net, input_shape=(1, 28, 28), kernel=BAOAB(), ladder=(1, 2, 4)),
    "inside": lambda net: ldam.Sampler(net, input_shape=(1, 28, 28), layer="4", neurons=[(1, 2, 2)]),
    "a discriminator": lambda net: ldam.Sampler(
        net, input_shape=(1, 28, 28), pixel_range=(0, 1),
        regularizers=[ldam.Discriminator(nn.Sequential(nn.Flatten(), nn.Linear(784, 1)), 0.5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_of_samplers_that_come_and_go(make: Any) -> None:
    net = conv_net()
    make(net).step(3)
    with collected() as left:
        for _ in range(2):
            make(net).step(3)
    assert not left


def test_of_a_comparison_and_of_widgets() -> None:
    demo = ldam.demo.mnist("final")

    def play() -> None:
        compared = ldam.Comparison({"a": demo.model, "b": demo.model}, neurons=range(3), **demo.settings)
        compared.step(4)
        w = ldam.LDAM(demo.model, neurons=range(4), **demo.settings)
        w.step(4)
        w.neurons = [5, 6]
        w.step(4)
        w.close()

    play()
    with collected() as left:
        play()
    assert not left
