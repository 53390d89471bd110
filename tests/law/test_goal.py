"""Goals: the mean activation is met, and the chains then have the law of the temperature that was found."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import Kernel
from ldam_widget.kernels import BAOAB, GHMC, MALA
from ldam_widget.sampling.defaults import GOAL_WARM_UP, NATURAL_SCALE

from ..conftest import run_seed, with_fixed_weights
from .harness import Departure

pytestmark = [pytest.mark.statistical, pytest.mark.filterwarnings("ignore:without a pixel_range")]

SHAPE, TAU = (3, 16, 16), NATURAL_SCALE
SETTINGS: dict[str, Any] = {
    "input_shape": SHAPE, "prior": ldam.Natural("photos"), "preprocess": lambda x: x, "execution": "plain",
}  # fmt: skip


def linear(neurons: int) -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), neurons)), run_seed())


def tilts(s: ldam.Sampler) -> Tensor:
    """Mᵀw of every neuron, (N, *image)."""
    weights = s.view[1].weight.view(-1, *SHAPE)  # type: ignore[index]
    pulled: Tensor = s.coordinates.pulled_back(weights, weights)
    return pulled


def test_a_linear_neuron_meets_its_goal_at_the_temperature_of_the_closed_form() -> None:
    """E f = f(μ) + τ²|Mᵀw|²/(sT), for 20 filters: of the T that was found, without noise of its own.

    Filters see the picture less its mean: below what the prior alone excites, no positive T reaches a goal. Measured
    over 50 seeds: 1.5 % low on average, and none of 1,000 filters off by more than 4.3 %.
    """
    mean = SETTINGS["prior"]._tensors["mean"].view(3, 1, 1)
    settings = SETTINGS | {"preprocess": lambda x: x - mean}
    s = ldam.Sampler(linear(20), neurons=range(20), chains=8, goal=0.5, seed=run_seed(), **settings)
    s.step(GOAL_WARM_UP)
    assert not s.warming_up
    middle = s.view(s.coordinates.picture(torch.zeros(1, *SHAPE)) - mean)[0]
    squares = tilts(s).flatten(1).square().sum(1)
    scales = torch.tensor(s.scales["neuron"])  # type: ignore[index]
    found = middle + TAU**2 * squares / (scales * torch.tensor(s.temperatures))
    torch.testing.assert_close(scales, squares.sqrt(), rtol=1e-4, atol=0)
    torch.testing.assert_close(found, torch.full((20,), 0.5), rtol=0.05, atol=0)


@pytest.mark.parametrize("kernel", [BAOAB(None, 0.4), GHMC(friction=1.0), MALA()], ids=str)
def test_the_law_is_that_of_the_temperature_that_was_found(kernel: Kernel) -> None:
    """False alarm: 8e-8 a neuron."""
    s = ldam.Sampler(linear(2), neurons=range(2), chains=100, goal=0.4, seed=run_seed(), kernel=kernel, **SETTINGS)
    s.step(GOAL_WARM_UP)
    assert not s.warming_up
    frozen = s.temperatures
    s.step(300 if isinstance(kernel, MALA) else 150)
    assert s.temperatures == frozen
    assert frozen[0] != frozen[1]
    states = s.state.x.view(2, 100, -1)
    for z, tilt, scale, temperature in zip(states, tilts(s), s.scales["neuron"], frozen, strict=True):  # type: ignore[index]
        Departure.of(z, tilt.flatten() * TAU**2 / (scale * temperature), TAU**2).require_small()


NETS: dict[str, Any] = {
    "perceptron": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(768, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 5)
    ),
    "smooth perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 48), nn.Tanh(), nn.Linear(48, 5)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(8, 8, 3), nn.GELU(), nn.Flatten(),
        nn.Linear(32, 5),
    ),
    "average pooling": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5)
    ),
}  # fmt: skip


def met(net: str, seed: int) -> float:
    """Mean activation after the warm-up over the goal, which is what the default pull reaches."""
    model = with_fixed_weights(NETS[net], seed)
    settings = SETTINGS | {"neurons": [seed % 5], "chains": 12, "seed": seed, "pixel_range": (0.0, 1.0),
                           "preprocess": lambda x: (x - 0.45) / 0.25}  # fmt: skip
    before = ldam.Sampler(model, **settings)
    before.step(600)
    goal = float(before.activation.mean())
    s = ldam.Sampler(model, goal=goal, **settings)
    s.step(GOAL_WARM_UP)
    assert not s.warming_up
    return float(torch.stack([s.step(8).activation.mean() for _ in range(30)]).mean()) / goal


def test_networks_meet_goals_that_they_reach() -> None:
    """Five weights of each net: all together within 5 %, and no more than one is off by 15 %.

    Of 300 networks (15 seeds) one was off by 15 %: its chains climbed on long after the warm-up, to 1.23 of the goal.
    """
    shares = [met(net, seed) for net in NETS for seed in range(run_seed(), run_seed() + 5)]
    print(f"seed {run_seed()}: {shares}")
    assert sum(shares) / len(shares) == pytest.approx(1, abs=0.05)
    assert sum(abs(share - 1) > 0.15 for share in shares) <= 1
