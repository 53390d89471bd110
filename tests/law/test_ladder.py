"""A ladder with the natural prior heats the neuron and leaves the prior alone: every rung has its own closed form.

Through the sampler. A linear neuron gives Gaussians, p(z) = N(τ²/(T factor) Mᵀw, τ²I), in pictures as in `natural.py`.
A double well has its law by quadrature along the one direction that the neuron sees, and is Gaussian across it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.exact import TwoTemplates
from ldam_widget.core.target import Evaluation, State, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, LeimkuhlerMatthews
from ldam_widget.sampling import ladder as swapping
from ldam_widget.sampling.settings import Settings

from ..conftest import run_seed
from .harness import Departure, normal_score, within_bounds
from .natural import Prior, filter_for, whole

pytestmark = [
    pytest.mark.statistical,
    pytest.mark.filterwarnings("ignore:without a pixel_range"),
]

TAU = 0.4
COLD = 0.6  # T of the coldest rung
PRIOR_TOO = (1.0, 1.4, 2.5, math.inf)
KERNELS: list[tuple[Any, int]] = [  # and the steps that they take to forget the start
    (BAOAB(0.7, 1.0), 80), (GHMC(0.4, 1.0), 100), (MALA(0.1), 250), (LeimkuhlerMatthews(0.9), 60),
]  # fmt: skip
GIVEN = ldam.Ladder(PRIOR_TOO, every=2)


def sampler(model: nn.Module, prior: Prior, ladder: ldam.Ladder, **settings: Any) -> ldam.Sampler:
    s = ldam.Sampler(
        nn.Sequential(nn.Flatten(), model).eval(), neurons=[0], input_shape=prior.shape, prior=prior.natural,
        preprocess=lambda x: x, seed=run_seed(), temperature=COLD, scale="none", ladder=ladder, **settings,
    )  # fmt: skip
    s.set(prior_scale=TAU)
    return s


def factors_of(s: ldam.Sampler) -> list[float]:
    found = s.diagnostics().ladder
    assert found is not None
    return found.factors[0]


def whitened(s: ldam.Sampler, prior: Prior) -> Tensor:
    """Pictures (rung, chain, D), in coordinates in which the prior is standard normal."""
    root = np.linalg.cholesky(TAU**2 * prior.covariance)
    centred = s.coordinates.picture(s.state.x).flatten(1).double().numpy() - prior.mean
    white = torch.from_numpy(np.linalg.solve(root, centred.T).T.copy())
    return white.view(-1, len(factors_of(s)), len(root)).transpose(0, 1)


# ---- a linear neuron -------------------------------------------------------------------------------------------------


def linear(prior: Prior, pull: float) -> tuple[nn.Module, Tensor]:
    """A linear neuron, and where it takes the coldest rung, (D,), `pull` standard deviations off, whitened."""
    weight = filter_for(prior.covariance, prior.shape, TAU).flatten().double()
    root = torch.from_numpy(np.linalg.cholesky(TAU**2 * prior.covariance))
    weight = weight * pull * COLD / (root.T @ weight).norm()
    model = nn.Linear(len(weight), 1, bias=False)
    model.weight.data[:] = weight.float()
    return model, root.T @ weight / COLD


def require_tilted(s: ldam.Sampler, prior: Prior, shift: Tensor) -> None:
    """The law of every rung: false alarm 8e-8 each."""
    for factor, white in zip(factors_of(s), whitened(s, prior), strict=True):
        Departure.of(white, shift / factor, 1.0).require_small()


@pytest.mark.parametrize(("kernel", "steps"), KERNELS, ids=lambda value: getattr(value, "name", ""))
def test_every_rung_is_tilted_by_its_share_of_the_neuron_and_the_last_is_the_prior(kernel: Any, steps: int) -> None:
    """False alarm: 8e-8 for each of four rungs."""
    prior = whole()
    model, shift = linear(prior, 3.0)
    s = sampler(model, prior, GIVEN, kernel=kernel, chains=200)
    s.step(steps)
    assert factors_of(s) == list(PRIOR_TOO)
    assert min(s.diagnostics()["ladder"]["swap_acceptance"]) > 0.2
    require_tilted(s, prior, shift)


def rate(distance: float) -> float:
    """Swap rate of neighbours with Gaussian energies of one variance: a, with d = √variance · Δ(1/T)."""
    return math.erfc(distance / 2)


@pytest.mark.parametrize("pull", [5.0, 20.0], ids=["reaches the prior", "cannot reach it"])
def test_automatic_rungs_swap_at_equal_rates_and_have_their_laws(pull: float) -> None:
    """E has the standard deviation pull · T on all rungs, so that distances are pull · Δ(1/factor).

    Rates at the factors that were found, in closed form, are those of equal distances up to the prior, if six rungs
    reach it at 0.35 or more, else 0.35. Their standard deviation is .005, measured with 24 seeds (an upper bound is
    .013, for 200 chains over 66 steps of which every eleventh counts, and numbers in [0, 1] that vary by .45): ±.03 is
    six of them, 2e-9 for each of five. False alarm of the laws: 8e-8 for each of six rungs.
    """
    prior = whole()
    model, shift = linear(prior, pull)
    ladder = ldam.Ladder.auto(6, math.inf, every=2)
    s = sampler(model, prior, ladder, kernel=BAOAB(0.7, 1.0), chains=200, warm_up=200)
    s.step(200)
    factors = factors_of(s)
    coldness = [1 / factor for factor in factors]
    rates = [rate(pull * (a - b)) for a, b in itertools.pairwise(coldness)]
    print(f"seed {run_seed()}: {factors}, {rates}")
    wanted = max(0.35, rate(pull / 5))
    assert all(abs(each - wanted) < 0.03 for each in rates), rates
    assert (factors[-1] == math.inf) == (pull == 5)
    s.step(80)
    assert factors_of(s) == factors
    require_tilted(s, prior, shift)


# ---- a double well ---------------------------------------------------------------------------------------------------


class Well:
    """f = T logsumexp of ±w·x with a bias, whose wells are ±g off, in standard deviations of the prior, at T."""

    def __init__(self, prior: Prior, g: float, share: float) -> None:
        _, shift = linear(prior, g)
        self.prior, self.g, self.bias = prior, g, math.log(share / (1 - share))
        self.axis = shift / shift.norm()
        root = torch.from_numpy(np.linalg.cholesky(TAU**2 * prior.covariance))
        weight = torch.linalg.solve(root.T, self.axis * g) * COLD  # w·x/T = g s, s along the axis
        middle = float(weight @ torch.from_numpy(prior.mean))
        biases = torch.tensor([middle - self.bias * COLD / 2, -middle + self.bias * COLD / 2])
        self.model = TwoTemplates(torch.stack([-weight, weight]).float(), biases.float(), COLD)

    def scores(self, white: Tensor, factor: float) -> dict[str, float]:
        """How far states (chain, D) are from the law of a rung, in known standard errors; 4e-8 to exceed 5.5 each."""
        grid = torch.linspace(-self.g - 12, self.g + 12, 100_001, dtype=torch.float64)
        ends = self.g * grid + self.bias / 2
        log = -grid.square() / 2 + (ends.abs() + torch.log1p(torch.exp(-2 * ends.abs()))) / factor
        density = torch.softmax(log, 0)
        mean, share = float(density @ grid), float(density[grid > 0].sum())
        spread = (grid - mean).square()
        variance = float(density @ spread)
        chains, s = len(white), white @ self.axis
        rest = white - s[:, None] * self.axis
        free = white.shape[1] - 1
        return {
            "share": (float((s > 0).double().mean()) - share) / math.sqrt(share * (1 - share) / chains),
            "mean": (float(s.mean()) - mean) / math.sqrt(variance / chains),
            "variance": (float((s - mean).square().mean()) - variance)
            / math.sqrt(float(density @ (spread - variance).square()) / chains),
            "mean across": normal_score(float(rest.mean(0).square().sum()) * chains, free),
            "variance across": normal_score(float(rest.square().sum()), free * chains),
        }


@pytest.mark.parametrize("kernel", [GHMC(0.4, 1.0), MALA(0.1)], ids=lambda kernel: kernel.name)
def test_a_ladder_that_places_its_rungs_crosses_a_double_well(kernel: Any) -> None:
    """Wells eleven standard deviations apart. Without a ladder chains stay where they fell, at even shares, 17 standard
    errors off. With one, every rung has its law by quadrature: false alarm 2e-7 for each of eight rungs."""
    prior = whole()
    well = Well(prior, 5.5, 0.85)
    plain = sampler(well.model, prior, ldam.Ladder((1.0, 1.0001)), kernel=kernel, chains=250)
    plain.step(300)
    with pytest.raises(AssertionError):
        within_bounds(well.scores(whitened(plain, prior)[0], 1.0))

    s = sampler(well.model, prior, ldam.Ladder.auto(8, math.inf, every=2), kernel=kernel, chains=250, warm_up=400)
    s.step(1000)
    found = s.diagnostics().ladder
    assert found is not None
    print(f"seed {run_seed()}: {found.factors[0]}, {found.swap_acceptance}, {min(found.round_trips)} round trips")
    for factor, white in zip(found.factors[0], whitened(s, prior), strict=True):
        within_bounds(well.scores(white, factor))
    assert found.factors[0][-1] == math.inf
    assert max(found.swap_acceptance) - min(found.swap_acceptance) < 0.1
    assert min(found.arrivals) > 5


# ---- planted mistakes ------------------------------------------------------------------------------------------------

drift, temperatures = Target.drift, Settings.temperatures


def prior_heated_in_steps(self: Target, evaluation: Evaluation, z: Tensor) -> Tensor:
    factor = torch.as_tensor(self.temperature, dtype=z.dtype).view(-1, 1, 1, 1) / COLD
    return drift(self, evaluation, z) + z - z / factor


def prior_heated_in_swaps(state: State, target: Target, rungs: int) -> Tensor:
    base = state.x.flatten(1).double().square().sum(1) / (2 * TAU**2)
    energy = (target.terms_energy(state.evaluation) - COLD * base).view(-1, rungs)
    beta = 1 / torch.as_tensor(target.temperature).view(-1, rungs)
    return (beta[:, :-1] - beta[:, 1:]) * (energy[:, 1:] - energy[:, :-1])


def velocities_heated(self: Target) -> Tensor:
    return TAU**2 * torch.as_tensor(self.temperature) / COLD


def all_cold(self: Settings, neurons: int, heat: float = 1.0, *, of_rungs: bool = True) -> Any:
    return torch.full_like(torch.as_tensor(temperatures(self, neurons, heat)), COLD)


def none_refused(state: State, target: Target, rungs: int) -> Tensor:
    return torch.zeros(len(state.x) // rungs, rungs - 1, dtype=torch.float64)


PLANTED: dict[str, tuple[Any, str, Any]] = {
    "the prior is heated in steps": (Target, "drift", prior_heated_in_steps),
    "the prior is heated in swaps": (swapping, "gains", prior_heated_in_swaps),
    "velocities are heated": (Target, "kinetic_temperature", property(velocities_heated)),
    "rungs are not heated": (Settings, "temperatures", all_cold),
    "no swap is refused": (swapping, "gains", none_refused),
}
FINITE = (1.0, 1.4, 2.5, 10.0)  # at an infinite factor some of these mistakes would end in NaN


@pytest.mark.parametrize("mistake", [None, *PLANTED])
def test_a_planted_mistake_is_caught(mistake: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = whole()
    model, shift = linear(prior, 3.0)
    if mistake is not None:
        monkeypatch.setattr(*PLANTED[mistake])
    s = sampler(model, prior, ldam.Ladder(FINITE, every=1), kernel=BAOAB(0.7, 1.0), chains=200)
    s.step(80)
    if mistake is None:
        require_tilted(s, prior, shift)
        return
    with pytest.raises(AssertionError):
        require_tilted(s, prior, shift)
