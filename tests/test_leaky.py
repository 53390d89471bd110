"""The leaky backward pass: the same values bit by bit, and gradients written down by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.network.leaky import Leaky
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons

SLOPE = 0.25
POINTS = (-7.0, -0.5, -0.0, 0.0, 0.5, 6.0, 7.0)
OPEN = (0.25, 0.25, 0.25, 0.25, 1.0, 1.0, 1.0)  # relu: shut where x ≤ 0
SIX = (0.25, 0.25, 0.25, 0.25, 1.0, 0.0, 0.0)  # relu6: as it is above
CLOSED = (0.25, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0)  # clamp passes its ends
CLOSED_SIX = (0.25, 0.25, 1.0, 1.0, 1.0, 1.0, 0.0)
PLAIN = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)

RECTIFIERS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, ...]]] = {
    "nn.ReLU": (nn.ReLU(), OPEN),
    "nn.ReLU in place": (nn.ReLU(inplace=True), OPEN),
    "F.relu": (F.relu, OPEN),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), OPEN),
    "F.relu by keyword": (lambda x: F.relu(input=x), OPEN),
    "F.relu_": (F.relu_, OPEN),
    "torch.relu": (torch.relu, OPEN),
    "torch.relu_": (torch.relu_, OPEN),
    "Tensor.relu": (Tensor.relu, OPEN),
    "Tensor.relu_": (Tensor.relu_, OPEN),
    "nn.Threshold": (nn.Threshold(0, 0), OPEN),
    "nn.ReLU6": (nn.ReLU6(), SIX),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), SIX),
    "F.relu6": (F.relu6, SIX),
    "nn.Hardtanh from 0": (nn.Hardtanh(0, 6), SIX),
    "clamp_min": (lambda x: x.clamp_min(0), CLOSED),
    "clamp_min_": (lambda x: x.clamp_min_(0), CLOSED),
    "torch.clamp": (lambda x: torch.clamp(x, min=0), CLOSED),
    "clamp to six": (lambda x: x.clamp(0, 6), CLOSED_SIX),
    "clip": (lambda x: x.clip(min=0.0, max=6.0), CLOSED_SIX),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.LeakyReLU": nn.LeakyReLU(0.1),
    "nn.Hardtanh": nn.Hardtanh(),
    "clamp from −1": lambda x: x.clamp(-1, 1),
    "clamp from above": lambda x: x.clamp(max=0),
    "nn.Threshold elsewhere": nn.Threshold(0.1, 20),
    "F.gelu": F.gelu,
}


def value_and_slope(do: Callable[[Tensor], Tensor], slope: float) -> tuple[Tensor, Tensor]:
    x = torch.tensor(POINTS, requires_grad=True)
    made = x * 1  # what is changed in place may be no leaf
    if slope:
        with Leaky(slope):
            y = do(made)
    else:
        y = do(made)
    (grad,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), grad


@pytest.mark.parametrize(("do", "expected"), RECTIFIERS.values(), ids=RECTIFIERS.keys())
def test_rectifier_keeps_its_value_and_leaks(do: Callable[[Tensor], Tensor], expected: tuple[float, ...]) -> None:
    value, slope = value_and_slope(do, SLOPE)
    plain, plain_slope = value_and_slope(do, 0)
    assert value.numpy().tobytes() == plain.numpy().tobytes()
    assert slope.tolist() == list(expected)
    assert plain_slope.tolist() == [0.0 if e == SLOPE else e for e in expected]  # only what was 0 is changed


@pytest.mark.parametrize("do", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_rectifier_is_left_alone(do: Callable[[Tensor], Tensor]) -> None:
    for with_leak, without in zip(value_and_slope(do, SLOPE), value_and_slope(do, 0), strict=True):
        assert torch.equal(with_leak, without)


def test_out_argument_and_no_gradient() -> None:
    x, out = torch.tensor(POINTS), torch.empty(len(POINTS))
    with Leaky(SLOPE):
        torch.clamp(x, min=0, out=out)
        assert F.relu(x).tolist() == [max(p, 0.0) for p in POINTS]
        with torch.no_grad():
            assert not F.relu(x.requires_grad_(True)).requires_grad
    assert out.tolist() == [max(p, 0.0) for p in POINTS]


def test_the_leak_ends_with_its_block() -> None:
    x = torch.tensor(POINTS, requires_grad=True)
    with pytest.raises(ArithmeticError), Leaky(SLOPE):
        raise ArithmeticError
    assert torch.autograd.grad(F.relu(x).sum(), x)[0].tolist() == list(PLAIN)


class TwoLayers(nn.Module):
    """f(x) = v · relu(W x), all by hand."""

    def __init__(self, in_place: bool = False, again: bool = False) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(2, 3, bias=False), nn.ReLU(in_place), nn.Linear(3, 1, bias=False)
        self.again = again
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 1.0], [3.0, -1.0]]))
            self.second.weight.copy_(torch.tensor([[2.0, -4.0, 8.0]]))

    def hidden(self, x: Tensor) -> Tensor:
        return self.relu(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(checkpoint(self.hidden, x, use_reentrant=False) if self.again else self.hidden(x))


def neuron(model: nn.Module, **options: Any) -> Neurons:
    options = {"chains": 2, "input_shape": (2,), "notes": Notes(), **options}
    return Neurons(private_view(model, None, Notes()), "second", [0], **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the backward pass is leaky")
@pytest.mark.parametrize(("in_place", "again"), [(False, False), (True, False), (False, True)])
def test_gradient_of_a_network_by_hand(in_place: bool, again: bool) -> None:
    # x = (1, 2): W x = (5, 1, 1); all open: f = 10 − 4 + 8, ∇f = 2 (1, 2) − 4 (−1, 1) + 8 (3, −1)
    # x = (1, −1): W x = (−1, −2, 4): f = 32, ∇f = s 2 (1, 2) − s 4 (−1, 1) + 8 (3, −1)
    x = torch.tensor([[1.0, 2.0], [1.0, -1.0]])
    for slope in (0.0, 0.5):
        value, grad = neuron(TwoLayers(in_place, again), leaky=slope).evaluate(x)
        assert value.tolist() == [14.0, 32.0]
        assert grad.tolist() == [[30.0, -8.0], [24 + slope * 6, -8.0]]


def test_a_dead_start_finds_its_way_out() -> None:
    """What it is for: everything shut, and a gradient nevertheless."""
    model = TwoLayers()
    x = torch.tensor([[0.0, -3.0], [-1.0, -2.0]])  # W x = (−6, −3, 3), (−5, −1, −1)
    _, dead = neuron(model).evaluate(x)
    assert dead[1].tolist() == [0.0, 0.0]
    with pytest.warns(ldam.LDAMWarning):
        _, alive = neuron(model, leaky=0.1).evaluate(x)
    torch.testing.assert_close(alive[1], 0.1 * torch.tensor([30.0, -8.0]))


def test_the_user_is_told() -> None:
    notes = Notes()
    with pytest.warns(ldam.LDAMWarning, match=r"leaky \(slope 0.1\).*no stated density"):
        neuron(TwoLayers(), leaky=0.1, notes=notes)
    assert len(notes) == 1
    neuron(TwoLayers(), notes=notes)
    assert len(notes) == 1


@pytest.mark.parametrize("leaky", [-0.1, 1, 1.5, math.nan, True, "0.1", None])
def test_slope_out_of_range(leaky: Any) -> None:
    with pytest.raises(ValueError, match=r"leaky is a slope from 0 .*less than 1"):
        neuron(TwoLayers(), leaky=leaky)
