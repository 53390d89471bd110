"""Rungs that place themselves: equal swap rates where they are known, and what else a sampler does with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC
from ldam_widget.sampling.placement import Placement

from .conftest import UNSCALED, run_seed
from .law.harness import DoubleWell
from .test_selection import network

# ---- from exact draws ------------------------------------------------------------------------------------------------

CHAINS, LENGTH = 400, 160
Draws = Callable[[Tensor, torch.Generator], Tensor]  # coldness (chain, rungs) -> energies over T, like it


def gaussian(spread: float) -> Draws:
    """Energies of a linear neuron under the natural prior: one variance on all rungs, and a mean that falls with it."""

    def drawn(coldness: Tensor, own: torch.Generator) -> Tensor:
        return spread**2 * coldness + spread * torch.randn(coldness.shape, generator=own, dtype=torch.float64)

    return drawn


def chi2(dimensions: int) -> Draws:
    """Energies of a quadratic in pixels, −T factor χ²/2."""

    def drawn(coldness: Tensor, own: torch.Generator) -> Tensor:
        numpy_s = np.random.default_rng(int(torch.randint(2**31, (), generator=own)))
        return -torch.from_numpy(numpy_s.chisquare(dimensions, tuple(coldness.shape))) / 2 / coldness

    return drawn


def placed(draws: Draws, ladder: ldam.Ladder, length: int = LENGTH) -> Tensor:
    """Factors (rungs,) after a warm-up in which every rung is at its law at every step."""
    own = torch.Generator().manual_seed(run_seed())
    assert ladder.swap_rate is not None
    coldness = torch.tensor([ladder.factors], dtype=torch.float64).reciprocal()
    placement = Placement.begun(coldness, ladder.swap_rate, 1 / ladder.factors[-1], length)
    for _ in range(length):
        here = placement.coldness.expand(CHAINS, -1)
        energy = draws(here, own)
        placement = placement.after((here[:, :-1] - here[:, 1:]) * (energy[:, 1:] - energy[:, :-1]))
    assert placement.count == length
    return placement.factors[0]


def rates(draws: Draws, factors: Tensor, count: int = 200_000) -> Tensor:
    """Swap rates (rungs − 1,) at these factors, from independent draws."""
    here = factors.reciprocal().expand(count, -1)
    energy = draws(here, torch.Generator().manual_seed(run_seed() + 1))
    gain = (here[:, :-1] - here[:, 1:]) * (energy[:, 1:] - energy[:, :-1])
    return gain.clamp_max(0).exp().mean(0)


# A rate is the mean of 400 independent numbers in [0, 1] in each of the last 53 steps; they vary by at most .45, which
# is .0031 for the mean. A gap has the error of its own rate, and of the rounding of the interpolation from the round
# before, which was half as long: at most √(1 + 2) of it, .0053. The rates are then measured to .001. ±.03 is 5.5 of
# these: false alarm 4e-8 for each rate.
CLOSE = 0.03


@pytest.mark.statistical
@pytest.mark.parametrize("top", [20.0, math.inf])
def test_gaussian_energies_have_equally_spaced_rungs(top: float) -> None:
    """With one variance σ² on all rungs neighbours swap at erfc(σ Δ/2), Δ of 1/factor: equal rates are equal Δ.

    σ = 6 and eight rungs reach the top at more than 0.35 (Kofke 2002; Rathore, Chopra & de Pablo 2005)."""
    factors = placed(gaussian(6.0), ldam.Ladder.auto(8, top))
    step = (1 - 1 / top) / 7
    expected = [1 / (1 - step * rung) if rung < 7 else top for rung in range(8)]
    print(f"seed {run_seed()}: {factors.tolist()}, expected {expected}")
    assert factors[-1] == top
    found = [math.erfc(6 * (a - b) / 2) for a, b in itertools.pairwise(factors.reciprocal().tolist())]
    assert found == pytest.approx([math.erfc(6 * step / 2)] * 7, abs=CLOSE)
    assert factors[:-1].reciprocal().tolist() == pytest.approx([1 / each for each in expected[:-1]], abs=0.02)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("draws", "rungs", "rate"),
    [(gaussian(40.0), 6, 0.35), (gaussian(40.0), 12, 0.2), (chi2(200), 8, 0.35), (chi2(20), 8, 0.6)],
    ids=["Gaussian", "Gaussian, seldom", "χ²(200)", "χ²(20)"],
)
def test_rungs_that_cannot_reach_the_top_swap_at_the_rate_asked_for(draws: Draws, rungs: int, rate: float) -> None:
    """False alarm: 4e-8 a rate."""
    factors = placed(draws, ldam.Ladder.auto(rungs, 100, swap_rate=rate))
    found = rates(draws, factors)
    print(f"seed {run_seed()}: {factors.tolist()}, {found.tolist()}")
    assert factors[-1] < 50
    assert found.tolist() == pytest.approx([rate] * (rungs - 1), abs=CLOSE)


@pytest.mark.statistical
def test_a_quadratic_in_pixels_has_a_geometric_ladder() -> None:
    """χ² energies have no scale of their own: neighbours with equal rates have one ratio. Its logarithm has the
    relative error of a distance, 2.5 × .0053 of .55 at 0.35: ±.13 of 1.4 is 5.5 of them. False alarm: 4e-8 a ratio."""
    factors = placed(chi2(200), ldam.Ladder.auto(8, 100))
    ratios = (factors[1:] / factors[:-1]).log()
    assert ratios.tolist() == pytest.approx([float(ratios.mean())] * 7, rel=0.13)


@pytest.mark.statistical
@pytest.mark.parametrize("mistake", ["rungs stay", "half the gain", "one round"])
def test_planted_mistakes_in_the_placement_are_caught(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mistake == "rungs stay":
        monkeypatch.setattr(Placement, "_placed", lambda self, rate, gap: self.coldness)
    elif mistake == "half the gain":
        after = Placement.after
        monkeypatch.setattr(Placement, "after", lambda self, gain, free=None: after(self, gain / 2, free))
    else:
        monkeypatch.setattr("ldam_widget.sampling.placement._ROUNDS", 1)
    factors = placed(chi2(200), ldam.Ladder.auto(8, 100))
    found = rates(chi2(200), factors)
    with pytest.raises(AssertionError):
        assert found.tolist() == pytest.approx([0.35] * 7, abs=CLOSE)


def test_uninformative_energies_leave_the_rungs_spread_out() -> None:
    for energy in (0.0, math.nan):
        factors = placed(lambda here, _, e=energy: torch.full_like(here, e), ldam.Ladder.auto(4, 10), 20)  # type: ignore[misc]
        assert bool(factors.isfinite().all())
        assert bool((factors[1:] > factors[:-1]).all())


# ---- in a sampler ----------------------------------------------------------------------------------------------------

AUTO: dict[str, Any] = {"kernel": GHMC(), "scale": "none", "warm_up": 60, "ladder": ldam.Ladder.auto(4, 50.0, every=2)}


def made(neurons: list[int], **more: Any) -> ldam.Sampler:
    arguments: dict[str, Any] = {"pixel_range": (0, 1), "chains": 2, "execution": "plain", "temperature": 0.02} | AUTO
    return ldam.Sampler(network(), input_shape=(1, 5, 5), neurons=neurons, seed=3, **(arguments | more))


def factors_of(s: ldam.Sampler) -> list[list[float]]:
    found = s.diagnostics().ladder
    assert found is not None
    return found.factors


def test_rungs_are_placed_in_the_warm_up_and_stay() -> None:
    s = made([1, 2])
    guess = factors_of(s)
    assert guess == [list(ldam.Ladder.auto(4, 50.0).factors)] * 2
    s.step(59)
    assert s.warming_up
    s.step(1)
    placed = factors_of(s)
    assert placed != guess
    assert placed[0] != placed[1]  # each neuron has its own
    assert s.diagnostics()["ladder"]["rounds"] == 30
    assert all(math.isnan(rate) for rate in s.diagnostics()["ladder"]["swap_acceptance"])  # counted from here on
    s.step(200)
    assert factors_of(s) == placed
    found = s.diagnostics()
    assert found.ladder is not None
    temperature = s.target.temperature
    assert isinstance(temperature, Tensor)
    expected = torch.tensor(placed, dtype=torch.float64).repeat_interleave(2, 0).flatten() * 0.02
    torch.testing.assert_close(temperature, expected)
    assert min(min(rates) for rates in found.ladder.swap_acceptance_each) > 0.1
    assert "swaps" in repr(found)
    assert f"up to {placed[0][-1]:.3g} T" in repr(found)


def test_a_restart_repeats_the_run() -> None:
    s = made([1, 2])
    first, rungs = s.step(150).images, factors_of(s)
    s.restart()
    assert factors_of(s) != rungs
    assert torch.equal(s.step(150).images, first)
    assert factors_of(s) == rungs
    assert torch.equal(made([1, 2]).step(150).images, first)


def test_a_neuron_s_rungs_do_not_depend_on_the_other_neurons() -> None:
    alone, both = made([1]), made([1, 2])
    alone.step(80), both.step(80)
    assert factors_of(alone)[0] == pytest.approx(factors_of(both)[0], rel=1e-4)


def test_neurons_that_stay_keep_their_rungs_and_others_get_their_own() -> None:
    s = made([1, 2])
    s.step(100)
    one, two = factors_of(s)
    s.select(neurons=[2, 5, 1])
    s.step(30)
    assert s.warming_up
    during = factors_of(s)
    assert during[0] == pytest.approx(two, rel=1e-12)
    assert during[2] == pytest.approx(one, rel=1e-12)
    s.step(100)
    assert not s.warming_up
    after = factors_of(s)
    assert after[0] == pytest.approx(two, rel=1e-12)
    assert after[2] == pytest.approx(one, rel=1e-12)
    assert after[1] != pytest.approx(list(ldam.Ladder.auto(4, 50.0).factors), rel=1e-3)
    assert not any(math.isnan(rate) for rates in s.diagnostics()["ladder"]["swap_acceptance_each"] for rate in rates)


def test_rungs_are_placed_for_the_temperature_of_a_goal() -> None:
    """A goal sets T of the coldest rung; the others keep their factors. They are placed again for another goal."""
    s = made([1, 2], goal=0.6, warm_up=200)
    s.step(220)
    placed, temperature = factors_of(s), s.target.temperature
    assert isinstance(temperature, Tensor)
    cold = temperature.view(2, 2, 4)[..., :1]
    torch.testing.assert_close(temperature.view(2, 2, 4) / cold, torch.tensor(placed).double()[:, None].expand(2, 2, 4))
    assert cold[:, 0, 0].tolist() == pytest.approx(s.temperatures)
    s.set(goal=0.3)
    s.step(1)
    assert s.warming_up
    s.step(220)
    assert factors_of(s) != placed


def test_a_comparison_has_rungs_of_its_own_for_each_model() -> None:
    models = {"a": network(), "b": network()}
    for parameter in models["b"].parameters():
        parameter.data.mul_(3.0)
    c = ldam.Comparison(models, input_shape=(1, 5, 5), neurons=[1], pixel_range=(0, 1), temperature=0.02, **AUTO)
    c.step(80)
    a, b = (factors_of(each) for each in c.samplers)
    assert a != b


def test_exploring_finds_more_modes_on_the_ladder() -> None:
    """Two wells eleven standard deviations apart, which plain chains do not leave."""
    well = DoubleWell(11.0, share=0.6, dimensions=16)
    settings: dict[str, Any] = {
        "input_shape": (16,), "kernel": GHMC(0.7, 0.5), "regularizers": [ldam.L2(well.curvature)], "seed": run_seed(),
        "chains": 1, **UNSCALED,
    }  # fmt: skip
    plain = ldam.explore(ldam.Sampler(well.model, **settings), looks=10, every=100)
    assert plain[0].modes == 1
    ladder = ldam.Ladder.auto(8, 20, every=2)
    found = ldam.explore(ldam.Sampler(well.model, ladder=ladder, warm_up=300, **settings), looks=30, every=100)
    assert found[0].modes == 2
    assert found[0].moves > 0


def test_heat_in_the_warm_up_is_reported() -> None:
    s = made([1])
    s.set(heat=3.0)
    with pytest.warns(ldam.LDAMWarning, match="rungs were placed in only 0 of the 60 steps"):
        s.step(70)
    assert factors_of(s)[0] == pytest.approx(list(ldam.Ladder.auto(4, 50.0).factors))


@pytest.mark.parametrize("prior", [None, "natural"])
@pytest.mark.parametrize("ladder", [ldam.Ladder((1, 2, 4)), ldam.Ladder.auto(3, 50)], ids=["given", "auto"])
@pytest.mark.parametrize("kernel", [BAOAB(), GHMC()], ids=["BAOAB", "GHMC"])
def test_at_no_temperature_all_rungs_climb_and_none_swaps(prior: Any, ladder: ldam.Ladder, kernel: Any) -> None:
    """T = 0 leaves no law: E rises, nothing becomes NaN, and the ladder goes on when T is raised again."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 2)).eval()
    s = ldam.Sampler(
        model, input_shape=(3, 16, 16), pixel_range=(0, 1), prior=prior, ladder=ladder, kernel=kernel, chains=1,
        temperature=0.0, warm_up=20, seed=1,
    )  # fmt: skip
    before = s.activation
    s.step(40)
    assert bool((s.activation >= before).all())
    assert all(math.isnan(rate) for rate in s.diagnostics()["ladder"]["swap_acceptance"])
    s.set(temperature=0.1)
    s.step(40)
    assert not any(math.isnan(rate) for rate in s.diagnostics()["ladder"]["swap_acceptance"])


@pytest.mark.parametrize(("kernel", "shared"), [(BAOAB(step_size=None), True), (GHMC(), False)], ids=["BAOAB", "GHMC"])
def test_chains_share_the_step_sizes_of_rungs_where_these_change_the_law(kernel: Any, shared: bool) -> None:
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3 * 256, 20), torch.nn.ReLU(), torch.nn.Linear(20, 2)
    )
    s = ldam.Sampler(
        model.eval(), input_shape=(3, 16, 16), pixel_range=(0, 1), kernel=kernel, prior="natural", chains=3, seed=1,
        ladder=ldam.Ladder.auto(3, 20), warm_up=60, neurons=[0],
    )  # fmt: skip
    s.step(59)
    during = kernel.step_size_of(s.state).view(3, 3)
    s.step(1)
    after = kernel.step_size_of(s.state).view(3, 3)
    assert len(set(during[:, 0].tolist())) == 3
    assert (len(set(after[:, 0].tolist())) == 1) == shared
    assert len(set(after[0].tolist())) == 3  # each rung has its own
    if shared:
        assert float(after[0, 0]) == pytest.approx(float(during[:, 0].log().mean().exp()), rel=0.1)
    s.select(neurons=[0, 1])
    s.step(70)
    torch.testing.assert_close(kernel.step_size_of(s.state).view(2, 3, 3)[0], after)
    s.step(1)


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"rungs": 1}, {"rungs": 2.5}, {"rungs": True}, {"rungs": "many"}, {"top": 1}, {"top": math.nan}, {"top": "hot"},
     {"swap_rate": 0.0}, {"swap_rate": 0.95}, {"swap_rate": None}, {"every": 0}],
    ids=str,
)  # fmt: skip
def test_ladders_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match="ladder"):
        ldam.Ladder.auto(**arguments)


@pytest.mark.parametrize("ladder", [ldam.Ladder((1, 2, math.inf)), ldam.Ladder.auto(4, math.inf)], ids=str)
def test_pixels_have_no_rung_at_an_infinite_temperature(ladder: ldam.Ladder) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 2)).eval()
    arguments: dict[str, Any] = {"input_shape": (3, 16, 16), "pixel_range": (0, 1), "ladder": ladder, "warm_up": 20}
    with pytest.raises(ValueError, match="natural prior"):
        ldam.Sampler(model, prior=None, **arguments)
    s = ldam.Sampler(model, prior="natural", **arguments)
    s.step(30)
    with pytest.raises(ValueError, match="natural prior"):
        s.use_prior(None)
    s.step(5)
    assert s.prior is not None
