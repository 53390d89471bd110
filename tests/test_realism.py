"""Distance, variety and copies: against loops, scipy and closed forms on Gaussians."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from ldam_widget.diagnostics.realism import ROWS, colour_temperature, diversity, kernel_distance, nearest

from .conftest import run_seed

pytestmark = pytest.mark.statistical


def rng(stream: int = 0) -> np.random.Generator:
    return np.random.default_rng((run_seed(), stream))


def naive(x: np.ndarray, y: np.ndarray, *, own_pairs_too: bool = False) -> float:
    """The definition, term by term; with `own_pairs_too` the biased estimate, which counts k(x, x)."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(z: np.ndarray) -> float:
        pairs = [k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if own_pairs_too or i != j]
        return sum(pairs) / len(pairs)

    return within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


def shifted_gaussians(shift: float, dimension: int) -> float:
    """MMD² between N(μ, 1) and N(0, 1) with |μ| = shift.

    (x·y/d + 1)³ = Σ C(3, j) (x·y/d)^j, hence MMD² = Σ C(3, j)/dʲ |Mⱼ(P) − Mⱼ(Q)|² of the tensors of moments. With
    s = |μ|² their differences have the squares s, s² and, for μ⊗μ⊗μ + μᵢδⱼₖ + μⱼδᵢₖ + μₖδᵢⱼ, s³ + 6s² + (3d + 6)s.
    """
    s, d = shift**2, dimension
    return 3 * s / d + 3 * s**2 / d**2 + (s**3 + 6 * s**2 + (3 * d + 6) * s) / d**3


# ---- kernel distance -------------------------------------------------------------------------------------------------


def test_each_block_is_the_definition() -> None:
    source = rng()
    a, b = source.normal(size=(5, 3)), source.normal(1, 2, size=(7, 3))
    found = kernel_distance(a, b, subsets=2, size=2, seed=3)
    shuffle = np.random.default_rng(3)
    mine, theirs = a[shuffle.permutation(5)], b[shuffle.permutation(7)]
    values = [naive(mine[i : i + 2], theirs[i : i + 2]) for i in (0, 2)]
    assert found.value == pytest.approx(np.mean(values), rel=1e-12)
    assert found.standard_error == pytest.approx(abs(values[0] - values[1]) / 2, rel=1e-9)


@pytest.mark.parametrize("kind", ["numpy", "torch", "half"])
def test_all_images_are_used_and_blocks_may_differ_in_size(kind: str) -> None:
    source = rng()
    a, b = source.normal(size=(20, 4)).astype(np.float16), source.normal(1, 2, size=(35, 4)).astype(np.float16)
    given: Any = (a.astype(np.float64), b.astype(np.float64))
    if kind == "torch":
        given = [torch.from_numpy(x).requires_grad_() for x in given]
    elif kind == "half":
        given = (torch.from_numpy(a), b)
    found = kernel_distance(*given, subsets=5)
    shuffle = np.random.default_rng(0)
    mine, theirs = a[shuffle.permutation(20)], b[shuffle.permutation(35)]
    values = [naive(x, y) for x, y in zip(np.split(mine, 5), np.split(theirs, 5), strict=True)]
    assert found.value == pytest.approx(np.mean(values), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(5), rel=1e-9)


def test_sets_larger_than_the_rows_in_memory() -> None:
    source = rng()
    a, b = source.normal(size=(2 * (ROWS + 77), 2)), source.normal(1, 1, size=(2 * (ROWS + 5), 2))
    shuffle = np.random.default_rng(0)
    mine, theirs = np.split(a[shuffle.permutation(len(a))], 2), np.split(b[shuffle.permutation(len(b))], 2)
    values = []
    for x, y in zip(mine, theirs, strict=True):
        kxx, kyy, kxy = ((p @ q.T / 2 + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
        n, m = len(x), len(y)
        within = (kxx.sum() - np.trace(kxx)) / (n * n - n) + (kyy.sum() - np.trace(kyy)) / (m * m - m)
        values.append(within - 2 * kxy.mean())
    assert kernel_distance(a, b, subsets=2).value == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_unbiased_and_the_error_is_one(shift: float) -> None:
    """1000 pairs of sets, 24 images each, against the closed form.

    Over 100 seeds the deviation of the mean, in its standard errors, scattered by 1.02 (1 if it were normal); six of
    them are allowed: false alarm 4e-9. The ratio of the variance reported to the one observed was 1.00 and scattered by
    0.05: a factor of 1.5 is more than six times that.
    """
    dimension, source = 3, rng(1)
    mean = np.array([shift, 0, 0])
    pairs = [(source.normal(size=(24, dimension)) + mean, source.normal(size=(24, dimension))) for _ in range(1000)]
    found = [kernel_distance(a, b, subsets=6) for a, b in pairs]
    values, errors = np.array(found).T
    truth = shifted_gaussians(shift, dimension)
    assert abs(values.mean() - truth) < 6 * values.std() / math.sqrt(len(values))
    assert 1 / 1.5 < (errors**2).mean() / values.var() < 1.5
    # the control: the biased estimate, on 200 of the pairs, is far outside (by 12 ± 1.7 on 100, over 20 seeds)
    biased = np.array([naive(a[:4], b[:4], own_pairs_too=True) for a, b in pairs[:200]])
    assert abs(biased.mean() - truth) > 5 * biased.std() / math.sqrt(len(biased))


def test_same_seed_same_blocks_and_the_global_generator_stays() -> None:
    a, b = rng().normal(size=(40, 2)), rng(1).normal(size=(40, 2))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002  (it must not move)
    assert kernel_distance(a, b, seed=1) == kernel_distance(a, b, seed=1)
    assert kernel_distance(a, b, seed=1) != kernel_distance(a, b, seed=2)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


GOOD = np.arange(60.0).reshape(30, 2)


@pytest.mark.parametrize(
    ("a", "b", "options", "says"),
    [
        (GOOD, GOOD[:, :1], {}, "a has 2 features per image, b has 1"),
        (GOOD[0], GOOD, {}, r"a must be \(images, features\), not \(2,\)"),
        (GOOD, GOOD[:, :0], {}, r"b must be \(images, features\), not \(30, 0\)"),
        (GOOD, np.where(GOOD == 8, np.nan, GOOD), {}, "b has numbers that are not finite"),
        (GOOD[:19], GOOD, {}, "a has 19 images, too few for 10 blocks of 2"),
        (GOOD, GOOD[:0], {}, "b has 0 images"),
        (GOOD, GOOD[:20], {"subsets": 3, "size": 7}, "b has 20 images, too few for 3 blocks of 7"),
        (GOOD, GOOD, {"subsets": 1}, "subsets must be at least 2 .*got 1"),
        (GOOD, GOOD, {"size": 1}, "size must be at least 2 .*got 1"),
    ],
)
def test_distance_of_what_does_not_fit(a: Any, b: Any, options: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kernel_distance(a, b, **options)


# ---- diversity -------------------------------------------------------------------------------------------------------


def test_diversity_is_the_mean_over_pairs() -> None:
    source = rng()
    features, labels = source.normal(size=(60, 5)), source.permutation(np.repeat([0, 1, 3, 4], [20, 25, 1, 14]))
    found = diversity(torch.from_numpy(features), torch.from_numpy(labels))
    assert found.shape == (5,)
    assert np.isnan(found[[2, 3]]).all()  # no image; a single one
    for label in (0, 1, 4):
        assert found[label] == pytest.approx(pdist(features[labels == label]).mean(), rel=1e-12)


def test_diversity_of_more_than_the_rows_in_memory() -> None:
    features = rng().normal(size=(ROWS + 300, 3))
    assert diversity(features, np.zeros(len(features), np.int64))[0] == pytest.approx(pdist(features).mean(), rel=1e-12)


def test_copies_have_no_diversity_at_all() -> None:
    copies = np.tile(rng().normal(1000, 1, size=(1, 64)), (50, 1))
    assert diversity(copies, np.zeros(50, np.int64)) == 0.0


@pytest.mark.parametrize(
    ("features", "labels", "error", "says"),
    [
        (
            GOOD,
            np.zeros(29, int),
            ValueError,
            r"30 images need as many labels, at least one: labels have shape \(29,\)",
        ),
        (GOOD, np.zeros((30, 1), int), ValueError, r"shape \(30, 1\)"),
        (GOOD[:0], np.zeros(0, int), ValueError, "at least one"),
        (GOOD, np.full(30, -1), ValueError, "labels must be ≥ 0; got -1"),
        (GOOD, np.zeros(30), TypeError, "integers, not float64"),
        (GOOD[:, 0], np.zeros(30, int), ValueError, r"features must be \(images, features\)"),
        (np.where(GOOD == 8, np.inf, GOOD), np.zeros(30, int), ValueError, "not finite"),
    ],
)
def test_diversity_of_what_does_not_fit(features: Any, labels: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        diversity(features, labels)


# ---- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 30, 1000])
def test_nearest_is_the_least_of_all_distances(chunk: int) -> None:
    source = rng()
    images, training = source.normal(size=(30, 1, 4, 3)), source.normal(size=(45, 1, 4, 3))
    images[11] = training[29] + 1e-9  # nearly a copy: rounding of |x|² + |y|² − 2x·y would swamp the distance
    every = cdist(images.reshape(30, 12), training.reshape(45, 12))
    found = nearest(torch.from_numpy(images), training, chunk=chunk)
    assert found.indices.tolist() == every.argmin(1).tolist()
    np.testing.assert_allclose(found.distance, every.min(1), rtol=1e-6, atol=0)


def test_a_copy_has_distance_0() -> None:
    training = rng().integers(0, 256, size=(50, 8, 8)).astype(np.uint8)
    found = nearest(training[[7, 3]], training, chunk=16)
    assert found.distance.tolist() == [0, 0]
    assert found.indices.tolist() == [7, 3]


def test_bytes_are_not_subtracted_as_bytes() -> None:
    """200 − 255 is not 201."""
    images, training = np.full((1, 4), 200, np.uint8), np.array([[255] * 4, [0] * 4], np.uint8)
    assert nearest(images, training) == (pytest.approx([110.0]), [0])


def test_memory_does_not_grow_with_the_training_set() -> None:
    training = rng().integers(0, 256, size=(20_000, 100)).astype(np.uint8)
    peaks = []
    for count in (5_000, 20_000):
        tracemalloc.start()
        nearest(training[:500], training[:count], chunk=250)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 5e6  # as float64 the training set alone has 16 MB


@pytest.mark.parametrize(
    ("images", "training", "options", "error", "says"),
    [
        (GOOD, GOOD[:, :1], {}, ValueError, r"images \(30, 2\) and training \(30, 1\)"),
        (GOOD[0], GOOD, {}, ValueError, "must be"),
        (GOOD[:0], GOOD, {}, ValueError, "must be"),
        (GOOD, GOOD[:0], {}, ValueError, "must be"),
        (GOOD, GOOD.astype(np.uint8), {}, TypeError, "images are float64, training is uint8"),
        (np.where(GOOD == 8, np.inf, GOOD), GOOD, {}, ValueError, "images has pixels that are not finite"),
        (GOOD, np.where(GOOD == 8, np.nan, GOOD), {}, ValueError, "training has pixels that are not finite"),
        (GOOD, GOOD, {"chunk": 0}, ValueError, "chunk=0"),
    ],
)
def test_nearest_of_what_does_not_fit(
    images: Any, training: Any, options: dict[str, int], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        nearest(images, training, **options)


# ---- colour temperature ----------------------------------------------------------------------------------------------

# CIE 1931 chromaticities of standard illuminants and their correlated colour temperatures, as published
ILLUMINANTS = {
    "D50": (0.34567, 0.35850, 5003),
    "D65": (0.31271, 0.32902, 6504),
    "D75": (0.29902, 0.31485, 7504),
    "A": (0.44757, 0.40745, 2856),
}


@pytest.mark.parametrize("name", ILLUMINANTS)
def test_the_colour_temperature_of_standard_illuminants(name: str) -> None:
    """McCamy's cubic is within 12 K of them; so is the round trip through sRGB, here with its inverse matrix."""
    x, y, kelvin = ILLUMINANTS[name]
    from_xyz = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = from_xyz @ np.array([x / y, 1, (1 - x - y) / y])
    linear = 0.5 * linear / linear.max()
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = np.broadcast_to(encoded[None, :, None, None], (2, 3, 4, 5))
    assert colour_temperature(image) == pytest.approx([kelvin, kelvin], abs=12)


def test_colours_without_a_temperature() -> None:
    images = np.zeros((5, 3, 2, 2))
    images[1:4] = np.eye(3)[:, :, None, None]  # red, green, blue
    images[4, :, 0] = 1.0  # half white, half black
    found = colour_temperature(images)
    assert np.isnan(found[[0, 3]]).all()  # black, blue
    assert found[4] == pytest.approx(6504, abs=12)


@pytest.mark.parametrize("images", [np.zeros((2, 1, 4, 4)), np.zeros((0, 3, 4, 4)), np.zeros((3, 3)),
                                    np.full((1, 3, 2, 2), np.nan)])  # fmt: skip
def test_colour_temperature_of_what_has_none(images: Any) -> None:
    with pytest.raises(ValueError, match="images"):
        colour_temperature(images)
