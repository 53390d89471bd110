"""Convolutions with weights in oneDNN's own order, and gradients as convolutions: the same numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.execution import Execution
from ldam_widget.execution.packed import PackedConv2d, packable

from .conftest import with_fixed_weights

PACKED = "channels last, packed convolutions"

pytestmark = pytest.mark.skipif(
    not packable(nn.Sequential(nn.Conv2d(1, 1, 1))), reason="torch was built without oneDNN"
)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test makes its own trials."""
    monkeypatch.setattr(Execution, "_found", {})


def gradient(network: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    output = network(x)
    own = torch.Generator().manual_seed(1)
    (grad,) = torch.autograd.grad(output, x, torch.randn(output.shape, generator=own))
    return output.detach(), grad


def assert_same(mine: Any, plain: Any, x: Tensor) -> None:
    for one, other in zip(gradient(mine, x), gradient(plain, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # sums of some hundred products in float32


KERNELS = ((1, 1), (3, 3), (5, 2), (7, 7))
STRIDES = ((1, 1), (2, 2), (3, 3), (2, 1))
PADDINGS = ((0, 0), (1, 1), (3, 3), (2, 4))


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_any_convolution(kernel: tuple[int, int], channels: int) -> None:
    for stride, padding, size in itertools.product(STRIDES, PADDINGS, ((12, 12), (9, 14))):
        conv = with_fixed_weights(lambda: nn.Conv2d(channels, 6, kernel, stride, padding))  # noqa: B023
        packed = PackedConv2d(conv)
        own = torch.Generator().manual_seed(0)
        x = torch.randn(2, channels, *size, generator=own)
        for batch in (x, x[:1], torch.cat([x, x]), x.contiguous(memory_format=torch.channels_last)):
            assert_same(packed, conv, batch)
        with torch.no_grad():
            conv.weight.mul_(2)
            conv.bias.add_(1)  # type: ignore[union-attr,operator]
        packed.update()
        assert_same(packed, conv, x)


def test_pictures_of_another_size() -> None:
    conv = with_fixed_weights(lambda: nn.Conv2d(8, 6, 3, padding=1))
    packed = PackedConv2d(conv)
    for side in (12, 7, 30):
        assert_same(packed, conv, torch.linspace(-1, 1, 8 * side * side).view(1, 8, side, side))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 3, dtype=torch.float64),
        nn.Conv2d(4, 4, 3, dtype=torch.bfloat16), nn.ConvTranspose2d(4, 4, 3), nn.Conv1d(4, 4, 3),
        nn.Conv2d(1, 4, (7, 3), stride=(1, 2), padding=(6, 1)),  # oneDNN's packed way is wrong
    ],
    ids=repr,
)  # fmt: skip
def test_other_convolutions_are_left_alone(conv: nn.Module) -> None:
    assert packable(nn.Sequential(conv)) == []


def test_one_that_a_hook_sees_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    network[0].register_forward_hook(lambda *_: None)
    assert packable(network) == ["1"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.short, self.head = nn.Conv2d(8, 12, 1, stride=2), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.one(x))
        return self.head(torch.relu(self.two(x) + self.short(x)).mean((2, 3)))


@pytest.mark.parametrize("layer", ["stem", "one", "two", "short", "head"])
@pytest.mark.parametrize("execution", [PACKED, f"{PACKED}, recorded"])
def test_chains_are_the_same_but_for_rounding(layer: str, execution: str) -> None:
    def made(execution: str) -> Tensor:
        model = with_fixed_weights(Residual)
        kernel = ldam.kernels.Algorithm1(0.05, normalize="none")
        s = ldam.Sampler(
            model, input_shape=(3, 18, 18), layer=layer, neurons=[0, 3], chains=2, kernel=kernel, execution=execution
        )
        s.step(10)
        assert s.execution == execution
        return s.images

    torch.testing.assert_close(made(execution), made("plain"), rtol=1e-4, atol=1e-4)
