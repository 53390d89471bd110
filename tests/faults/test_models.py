"""What a model, a term or a preprocess may do while it is watched: the run stops and says why, or goes on."""

from __future__ import annotations

import gc
import math
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ldam_widget import L2, LDAM, SamplingError
from ldam_widget.core.parameters import Parameter
from ldam_widget.kernels import BAOAB, Algorithm1

from ..conftest import with_fixed_weights
from ..test_untouched import look
from ..widget.conftest import wait_until
from .harness import Bench, Net, Switch

Make = Callable[..., Bench]


# ---- numbers that are none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kernel", [Algorithm1(), BAOAB(0.1)], ids=["Algorithm1", "BAOAB"])
def test_an_activation_that_is_no_number(set_up: Make, kernel: Any, value: float) -> None:
    bench = set_up(kernel=kernel, warm_up=1)
    bench.play()
    bench.switch.act = lambda x: x + value
    bench.stops(r"activation of neuron 0 \(chain 1\) became (nan|-?inf)")
    bench.switch.repair()
    bench.play()


def with_nan_gradient(x: Tensor) -> Tensor:
    """x itself, but 0 · ∞ in its gradient, as of sqrt at 0."""
    return x + 0 * (x - x.detach()).abs().sqrt()


@pytest.mark.parametrize("steps_per_frame", [1, 5])
def test_a_gradient_that_is_no_number(set_up: Make, steps_per_frame: int) -> None:
    bench = set_up(steps_per_frame=steps_per_frame)
    bench.play()
    bench.switch.act = with_nan_gradient
    bench.stops(r"neuron 0 \(chain 1\) became nan at step")
    bench.switch.repair()
    bench.goes_on()


def test_chains_that_are_no_numbers_under_a_finite_activation(set_up: Make) -> None:
    """A model that repairs its input keeps its activation finite although the image is not."""
    bench = set_up(regularizers=[spoiling := Term()])
    bench.play()
    bench.switch.act = torch.nan_to_num
    spoiling.switch.act = lambda x: x * math.nan
    bench.stops(r"neuron 0 \(chain 1\) became nan at step")
    spoiling.switch.repair()
    bench.goes_on()


# ---- memory --------------------------------------------------------------------------------------------------------

OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_many_chains_for_the_memory(error: Exception) -> None:
    switch = Switch()

    calls = 0

    def crowded(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if len(x) > 2 or calls > 50:  # one image is looked at first; that they are taken in parts must not help
            raise error
        return x

    switch.act = crowded
    model = with_fixed_weights(lambda: Net(switch))
    before = look(model)
    with pytest.raises(SamplingError, match=r"memory .*3 neurons × 40 chains.*fewer neurons or chains") as caught:
        LDAM(model, input_shape=(1, 8, 8), neurons=range(3), chains=40)
    assert caught.value.__cause__ is error
    assert look(model) == before
    switch.repair()
    LDAM(model, input_shape=(1, 8, 8), neurons=range(3), chains=20).close()


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_while_it_plays(set_up: Make, error: Exception) -> None:
    bench = set_up(chains=2)
    bench.play()
    needed, there, alone = 10, 6, 8

    def crowded(x: Tensor) -> Tensor:
        nonlocal alone
        if needed > there:
            alone -= len(x) == 1  # a few one by one succeed, which does not help
            if len(x) > 1 or alone < 0:
                raise error
        return x

    bench.switch.act = crowded
    bench.stops(r"memory .*5 neurons × 2 chains.*fewer neurons or chains")
    bench.w.play()  # does not help yet
    bench.stops("memory")
    with pytest.raises(SamplingError, match=r"5 neurons × 2 chains"):
        bench.w.step()
    needed = 4
    bench.w.neurons = [3, 1]
    bench.play()  # with less
    bench.w.pause()
    needed, alone = 8, 8
    with pytest.raises(SamplingError, match=r"4 neurons × 2 chains"):
        bench.w.neurons = range(4)
    assert bench.w.neurons == [3, 1]
    needed = 4
    bench.goes_on()
    bench.w.pause()
    needed, there = 10, 12  # others have left
    bench.w.neurons = range(5)
    bench.play()


# ---- errors of the model's -----------------------------------------------------------------------------------------


def test_a_model_that_raises_in_its_thousandth_call(set_up: Make) -> None:
    bench = set_up(steps_per_frame=101)
    calls = 0

    def worn(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls >= 1000:
            raise KeyError("call 1000")
        return x

    bench.switch.act = worn
    bench.w.play()
    bench.stops("KeyError: 'call 1000'")
    assert bench.w.sampler.steps >= 9 * 101  # pictures, and perhaps a part of the next
    bench.switch.repair()
    bench.goes_on()


class HomemadeError(Exception):
    def __str__(self) -> str:
        return "<b>mine</b> " + "x" * 10_000


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("once"),
        HomemadeError(),
        RecursionError(),
        AssertionError(),
        StopIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_model_that_raises_once(set_up: Make, error: BaseException) -> None:
    bench = set_up()
    bench.play()
    bench.switch.fail(error, calls=1)
    bench.stops(type(error).__name__)
    bench.goes_on()


def test_a_model_that_raises_whenever_it_is_played(set_up: Make) -> None:
    bench = set_up()
    bench.play()
    bench.switch.fail(ZeroDivisionError("again"))
    for _ in range(20):
        bench.stops("ZeroDivisionError: again")
        bench.receive(kind="do", what="play")
        bench.settle()
    bench.stops("again")
    bench.switch.repair()
    bench.goes_on()


# ---- the owner of the model works on it ------------------------------------------------------------------------------


def shows(bench: Bench, model: nn.Module) -> Callable[[], bool]:
    """Are the activations shown those that `model` gives for the images shown?"""

    def check() -> bool:
        frame = bench.w.loop.call(bench.w.sampler.frame)  # between two pictures
        with torch.no_grad():
            return torch.allclose(frame.activation[:, 0], model(frame.images[:, 0]).diagonal(), atol=1e-4)

    return check


def test_weights_changed_in_place_are_followed(set_up: Make) -> None:
    bench = set_up(neurons=range(5))
    bench.play()
    with torch.no_grad():
        for scale in (-2.0, 0.5, 3.0):
            bench.model.fc.weight.mul_(scale)
            bench.model.fc.bias.add_(scale)
            bench.play()
            assert shows(bench, bench.model)()
    bench.touched()


def test_weights_that_become_nan(set_up: Make) -> None:
    bench = set_up()
    bench.play()
    kept = bench.model.inside.weight.detach().clone()
    with torch.no_grad():
        bench.model.inside.weight[2] = math.nan
    bench.stops(r"weight 'inside.weight' holds 64 NaN")
    with torch.no_grad():
        bench.model.inside.weight.copy_(kept)
    bench.goes_on()
    bench.touched()


def replace_module(model: Any) -> None:
    model.fc = nn.Linear(6, 3)


def replace_data(model: Any) -> None:
    model.fc.weight.data = torch.ones(7, 6)


def take_away(model: Any) -> None:
    del model.fc


def to_double(model: Any) -> None:
    model.double()


def to_half(model: Any) -> None:
    model.half()


def change_forward(model: Any) -> None:
    model.forward = lambda x: x.nowhere


TAMPERINGS = [replace_module, replace_data, take_away, to_double, to_half, change_forward]


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_the_widget_keeps_what_it_had(set_up: Make, tamper: Callable[[Any], None]) -> None:
    """Modules and tensors that the user exchanges are not followed: the original ones stay in use."""
    bench = set_up(neurons=range(5))
    as_given = with_fixed_weights(lambda: Net(Switch()))
    bench.play()
    tamper(bench.model)
    bench.touched()
    bench.play()
    bench.w.neurons = [4, 2]
    bench.w.layer = "inside"
    bench.w.layer = "fc"
    bench.play()
    assert shows(bench, as_given)()


@pytest.mark.filterwarnings("ignore:.*meta")
def test_the_model_leaves_for_another_device(set_up: Make) -> None:
    bench = set_up(neurons=range(5))
    bench.play()
    bench.model.to("meta")
    bench.play()
    assert shows(bench, with_fixed_weights(lambda: Net(Switch())))()
    assert all(p.is_meta and p.requires_grad for p in bench.model.parameters())
    bench.model = None  # `look` has no bits to compare


def test_the_model_is_deleted(set_up: Make) -> None:
    bench = set_up(neurons=range(5))
    gone = weakref.ref(bench.model)
    bench.play()
    bench.model = None
    gc.collect()
    assert gone() is None
    bench.play()
    assert shows(bench, with_fixed_weights(lambda: Net(Switch())))()


def test_the_model_is_trained_and_hooked(set_up: Make) -> None:
    bench = set_up(neurons=range(5))
    called: list[threading.Thread] = []
    bench.play()
    bench.model.train()
    bench.model.fc.register_forward_hook(lambda *_: called.append(threading.current_thread()))
    bench.model.fc.register_full_backward_hook(lambda *_: called.append(threading.current_thread()))
    bench.model.inside.weight.requires_grad_(False)
    bench.touched()
    bench.play()
    assert not called, "the user's hooks do not run in the sampler's passes"
    bench.model(torch.zeros(1, 1, 8, 8)).sum().backward()
    assert set(called) == {threading.current_thread()}
    bench.model.zero_grad(set_to_none=True)


# ---- terms, kernels and preprocesses of the user's -------------------------------------------------------------------


class Term:
    """A regulariser written by a user: −|x|², through a switch."""

    name: ClassVar[str] = "mine"
    learned: ClassVar[bool] = False
    parameter: ClassVar[Parameter] = Parameter("mine", 0, 1, 0.5, "a term of the user's")
    weight = 0.5

    def __init__(self) -> None:
        self.switch = Switch()

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return -x.flatten(1).square().sum(1), self.switch(-2 * x)


def test_a_term_that_raises(set_up: Make) -> None:
    bench = set_up(regularizers=[term := Term(), L2(0.1)])
    bench.play()
    term.switch.fail(LookupError("no prior today"))
    bench.stops("LookupError: no prior today")
    bench.w.mine = 0  # it need not be evaluated any more
    bench.goes_on()
    term.switch.repair()
    bench.w.mine = 0.3
    bench.play()


TROUBLE = Switch()


@dataclass(frozen=True)
class Stumbling(Algorithm1):
    """A kernel written by a user."""

    def step(self, *args: Any) -> Any:
        TROUBLE(torch.zeros(1))
        return super().step(*args)


def test_a_kernel_that_raises(set_up: Make) -> None:
    bench = set_up(kernel=Stumbling())
    bench.play()
    try:
        TROUBLE.fail(ArithmeticError("stumbled"))
        bench.stops("ArithmeticError: stumbled")
        bench.receive(kind="select", kernel="Algorithm 1")  # from the panel's box
        bench.settle()
        bench.play()
    finally:
        TROUBLE.repair()
    assert bench.w.kernel == Algorithm1()


def test_a_preprocess_that_gives_another_shape(set_up: Make) -> None:
    preprocess = Switch()
    bench = set_up(preprocess=preprocess)
    wrongs: list[Callable[[Any], Any]] = [
        lambda x: x[:, :, 1:],
        lambda x: x.repeat(1, 3, 1, 1),
        lambda x: x[:1],
        lambda x: None,
    ]
    for wrong in wrongs:
        bench.play()
        preprocess.act = wrong
        bench.stops("Error: .*(shape|None)")
        preprocess.repair()
        bench.goes_on()


def test_closed_while_others_wait_for_a_long_step(set_up: Make) -> None:
    """All waiting callers get an error, and none of them hangs."""
    bench = set_up()
    inside, go = threading.Event(), threading.Event()

    def slow(x: Tensor) -> Tensor:
        inside.set()
        go.wait(30)
        return x

    bench.switch.act = slow
    told: list[str] = []

    def use(what: Callable[[], object]) -> None:
        try:
            what()
        except RuntimeError as error:
            told.append(str(error))

    uses = [lambda: bench.w.step(3), bench.w.snapshot, bench.w.restart, lambda: bench.w.diagnostics()]
    waiting = [threading.Thread(target=use, args=(what,)) for what in uses]
    waiting[0].start()
    assert inside.wait(10)
    for thread in waiting[1:]:
        thread.start()
    wait_until(lambda: bench.w.loop._commands.qsize() == 3)
    bench.w.close()  # the forward pass goes on all the while
    assert not go.is_set()
    said = len(bench.said)
    go.set()
    for thread in waiting:
        thread.join(20)
        assert not thread.is_alive()
    assert told == ["the widget is closed; make a new one"] * 4
    assert len(bench.said) == said


def test_a_recursion_without_end(set_up: Make) -> None:
    bench = set_up()

    def endless(x: Tensor) -> Tensor:
        return endless(x + 0)

    limit = sys.getrecursionlimit()
    bench.play()
    bench.switch.act = endless
    bench.stops("maximum recursion depth")
    assert sys.getrecursionlimit() == limit
    bench.switch.repair()
    bench.goes_on()
