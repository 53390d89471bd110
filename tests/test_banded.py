"""Convolutions as products with banded matrices, pooled at once: the same numbers, or else left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.execution import Execution, Plan
from ldam_widget.execution.banded import Band, BandedConv2d, bands
from ldam_widget.execution.plans import Prepared
from ldam_widget.models import QuietNotes, private_view

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


def both(model: nn.Module, x: Tensor) -> tuple[nn.Module, nn.Module, list[Band]]:
    """The network as it is, and with what can be banded."""
    view = private_view(model, None, QuietNotes())
    found = bands(view, lambda: view(x), "")
    return view, Prepared(view, Plan(banded=True), (), found).network, found


def gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    output = network(x)
    (grad,) = torch.autograd.grad(output, x, torch.arange(output.numel(), dtype=x.dtype).view_as(output))
    return output.detach(), grad


def assert_same(model: nn.Module, x: Tensor, pool: int) -> None:
    view, banded, found = both(model, x)
    assert [band.pool for band in found] == [pool]
    for batch in (x, x[:1], torch.cat([x, x])):  # memory is kept for one size
        for mine, plain in zip(gradient(banded, batch), gradient(view, batch), strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


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
        nn.Sequential(nn.ReLU6(), nn.Hardtanh(-0.2, 0.3), nn.Softplus(beta=2), nn.Softsign(), nn.MaxPool2d(2)),
    ],
)
def test_what_commutes_with_a_maximum_is_pooled_first(then: Any) -> None:
    assert_same(Net(nn.Conv2d(1, 3, 3), then), torch.randn(2, 1, 12, 12, dtype=torch.float64), 2)


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
        lambda x: F.max_pool2d(torch.cat([x, x]), 2)[: len(x)],
    ],
)
def test_what_does_not_is_left_as_it_is(then: Any) -> None:
    assert_same(Net(nn.Conv2d(1, 3, 3), then), torch.randn(2, 1, 12, 12, dtype=torch.float64), 1)


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


def sampler(model: nn.Module, execution: str, **settings: Any) -> ldam.Sampler:
    settings = {"input_shape": (1, 28, 28), "neurons": [0, 1], "temperature": 0.0} | settings
    return ldam.Sampler(model, execution=execution, **settings)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc3"])
def test_lenet_is_sampled_as_it_was(layer: str) -> None:
    kernel = ldam.kernels.Algorithm1(0.1, normalize="none")
    model = ldam.demo.mnist("final").model
    mine, plain = (sampler(model, name, layer=layer, kernel=kernel) for name in (BANDED, "plain"))
    torch.testing.assert_close(mine.step(20).images, plain.step(20).images, rtol=1e-3, atol=1e-3)
    assert mine.execution == BANDED
    kinds = {name: type(module) for name, module in mine._neurons._network.named_modules()}
    assert kinds["conv1"] is BandedConv2d


def test_a_leak_needs_the_rectifiers() -> None:
    s = sampler(ldam.demo.mnist("final").model, BANDED, leaky=0.2)
    with pytest.raises(ValueError, match="does not fit"):
        s.step()


def test_another_way_through_the_network_is_told() -> None:
    """What was seen once need not be what comes: an error rather than a wrong number."""

    class Fickle(nn.Module):
        pooled = True

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x: Tensor) -> Any:
            maps = F.relu(self.conv(x))
            return F.max_pool2d(maps, 2).mean((2, 3)) if Fickle.pooled else maps.mean((2, 3))

    s = sampler(Fickle(), BANDED, layer="", input_shape=(1, 9, 9))
    s.step(2)
    Fickle.pooled = False
    with pytest.raises(TypeError, match="execution='plain'"):
        s.step()
