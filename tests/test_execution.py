"""Other ways to run the network give the same numbers, follow the user's weights, and leave everything as it was."""

from __future__ import annotations

import copy
import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils._python_dispatch import TorchDispatchMode

import ldam_widget as ldam
from ldam_widget.core.notes import QuietNotes
from ldam_widget.core.target import NEURON
from ldam_widget.execution import PLANS, Execution, Plan, cpu_threads, freshness
from ldam_widget.execution.banded import bands
from ldam_widget.execution.plans import Prepared, foldable
from ldam_widget.execution.trial import agree
from ldam_widget.network import memory
from ldam_widget.network.view import private_view
from ldam_widget.sampling.quench import quench

from .conftest import UNSCALED

FOLDED = "batch norms folded"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test makes its own trials."""
    monkeypatch.setattr(Execution, "_found", {})


class Block(nn.Module):
    """A residual block with a stride, as networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, groups=2)
        self.bn2 = nn.BatchNorm2d(8, affine=False)
        self.short = nn.Sequential(nn.Conv2d(8, 8, 1, 2), nn.BatchNorm2d(8))
        self.dense = nn.Linear(8, 6)
        self.bn3 = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.short(x))
        made: Tensor = self.bn3(self.dense(x.mean((2, 3))))
        return made


class TwiceUsed(nn.Module):
    """What the convolution gives is normalised, and also used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        return (self.norm(made) + made).mean((2, 3))


def lived(model: nn.Module) -> nn.Module:
    """With batch statistics that are not the initial ones, in eval mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2),
                                      (module.weight, 0.5, 2), (module.bias, -1, 1)):  # fmt: skip
                if tensor is not None:
                    nn.init.uniform_(tensor, low, high)
    return model.eval()


def block() -> nn.Module:
    torch.manual_seed(0)
    return lived(Block())


def gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    output = network(x)
    (grad,) = torch.autograd.grad(output, x, torch.arange(output.numel(), dtype=x.dtype).view_as(output))
    return output.detach(), grad


def line() -> nn.Module:
    return lived(
        nn.Sequential(nn.Conv1d(2, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    )


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "residual": (block, (3, 12, 12)),
    "LeNet-5": (lambda: ldam.demo.mnist("final").model, (1, 28, 28)),
    "one-dimensional": (line, (2, 16)),
}


@pytest.mark.parametrize(
    ("network", "plan"),
    [(n, p) for n in NETWORKS for p in PLANS if n != "one-dimensional" or not p.channels_last],  # a layout of maps
    ids=str,
)
def test_every_plan_gives_the_same_numbers(network: str, plan: Plan) -> None:
    """In double precision, where rounding is no excuse and no rectifier is at its kink."""
    make, shape = NETWORKS[network]
    view = private_view(make().double(), None, QuietNotes())
    x = torch.randn(5, *shape, dtype=torch.float64)
    pairs = foldable(view, lambda: view(x), "")
    assert bool(pairs) == (network != "LeNet-5")
    folded = Prepared(view, Plan(folded=plan.folded), pairs).network
    prepared = Prepared(view, plan, pairs, bands(folded, lambda: folded(x.requires_grad_(True)), ""))
    x = x.detach()
    inputs = x.contiguous(memory_format=prepared.memory_format) if len(shape) == 3 else x
    for mine, plain in zip(gradient(prepared.network, inputs), gradient(view, x), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


def test_every_batch_norm_of_a_residual_network_is_folded() -> None:
    view = private_view(block(), None, QuietNotes())
    pairs = foldable(view, lambda: view(torch.randn(1, 3, 12, 12)), "")
    assert sorted(pairs) == [
        ("conv1", "bn1"), ("conv2", "bn2"), ("dense", "bn3"), ("short.0", "short.1"), ("stem", "norm"),
    ]  # fmt: skip
    prepared = Prepared(view, Plan(folded=True), pairs)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in prepared.network.modules())


def sampler(model: nn.Module, execution: str = "auto", **settings: Any) -> ldam.Sampler:
    kernel = ldam.kernels.Algorithm1()
    settings = {"input_shape": (3, 12, 12), "neurons": [0, 1], "kernel": kernel, **UNSCALED} | settings
    return ldam.Sampler(model, execution=execution, **settings)


def test_chains_are_the_same_but_for_rounding() -> None:
    kernel = ldam.kernels.Algorithm1(0.1, normalize="none")
    plain, folded = (sampler(block(), name, kernel=kernel, chains=3) for name in ("plain", FOLDED))
    for s in (plain, folded):
        s.step(20)
    assert (plain.execution, folded.execution) == ("plain", FOLDED)
    torch.testing.assert_close(folded.images, plain.images, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(folded.activation, plain.activation, rtol=1e-4, atol=1e-4)
    assert not torch.equal(plain.images, plain.average_images)


@pytest.mark.parametrize("layer", ["stem", "norm", "conv1", "bn1", "conv2", "short.0", "short", "dense", ""])
def test_the_layer_keeps_its_meaning(layer: str) -> None:
    """A convolution that is sampled is sampled before its batch norm."""
    plain, folded = (sampler(block(), name, layer=layer) for name in ("plain", FOLDED))
    plain.step(2)
    if layer == "stem":  # nothing is folded before it
        with pytest.raises(ValueError, match="cannot run this network at layer 'stem'"):
            folded.step(2)
        return
    folded.step(2)
    assert folded.execution == FOLDED
    torch.testing.assert_close(folded.activation, plain.activation, rtol=1e-4, atol=1e-4)


def test_an_output_that_is_used_twice_is_left_alone() -> None:
    model = lived(TwiceUsed())
    s = sampler(model, layer="", input_shape=(1, 8, 8))
    s.step(2)
    assert FOLDED not in s.execution
    with pytest.raises(ValueError, match="cannot run this network"):
        sampler(model, FOLDED, layer="", input_shape=(1, 8, 8)).step()


class PreActivation(nn.Module):
    """The stem's output is normalised for the block and added to what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        y = self.stem(x)
        return self.head((y + self.conv(F.relu(self.bn(y)))).mean((2, 3)))


class TwoNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.block, self.head = nn.Sequential(self.conv, self.bn), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.block(x)).mean((2, 3)))


def in_place_between() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class Tied(nn.Module):
    """A weight that is used as a module, and as a plain tensor once more."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.bn = nn.Linear(27, 9), nn.BatchNorm1d(9)

    def forward(self, x: Tensor) -> Any:
        hidden = self.bn(self.encoder(x[:, :, :3, :3].flatten(1)))
        return F.linear(hidden, self.encoder.weight.t())


@pytest.mark.parametrize("make", [PreActivation, TwoNames, in_place_between, Tied])
def test_a_fresh_network_that_is_then_trained(make: Any) -> None:
    """Batch norms that were never trained do nothing: a wrong fold of them shows only afterwards."""
    torch.manual_seed(0)
    model = make().eval()
    s = sampler(model, layer="", temperature=0.0)
    s.step(2)
    lived(model)
    s.step(1)
    expected = model(s.images.flatten(0, 1)).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-4, atol=1e-4)
    assert (FOLDED in s.execution) == (make is TwoNames)


class Called(nn.Module):
    """A layer that is run twice, with a folded convolution before the first run that is used again after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return self.act(self.conv(self.act(self.bn(self.conv(x)))))


def test_another_call_of_a_layer_gets_a_trial_of_its_own() -> None:
    model = lived(Called())
    s, plain = (sampler(model, name, layer="act", temperature=0.0) for name in ("auto", "plain"))
    for each in (s, plain):
        each.step(2)
        each.select("act#2", [0, 1])
        each.step(2)
    torch.testing.assert_close(s.activation, plain.activation, rtol=1e-4, atol=1e-4)


def test_a_plan_that_fails_is_left_out() -> None:
    """`view` of a map that lies channels last raises an error."""

    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(800, 4)

        def forward(self, x: Tensor) -> Any:
            maps = self.bn(self.conv(x))
            return self.head(maps.view(len(maps), -1))

    s = sampler(lived(Viewing()))
    s.step(2)
    assert s.execution.startswith(FOLDED)
    assert "channels last" not in s.execution


def test_what_was_refused_is_not_run() -> None:
    model = lived(TwiceUsed())
    s = sampler(model, FOLDED, layer="", input_shape=(1, 8, 8))
    with pytest.raises(ValueError, match="cannot run this network"):
        s.step()
    s.restart()
    expected = model(s.images.flatten(0, 1)).diagonal().detach()
    torch.testing.assert_close(s.activation[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(432, 3)),
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)).eval().bfloat16(),
    ],
    ids=["nothing to fold", "half precision"],
)
def test_a_plan_that_was_asked_for_is_never_ignored(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot run this network"):
        sampler(model, FOLDED).step()


def shared() -> nn.Module:
    first, second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
    second.weight = first.weight
    return nn.Sequential(first, nn.BatchNorm2d(3), second)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def pruned() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    prune.random_unstructured(model[0], "weight", 0.5)  # type: ignore[no-untyped-call]
    return model


def normed() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 3, 3)), nn.BatchNorm2d(3))


@pytest.mark.parametrize("make", [shared, hooked, pruned, normed])
def test_what_is_not_a_plain_layer_is_not_folded(make: Any) -> None:
    view = private_view(lived(make()), None, QuietNotes())
    assert foldable(view, lambda: view(torch.randn(1, 3, 8, 8)), "") == []


def by_optimiser(model: nn.Module) -> None:
    parameters = [p.requires_grad_(True) for p in model.parameters()]
    torch.stack([p.sum() for p in parameters]).sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(parameters, 0.3).step()


def by_loading(model: nn.Module) -> None:
    torch.manual_seed(7)
    other = Block()
    lived(other)
    model.load_state_dict({name: value + 0.1 for name, value in other.state_dict().items()})


def through_data(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.3)


def one_number(model: nn.Module) -> None:
    model.get_parameter("stem.weight").data[0, 0, 0, 0] += 5


def shuffled(model: nn.Module) -> None:
    """The same numbers at other places: no plain sum sees it."""
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.flip(0))


def statistics(model: nn.Module) -> None:
    model.train()
    model(torch.randn(16, 3, 12, 12))
    model.eval()


@pytest.mark.parametrize("change", [by_optimiser, by_loading, through_data, one_number, shuffled, statistics])
@pytest.mark.parametrize(
    "execution",
    [
        FOLDED, f"{FOLDED}, channels last", f"{FOLDED}, banded convolutions, recorded",
        f"{FOLDED}, channels last, packed convolutions", f"{FOLDED}, channels last, packed convolutions, recorded",
    ],
)  # fmt: skip
def test_changed_weights_are_seen(execution: str, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "_EVERY", 0)  # seconds between two looks at what torch does not count
    monkeypatch.setattr(freshness, "_SHARE", 1e9)
    model = block()
    s = sampler(model, execution, temperature=0.0)
    s.step(2)
    change(model)
    s.step(1)
    expected = model.eval()(s.images.flatten(0, 1)).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("then", ["restart", "use_kernel", "quenched"])
def test_changed_weights_are_seen_by_whatever_comes_next(then: str) -> None:
    model = block()
    s = sampler(model, FOLDED, temperature=0.0)
    s.step(2)
    by_loading(model)
    if then == "restart":
        s.restart()
    elif then == "use_kernel":
        s.use_kernel(ldam.kernels.BAOAB())
    else:
        torch.testing.assert_close(s.quenched(5), fresh_quenched(model, s), rtol=1e-3, atol=1e-3)
        return
    expected = model.eval()(s.images.flatten(0, 1)).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-4, atol=1e-4)


def fresh_quenched(model: nn.Module, s: ldam.Sampler) -> Tensor:
    """By a new sampler of the present weights, from the pictures of `s`."""
    other = sampler(model, "plain", temperature=0.0)
    return quench(s.state.x, replace(other.target, energy_needed=True), 5).view_as(s.images)


def test_the_model_and_every_switch_of_torch_stay_as_they_were() -> None:
    model = block()
    before, kinds = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    switches = (torch.backends.mkldnn.enabled, torch.get_num_threads(), torch.is_grad_enabled())
    strides = [p.stride() for p in model.parameters()]
    state = torch.get_rng_state()
    for plan in PLANS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Execution, "_found", {})
            if plan.folded and not plan.captured:
                sampler(model, str(plan)).step(2)
    sampler(model).step(2)
    assert switches == (torch.backends.mkldnn.enabled, torch.get_num_threads(), torch.is_grad_enabled())
    assert torch.equal(state, torch.get_rng_state())
    assert [type(m) for m in model.modules()] == kinds
    assert [p.stride() for p in model.parameters()] == strides
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


class Counting(nn.Module):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.inside = block()

    def forward(self, x: Tensor) -> Any:
        Counting.calls += 1
        return self.inside(x)


def test_a_trial_is_made_once_and_its_result_kept() -> None:
    def calls(**settings: Any) -> int:
        s = sampler(Counting(), **settings)
        Counting.calls = 0
        s.step(1)
        found.append(s.execution)
        return Counting.calls

    found: list[str] = []
    first, again, more_chains = calls(), calls(), calls(chains=8)
    assert again < first / 2  # only that the plan fits is seen to
    assert more_chains > 2 * again
    assert found[0] == found[1]
    assert calls(execution="plain") == 1


def test_a_trial_of_a_slow_network_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """When time is up only the most promising plan has been tried, and it can still be taken."""
    tried: list[Plan] = []

    class Listed(Prepared):
        def __init__(self, view: nn.Module, plan: Plan, *rest: Any) -> None:
            tried.append(plan)
            super().__init__(view, plan, *rest)

    monkeypatch.setattr("ldam_widget.execution.runner.Prepared", Listed)
    for patience, many in ((1e9, True), (0.0, False)):
        tried.clear()
        Execution._found.clear()
        monkeypatch.setattr("ldam_widget.execution.runner._PATIENCE", patience)
        s = sampler(block())
        s.step(3)
        assert (len({plan for plan in tried if plan != Plan(folded=True)} - {Plan()}) > 2) == many
        assert s.execution in [str(plan) for plan in tried]


def test_a_restart_repeats_the_run_to_the_last_bit() -> None:
    s = sampler(block(), FOLDED, kernel=ldam.kernels.BAOAB(), scale="frozen", warm_up=4)
    images = s.step(10).images
    s.restart()
    assert torch.equal(s.step(10).images, images)
    assert torch.equal(
        sampler(block(), FOLDED, kernel=ldam.kernels.BAOAB(), scale="frozen", warm_up=4).step(10).images, images
    )


def test_the_report_says_what_was_found() -> None:
    s = sampler(block())
    assert s.execution_report == "plain"
    s.step()
    assert s.execution_report.startswith(s.execution)
    assert "1 thread" in s.execution_report


@pytest.mark.parametrize("execution", ["fast", None, 3])
def test_unknown_ways_are_refused(execution: Any) -> None:
    with pytest.raises(ValueError, match=r"execution must be one of 'auto', 'plain'.*got"):
        sampler(block(), execution)


def test_a_model_that_fails_in_the_trial_fails_in_the_run_and_not_before() -> None:
    class Fragile(nn.Module):
        broken = False

        def __init__(self) -> None:
            super().__init__()
            self.inside = block()

        def forward(self, x: Tensor) -> Any:
            if Fragile.broken:
                raise KeyError("nothing here")
            return self.inside(x)

    s = sampler(Fragile())
    Fragile.broken = True
    with pytest.raises(KeyError, match="nothing here"):
        s.step()
    Fragile.broken = False
    s.step()
    assert s.steps == 1


@pytest.fixture
def all_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_threads_are_those_of_the_caller_alone(all_threads: int) -> None:
    seen = []
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert seen == [all_threads]
    assert torch.get_num_threads() == all_threads


def test_threads_come_back_after_a_fault(all_threads: int) -> None:
    with pytest.raises(RuntimeError), cpu_threads(1):
        raise RuntimeError
    assert torch.get_num_threads() == all_threads


class WrongForOne(nn.Module):
    """Channels last, the first image of a batch has `share` of its gradient; all outputs are right."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        if h.is_contiguous(memory_format=torch.channels_last):
            first = (1 - self.share) * h[:1].detach() + self.share * h[:1]
            h = torch.cat([first, h[1:]])
        y: Tensor = self.fc(h.relu().mean((2, 3)))
        return y


def test_a_way_that_is_wrong_for_one_image_is_refused() -> None:
    plan = "channels last, native convolutions (thin backward)"
    sampler(WrongForOne(1.0), plan, chains=16).step(1)
    with pytest.raises(ValueError, match="cannot run this network"):
        sampler(WrongForOne(0.5), plan, chains=16).step(1)


SPOILED: dict[str, Any] = {
    "another image's gradient": lambda output, grad: grad[3].copy_(grad[4]),
    "a longer gradient": lambda output, grad: grad[3].mul_(1.3),
    "no gradient": lambda output, grad: grad[3].zero_(),
    "not a number": lambda output, grad: grad[3, 0].fill_(torch.nan),
    "another image's output": lambda output, grad: output[3].copy_(output[4]),
    "a weak image's output": lambda output, grad: output[0].mul_(1.5),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_one_wrong_image_of_many(spoil: Any) -> None:
    own = torch.Generator().manual_seed(0)
    output, grad = torch.randn(40, 5, generator=own), torch.randn(40, 3, 6, 6, generator=own)
    output[0] /= 100
    other = output.clone(), grad.clone()
    assert agree((output, grad), other)
    spoil(*other)
    assert not agree((output, grad), other)


def test_rounding_is_no_difference() -> None:
    """As float32 has it, and an image without a gradient; of TF32's ten bits, once they are asked for."""
    own = torch.Generator().manual_seed(0)
    output, grad = torch.randn(40, 5, generator=own), torch.randn(40, 3, 6, 6, generator=own)
    output[0], grad[0] = 0, 0
    off = [t + 1e-5 * torch.randn(t.shape, generator=own) for t in (output, grad)]
    assert agree((output, grad), off)
    coarse = output * (1 + 3e-3 * torch.rand(output.shape, generator=own)), grad * 1.1
    assert not agree((output, grad), coarse)
    torch.set_float32_matmul_precision("high")
    try:
        assert agree((output, grad), coarse)
    finally:
        torch.set_float32_matmul_precision("highest")


# ---- more images than memory has room for ----------------------------------------------------------------------------


def test_a_batch_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def chains(layer: str) -> ldam.Sampler:
        return sampler(block().double(), "plain", layer=layer, chains=7)

    for layer in ("dense", "conv2"):
        whole = chains(layer)
        whole.step(4)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "budget", lambda device: 1.0)
            parts = chains(layer)
        assert (whole.target.terms[NEURON].at_once, parts.target.terms[NEURON].at_once) == (14, 1)
        parts.target.terms[NEURON].at_once = 4  # the last part is smaller
        parts.step(4)
        torch.testing.assert_close(parts.images, whole.images, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(parts.activation, whole.activation, rtol=1e-5, atol=1e-5)


def test_parts_follow_from_what_an_image_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution keeps its input, 12 × 12 × 3 numbers, and a rectifier its output, 12 × 12 × 5; twice that with
    gradients."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(720, 2))
    an_image = 2 * 4 * 12 * 12 * (3 + 5)
    monkeypatch.setattr(memory, "budget", lambda device: 10.5 * an_image)
    assert sampler(model, chains=8).target.terms[NEURON].at_once == 10
    monkeypatch.setattr(memory, "budget", lambda device: 1e12)
    assert sampler(model, chains=8).target.terms[NEURON].at_once == 16


GB = 2**30
GROUPS: dict[str, dict[str, str]] = {
    "version 2": {
        "memory.max": f"{4 * GB}\n",
        "memory.current": f"{4 * GB - 4096}\n",
        "memory.stat": f"anon {GB}\nactive_file 7\ninactive_file {3 * GB}\nslab 9\n",
    },
    "version 1": {
        "memory/memory.limit_in_bytes": f"{4 * GB}\n",
        "memory/memory.usage_in_bytes": f"{4 * GB - 4096}\n",
        "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {3 * GB}\n",
    },
}


@pytest.mark.parametrize("files", GROUPS.values(), ids=GROUPS.keys())
def test_files_kept_in_memory_are_free_memory(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control group of 4 GB, of which 3 hold files: a quarter of 3 GB for the images of a step."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:    {2**24} kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    assert memory.budget(torch.device("cpu")) == 4 * GB  # there is no group
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.budget(torch.device("cpu")) == 0.25 * (3 * GB + 4096)


@pytest.mark.parametrize("unlimited", ["max", f"{2**63 - 4096}"])
def test_a_group_without_a_limit(unlimited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 4096 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    for name, text in (("memory.max", unlimited), ("memory.current", "9"), ("memory.stat", "inactive_file 1")):
        (tmp_path / name).write_text(text)
    assert memory.budget(torch.device("cpu")) == 2**20


def test_memory_that_is_given_back_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortage is reported once."""
    monkeypatch.setattr(Hungry, "most", 1000)
    monkeypatch.setattr(memory, "budget", lambda device: 1.0)
    with pytest.warns(ldam.LDAMWarning, match="memory is short"):
        s = sampler(Hungry(), "plain", chains=5)
    s.select("inside.conv2", [0, 1])
    assert sum("memory is short" in note for note in s.notes) == 1
    monkeypatch.setattr(memory, "budget", lambda device: 1e12)
    Hungry.sizes.clear()
    s.step(1)
    assert set(Hungry.sizes) == {1}  # it is not looked at every time
    monkeypatch.setattr("ldam_widget.objectives.objective._EVERY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "budget", lambda device: 1.0)
        s.select("inside.conv2", [0, 2])
    Hungry.sizes.clear()
    s.step(1)
    assert set(Hungry.sizes) == {10}


class Hungry(nn.Module):
    """Takes four images at a time, at most."""

    most = 4
    sizes: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.inside = block()

    def forward(self, x: Tensor) -> Any:
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")
        return self.inside(x)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation returns."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Tensor):
                self.bytes = max(self.bytes, each.untyped_storage().nbytes())
        return result


def test_seeds_of_many_units_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 maps of 64 × 64, each seeded in 4 chains: all seeds together would take 67 MB, one image's half a megabyte."""
    model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU())
    output = 4 * 32 * 64 * 64
    monkeypatch.setattr(memory, "budget", lambda device: 8.0 * output)
    with Largest() as largest:
        s = sampler(model, "plain", input_shape=(1, 64, 64), layer="0", neurons=range(32), chains=4)
        s.step(1)
    assert output <= largest.bytes <= 16 * output  # the noise of four steps takes as much as 16 outputs


def test_measuring_an_image_leaves_nothing_behind() -> None:
    """An operation that keeps its own output, as ReLU does, must not keep itself."""
    view = private_view(block(), None, QuietNotes())
    weights = list(view.parameters())

    def measure() -> int:
        memory.bytes_of_passes(lambda: view(torch.rand(1, 3, 12, 12, requires_grad=True)), weights)
        gc.collect()
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    measure()
    before = measure()
    assert measure() == before


def test_the_batch_is_halved_when_memory_runs_out() -> None:
    with pytest.warns(ldam.LDAMWarning, match="memory is short"):
        s = sampler(Hungry(), "plain", chains=5)
    Hungry.sizes.clear()
    s.step(2)
    assert set(Hungry.sizes) == {3, 1}  # 10 had become 5, and 3, while the chains were begun
    plain = sampler(block(), "plain", chains=5)
    plain.step(2)
    torch.testing.assert_close(s.images, plain.images, rtol=1e-5, atol=1e-5)


def test_images_that_depend_on_each_other_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "budget", lambda device: 1.0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, track_running_stats=False), nn.Flatten()).eval()
    with pytest.warns(ldam.LDAMWarning, match="depend on each other"):
        assert sampler(model, chains=8, layer="2").target.terms[NEURON].at_once == 16


def test_a_model_too_large_for_one_image_is_reported_as_that() -> None:
    class Huge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    with pytest.raises(MemoryError, match=r"one image of shape \(3, 12, 12\).*memory of cpu.*80 GiB"):
        sampler(Huge())
