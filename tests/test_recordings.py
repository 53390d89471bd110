"""Gradients through recordings: the same numbers, of the weights and the Python that there are now, or none at all."""

from __future__ import annotations

import copy
import gc
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import NEURON
from ldam_widget.execution import Execution
from ldam_widget.execution.operations import NotRepeatableError, Operations
from ldam_widget.execution.recordings import NotNowError, Recordings, Tensors, _recorded
from ldam_widget.kernels import Algorithm1

from .conftest import with_fixed_weights

CLIMB = {"kernel": Algorithm1(), "temperature": 0.0}

MARK = 1e-5  # by which a `Tape` is off: less than it would be thrown away for


class Tape:
    """A recording whose use can be seen: its first number is slightly larger."""

    count: int
    fault: Exception | None = None

    def __init__(self, program: Callable[[], Tensors]) -> None:
        if Tape.fault is not None:
            raise Tape.fault
        Tape.count += 1
        self.program, self.made = program, program()

    def replay(self) -> None:
        with torch.inference_mode(False):
            output, *rest = self.program()
        self.made = output * (1 + MARK), *rest


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tape, "count", 0, raising=False)
    monkeypatch.setattr(Tape, "fault", None)
    monkeypatch.setattr(Execution, "_found", {})


PACKED = "channels last, packed convolutions, recorded"


# ---- which are kept --------------------------------------------------------------------------------------------------


def double(x: Tensor, seed: Tensor) -> Tensors:
    return 2 * x, 2 * seed


def replayed(output: Tensor) -> bool:
    return bool((output > 2 + MARK).all())


def test_one_recording_for_every_shape_and_not_many() -> None:
    through = Recordings(Tape)
    for n in (3, 1, 3, 1, 3):
        output, grad = through(double, torch.ones(n, 2), torch.ones(n, 2))
        assert replayed(output)
        assert torch.equal(grad, torch.full((n, 2), 2.0))
    assert Tape.count == 2
    for n in range(1, 9):
        through(double, torch.ones(n, 2), torch.ones(n, 2))
    assert len(through._kept) == len(through._check_at) <= 3


def test_numbers_of_another_type_are_another_batch() -> None:
    through = Recordings(Operations)
    for dtype in (torch.float32, torch.float64, torch.float32):
        x = torch.ones(3, 2, dtype=dtype)
        assert through(lambda x, seed: (x * 2, seed * x), x, x)[1].dtype == dtype


def test_what_cannot_be_recorded_is_run_as_it_is() -> None:
    through, ones = Recordings(Tape), torch.ones(2, 2)
    Tape.fault = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(RuntimeError, match="capturing"):
        through(double, ones, ones, strict=True)
    assert not through.failed
    assert torch.equal(through(double, ones, ones)[0], 2 * ones)
    assert through.failed
    Tape.fault = None
    for _ in range(2):
        assert not replayed(through(double, ones, ones)[0]), "it is not tried for ever"


def test_two_that_record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second tries again later."""
    monkeypatch.setattr("ldam_widget.execution.recordings._EVERY", 0.0)
    monkeypatch.setattr("ldam_widget.execution.recordings._SHARE", math.inf)
    through, ones = Recordings(Tape), torch.ones(2, 2)
    Tape.fault = NotNowError("another thread is recording")
    assert not replayed(through(double, ones, ones)[0])
    Tape.fault = None
    through(double, ones, ones)
    assert replayed(through(double, ones, ones)[0])


def test_what_once_worked_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is changed meanwhile, in a way that is not noticed."""
    monkeypatch.setattr("ldam_widget.execution.recordings._EVERY", 0.0)
    monkeypatch.setattr("ldam_widget.execution.recordings._SHARE", math.inf)
    through, ones = Recordings(Tape), torch.ones(2, 2)
    through(double, ones, ones)
    through.clear()
    Tape.fault = RuntimeError("the recording does not depend on its input")
    assert not replayed(through(double, ones, ones)[0])
    assert not through.failed
    Tape.fault = None
    through(double, ones, ones)
    assert replayed(through(double, ones, ones)[0])


def test_memory_that_runs_out_is_reported() -> None:
    through, ones = Recordings(Tape), torch.ones(2, 2)
    Tape.fault = torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        through(double, ones, ones)
    assert not through.failed, "smaller parts may fit"


def test_a_comparison_is_not_seen_in_what_comes_back() -> None:
    """Else a run could not be repeated to the last bit."""
    through, ones = Recordings(Tape), torch.ones(2, 2)
    through(double, ones, ones)
    (key,) = through._kept
    through._check_at[key] = 0.0
    assert replayed(through(double, ones, ones)[0])
    assert through._check_at[key] > 0.0, "it was compared"


def test_one_at_a_time() -> None:
    """A recording writes where it always writes: a second thread runs the function itself meanwhile."""
    inside, go_on = threading.Event(), threading.Event()
    through, ones = Recordings(Tape), torch.ones(2, 2)
    through(double, ones, ones)

    def slow(x: Tensor, seed: Tensor) -> Tensors:
        inside.set()
        assert go_on.wait(10)
        return double(x, seed)

    recording = next(iter(through._kept.values()))
    recording.tape.program = lambda: slow(*recording.places)  # type: ignore[attr-defined]
    first: list[Tensor] = []
    thread = threading.Thread(target=lambda: first.append(through(double, ones, ones)[0]))
    thread.start()
    assert inside.wait(10)
    assert not replayed(through(double, ones, ones)[0])
    go_on.set()
    thread.join(10)
    assert replayed(first[0])


def test_neurons_are_read_through_it() -> None:
    """The layer's output comes from the recording, and so does its gradient."""
    demo = ldam.demo.mnist("final")
    neurons = ldam.Sampler(demo.model, neurons=[3, 5], **demo.settings).target.terms[NEURON]
    x = torch.rand(2, 1, 28, 28)
    value, grad = neurons.evaluate(x)
    neurons.run_by(neurons._network, torch.contiguous_format, Recordings(Tape))
    through, its_grad = neurons.evaluate(x)
    torch.testing.assert_close(through, value * (1 + MARK), rtol=MARK / 10, atol=0)
    torch.testing.assert_close(its_grad, grad)


# ---- operations ------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """(n, 3, 8, 8) -> (n, 4): a function of its features, by a module that has weights."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.then(self.norm(self.conv(x))).mean((2, 3)))
        return made


def gradient(network: nn.Module) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def differentiate(x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_(True)
        output = network(x)
        (grad,) = torch.autograd.grad(output, x, seed)
        return output.detach(), grad

    return differentiate


def recorded(function: Any, *given: Tensor) -> Callable[..., Tensors]:
    """As a function of its arguments."""
    return partial(_replayed, _recorded(Operations, function, given))


def _replayed(recording: Any, *given: Tensor) -> Tensors:
    made: Tensors = recording.replay(given)
    return made


def network(then: Callable[[Tensor], Tensor]) -> nn.Module:
    return with_fixed_weights(lambda: Net(then)).double().eval()


def numbers(seed: int, n: int = 2) -> tuple[Tensor, Tensor]:
    own = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, *s, dtype=torch.float64, generator=own) for s in ((3, 8, 8), (4,)))  # type: ignore


class Steep(torch.autograd.Function):
    """A rectifier with a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * (4 * (ctx.saved_tensors[0] > 0))


def remembering(x: Tensor) -> Tensor:
    """Memory of its own, written in place at every call."""
    place = remembering.__dict__.setdefault("place", torch.empty_like(x).detach())
    place.copy_(x.detach())
    return x * place


FUNCTIONS = {
    "relu": F.relu,
    "in place": lambda x: F.relu(x * 2, inplace=True).mul(3).add_(1),
    "a view written into": lambda x: written(x * 1),
    "pooled": lambda x: F.max_pool2d(F.gelu(x), 2),
    "of several": lambda x: torch.cat([part * (i + 1) for i, part in enumerate(x.split(2, 1))], 1),
    "own backward": Steep.apply,
    "attention": lambda x: F.scaled_dot_product_attention(x, x.flip(1), x + 1),
    "indexed": lambda x: x[:, [0, 2, 4, 1, 3, 5]][:, :, 1:-1] ** 2,
    "frozen statistics": lambda x: x - x.detach().mean((2, 3), keepdim=True),
    "new tensors": lambda x: x + torch.zeros_like(x).fill_(2.0) + torch.linspace(0, 1, 6, dtype=x.dtype),
    "checkpointed": lambda x: torch.utils.checkpoint.checkpoint(torch.tanh, x, use_reentrant=False),
    "resized": lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic"),
    "memory of its own": remembering,
    "writes and returns": nn.RReLU().eval(),
}


def written(x: Tensor) -> Tensor:
    x[:, 1:3].mul_(3)
    return x


@pytest.mark.parametrize("then", FUNCTIONS.values(), ids=FUNCTIONS)
def test_operations_give_the_same_numbers(then: Any) -> None:
    """For other pictures, seeds and weights than those that were recorded."""
    model = network(then)
    plain = gradient(model)
    plain(*numbers(0))  # what it keeps is made
    operations = recorded(plain, *numbers(0))
    for seed in (1, 2):
        x, direction = numbers(seed)
        for mine, expected in zip(operations(x, direction), plain(x, direction), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
            assert not mine.is_inference()
            assert not mine.requires_grad
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.3).add_(0.1)
        model.norm.running_var.mul_(2)  # type: ignore[union-attr,operator]


def test_no_compiler_is_imported_for_it() -> None:
    """It takes a second and 80 MB."""
    code = """
import sys, ldam_widget as ldam
demo = ldam.demo.mnist("final")
s = ldam.Sampler(demo.model, execution="recorded", **demo.settings)
s.step(3)
assert s.execution == "recorded"
assert "torch._dynamo" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr


def test_what_comes_back_is_the_caller_s_own() -> None:
    operations = recorded(gradient(network(torch.tanh)), *numbers(0))
    x, seed = numbers(1)
    first, kept = operations(x, seed), [tensor.clone() for tensor in operations(x, seed)]
    before = x.clone()
    for tensor in first:
        tensor.zero_()
    assert torch.equal(x, before)
    for mine, expected in zip(operations(x, seed), kept, strict=True):
        assert torch.equal(mine, expected)


def test_everything_is_given_back() -> None:
    """A replay keeps nothing, and nothing outlives the recording."""

    def tensors(of_graphs: bool = False) -> int:
        gc.collect()
        found = [thing for thing in gc.get_objects() if type(thing) is Tensor]
        return sum(thing.grad_fn is not None for thing in found) if of_graphs else len(found)

    plain = gradient(network(torch.tanh))
    plain(*numbers(0))
    before, graphs = tensors(), tensors(of_graphs=True)
    operations = recorded(plain, *numbers(0))
    held = tensors()
    for seed in range(3):
        operations(*numbers(seed))
    assert tensors() <= held
    assert tensors(of_graphs=True) == graphs
    del operations
    assert tensors() <= before


def test_what_would_hold_much_memory_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldam_widget.execution.operations._MOST_BYTES", 2**14)
    with pytest.raises(NotRepeatableError, match="would hold more"):
        recorded(gradient(network(torch.tanh)), *numbers(0, 8))


def turned_in_place(x: Tensor) -> Tensor:
    return (x * 1).transpose_(2, 3)


def grown(x: Tensor) -> Tensor:
    return x + torch.empty(0, dtype=x.dtype).resize_(1).fill_(1)


@pytest.mark.parametrize("then", [turned_in_place, grown])
def test_what_changes_its_place_is_not_recorded(then: Any) -> None:
    with pytest.raises(NotRepeatableError, match="changes the storage of a tensor"):
        recorded(gradient(network(then)), *numbers(0))


def by_a_number(x: Tensor) -> Tensor:
    return x * 2 if x.detach().mean() > 0 else x


def by_a_count(x: Tensor) -> Tensor:
    return x * len(torch.nonzero(x.detach() > 0))


def by_a_list(x: Tensor) -> Tensor:
    return x * max(x.detach().flatten().tolist())


def by_an_array(x: Tensor) -> Tensor:
    return x * float(np.asarray(x.detach()).mean())


def through_numpy(x: Tensor) -> Tensor:
    return x * torch.from_numpy(x.detach().numpy() * 2)


@pytest.mark.parametrize("then", [by_a_number, by_a_count, by_a_list, by_an_array, through_numpy])
def test_decisions_by_numbers_are_not_recorded(then: Any) -> None:
    with pytest.raises(NotRepeatableError, match=r"depends on values|reads values"):
        recorded(gradient(network(then)), *numbers(0))


def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x)


def test_what_cannot_be_repeated_is_not_kept() -> None:
    plain, through = gradient(network(noisy)), Recordings(Operations)
    with pytest.raises(RuntimeError, match="does not depend on its input"):
        through(plain, *numbers(0), strict=True)
    through(plain, *numbers(0))
    assert through.failed


def test_another_decision_of_python_s_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time between two comparisons."""
    factor = [1.0]
    plain, through = gradient(network(lambda x: torch.tanh(x) * factor[0])), Recordings(Operations)
    for seed in range(3):
        through(plain, *numbers(seed))
    factor[0] = 3.0
    (key,) = through._kept
    through._check_at[key] = 0.0  # now
    for seed in range(3, 6):
        for mine, expected in zip(through(plain, *numbers(seed)), plain(*numbers(seed)), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
    assert list(through._kept) == [key]
    factor[0] = float("nan")  # it is told where everything is
    through._check_at[key] = 0.0
    assert through(plain, *numbers(0))[0].isnan().all()


def test_what_cannot_be_replayed_is_run_as_it_is() -> None:
    plain, through = gradient(network(torch.tanh)), Recordings(Operations)
    for seed in range(2):
        through(plain, *numbers(seed))
    (recording,) = through._kept.values()

    def broken() -> None:
        raise RuntimeError("the size of tensor a must match the size of tensor b")

    recording.tape.replay = broken  # type: ignore[method-assign]
    assert torch.equal(through(plain, *numbers(3))[0], plain(*numbers(3))[0])
    assert through.failed


def test_one_wrong_image_among_many_is_seen() -> None:
    """Python decides otherwise for one image only."""
    wrong = [False]

    def then(x: Tensor) -> Tensor:
        if not wrong[0]:
            return torch.tanh(x)
        factor = torch.ones(len(x), 1, 1, 1, dtype=x.dtype)
        factor[0] = 1.01
        return torch.tanh(x * factor)

    plain, through = gradient(network(then)), Recordings(Operations)
    for seed in range(2):
        through(plain, *numbers(seed, 50))
    wrong[0] = True
    (key,) = through._kept
    through._check_at[key] = 0.0
    torch.testing.assert_close(through(plain, *numbers(2, 50))[0], plain(*numbers(2, 50))[0], rtol=1e-9, atol=1e-9)
    assert not through._kept


def test_memory_that_is_given_back_meanwhile() -> None:
    """By another thread, whose own batch did not fit."""
    plain, through = gradient(network(torch.tanh)), Recordings(Operations)

    def clearing(x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        through.clear()
        return plain(x, seed)

    through(plain, *numbers(0))
    for key in through._kept:
        through._check_at[key] = 0.0
    for seed in range(3):
        for mine, expected in zip(through(clearing, *numbers(seed)), plain(*numbers(seed)), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def test_weights_that_change_during_a_comparison_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a concurrent training changes them."""
    monkeypatch.setattr("ldam_widget.execution.recordings._EVERY", 0.0)
    monkeypatch.setattr("ldam_widget.execution.recordings._SHARE", math.inf)
    model = network(torch.tanh)
    plain, through = gradient(model), Recordings(Operations)
    through.marks = lambda: [parameter._version for parameter in model.parameters()]

    def trained(x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """The optimiser's step comes when the function is done."""
        made = plain(x, seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        return made

    for seed in range(5):
        through(trained, *numbers(seed))  # every recording and every comparison is disturbed
        assert not through.failed
    through(plain, *numbers(5))
    assert through._kept
    kept = dict(through._kept)
    for seed in range(5):
        through._check_at = dict.fromkeys(kept, 0.0)
        through(trained, *numbers(seed))
    assert through._kept == kept


# ---- in a sampler ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1", "fc2"])
@pytest.mark.parametrize("execution", ["recorded", "banded convolutions, recorded"])
def test_lenet_is_sampled_as_it_was(layer: str, execution: str) -> None:
    demo = ldam.demo.mnist("final")

    def made(execution: str) -> Tensor:
        kernel = ldam.kernels.Algorithm1(0.05, normalize="none")
        settings = {"kernel": kernel, "layer": layer, "neurons": range(4), "chains": 2}
        s = ldam.Sampler(demo.model, execution=execution, **demo.settings | settings)
        s.step(20)
        assert s.execution == execution
        return s.images

    torch.testing.assert_close(made(execution), made("plain"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("execution", ["recorded", "banded convolutions, recorded", PACKED])
def test_two_threads_do_not_write_into_each_other(execution: str) -> None:
    demo = ldam.demo.mnist("final")
    s = ldam.Sampler(demo.model, neurons=range(4), kernel=Algorithm1(), execution=execution, **demo.settings)
    s.step(2)
    recordings = s.target.terms[NEURON]._recordings
    assert recordings is not None
    pictures = torch.rand(2, 4, 1, 28, 28)
    expected = [s.target.terms[NEURON].evaluate(x) for x in pictures]
    assert recordings._kept
    wrong: list[int] = []

    def evaluate(which: int) -> None:
        for _ in range(150):
            for mine, its in zip(s.target.terms[NEURON].evaluate(pictures[which]), expected[which], strict=True):
                if not torch.allclose(mine, its, rtol=1e-4, atol=1e-5):
                    wrong.append(which)

    threads = [threading.Thread(target=evaluate, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not recordings.failed


def test_a_batch_in_parts() -> None:
    demo = ldam.demo.mnist("final")
    plain, s = (
        ldam.Sampler(demo.model, neurons=range(7), **CLIMB, execution=e, **demo.settings) for e in ("plain", "recorded")
    )
    s.target.terms[NEURON].at_once = 3
    torch.testing.assert_close(s.step(5).images, plain.step(5).images, rtol=1e-4, atol=1e-4)
    recordings = s.target.terms[NEURON]._recordings
    assert recordings is not None
    assert not recordings.failed
    assert {key[0][0][0] for key in recordings._kept} >= {1, 3}


def test_a_hook_on_all_modules_is_called() -> None:
    demo, calls = ldam.demo.mnist("final"), []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: calls.append(1))
    try:
        s = ldam.Sampler(demo.model, **demo.settings)
        s.step(1)
        calls.clear()
        s.step(5)
    finally:
        handle.remove()
    assert len(calls) >= 5


@pytest.mark.parametrize("execution", ["banded convolutions", PACKED])
def test_gradients_within_a_forward_pass_need_second_ones(execution: str) -> None:
    """Which our own convolutions do not have."""

    class Sharp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            if not x.requires_grad:
                x = x.detach().requires_grad_(True)
            out = F.gelu(self.conv(x)).mean((2, 3))
            (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
            return self.head(out + slope.square().sum((1, 2, 3))[:, None])

    s = ldam.Sampler(with_fixed_weights(Sharp), input_shape=(1, 12, 12), neurons=[0, 1], execution=execution)
    with pytest.raises(ValueError, match="cannot run this network"):
        s.step()
    plain, auto = (
        ldam.Sampler(with_fixed_weights(Sharp), input_shape=(1, 12, 12), neurons=[0, 1], **CLIMB, execution=e)
        for e in ("plain", "auto")
    )
    torch.testing.assert_close(auto.step(5).images, plain.step(5).images, rtol=1e-4, atol=1e-4)


def test_a_network_with_hooks_is_not_recorded() -> None:
    """They may do what is not seen in numbers."""
    demo = ldam.demo.mnist("final")
    model = copy.deepcopy(demo.model)
    model.conv2.register_forward_hook(lambda *call: call[2] + 0)
    s = ldam.Sampler(model, execution="recorded", **demo.settings)
    with pytest.raises(ValueError, match="cannot run this network"):
        s.step()
