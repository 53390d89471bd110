"""`BurnIn` on traces whose law is known: trends, noise, autocorrelated noise, jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ldam_widget import BurnIn
from ldam_widget.sampling.burn_in import BurnInMeter

from .conftest import SIGMAS, run_seed
from .law.harness import binomial_score

pytestmark = pytest.mark.statistical


def watch(rule: BurnIn, traces: np.ndarray, start: float = -100.0) -> tuple[BurnInMeter, np.ndarray]:
    """traces (pictures, chains) -> the meter, and for every chain the picture at which it burned in (0: never)."""
    meter = rule.start(torch.full((1, traces.shape[1]), start))
    when = np.zeros(traces.shape[1], int)
    for picture, values in enumerate(traces, start=1):
        meter.add(torch.from_numpy(values).float()[None], step=10 * picture)
        when[(when == 0) & meter.done[0].numpy()] = picture
    return meter, when


def noise(pictures: int, chains: int, phi: float = 0.0) -> np.ndarray:
    """Stationary AR(1) of unit variance."""
    draws = np.random.default_rng(run_seed()).normal(size=(pictures, chains))
    x = draws.copy()
    for t in range(1, pictures):
        x[t] = phi * x[t - 1] + math.sqrt(1 - phi**2) * draws[t]
    return x


@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e3])
def test_a_trend_never_burns_in_whatever_its_slope(slope: float) -> None:
    _, when = watch(BurnIn(), slope * np.arange(400.0)[:, None])
    assert when.tolist() == [0]


def test_a_trend_in_noise_burns_in_only_once_it_ends() -> None:
    """Up by 15 standard deviations in 300 pictures, then level. While it rises, two windows differ by 2.5 standard
    deviations where .62 are allowed (half of √(1 + 50²/12/400)): nine of the standard errors √(2/50). On the level a
    look refuses white noise with probability .014, and the looks at pictures 400, 500, … 800 have none in common: that
    any of 64 chains is refused by all has 64 · .014⁵ = 3e-8."""
    ramp = np.minimum(np.arange(801.0), 300) / 20
    _, when = watch(BurnIn(), ramp[:, None] + noise(801, 64))
    assert when.min() > 300
    assert when.max() <= 800


def test_white_noise_burns_in_at_once_with_the_probability_of_student() -> None:
    """The rule on its first occasion is |t| ≤ tolerance √(window/2) with 2(window − 1) degrees of freedom: .986 here.
    Of 2,000 chains, by the binomial distribution itself: false alarm 4e-8."""
    window, tolerance, chains = 50, 0.5, 2000
    expected = 1 - 2 * stats.t.sf(tolerance * math.sqrt(window / 2), 2 * (window - 1))
    _, when = watch(BurnIn(window, tolerance=tolerance), noise(100, chains))
    assert abs(binomial_score((when == 100).sum(), chains, expected)) < SIGMAS


@pytest.mark.parametrize("phi", [0.5, 0.9])
def test_autocorrelated_noise_burns_in_soon(phi: float) -> None:
    """The means of two windows differ by about √(2τ/window) standard deviations, τ = 3 and 19: .35 and .87 where .5 are
    allowed, so that it takes some looks. Of 12,000 chains with φ = .9 none was as late as picture 1,050; with a
    probability of at most 3e-4 a chain, five of 200 are late with 6e-9."""
    _, when = watch(BurnIn(), noise(1100, 200, phi))
    assert ((when == 0) | (when > 1050)).sum() < 5


def test_a_jump_is_waited_for() -> None:
    """Level 0, and 10 from picture 60 on: with a share p of the first window before the jump the rule passes once
    p² ≤ .125 p(1 − p), p ≤ 1/9, which is five pictures of fifty."""
    trace = np.where(np.arange(300) < 60, 0.0, 10.0)[:, None] + 1e-3 * noise(300, 1)
    _, when = watch(BurnIn(), trace)
    assert when.tolist() == [60 + 100 - 5]


def test_a_chain_once_burned_in_stays_so() -> None:
    """Here because another chain, on a trend, keeps the meter watching while the first one jumps."""
    traces = np.stack([np.where(np.arange(260) < 200, 0.0, 10.0), np.arange(260.0)], axis=1)
    traces[:, 0] += noise(260, 1)[:, 0]
    meter, when = watch(BurnIn(tolerance=2.0), traces)
    assert when.tolist() == [100, 0]
    assert meter.done.tolist() == [[True, False]]
    assert meter.step is None


def test_the_threshold_must_be_passed() -> None:
    """A tolerance of 1 lets white noise pass unless |t| > 5, 7e-6 a chain at a look; looks at 100 and 200 have no
    picture in common, and neither have those at 450, 550 and 650."""
    level = np.where(np.arange(700) < 300, -1.0, 5.0)[:, None] + 0.1 * noise(700, 3)
    _, when = watch(BurnIn(tolerance=1.0, threshold=2.0), level)
    assert (when > 350).all()
    _, when = watch(BurnIn(tolerance=1.0), level)  # None: stability alone, wherever the chain stands
    assert ((when >= 100) & (when <= 200)).all()
    _, when = watch(BurnIn(tolerance=1.0, threshold=9.0), level)
    assert (when == 0).all()


def test_the_step_is_that_of_the_last_chain() -> None:
    traces = noise(300, 2)
    traces[:150, 1] += np.arange(150.0)
    meter, when = watch(BurnIn(tolerance=2.0), traces)
    assert meter.step == 10 * when.max()
    assert when[0] < when[1]


def test_constant_traces_burn_in() -> None:
    """A chain at temperature 0 that has arrived moves no more."""
    _, when = watch(BurnIn(window=5), np.ones((20, 1)))
    assert when.tolist() == [10]


def test_flags_are_replaced_and_not_changed() -> None:
    meter = BurnIn(window=2).start(torch.zeros(1, 1))
    flags = meter.done
    for step in range(10):
        meter.add(torch.ones(1, 1), step)
    assert bool(meter.done.all())
    assert not flags.any()
