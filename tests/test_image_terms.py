"""`TotalVariation` and `BatchStatistics`: values by plainer code, gradients by autograd, and what is refused."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.core.target import BindContext
from ldam_widget.kernels import BAOAB

from .conftest import with_fixed_weights

SHAPES = [(7,), (2, 9), (1, 5, 6), (3, 4, 7), (2, 3, 4, 5), (3, 1, 1)]


def some(shape: tuple[int, ...], chains: int = 3) -> Tensor:
    return torch.rand(chains, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def variation(image: Tensor, epsilon: float) -> float:
    """Pixel by pixel, from the formula of the docstring."""
    channels = [image] if image.ndim == 1 else list(image)
    total = 0.0
    for channel in channels:
        for place in itertools.product(*map(range, channel.shape)):
            square = epsilon**2
            for axis, side in enumerate(channel.shape):
                if place[axis] + 1 < side:
                    following = (*place[:axis], place[axis] + 1, *place[axis + 1 :])
                    square += float(channel[following] - channel[place]) ** 2
            total += math.sqrt(square) - epsilon
    return -total


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_total_variation_is_its_formula(shape: tuple[int, ...]) -> None:
    x = some(shape)
    value, grad = ldam.TotalVariation(1.0, edge=0.1).evaluate(x)
    torch.testing.assert_close(value, torch.tensor([variation(image, 0.1) for image in x], dtype=torch.float64))
    assert torch.equal(grad, ldam.TotalVariation(1.0, edge=0.1).gradient(x))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_total_variation(shape: tuple[int, ...]) -> None:
    """Central differences in every pixel, and autograd through the same sum."""
    x, term, h = some(shape), ldam.TotalVariation(1.0, edge=0.05), 1e-6
    grad = term.evaluate(x)[1]
    leaf = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(padded(leaf, 0.05).sum(), leaf)
    torch.testing.assert_close(grad, slope)
    steps = h * torch.eye(x[0].numel(), dtype=torch.float64).view(-1, *shape)
    each = (term.evaluate(x[0] + steps)[0] - term.evaluate(x[0] - steps)[0]) / (2 * h)
    torch.testing.assert_close(grad[0].flatten(), each, atol=1e-6, rtol=1e-5)


def padded(x: Tensor, epsilon: float) -> Tensor:
    """With padding, instead of differences."""
    square = torch.full_like(x, epsilon**2)
    for axis in range(min(2, x.ndim - 1), x.ndim):
        last = x.select(axis, -1).unsqueeze(axis)
        square = square + (torch.cat([x, last], axis).narrow(axis, 1, x.shape[axis]) - x).square()
    return (epsilon - square.sqrt()).flatten(1).sum(1)


def test_total_variation_of_flat_and_of_single_edges() -> None:
    term = ldam.TotalVariation(1.0, edge=1e-6)
    flat = torch.full((2, 3, 5, 5), 0.3)
    value, grad = term.evaluate(flat)
    assert not value.any()
    assert not grad.any()
    flat[0, 0, :, 2:] = 1.3  # one edge, five pixels long, of height 1
    assert float(term.evaluate(flat)[0][0]) == pytest.approx(-5, rel=1e-4)


def test_the_edge_is_in_units_of_the_pixels() -> None:
    """Two per cent of the range: the same picture of 0…255 has the same gradient, and 255 times the value."""
    small, large = (bound(ldam.TotalVariation(), pixel_range=(0, width)) for width in (1.0, 255.0))
    x = some((3, 4, 5))
    torch.testing.assert_close(large.evaluate(255 * x)[0], 255 * small.evaluate(x)[0])
    torch.testing.assert_close(large.evaluate(255 * x)[1], small.evaluate(x)[1])
    assert bound(ldam.TotalVariation(), pixel_range=None) == ldam.TotalVariation(edge=0.02)
    assert bound(ldam.TotalVariation(edge=0.3), pixel_range=(0, 255)).edge == 0.3


def bound(term: Any, model: nn.Module | None = None, shape: tuple[int, ...] = (3, 4, 5), **more: Any) -> Any:
    settings: dict[str, Any] = {"pixel_range": (0, 1), "preprocess": None} | more
    return term.bound(
        BindContext(model, shape, settings["pixel_range"], torch.device("cpu"), Notes(), settings["preprocess"])
    )


# ---- batch statistics ------------------------------------------------------------------------------------------------


class Normed(nn.Module):
    """(N, 3, 8, 8) -> (N, 4): batch norms of maps, of a map that is used twice, and of features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc1, self.bn3 = nn.Linear(6, 5), nn.BatchNorm1d(5)
        self.fc2 = nn.Linear(5, 4)
        for norm in (self.bn1, self.bn2, self.bn3):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.weight)

    def features(self, x: Tensor) -> list[Tensor]:
        """What each batch norm is given."""
        first = self.conv1(x)
        second = self.conv2(torch.tanh(self.bn1(first)))
        third = self.bn2(second)
        fourth = self.fc1(torch.tanh(self.bn2(third)).mean((2, 3)))
        return [first, second, third, fourth]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.softplus(self.bn3(self.features(x)[-1])))


def distance(net: Normed, x: Tensor) -> Tensor:
    """Eq. 4 of the paper, of one picture at a time, (chain,)."""
    found = []
    for image in x:
        total = torch.zeros((), dtype=x.dtype)
        for norm, seen in zip((net.bn1, net.bn2, net.bn2, net.bn3), net.features(image[None]), strict=True):
            values = seen[0].flatten(1) if seen.ndim > 2 else seen[0][:, None]
            total = total + torch.linalg.norm(values.mean(1) - norm.running_mean)
            if seen.ndim > 2:
                total = total + torch.linalg.norm(values.var(1, unbiased=False) - norm.running_var)
        found.append(total)
    return torch.stack(found)


def test_batch_statistics_against_autograd_on_the_user_s_own_model() -> None:
    net, shape = with_fixed_weights(Normed), (3, 8, 8)
    x = some(shape).float()
    term = bound(ldam.BatchStatistics(), net, shape, preprocess=lambda x: 2 * x - 1)
    value, grad = term.evaluate(x)
    leaf = x.clone().requires_grad_(True)
    expected = -distance(net, 2 * leaf - 1)
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(value, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(grad, slope, atol=1e-5, rtol=1e-4)
    for chain in range(3):
        alone = term.evaluate(x[chain : chain + 1])[1][0]
        torch.testing.assert_close(alone, grad[chain], atol=1e-6, rtol=1e-4)


def test_it_is_the_sampler_s_model_in_its_pixels_and_follows_its_weights() -> None:
    net = with_fixed_weights(Normed)
    mean = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    s = ldam.Sampler(
        net, input_shape=(3, 8, 8), pixel_range=(0, 1), preprocess=lambda x: x - mean, prior=None, scale="frozen",
        regularizers=[ldam.BatchStatistics(0.3), ldam.TotalVariation(0.2)], kernel=BAOAB(0.05), chains=2,
        neurons=[0, 3], execution="plain",
    )  # fmt: skip
    s.step(20)

    def expected() -> Tensor:
        return -distance(net, s.state.x - mean).detach()

    torch.testing.assert_close(s.state.evaluation.values.get("batch_statistics", expected()), expected())
    before = expected()
    with torch.no_grad():
        net.bn1.running_mean.add_(3)
        net.fc2.weight.mul_(2)
    s.weights_changed()
    s.step(1)
    assert not torch.allclose(expected(), before)
    torch.testing.assert_close(s.state.evaluation.values["batch_statistics"], expected())
    s.set(batch_statistics=0, total_variation=0)
    s.weights_changed()
    s.step(3)
    s.set(batch_statistics=2.0)
    s.step(3)


@pytest.mark.slow
def test_pictures_come_to_match() -> None:
    """At T = 0 the distance falls, and then the edges; both terms have a slider and an attribute."""
    net: Any = with_fixed_weights(Normed)
    generator = torch.Generator().manual_seed(0)
    for norm in (net.bn1, net.bn2, net.bn3):
        norm.momentum = None  # the mean of all that it has seen
        norm.reset_running_stats()
    net.train()(0.5 + 0.1 * torch.randn(500, 3, 8, 8, generator=generator))
    w = ldam.LDAM(
        net.eval(), input_shape=(3, 8, 8), pixel_range=(-2, 2), prior=None, temperature=0, kernel=BAOAB(0.02, 5),
        play=False, regularizers=[ldam.BatchStatistics(0.0), ldam.TotalVariation(0.0)], scale="none",
    )  # fmt: skip
    start = float(distance(net, w.sampler.state.x).detach().mean())
    w.batch_statistics = 100
    w.step(300)
    assert float(distance(net, w.sampler.state.x).detach().mean()) < 0.4 * start
    w.batch_statistics, w.total_variation = 0, 50
    edges = ldam.TotalVariation(edge=0.08)
    before = float(edges.evaluate(w.sampler.state.x)[0].mean())
    w.step(300)
    assert float(edges.evaluate(w.sampler.state.x)[0].mean()) > 0.3 * before
    assert w.error is None
    w.close()


class Merged(nn.Module):
    """Two frames of an image, as a batch of twice as many."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, 1).unsqueeze(1)).view(len(x), -1).sum(1, keepdim=True)


@pytest.mark.parametrize(("model", "message"), [
    (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), "needs a model with batch norms; this one runs none"),
    (lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()),
     r"batch norm '0' keeps no running statistics \(track_running_stats=False\)"),
    (Merged, "batch norm 'norm' sees a batch of 6 for 2 pictures"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:batch norm")
def test_models_without_statistics_are_refused(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ldam.Sampler(model().eval(), input_shape=(3, 6, 6), regularizers=[ldam.BatchStatistics(0.1)], prior=None)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: ldam.TotalVariation(-1), ValueError, "total_variation must be 0 or between 0.0001 and 100; got -1"),
    (lambda: ldam.TotalVariation("a"), TypeError, "total_variation"),  # type: ignore[arg-type]
    (lambda: ldam.TotalVariation(edge=0), ValueError, "edge must be a number > 0"),
    (lambda: ldam.TotalVariation(edge=math.nan), ValueError, "edge must be a number > 0"),
    (lambda: ldam.BatchStatistics(1e9), ValueError, "batch_statistics must be"),
    (lambda: ldam.BatchStatistics().evaluate(torch.zeros(1, 3, 4, 4)), RuntimeError, "regularizers of a sampler"),
    (lambda: bound(ldam.BatchStatistics()), ValueError, "sampler's model, and there is none"),
])  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_neither_confines_unbounded_pixels() -> None:
    """The panel then says that there is no law."""
    net = with_fixed_weights(Normed)
    terms = [ldam.BatchStatistics(1.0), ldam.TotalVariation(1.0)]
    s = ldam.Sampler(net, input_shape=(3, 8, 8), regularizers=terms, prior=None, execution="plain")
    assert not s.has_law
    s.set(l2=0.1)
    assert s.has_law
