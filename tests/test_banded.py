"""Convolutions as products with banded matrices, pooled at once: the same numbers, or else left alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import QuietNotes
from ldam_widget.core.target import NEURON
from ldam_widget.execution import Execution, Plan
from ldam_widget.execution.banded import Band, BandedConv2d, bands
from ldam_widget.execution.plans import Prepared
from ldam_widget.network.view import private_view

from .conftest import with_fixed_weights

BANDED = "banded convolutions"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test makes its own trials."""
    monkeypatch.setattr(Execution, "_found", {})


class Net(nn.Module):
    """A convolution, and what is done with it."""

    def __init__(self, conv: nn.Conv2d, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.then = conv.double(), then
        conv.reset_parameters()

    def forward(self, x: Tensor) -> Any:
        return self.then(self.conv(x))


def both(model: nn.Module, x: Tensor, in_rows: bool = False) -> tuple[nn.Module, nn.Module, list[Band]]:
    """The network as it is, and with what can be banded."""
    view = private_view(model, None, QuietNotes())
    x = x.detach().requires_grad_(True)
    found = [band._replace(in_rows=in_rows) for band in bands(view, lambda: view(x), "")]
    return view, Prepared(view, Plan(banded=True), (), found).network, found


def gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    output = network(x)
    (grad,) = torch.autograd.grad(output, x, torch.arange(output.numel(), dtype=x.dtype).view_as(output))
    return output.detach(), grad


def assert_same(model: nn.Module, x: Tensor, pool: int, views: bool = False) -> None:
    """`views`: the model relies on the memory layout, and raises an error where that is in rows."""
    assert_same_in(model, x, pool, in_rows=False)
    with pytest.raises(RuntimeError, match="view size is not compatible") if views else contextlib.nullcontext():
        assert_same_in(model, x, pool, in_rows=True)


def assert_same_in(model: nn.Module, x: Tensor, pool: int, in_rows: bool) -> None:
    view, banded, found = both(model, x, in_rows)
    assert [band.pool for band in found] == [pool]
    for batch in (x, x[:1], torch.cat([x, x]), x):  # memory is kept for some sizes
        for mine, plain in zip(gradient(banded, batch), gradient(view, batch), strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


class SlopeOfFour(torch.autograd.Function):
    """A rectifier with a backward pass of its own, as guided backpropagation has one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * 4


@torch.no_grad()
def without_gradient(x: Tensor) -> Tensor:
    return torch.tanh(x)


def view_of_pooled(x: Tensor) -> Tensor:
    pooled = F.max_pool2d(F.relu(x), 2)
    return pooled.view(len(pooled), -1)


def view_of_rectified(x: Tensor) -> Tensor:
    return F.relu(x, inplace=True).view(len(x), -1)


@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 3, "bias": False},
        {"kernel_size": (2, 5), "padding": (1, 3), "stride": (2, 1)},
        {"kernel_size": 4, "stride": (1, 3), "padding": (0, 1)},
        {"kernel_size": (1, 6), "stride": 2},
        {"kernel_size": 3, "stride": (4, 1)},
        {"kernel_size": (7, 3), "padding": (6, 2)},
    ],
    ids=str,
)
def test_any_convolution(settings: Any, pool: int) -> None:
    def then(x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(x), pool) if pool > 1 else F.relu(x)

    x = torch.randn(3, 2, 13, 15, dtype=torch.float64)
    assert_same(Net(nn.Conv2d(2, 4, **settings), then), x, pool)


@pytest.mark.parametrize(
    "then",
    [
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.max_pool2d(torch.relu(x), 2, 2),
        lambda x: F.max_pool2d(x.relu_(), (2, 2), stride=(2, 2)),
        lambda x: torch.max_pool2d(torch.tanh(x), 2),
        lambda x: F.max_pool2d(x.sigmoid().tanh(), kernel_size=2),
        nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        view_of_pooled,
        lambda x: F.max_pool2d(x, 2).mul_(2),
        nn.Sequential(nn.ReLU6(), nn.Hardtanh(-0.2, 0.3), nn.Softplus(beta=2), nn.Softsign(), nn.MaxPool2d(2)),
    ],
)
def test_what_commutes_with_a_maximum_is_pooled_first(then: Any) -> None:
    x = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    assert_same(Net(nn.Conv2d(1, 3, 3), then), x, 2, views=then is view_of_pooled)


@pytest.mark.parametrize(
    "then",
    [
        lambda x: F.max_pool2d(F.gelu(x), 2),  # falls before it rises
        lambda x: F.max_pool2d(-x, 2),
        lambda x: F.max_pool2d(x, 2) + x.mean(),
        lambda x: F.max_pool2d(x, 2) * x.shape[1],
        lambda x: F.max_pool2d(x, 2) + F.relu(x)[:, :, ::2, ::2],
        lambda x: F.max_pool2d(F.relu(x), 2) + F.max_pool2d(torch.tanh(x), 2),
        lambda x: F.max_pool2d(x, 3, 2),
        lambda x: F.max_pool2d(x, 2, padding=1),
        lambda x: F.max_pool2d(x, 2, dilation=2),
        lambda x: F.max_pool2d(x, 3, ceil_mode=True),
        lambda x: F.max_pool2d(x, (2, 1)),
        lambda x: F.max_pool2d(x, 5),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: F.avg_pool2d(F.relu(x), 2),
        view_of_rectified,
        lambda x: F.max_pool2d(SlopeOfFour.apply(x), 2),
        lambda x: F.max_pool2d(torch.relu(without_gradient(x)), 2) + x.mean(),
        lambda x: F.max_pool2d(torch.cat([x, x]), 2)[: len(x)],
    ],
)
def test_what_does_not_is_left_as_it_is(then: Any) -> None:
    x = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    assert_same(Net(nn.Conv2d(1, 3, 3), then), x, 1, views=then is view_of_rectified)


def test_the_gradient_of_equal_numbers_goes_where_it_went() -> None:
    """To the first of a window, as torch's own does; small integers are added without rounding."""
    net = Net(nn.Conv2d(1, 2, 3, padding=1), lambda x: F.max_pool2d(F.relu(x), 2))
    with torch.no_grad():
        net.conv.weight.copy_(torch.randint(-2, 3, net.conv.weight.shape))
        net.conv.bias.zero_()
    assert_same(net, torch.ones(2, 1, 8, 8, dtype=torch.float64), 2)
    assert_same(net, torch.randint(0, 2, (2, 1, 8, 8)).double(), 2)


def hooked(conv: nn.Conv2d) -> nn.Conv2d:
    conv.register_forward_hook(lambda module, inputs, output: output * 2)
    return conv


def hooked_back(conv: nn.Conv2d) -> nn.Conv2d:
    conv.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * 0.5,))
    return conv


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, (3, 1)),  # a map 16 times wider than the kernel
        nn.Conv2d(2, 2000, 3),  # a matrix that no cache holds
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3)),
        hooked(nn.Conv2d(2, 4, 3)),
        hooked_back(nn.Conv2d(2, 4, 3)),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(conv: nn.Conv2d) -> None:
    view = private_view(nn.Sequential(conv), None, QuietNotes())
    assert bands(view, lambda: view(torch.randn(1, 2, 16, 16)), "") == []


def test_what_runs_twice_is_left_alone() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1)
    view = private_view(nn.Sequential(conv, conv), None, QuietNotes())
    assert bands(view, lambda: view(torch.randn(1, 2, 8, 8)), "") == []


def test_what_a_hook_would_see_stays_a_map() -> None:
    seen: list[Any] = []
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2)).double()
    net[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert_same(net, torch.randn(2, 1, 12, 12, dtype=torch.float64), 1)
    assert set(seen) == {(n, 3, 10, 10) for n in (1, 2, 4)}


def test_a_stem_without_gradient_stays_without() -> None:
    class Stems(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                fixed = self.a(x)
            return F.max_pool2d(F.relu(fixed), 2) + F.max_pool2d(F.relu(self.b(x)), 2)

    x = torch.randn(2, 1, 10, 10, dtype=torch.float64).requires_grad_(True)
    view, banded, found = both(Stems().double(), x)
    assert [band.pool for band in found] == [1, 2]
    for mine, plain in zip(gradient(banded, x), gradient(view, x), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


def test_maps_of_another_size_are_convolved_as_before() -> None:
    net = Net(nn.Conv2d(1, 3, 3), lambda x: F.max_pool2d(F.relu(x), 2))
    view, banded, _ = both(net, torch.randn(1, 1, 12, 12, dtype=torch.float64))
    for size in (13, 12, 9):
        x = torch.randn(2, 1, size, 12, dtype=torch.float64)
        for mine, plain in zip(gradient(banded, x), gradient(view, x), strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


def test_two_threads_do_not_write_into_each_other() -> None:
    """As `quenched` in a cell beside the loop."""
    net = Net(nn.Conv2d(1, 6, 5), lambda x: F.max_pool2d(F.relu(x), 2))
    images = [torch.randn(8, 1, 28, 28, dtype=torch.float64) for _ in range(2)]
    view, banded, _ = both(net, images[0])
    expected = [gradient(view, x)[1] for x in images]
    wrong: list[float] = []

    def work(which: int) -> None:
        for _ in range(100):
            _, mine = gradient(banded, images[which])
            wrong.append(float((mine - expected[which]).abs().max() / expected[which].abs().max()))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 200
    assert max(wrong) < 1e-10


def sampler(model: nn.Module, execution: str, **settings: Any) -> ldam.Sampler:
    climb = {"kernel": ldam.kernels.Algorithm1(), "temperature": 0.0}
    settings = {"input_shape": (1, 28, 28), "neurons": [0, 1], **climb} | settings
    return ldam.Sampler(model, execution=execution, **settings)


class Flattening(nn.Module):
    """The last map, or every map, is read in its memory layout."""

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere
        self.one, self.two, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(100, 3)

    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.one(x)), 2)
        if self.everywhere:
            x = x.view(len(x), -1).view(x.shape)
        return self.head(F.relu(self.two(x)).view(len(x), 100))


@pytest.mark.parametrize("everywhere", [False, True])
def test_maps_that_are_flattened_keep_their_layout(everywhere: bool) -> None:
    model = with_fixed_weights(lambda: Flattening(everywhere))
    plain, banded = (sampler(model, execution, input_shape=(1, 16, 16)) for execution in ("plain", BANDED))
    torch.testing.assert_close(banded.step(5).images, plain.step(5).images, rtol=1e-4, atol=1e-4)
    prepared = banded._execution._prepared
    assert prepared is not None
    in_rows = [module.in_rows for module in prepared.network.modules() if isinstance(module, BandedConv2d)]
    assert in_rows == [not everywhere, False]


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc3"])
def test_lenet_is_sampled_as_it_was(layer: str) -> None:
    kernel = ldam.kernels.Algorithm1(0.1, normalize="none")
    model = ldam.demo.mnist("final").model
    mine, plain = (sampler(model, name, layer=layer, kernel=kernel) for name in (BANDED, "plain"))
    torch.testing.assert_close(mine.step(20).images, plain.step(20).images, rtol=1e-3, atol=1e-3)
    assert mine.execution == BANDED
    kinds = {name: type(module) for name, module in mine.target.terms[NEURON]._network.named_modules()}
    assert kinds["conv1"] is BandedConv2d


def test_a_leak_needs_the_rectifiers() -> None:
    s = sampler(ldam.demo.mnist("final").model, BANDED, leaky=0.2)
    with pytest.raises(ValueError, match="cannot run this network"):
        s.step()


@pytest.mark.parametrize("way", ["maps.mean((2, 3))", "maps.shape", "maps if maps else x", "F.max_pool2d(maps, 3)"])
def test_another_path_through_the_network_is_an_error(way: str) -> None:
    """A later pass may take another path: an error rather than a wrong number."""

    class Fickle(nn.Module):
        way = ""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x: Tensor) -> Any:
            maps = F.relu(self.conv(x))
            return F.max_pool2d(maps, 2).mean((2, 3)) if Fickle.way == "" else eval(Fickle.way)

    s = sampler(Fickle(), BANDED, layer="", input_shape=(1, 9, 9))
    s.step(2)
    Fickle.way = way
    with pytest.raises(TypeError, match="execution='plain'"):
        s.step()
