"""Diagnostics against processes whose autocorrelation is known, and `History` against itself."""

from __future__ import annotations

import numpy as np
import pytest

from ldam_widget.diagnostics import History, mixing

from .conftest import SEED_OF_THE_DAY

DRAWS, NEURONS, CHAINS = 1000, 20, 4


def ar1(phi: float, draws: int = DRAWS) -> np.ndarray:
    """(draws, N, C) of stationary AR(1)."""
    e = np.random.default_rng(SEED_OF_THE_DAY).normal(size=(draws, NEURONS, CHAINS))
    x = e.copy()
    for t in range(1, draws):
        x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * e[t]
    return x


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_a_known_process(phi: float) -> None:
    """An AR(1) has CN (1 − φ)/(1 + φ) effective draws. One estimate from 4 × 1000 draws scatters by some 10 % at φ = .9
    (it sums about 2τ = 38 noisy autocorrelations), the mean of twenty by 4 %; splitting chains and truncating the sum
    bias it by 1 or 2 % more. 20 % is five standard errors there and more elsewhere; it would see a factor 2 for
    1 + 2Σρ, or a lost chain."""
    result = mixing(ar1(phi))
    expected = DRAWS * CHAINS * (1 - phi) / (1 + phi)
    assert result["ess"].shape == (NEURONS,)
    assert result["ess"].mean() == pytest.approx(expected, rel=0.2)
    np.testing.assert_allclose(result["autocorrelation_time"], DRAWS * CHAINS / result["ess"])


def test_r_hat_is_one_for_chains_that_agree() -> None:
    """R-hat of 4,000 independent draws scatters by .0005: 1.02 is not reached by chance."""
    r_hat = mixing(ar1(0.0))["r_hat"]
    assert (np.abs(r_hat - 1) < 0.02).all()


def test_r_hat_sees_chains_that_are_locked_in_different_places_or_drift() -> None:
    apart = ar1(0.0)
    apart[:, :, 0] += 3
    assert (mixing(apart)["r_hat"] > 1.2).all()
    drift = ar1(0.0) + np.linspace(0, 3, DRAWS)[:, None, None]  # all drift alike: only split chains tell
    assert (mixing(drift)["r_hat"] > 1.2).all()


def test_neurons_are_judged_one_by_one() -> None:
    draws = ar1(0.0)
    draws[:, 7, 0] += 3
    r_hat = mixing(draws)["r_hat"]
    assert r_hat[7] > 1.2
    assert (np.delete(r_hat, 7) < 1.02).all()
    np.testing.assert_allclose(np.delete(r_hat, 7), np.delete(mixing(ar1(0.0))["r_hat"], 7))


def test_no_numbers_where_there_is_nothing_to_go_by() -> None:
    for few in (np.empty((0, 3, 2)), ar1(0.0, 7)):
        assert all(np.isnan(value).all() and len(value) == few.shape[1] for value in mixing(few).values())
    still = ar1(0.0)
    still[:, 2] = 1.5
    result = mixing(still)
    for value in result.values():
        assert np.isnan(value[2])
        assert np.isfinite(np.delete(value, 2)).all()


# ---- history ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [4, 7, 10])
def test_history_is_thinned_to_equal_spacing_over_the_whole_run(capacity: int) -> None:
    history = History(capacity)
    for picture in range(200):
        history.add(np.full((2, 3), picture, np.float32), step=5 * picture)
        steps = history.steps()
        assert len(steps) <= capacity
        assert steps[0] == 0
        assert set(np.diff(steps)) <= {5 * history.spacing}
        assert steps[-1] > 5 * (picture - history.spacing)  # up to the present
    assert history.draws().shape == (len(steps), 2, 3)
    np.testing.assert_array_equal(history.draws()[:, 0, 0] * 5, steps)
    assert history.spacing in (32, 64, 128)


def test_history_keeps_all_until_it_is_full() -> None:
    history = History(50)
    for picture in range(49):
        history.add(np.zeros((1, 1), np.float32), picture)
    assert history.spacing == 1
    assert history.steps().tolist() == list(range(49))
    history.clear()
    assert history.draws().size == 0
    assert history.steps().size == 0


def test_thinned_draws_still_give_the_autocorrelation_time() -> None:
    """φ per picture, every eighth kept: φ⁸ per draw, and eight pictures a draw."""
    history, phi = History(400), 0.9
    for picture, draw in enumerate(ar1(phi, 3000)):
        history.add(draw, picture)
    assert history.spacing == 8
    time = mixing(history.draws())["autocorrelation_time"].mean() * history.spacing
    thinned = 8 * (1 + phi**8) / (1 - phi**8)
    assert time == pytest.approx(thinned, rel=0.2)
