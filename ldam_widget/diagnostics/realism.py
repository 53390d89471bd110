"""Do samples look like the data? Distance to the data, variety within a class, and detection of copies.

Features come from a network that did not produce the samples (`ldam_widget.demo.judge`). Arrays may be numpy or torch;
everything is computed in float64 on the CPU and returned as numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Array = npt.ArrayLike | Tensor

ROWS = 1024  # rows of a pairwise matrix in memory at a time
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # linear sRGB, D65


class KernelDistance(NamedTuple):
    value: float  # squared distance; scatters around 0, so may be negative, if both distributions are equal
    standard_error: float


def kernel_distance(a: Array, b: Array, *, subsets: int = 10, size: int | None = None, seed: int = 0) -> KernelDistance:
    """KID: unbiased squared maximum mean discrepancy between two sets of features, kernel (a·b/d + 1)³.

    Both sets are shuffled and split into `subsets` pairs of disjoint blocks. Each pair gives one unbiased estimate (a
    U-statistic: no feature is compared with itself); the value is their mean, and its standard error is that of a mean
    of independent numbers, their standard deviation / √subsets. KID is usually quoted with overlapping subsets, whose
    spread is not a standard error. More subsets estimate the error better (relative uncertainty 1/√(2 (subsets − 1)),
    24 % for 10) and the value slightly worse.

    Args:
        a: features (n, d) of independent images: thin a chain first, or the error will be too small.
        b: features (m, d); n and m may differ.
        subsets: number of blocks, at least 2.
        size: images per block, for both a and b, at least 2; None uses all: n // subsets of a and m // subsets of b.
        seed: of the shuffle.

    Raises:
        ValueError: not (n, d) and (m, d) with a common d ≥ 1, non-finite numbers, too few images for the blocks.

    Source: Bińkowski, Sutherland, Arbel & Gretton 2018, arXiv:1801.01401; blocks as in Zaremba, Gretton & Blaschko
    2013, arXiv:1307.1954.
    """
    first, second = _features("a", a), _features("b", b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"a has {first.shape[1]} features per image, b has {second.shape[1]}")
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2 to estimate an error; got {subsets}")
    if size is not None and size < 2:
        raise ValueError(f"size must be at least 2 images per block; got {size}")
    rng = np.random.default_rng(seed)
    blocks = [_deal(name, values, subsets, size, rng) for name, values in (("a", first), ("b", second))]
    values = np.array([_squared_discrepancy(x, y) for x, y in zip(*blocks, strict=True)])
    return KernelDistance(float(values.mean()), float(values.std(ddof=1) / np.sqrt(subsets)))


def _deal(name: str, values: Floats, subsets: int, size: int | None, rng: np.random.Generator) -> list[Floats]:
    each = len(values) // subsets if size is None else size
    if each < 2 or each * subsets > len(values):
        raise ValueError(f"{name} has {len(values)} images, too few for {subsets} blocks of {max(each, 2)}")
    return np.split(values[rng.permutation(len(values))[: each * subsets]], subsets)


def _squared_discrepancy(x: Floats, y: Floats) -> float:
    n, m = len(x), len(y)
    within_x = (_kernel_sum(x, x) - _kernel((x * x).sum(1), x.shape[1]).sum()) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - _kernel((y * y).sum(1), y.shape[1]).sum()) / (m * (m - 1))
    return float(within_x + within_y - 2 * _kernel_sum(x, y) / (n * m))


def _kernel_sum(x: Floats, y: Floats) -> float:
    return float(sum(_kernel(x[i : i + ROWS] @ y.T, x.shape[1]).sum() for i in range(0, len(x), ROWS)))


def _kernel(products: Floats, dimension: int) -> Floats:
    base: Floats = products / dimension + 1
    return base * base * base  # `**` on a float array is ten times slower


def diversity(features: Array, labels: Array) -> Floats:
    """How much images of one class differ: mean pairwise Euclidean distance between their features.

    Args:
        features: (n, d).
        labels: class of every image, integers ≥ 0, (n,).

    Returns:
        mean over all pairs within a class, (classes,) with classes = the largest label + 1; nan for a class with fewer
        than two images. 0 means that all are identical.

    Raises:
        ValueError: mismatched shapes, no images, negative labels, non-finite numbers.
        TypeError: labels that are not integers.
    """
    values, classes = _features("features", features), _numpy(labels)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {classes.dtype}")
    if classes.shape != (len(values),) or not len(values):
        raise ValueError(f"{len(values)} images need as many labels, at least one: labels have shape {classes.shape}")
    if classes.min() < 0:
        raise ValueError(f"labels must be ≥ 0; got {classes.min()}")
    result = np.full(int(classes.max()) + 1, np.nan)
    for label in np.unique(classes):
        members = values[classes == label]
        if len(members) > 1:
            result[label] = _mean_pair_distance(members)
    return result


def _mean_pair_distance(members: Floats) -> float:
    # differences, not |x|² + |y|² − 2x·y: for nearly equal images that would leave only rounding errors
    points = torch.from_numpy(np.ascontiguousarray(members))
    exact = "donot_use_mm_for_euclid_dist"
    total = sum(float(torch.cdist(some, points, compute_mode=exact).sum()) for some in torch.split(points, ROWS))
    return total / (len(points) * (len(points) - 1))


def colour_temperature(images: Array) -> Floats:
    """Correlated colour temperature of the mean colour of every image, in kelvin: 6,504 for grey, lower is warmer.

    Args:
        images: sRGB in 0…1, (n, 3, …).

    Returns:
        (n,), by McCamy's cubic; nan where it does not hold, below 2,000 and above 12,500 K (a saturated colour).

    Raises:
        ValueError: not (n, 3, …), no pixels, non-finite numbers.

    Source: McCamy 1992, Color Research & Application 17:142; sRGB is IEC 61966-2-1.
    """
    pixels = np.asarray(_numpy(images), dtype=np.float64)
    if pixels.ndim < 3 or pixels.shape[1] != 3 or not pixels.size:
        raise ValueError(f"images must be (n, 3, height, width), not {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError("images has pixels that are not finite")
    clipped = pixels.clip(0, 1)
    linear = np.where(clipped <= 0.04045, clipped / 12.92, ((clipped + 0.055) / 1.055) ** 2.4)
    xyz = linear.reshape(*linear.shape[:2], -1).mean(2) @ _TO_XYZ.T
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (xyz[:, axis] / xyz.sum(1) for axis in (0, 1))
        n = (x - 0.3320) / (0.1858 - y)
    kelvin: Floats = 449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33
    return np.where((kelvin >= 2000) & (kelvin <= 12_500), kelvin, np.nan)


class Nearest(NamedTuple):
    distance: Floats  # (n,) Euclidean, over all pixels, in pixel units
    indices: npt.NDArray[np.int64]  # (n,) into the training images


def nearest(images: Array, training: Array, *, chunk: int = 2048) -> Nearest:
    """The nearest training image to each image in pixel space: has a sample been memorised?

    Compare the distances with those of test images, which cannot have been memorised: a sample that is much nearer is
    a copy. An exact copy has distance 0. Ties are broken arbitrarily.

    Args:
        images: (n, …), at least one.
        training: (m, …), at least one; images of the same shape and scale.
        chunk: images of either set in memory at a time as float64; with 784 pixels, 2048 take 130 MB in all.

    Raises:
        ValueError: mismatched shapes, nothing to compare, non-finite pixels, chunk below 1.
        TypeError: one set has floating-point pixels and the other does not (0…255?).
    """
    queries, known = _numpy(images), _numpy(training)
    if queries.ndim < 2 or queries.shape[1:] != known.shape[1:] or not queries.size or not known.size:
        raise ValueError(f"images {queries.shape} and training {known.shape} must be (n, …) and (m, …), n and m ≥ 1")
    if (queries.dtype.kind == "f") != (known.dtype.kind == "f"):
        raise TypeError(f"images are {queries.dtype}, training is {known.dtype}: bring both to one scale first")
    if chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1")
    distance, indices = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
    for start, some in _chunks("images", queries, chunk):
        best, which = np.full(len(some), np.inf), np.zeros(len(some), dtype=np.int64)
        for offset, others in _chunks("training", known, chunk):
            partial = (others * others).sum(1) - 2 * (some @ others.T)  # squared distance minus |image|²
            candidate = partial.argmin(1)
            value = partial[np.arange(len(some)), candidate]
            which = np.where(value < best, candidate + offset, which)
            best = np.minimum(value, best)
        found = known[which].reshape(len(some), -1).astype(np.float64)
        indices[start : start + len(some)] = which
        distance[start : start + len(some)] = np.linalg.norm(some - found, axis=1)  # exactly 0 for a copy
    return Nearest(distance, indices)


def _chunks(name: str, images: npt.NDArray[Any], chunk: int) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(images), chunk):
        some = images[start : start + chunk].reshape(len(images[start : start + chunk]), -1).astype(np.float64)
        if not np.isfinite(some).all():
            raise ValueError(f"{name} has pixels that are not finite")
        yield start, some


def _features(name: str, values: Array) -> Floats:
    features = np.asarray(_numpy(values), dtype=np.float64)
    if features.ndim != 2 or features.shape[1] < 1:
        raise ValueError(f"{name} must be (images, features), not {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return features


def _numpy(values: Array) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
