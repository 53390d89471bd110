"""Modes, against targets whose modes are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.core.target import NEURON, Target
from ldam_widget.diagnostics import modes, moves
from ldam_widget.objectives import L2
from ldam_widget.parametrizations import Pixels
from ldam_widget.sampling.quench import quench

from .conftest import run_seed

pytestmark = pytest.mark.statistical

SIZE = 24


class Templates(nn.Module):
    """f(x) = max_k w_k·x with w_k along axis k: with L2 of weight λ the maxima of E are exactly w_k/λ."""

    def __init__(self, strengths: tuple[float, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(SIZE)[: len(strengths)] * torch.tensor(strengths)[:, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.T).amax(1, keepdim=True)


def sampler(**more: object) -> ldam.Sampler:
    arguments = {
        "input_shape": (SIZE,), "layer": "", "kernel": ldam.kernels.BAOAB(0.5, 1.0), "regularizers": [L2(0.5)],
        "chains": 12, "scale": "none", "temperature": 0.1, "seed": run_seed(),
    }  # fmt: skip
    return ldam.Sampler(nn.Sequential(Templates((4.0, 4.0, 4.0))), **(arguments | {"layer": "0"} | more))


def test_quenching_ends_in_the_nearest_maximum() -> None:
    """E = max_k w_k·x − ½λ‖x‖²: from inside the region of template k the way uphill ends at w_k/λ.

    Single precision cannot tell E = 16 from less than 2e-6 below it, which is 3e-3 away from the maximum.
    """
    model = Templates((4.0, 3.0))

    class Neuron:
        def evaluate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = x.detach().requires_grad_()
            value = model(x)[:, 0]
            return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    target = Target({NEURON: Neuron(), "l2": L2()}, {NEURON: 1.0, "l2": 0.5}, 1.0, Pixels(None))
    noise = torch.randn(40, SIZE, generator=torch.Generator().manual_seed(run_seed()))
    ends = (model.weight / 0.5).detach()
    start = noise + ends[torch.arange(40) % 2]
    nearest = (start @ model.weight.detach().T).argmax(1)
    torch.testing.assert_close(quench(start, target, 200), ends[nearest], atol=5e-3, rtol=0)


def test_quenching_stays_in_the_box_and_never_loses() -> None:
    model = nn.Linear(SIZE, 1)

    class Neuron:
        def evaluate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x @ model.weight[0].detach(), model.weight.detach().expand_as(x)

    target = Target({NEURON: Neuron()}, {NEURON: 1.0}, 1.0, Pixels((0.0, 1.0)))
    start = torch.rand(8, SIZE, generator=torch.Generator().manual_seed(1))
    last = target.energy(target.evaluate(start), start)
    for steps in (1, 3, 10, 100):
        x = quench(start, target, steps)
        energy = target.energy(target.evaluate(x), x)
        assert (energy >= last).all()
        last = energy
    corner = (model.weight.detach()[0] > 0).float()  # of a linear function
    assert torch.equal(x, corner.expand_as(x))


def test_quenching_leaves_the_chains_alone() -> None:
    a, b = sampler(), sampler()
    a.step(10)
    b.step(10)
    b.quenched(20)
    assert torch.equal(a.step(10).images, b.step(10).images)


def test_leader_clustering() -> None:
    a, b = np.eye(5)[0], np.eye(5)[1]
    pictures = [a, 2 * a + 0.1 * b, b, 3 * b, a, -a, 0 * a]
    assert modes(pictures).tolist() == [0, 0, 1, 1, 0, 2, 3]
    assert modes([a, a + b, b], alike=0.7).tolist() == [0, 0, 1]
    assert moves([[0, 1], [0, 2], [1, 2]]) == 2


def test_three_equal_templates_are_three_modes_and_cold_chains_stay_in_theirs() -> None:
    """At T = .1 the way from one template to another is uphill by some 80 T: no chain crosses.

    That 40 chains, which choose at random, leave one of the three out has probability 3·(2/3)^40 = 3e-7.
    """
    s = sampler(chains=40)
    found = ldam.explore(s, looks=4, every=100)
    assert [f.modes for f in found] == [3]
    assert found[0].moves == 0
    assert sum(found[0].share) == pytest.approx(1)
    assert found[0].share == sorted(found[0].share, reverse=True)
    ends = 8 * torch.eye(SIZE)[:3]
    assert sorted(found[0].pictures.argmax(1).tolist()) == [0, 1, 2]
    torch.testing.assert_close(found[0].pictures, ends[found[0].pictures.argmax(1)], atol=1e-2, rtol=0)
    where = s.images[0].argmax(1).unique(return_counts=True)[1] / 40
    assert sorted(found[0].share) == pytest.approx(sorted(where.tolist()))
    assert "3" in repr(found).splitlines()[2]


def test_heat_makes_chains_move() -> None:
    """Hot by 100 the barrier is below T, and every pulse is a new throw.

    With 12 chains and 4 pulses between looks, that no chain moves has a probability of some (1/3)^48.
    """
    s = sampler()
    pulse = ldam.HeatPulse(100, rise=10, hold=60, cool=130)
    found = ldam.explore(s, looks=5, every=200, pulse=pulse)
    assert found[0].modes == 3
    assert found[0].moves > 0


class Wells(nn.Module):
    """f(x) = −4 Π (x − m)² over the maxima m, of an image of one pixel."""

    def __init__(self, *maxima: float) -> None:
        super().__init__()
        self.maxima = maxima

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return -4 * torch.stack([(x - m) ** 2 for m in self.maxima]).prod(0)


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1)])
@pytest.mark.parametrize(
    ("maxima", "pixel_range"),
    [((1.0, 3.0), None), ((1.0, 3.0), (0.0, 4.0)), ((-1.0, 1.0), None), ((0.0,), None), ((2.0,), (0.0, 4.0))],
)
def test_one_pixel_has_modes_too(
    shape: tuple[int, ...], maxima: tuple[float, ...], pixel_range: tuple[float, float] | None
) -> None:
    """At T = .3 the barrier between two is 4 = 13 T. That 40 chains, which choose one of two at random, all choose the
    same has a probability of 2e-12."""
    s = ldam.Sampler(
        nn.Sequential(Wells(*maxima)), layer="0", input_shape=shape, pixel_range=pixel_range, chains=40,
        kernel=ldam.kernels.BAOAB(0.02, 1.0), scale="none", temperature=0.3, seed=run_seed(),
    )  # fmt: skip
    s.step(100)
    assert torch.isin(s.quenched().round(decimals=2), torch.tensor(maxima)).all()
    (found,) = ldam.explore(s, looks=3, every=30)
    assert found.modes == len(maxima)
    assert sorted(found.pictures.flatten().tolist()) == pytest.approx(sorted(maxima), abs=0.01)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_a_picture_of_one_colour_is_quenched_too(bounds: tuple[float, float] | None) -> None:
    """E = −‖x − m‖²/2 ends in m from everywhere. Single precision resolves the maximum to √ε."""
    m = torch.linspace(0.1, 0.9, SIZE)

    class Neuron:
        def evaluate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return -0.5 * (x - m).square().sum(1), m - x

    target = Target({NEURON: Neuron()}, {NEURON: 1.0}, 1.0, Pixels(bounds))
    for level in (0.0, 0.1, 0.5):  # the mean of many 0.1 is not 0.1: their deviation is not exactly 0
        torch.testing.assert_close(quench(torch.full((2, SIZE), level), target, 60), m.expand(2, -1), atol=2e-3, rtol=0)


def test_blank_pictures_are_one_mode() -> None:
    a = np.eye(5)[0]
    assert modes([0 * a, a, 0 * a, 1e-9 * a, 2 * a]).tolist() == [0, 1, 0, 0, 1]
    assert modes(np.zeros((3, 5))).tolist() == [0, 0, 0]
    assert modes([[1.0], [1.05], [3.0], [0.99]], spread=1.0).tolist() == [0, 0, 1, 0]


def test_bad_arguments() -> None:
    s = sampler()
    with pytest.raises(ValueError, match=r"alike must be a cosine in \(0, 1\); got 1"):
        ldam.explore(s, alike=1)
    with pytest.raises(ValueError, match="pulse takes 500 steps, more than the 100 between looks"):
        ldam.explore(s, every=100, pulse=ldam.HeatPulse())
    with pytest.raises(ValueError, match="looks must be an integer ≥ 1; got 0"):
        ldam.explore(s, looks=0)
    assert s.steps == 0


def test_the_warm_up_is_not_looked_at() -> None:
    s = sampler(scale="frozen", warm_up=45)
    ldam.explore(s, looks=2, every=30)
    assert s.steps == 50 + 2 * 30  # what is left of the warm-up, in tens
    ldam.explore(s, looks=2, every=30)
    assert s.steps == 50 + 4 * 30
