"""A neuron with two templates: the exact kernels leave its law unmoved, and find it from one of its modes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from torch import Tensor

from ldam_widget.core.exact import LinearNeuron, TwoTemplates, truncated_normal
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, LeimkuhlerMatthews

from ..conftest import SIGMAS, run_seed
from .harness import DoubleWell, direction, last_states, numbers, within_bounds

pytestmark = pytest.mark.statistical

WELL = DoubleWell(3.0)
# rough steps, so that a wrong acceptance would matter
EXACT: dict[str, Any] = {"MALA": MALA(0.5), "GHMC": GHMC(1.0, 0.5), "GHMC, much friction": GHMC(0.9, 3.0)}
exact = pytest.mark.parametrize("kernel", EXACT.values(), ids=EXACT.keys())


def generator(offset: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(run_seed() + offset)


def from_its_law(kernel: Any, target: Any, x: Tensor, steps: int) -> tuple[Tensor, float]:
    """States after some steps from x and velocities of temperature T, and the share of proposals accepted.

    The velocities belong to the law: from velocities of zero, as `init` gives, even an exact kernel moves x a little.
    """
    noise = numbers(len(x), x.shape[1], run_seed())
    state = kernel.init(x, target)
    if isinstance(kernel, GHMC):
        velocity = torch.randn(x.shape, generator=generator(1)) * target.temperature**0.5
        state = state._replace(memory=(velocity, *state.memory[1:]))
    share = 0.0
    for _ in range(steps):
        state, info = kernel.step(state, target, noise)
        share += float(info.acceptance.mean()) / steps if info.acceptance is not None else 1 / steps
    return state.x, share


# ---- the closed forms themselves -------------------------------------------------------------------------------------


def test_two_templates_are_the_mixture_that_is_claimed() -> None:
    """log p − (f − ½λ‖x‖²)/T is one constant for all x, with p from the means, variance and shares; for three
    templates, too. In float64, so that only algebra is tested."""
    for count, temperature, l2 in ((2, 1.0, 0.5), (3, 0.4, 1.7)):
        random = torch.randn(count, 5, generator=generator(), dtype=torch.float64)
        model = TwoTemplates(random, random[:, 0], temperature)
        x = 3 * torch.randn(50, 5, generator=generator(1), dtype=torch.float64)
        energy = (model(x)[:, 0] - l2 * x.square().sum(1) / 2).detach() / temperature
        squares = (x[:, None] - model.means(l2)).square().sum(2)
        log_p = torch.logsumexp(model.probabilities(l2).log() - squares / (2 * model.variance(l2)), 1)
        constant = log_p - energy
        torch.testing.assert_close(constant, constant.mean().expand(50), rtol=1e-10, atol=1e-10)
        assert float(model.probabilities(l2).sum()) == pytest.approx(1)


def test_exact_draws_and_the_quadrature_have_the_same_moments() -> None:
    """The quadrature of the harness at the neuron's own temperature, against Σ π_k N(w_k/λ, T/λ) in numbers; then
    draws against both. False alarm: 2e-7."""
    ends = WELL.model.means(0.5).double() @ WELL.axis
    shares = WELL.model.probabilities(0.5)
    mean, variance, _, share = WELL.moments()
    assert mean == pytest.approx(float(shares @ ends), abs=1e-5)
    assert variance == pytest.approx(float(shares @ (ends - mean).square()) + 2.0, abs=1e-5)
    # 3 standard deviations apart: Φ(−1.5) = .0668 of each lies on the other side
    assert share == pytest.approx(float(shares[1]) * 0.9331928 + float(shares[0]) * 0.0668072, abs=1e-4)
    assert float(shares[1]) == pytest.approx(0.6, abs=1e-5)
    within_bounds(WELL.scores(WELL.model.sample(20_000, 0.5, generator())))


def test_linear_neuron_draws() -> None:
    """False alarm: 8e-8."""
    model = LinearNeuron(direction(2, 40))
    x = (model.sample(2000, 0.5, generator(), 3.0).double() - model.mean(0.5)) / model.variance(0.5, 3.0) ** 0.5
    assert abs(float(x.mean())) < SIGMAS / x.numel() ** 0.5
    assert abs(float(x.square().mean()) - 1) < SIGMAS * (2 / x.numel()) ** 0.5
    np.testing.assert_allclose(model(x.float()).detach()[:, 0], x.float() @ direction(2, 40), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "sigma", "low", "high"),
    [(0.3, 0.5, 0, 1), (3, 0.5, 0, 1), (-3, 0.4, 0, 1), (5, 0.4, -1, 1), (0.5, 50, 0, 1), (0.5, 0.01, 0, 1)],
)
def test_truncated_normal_agrees_with_scipy(mean: float, sigma: float, low: float, high: float) -> None:
    known = truncnorm((low - mean) / sigma, (high - mean) / sigma, mean, sigma)
    found, variance = truncated_normal(torch.tensor([mean], dtype=torch.float64), sigma**2, low, high)
    assert float(found) == pytest.approx(known.mean(), rel=1e-9)
    assert float(variance) == pytest.approx(known.var(), rel=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TwoTemplates(torch.zeros(2, 3), torch.zeros(3)),
        lambda: TwoTemplates(torch.zeros(3)),
        lambda: TwoTemplates(torch.zeros(2, 3), temperature=0.0),
        lambda: LinearNeuron(torch.zeros(2, 3)),
        lambda: truncated_normal(torch.zeros(2), 0.0, 0, 1),
        lambda: truncated_normal(torch.zeros(2), 1.0, 1, 0),
    ],
)
def test_what_has_no_law_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        wrong()


# ---- the kernels -----------------------------------------------------------------------------------------------------


@exact
@pytest.mark.parametrize("steps", [1, 10])
def test_the_law_stays_where_it_is(kernel: Any, steps: int) -> None:
    """4,000 exact draws, then some steps: still exact draws. False alarm: 2e-7 each.

    Not for ULA and BAOAB, whose own law is off by the error of a finite step, nor for Leimkuhler–Matthews, whose noise
    remembers a step: draws without that memory are not its law.
    """
    x, share = from_its_law(kernel, WELL.target(), WELL.model.sample(4000, 0.5, generator()), steps)
    print(f"seed {run_seed()}: accepted {share:.2f}")
    assert 0.3 < share < 0.95  # or there was nothing to test
    within_bounds(WELL.scores(x))


@pytest.mark.parametrize("kernel", [ULA(0.8), LeimkuhlerMatthews(0.8)], ids=lambda kernel: kernel.name)
def test_the_control_a_kernel_that_is_not_exact_moves_it(kernel: Any) -> None:
    x, _ = from_its_law(
        kernel, WELL.target(), WELL.model.sample(4000, 0.5, generator()), 10 if kernel.name == "ULA" else 1
    )
    with pytest.raises(AssertionError):
        within_bounds(WELL.scores(x))


@exact
def test_both_modes_fill_from_one(kernel: Any) -> None:
    """All chains start in one mode. After 400 steps, in which a chain crosses many times, each mode has its share, as
    the pixels have their means and variances along and across. False alarm: 2e-7."""
    model = WELL.model
    start = model.means(0.5)[0] + 2**0.5 * torch.randn(2000, 16, generator=generator())
    x = last_states(kernel, WELL.target(), numbers(2000, 16, run_seed()), start, 400)
    print(f"seed {run_seed()}: {WELL.scores(x)}")
    within_bounds(WELL.scores(x))


@pytest.mark.parametrize("kernel", [BAOAB(0.25, 1.0), LeimkuhlerMatthews(0.05)], ids=lambda kernel: kernel.name)
def test_with_small_steps_the_others_fill_both_modes_too(kernel: Any) -> None:
    """Wrong by O(h²) at most, which 2,000 chains cannot see at these steps. False alarm: 2e-7."""
    start = WELL.model.means(0.5)[0] + 2**0.5 * torch.randn(2000, 16, generator=generator())
    x = last_states(kernel, WELL.target(), numbers(2000, 16, run_seed()), start, 700)
    print(f"seed {run_seed()}: {WELL.scores(x)}")
    within_bounds(WELL.scores(x))


@exact
def test_the_law_at_other_temperatures(kernel: Any) -> None:
    """Where it is no mixture: the law by quadrature. False alarm: 2e-7 each."""
    for temperature in (0.5, 4.0):
        start = WELL.model.sample(1000, 0.5, generator())
        x = last_states(kernel, WELL.target(temperature), numbers(1000, 16, run_seed()), start, 300)
        within_bounds(WELL.scores(x, temperature))


@pytest.mark.parametrize("kernel", [MALA(0.5), GHMC(1.0, 0.5)], ids=lambda kernel: kernel.name)
def test_every_chain_may_have_a_temperature_of_its_own(kernel: Any) -> None:
    """As on a ladder: T (chain,). False alarm: 2e-7 each."""
    temperature = torch.tensor([0.5, 4.0], dtype=torch.float64).repeat(1000)
    start = WELL.model.sample(2000, 0.5, generator())
    x = last_states(kernel, WELL.target(temperature), numbers(2000, 16, run_seed()), start, 300)
    assert x.dtype == start.dtype
    within_bounds(WELL.scores(x[::2], 0.5))
    within_bounds(WELL.scores(x[1::2], 4.0))


def test_one_mode_at_a_great_distance_stays_locked() -> None:
    """What `test_ladder` cures: with modes 14 standard deviations apart no chain crosses. The middle is 7 of them away,
    1.3e-12; 200 chains try at most 200 times each: false alarm 5e-8."""
    well = DoubleWell(14.0)
    start = well.model.means(0.5)[0] + 2**0.5 * torch.randn(200, 16, generator=generator())
    x = last_states(GHMC(1.0, 0.5), well.target(), numbers(200, 16, run_seed()), start, 200)
    assert not bool((x.double() @ well.axis > well.middle).any())


def test_scales_keep_the_law() -> None:
    """f/s_f + λR/s_R: with all chains of one scale it is the law of f/s_f with λ/s_R, here the same as T → s T."""
    target = replace(WELL.target(), scales={name: torch.full((1500,), 4.0) for name in ("neuron", "l2")})
    x = last_states(
        GHMC(2.0, 0.5), target, numbers(1500, 16, run_seed()), WELL.model.sample(1500, 0.5, generator()), 300
    )
    within_bounds(WELL.scores(x, 4.0))
