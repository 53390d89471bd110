"""Total variation, batch statistics and the denoiser sample the laws that they claim.

Small targets whose law is known by a quadrature, by a closed form, or from exact chains of another implementation: a
random walk Metropolis of numpy alone, with the terms written out once more. Of our samplers the last states of many
independent chains are used.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, MALA, LeimkuhlerMatthews
from ldam_widget.objectives import TotalVariation

from ..conftest import SIGMAS, run_seed, with_fixed_weights
from .harness import Departure, within_bounds

pytestmark = pytest.mark.statistical

Array = npt.NDArray[np.float64]
CHAINS = 2000


# ---- by quadrature: two pixels ---------------------------------------------------------------------------------------

EDGE, L2_WEIGHT = 0.1, 0.5


@pytest.mark.parametrize(
    ("kernel", "steps"), [(MALA(0.03), 400), (GHMC(0.2, 1.0), 200), (BAOAB(0.05, 1.0), 400)], ids=str
)
@pytest.mark.parametrize("weight", [0.8, 4.0])
def test_two_pixels_under_total_variation(weight: float, kernel: Any, steps: int) -> None:
    """p(d) ∝ exp((½wd − ¼Λd² − λ(√(d² + ε²) − ε))/T) of the difference d, and a normal law of the sum.

    Means and mean squares of both, and the share beyond d = ε. Five statements, false alarm 4e-8 each by the central
    limit theorem.
    """
    temperature, slope = 0.3, 0.6
    model = nn.Linear(2, 1, bias=False)
    model.weight.data[:] = torch.tensor([[-slope / 2, slope / 2]])
    s = ldam.Sampler(
        model, neurons=[0], input_shape=(2,), kernel=kernel, scale="none", temperature=temperature, chains=CHAINS,
        regularizers=[ldam.TotalVariation(weight, edge=EDGE), ldam.L2(L2_WEIGHT)], seed=run_seed(), prior=None,
        execution="plain",
    )  # fmt: skip
    s.step(steps)
    x = s.images[0].double()
    difference, total = x[:, 1] - x[:, 0], x.sum(1)
    d = np.linspace(-12, 12, 400_001)
    energy = slope / 2 * d - L2_WEIGHT * d**2 / 4 - weight * (np.sqrt(d**2 + EDGE**2) - EDGE)
    density = np.exp((energy - energy.max()) / temperature)
    density /= density.sum()

    def score(values: Tensor, law: Array) -> float:
        mean = float(density @ law)
        return float(values.mean() - mean) / math.sqrt(float(density @ (law - mean) ** 2) / CHAINS)

    spread = 2 * temperature / L2_WEIGHT  # of the sum
    within_bounds({
        "difference": score(difference, d),
        "square of the difference": score(difference.square(), d**2),
        "beyond the edge": score((difference.abs() > EDGE).double(), (np.abs(d) > EDGE).astype(float)),
        "sum": float(total.mean()) / math.sqrt(spread / CHAINS),
        "square of the sum": float(total.square().mean() - spread) / math.sqrt(2 * spread**2 / CHAINS),
    })  # fmt: skip


# ---- by exact chains of another implementation -----------------------------------------------------------------------


def walked(log_density: Callable[[Array], Array], start: Array, step: float, steps: int, seed: int) -> Array:
    """Random walk Metropolis from (chains, D): the last states. Exact as `steps` grows."""
    numbers = np.random.default_rng(seed)
    x, here = start, log_density(start)
    for _ in range(steps):
        there = x + step * numbers.standard_normal(x.shape)
        new = log_density(there)
        accepted = np.log(numbers.random(len(x))) < new - here
        x, here = np.where(accepted[:, None], there, x), np.where(accepted, new, here)
    return x


def require_same_law(ours: Array, theirs: Array) -> None:
    """Two samples of independent numbers (chains, D), such as pixels: their means, squares, and products of neighbours.

    Each difference in units of its standard error, which is estimated from both. False alarm: 4e-8 for each of 3D − 1
    statements.
    """
    statistics = [np.concatenate([x, x**2, x[:, 1:] * x[:, :-1]], 1) for x in (ours, theirs)]
    gap = statistics[0].mean(0) - statistics[1].mean(0)
    error = np.sqrt(sum(each.var(0) / len(each) for each in statistics))
    assert float(np.abs(gap / error).max()) < SIGMAS, np.abs(gap / error)


def total_variation(x: Array, edge: float) -> Array:
    """Of 3 × 3 pixels, (chains, 9) -> (chains,)."""
    image = x.reshape(-1, 3, 3)
    down, across = np.zeros_like(image), np.zeros_like(image)
    down[:, :-1], across[:, :, :-1] = image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]
    return np.asarray((np.sqrt(down**2 + across**2 + edge**2) - edge).sum((1, 2)))


@pytest.mark.parametrize(("kernel", "steps"), [(GHMC(0.15, 1.0), 300), (LeimkuhlerMatthews(0.002), 2500)], ids=str)
def test_nine_pixels_under_total_variation(kernel: Any, steps: int) -> None:
    """In a box, pulled by a linear neuron; with the two axes in one root."""
    weight = torch.randn(9, generator=torch.Generator().manual_seed(3))
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 1, bias=False))
    model[1].weight.data[:] = weight  # type: ignore[operator]
    s = ldam.Sampler(
        model, neurons=[0], input_shape=(1, 3, 3), kernel=kernel, scale="none", temperature=0.4, chains=CHAINS,
        regularizers=[ldam.TotalVariation(1.0, edge=0.3)], pixel_range=(-1, 1), seed=run_seed(), execution="plain",
    )  # fmt: skip
    s.step(steps)

    def log_density(x: Array) -> Array:
        energy = x @ weight.double().numpy() - total_variation(x, 0.3)
        return np.where(np.abs(x).max(1) <= 1, energy / 0.4, -np.inf)

    start = np.random.default_rng(0).uniform(-1, 1, (CHAINS, 9))
    require_same_law(s.images[0].flatten(1).double().numpy(), walked(log_density, start, 0.3, 1500, run_seed()))


class TwoNorms(nn.Module):
    """(N, 1, 6) -> (N, 1): two batch norms, smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)
        self.conv2, self.norm2 = nn.Conv1d(2, 2, 2), nn.BatchNorm1d(2)
        self.last = nn.Linear(6, 1)
        for norm in (self.norm1, self.norm2):
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.2, 0.6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).tanh()
        return self.last(self.norm2(self.conv2(x)).tanh().flatten(1))


def windows(x: Array, width: int) -> Array:
    """(chains, channels, length) -> (chains, positions, channels · width)."""
    seen = np.lib.stride_tricks.sliding_window_view(x, width, axis=2)
    return seen.transpose(0, 2, 1, 3).reshape(len(x), seen.shape[2], -1)


@functools.cache
def weights_of_two_norms() -> dict[str, Array]:
    return {name: value.double().numpy() for name, value in with_fixed_weights(TwoNorms).state_dict().items()}


def distance_and_f(x: Array) -> tuple[Array, Array]:
    """The network and Eq. 4 of one picture alone, written out in numpy."""
    of = weights_of_two_norms()
    distance, seen = np.zeros(len(x)), x[:, None, :]
    for k in (1, 2):
        weight, bias = of[f"conv{k}.weight"], of[f"conv{k}.bias"]
        maps = windows(seen, weight.shape[2]) @ weight.reshape(2, -1).T + bias  # (chains, positions, channels)
        mean, variance = of[f"norm{k}.running_mean"], of[f"norm{k}.running_var"]
        distance += np.linalg.norm(maps.mean(1) - mean, axis=1) + np.linalg.norm(maps.var(1) - variance, axis=1)
        seen = np.tanh((maps - mean) / np.sqrt(variance + 1e-5)).transpose(0, 2, 1)
    return distance, seen.reshape(len(x), -1) @ of["last.weight"][0]


@functools.cache
def six_pixels(seed: int) -> Array:
    """Exact samples, for all kernels and planted mistakes."""

    def log_density(x: Array) -> Array:
        distance, f = distance_and_f(x)
        return np.where(np.abs(x).max(1) <= 1.5, (f - 3 * distance) / 0.5, -np.inf)

    return walked(log_density, np.random.default_rng(0).uniform(-1.5, 1.5, (CHAINS, 6)), 0.35, 1500, seed)


@pytest.mark.parametrize(("kernel", "steps"), [(MALA(0.02), 800), (BAOAB(0.06, 1.0), 500)], ids=str)
def test_six_pixels_under_batch_statistics(kernel: Any, steps: int) -> None:
    """Every picture's law is its own."""
    model: Any = with_fixed_weights(TwoNorms)
    s = ldam.Sampler(
        model, neurons=[0], layer="last", input_shape=(1, 6), kernel=kernel, scale="none", temperature=0.5,
        chains=CHAINS, regularizers=[ldam.BatchStatistics(3.0)], pixel_range=(-1.5, 1.5), seed=run_seed(),
        execution="plain",
    )  # fmt: skip
    s.step(steps)
    ours = s.images[0].flatten(1).double().numpy()
    require_same_law(*(np.concatenate([x, np.stack(distance_and_f(x), 1)], 1) for x in (ours, six_pixels(run_seed()))))


# ---- in closed form: the best denoiser of a Gaussian -----------------------------------------------------------------


class BestDenoiser(nn.Module):
    """E[clean | noisy] = μ + C (C + σ²I)⁻¹ (x − μ), for images from N(μ, C)."""

    def __init__(self, mean: Tensor, covariance: Tensor, sigma: float) -> None:
        super().__init__()
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(len(mean), dtype=mean.dtype))
        self.register_buffer("mean", mean.float())
        self.register_buffer("gain", gain.float())

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.gain.T + self.mean


class OfAnyNoise(nn.Module):
    """The same for every σ, which is passed to it."""

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        values, vectors = torch.linalg.eigh(covariance)
        for name, tensor in (("mean", mean), ("values", values), ("vectors", vectors)):
            self.register_buffer(name, tensor.float())

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        shrunk = self.values / (self.values + sigma[:, None] ** 2)
        return ((x - self.mean) @ self.vectors * shrunk) @ self.vectors.T + self.mean


@pytest.mark.parametrize("general", [False, True], ids=["net(x)", "net(x, sigma)"])
@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (2.0, 0.5)])
def test_the_best_denoiser_of_a_gaussian_has_its_closed_form(weight: float, temperature: float, general: bool) -> None:
    """λ log p_σ + w·x over T: a Gaussian of covariance (C + σ²I) T/λ and mean μ + (C + σ²I) w/λ. False alarm: 8e-8."""
    generator = torch.Generator().manual_seed(7)
    size, sigma = 20, 0.4
    root = torch.randn(size, size, generator=generator, dtype=torch.float64) / math.sqrt(size)
    covariance, mean = root @ root.T, torch.randn(size, generator=generator, dtype=torch.float64)
    slope = 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    model = nn.Linear(size, 1, bias=False)
    model.weight.data[:] = slope.float()
    net = OfAnyNoise(mean, covariance) if general else BestDenoiser(mean, covariance, sigma)
    s = ldam.Sampler(
        model, neurons=[0], input_shape=(size,), kernel=BAOAB(0.3, 1.0), scale="none", temperature=temperature,
        regularizers=[ldam.Denoiser(net, sigma, weight)], chains=CHAINS, seed=run_seed(), prior=None, execution="plain",
    )  # fmt: skip
    assert s.has_law
    s.step(250)
    smoothed = covariance + sigma**2 * torch.eye(size, dtype=torch.float64)
    expected = mean + smoothed @ slope / weight
    values, vectors = torch.linalg.eigh(smoothed * temperature / weight)
    white = ((s.images[0].double() - expected) @ vectors) / values.sqrt()
    Departure.of(white, torch.zeros(size, dtype=torch.float64), 1.0).require_small()


# ---- planted mistakes ------------------------------------------------------------------------------------------------

slope, gradient, denoised = TotalVariation._slope, ldam.Denoiser.gradient, ldam.Denoiser.denoised
var_mean = torch.var_mean


def of_the_batch(positions: Tensor, axis: int, correction: int) -> Any:
    found = var_mean(positions.transpose(0, 1).flatten(1), 1, correction=correction)
    return tuple(each.expand(len(positions), -1) for each in found)


def means_alone(positions: Tensor, axis: int, correction: int) -> Any:
    variance, mean = var_mean(positions, axis, correction=correction)
    return variance.detach(), mean


PLANTED: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "a slope of 1.2": (
        TotalVariation, "_slope", lambda self, *of: 1.2 * slope(self, *of),
        lambda: test_two_pixels_under_total_variation(4.0, BAOAB(0.05, 1.0), 400),
    ),
    "an edge of 2 ε": (
        ldam, "TotalVariation", lambda weight, edge: TotalVariation(weight, edge=2 * edge),
        lambda: test_two_pixels_under_total_variation(4.0, GHMC(0.2, 1.0), 200),
    ),
    "axes apart": (
        TotalVariation, "_slope", lambda self, differences, length: slope(
            self, differences, (sum(d**2 for d in differences.values()) / 2 + 0.09).sqrt()  # type: ignore[arg-type]
        ),
        lambda: test_nine_pixels_under_total_variation(LeimkuhlerMatthews(0.02), 400),
    ),
    "statistics of the batch": (
        torch, "var_mean", of_the_batch, lambda: test_six_pixels_under_batch_statistics(BAOAB(0.06, 1.0), 500),
    ),
    "means alone": (
        torch, "var_mean", means_alone, lambda: test_six_pixels_under_batch_statistics(BAOAB(0.06, 1.0), 500),
    ),
    "σ for σ²": (
        ldam.Denoiser, "gradient", lambda self, x: gradient(self, x) * self.sigma,
        lambda: test_the_best_denoiser_of_a_gaussian_has_its_closed_form(1.0, 1.0, False),
    ),
    "D(x) for D(x) − x": (
        ldam.Denoiser, "gradient", lambda self, x: denoised(self, x) / self.sigma**2,
        lambda: test_the_best_denoiser_of_a_gaussian_has_its_closed_form(1.0, 1.0, True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, wrong, test = PLANTED[mistake]
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises((AssertionError, ldam.SamplingError)):
        test()
