"""Diagnostics against processes whose autocorrelation is known, and `History` against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldam_widget.diagnostics import History, Samples, mixing, principal, report, spread, switches, thumbnails

from .conftest import run_seed

pytestmark = pytest.mark.statistical

DRAWS, NEURONS, CHAINS = 1000, 20, 4


def ar1(phi: float, draws: int = DRAWS) -> np.ndarray:
    """(draws, N, C) of stationary AR(1)."""
    e = np.random.default_rng(run_seed()).normal(size=(draws, NEURONS, CHAINS))
    x = e.copy()
    for t in range(1, draws):
        x[t] = phi * x[t - 1] + np.sqrt(1 - phi**2) * e[t]
    return x


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_a_known_process(phi: float) -> None:
    """An AR(1) has CN (1 − φ)/(1 + φ) effective draws. One estimate from 4 × 1000 draws scatters by some 15 % at φ = .9
    (it sums about 2τ = 38 noisy autocorrelations), the mean of twenty by 3.5 % (over 100 seeds); splitting chains and
    truncating the sum bias it by 1.4 %. 22 % is 5.9 standard errors there, false alarm 4e-9, and ten elsewhere; it
    would see a factor 2 for 1 + 2Σρ, or a lost chain."""
    result = mixing(ar1(phi))
    expected = DRAWS * CHAINS * (1 - phi) / (1 + phi)
    assert result["ess"].shape == (NEURONS,)
    assert result["ess"].mean() == pytest.approx(expected, rel=0.22)
    np.testing.assert_allclose(result["autocorrelation_time"], DRAWS * CHAINS / result["ess"])


def test_r_hat_is_one_for_chains_that_agree() -> None:
    """The largest R-hat of twenty neurons, 4,000 independent draws each, is 1.0015 ± .0004 (over 100 seeds): 1.02 is
    not reached by chance."""
    r_hat = mixing(ar1(0.0))["r_hat"]
    assert (np.abs(r_hat - 1) < 0.02).all()


def test_r_hat_sees_chains_that_are_locked_in_different_places_or_drift() -> None:
    apart = ar1(0.0)
    apart[:, :, 0] += 3
    assert (mixing(apart)["r_hat"] > 1.2).all()
    drift = ar1(0.0) + np.linspace(0, 4, DRAWS)[:, None, None]  # all drift alike: only split chains reveal it
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


@pytest.mark.parametrize(("capacity", "spacing"), [(4, 128), (7, 64), (10, 32)])
def test_history_is_thinned_to_equal_spacing_over_the_whole_run(capacity: int, spacing: int) -> None:
    """In the end by the least power of two with which 200 pictures are fewer than the capacity."""
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
    assert history.spacing == spacing


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
    """φ per picture, every eighth kept: φ⁸ per draw, and eight pictures a draw. Over 100 seeds the mean of twenty
    neurons was right by .5 ± 2.6 %: 20 % is seven standard errors."""
    history, phi = History(400), 0.9
    for picture, draw in enumerate(ar1(phi, 3000)):
        history.add(draw, picture)
    assert history.spacing == 8
    time = mixing(history.draws())["autocorrelation_time"].mean() * history.spacing
    thinned = 8 * (1 + phi**8) / (1 - phi**8)
    assert time == pytest.approx(thinned, rel=0.2)


# ---- projections and the verdict -------------------------------------------------------------------------------------


def normal(*shape: int, stream: int = 0) -> np.ndarray:
    return np.random.default_rng(run_seed() + stream).standard_normal(shape)


def samples(activation: np.ndarray, pictures: np.ndarray, every: int = 2, burned_in: bool = True) -> Samples:
    return Samples(activation, pictures, every * np.arange(1, len(activation) + 1), 0.01, burned_in)


def test_thumbnails_are_area_means() -> None:
    images = torch.arange(2 * 3 * 16 * 24, dtype=torch.float32).view(2, 3, 16, 24)
    small = thumbnails(images, 3)
    expected = images.mean(1).view(2, 8, 2, 8, 3).mean((2, 4)).flatten(1)
    torch.testing.assert_close(small, expected)
    assert thumbnails(images[:, :1, :4, :5], 3).shape == (2, 20)
    torch.testing.assert_close(thumbnails(torch.arange(128.0)[None], 1)[0], torch.arange(128.0).view(64, 2).mean(1))
    assert thumbnails(torch.zeros(4, 5, 1, 3, 100), 3).shape == (4, 5, 24)


def test_principal_directions_have_the_largest_variances_in_order() -> None:
    """Against the singular values of numpy, with the directions turned at random."""
    rotation = np.linalg.qr(normal(6, 6))[0]
    pictures = normal(400, 1, 2, 6) * [5, 3, 2, 0.1, 0.1, 0.1] @ rotation + 7
    found = principal(pictures)
    assert found.shape == (400, 1, 2, 3)
    flat = pictures.reshape(800, 6)
    singular = np.linalg.svd(flat - flat.mean(0), compute_uv=False)[:3]
    np.testing.assert_allclose(np.linalg.norm(found.reshape(800, 3), axis=0), singular)


def test_switches_count_crossings_and_no_trembling() -> None:
    up, down = np.ones(10), -np.ones(10)
    chain = np.concatenate([up, down, up, up, down]) + 0.1 * normal(50)
    still = np.concatenate([up] * 5) + 0.1 * normal(50)
    assert switches(np.stack([chain, still], 1)[:, None]).tolist() == [3]


def test_spread_is_the_mean_distance() -> None:
    images = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]])
    assert spread(images).tolist() == pytest.approx([(5 + 0 + 5) / 3])
    assert spread(images[:, :1]).isnan().all()


def test_chains_that_agree() -> None:
    """Independent draws: the largest R-hat of 8 neurons and their pictures is 1.0033 ± .0009 (over 100 seeds), and 1.05
    is not reached by chance."""
    found = report(samples(normal(500, 8, 4), normal(500, 8, 4, 16, stream=1)))
    assert found["verdict"]["level"] == "good"
    assert "4 chains agree on all 8 neurons" in found["verdict"]["text"]
    np.testing.assert_allclose(found["ess_per_gradient"], np.array(found["ess"]) / (998 * 4))
    np.testing.assert_allclose(found["ess_per_second"], np.array(found["ess"]) / 9.98)


def test_locked_chains_are_seen_in_pictures_and_not_in_the_activation() -> None:
    """The activation of two equal modes is the same: its R-hat says nothing (algorithm.md, section 1.7).

    Modes ten standard deviations apart: none of 1,600 draws is seven off, where it would count as a switch (2e-9).
    """
    pictures = normal(400, 2, 4, 16)
    pictures[:, 1, :2, 5] += 10  # neuron 1: two chains in one mode, two in the other
    found = report(samples(normal(400, 2, 4, stream=1), pictures))
    assert max(found["r_hat"]) < 1.05
    assert max(found["projections"]["r_hat"][0]) < 1.05
    assert max(found["projections"]["r_hat"][1]) > 1.3
    assert found["mode_switches"][1] == 0
    assert found["verdict"]["level"] == "warn"
    assert found["verdict"]["text"].startswith("chains disagree for 1 of 2 neurons: R-hat ")
    assert "over 4 chains; apply heat, or take it as several modes" in found["verdict"]["text"]
    assert "several modes" in found["verdicts"][1]


def test_words_for_what_is_not_known_yet() -> None:
    few, burning = normal(5, 2, 4), normal(400, 2, 4)
    assert report(samples(few, normal(5, 2, 4, 9)))["verdict"] == {"level": "wait", "text": "too few pictures to tell"}
    text = report(samples(burning, normal(400, 2, 4, 9), burned_in=False))["verdict"]
    assert text == {"level": "wait", "text": "burning in"}
    slow = normal(400, 1, 1) + np.linspace(0, 6, 400)[:, None, None]
    assert "still drift" in report(samples(slow, normal(400, 1, 1, 9)))["verdict"]["text"]
    # of one chain of n draws R-hat is 1 + χ²/n with one degree of freedom: above 1.05 with a probability of 1e-22
    one = report(samples(normal(2000, 1, 1), normal(2000, 1, 1, 9)))["verdict"]
    assert one["level"] == "good"
    assert "several chains" in one["text"]
    none = report(samples(np.empty((0, 0, 0)), np.empty((0, 0, 0))))
    assert none["verdict"]["level"] == "wait"


def test_a_wrong_temperature_is_reported_first() -> None:
    good = samples(normal(500, 2, 4), normal(500, 2, 4, 16, stream=1))
    found = report(good._replace(ratios=[1.36, 1.0]))
    assert found["verdict"]["level"] == "warn"
    assert "1 of 2 neurons run at 1.36 of the requested temperature" in found["verdict"]["text"]
    assert "lower the step size" in found["verdicts"][0]
    assert "chains agree" in found["verdicts"][1]
    assert report(good._replace(ratios=[1.05, math.nan]))["verdict"]["level"] == "good"
