"""Closed forms: every kernel with the law that it has, discretisation and all, on a linear neuron with L2.

To add a kernel, write one line in `LAWS`: the kernel, the variance of a pixel in closed form, and how many steps it
takes to forget the start. It then runs through every test of this folder; those that ask for more than one closed form
look at what a kernel claims (`calibrated`).

The energy is E(x) = w·x − ½Λ‖x‖², so p ∝ exp(E/T) is the Gaussian N(w/Λ, T/Λ). A kernel with a finite step has the
mean w/Λ and a variance of its own, which is what is tested: a tolerance that forgives the discretisation would also
forgive a wrong temperature. Of many independent chains the last state alone is kept. The states are then independent
and exactly Gaussian, no effective sample size has to be estimated, and the tolerance of `SIGMAS` standard errors has
a known false-alarm rate; see `Departure`.

A kernel that is exact on quadratics may be wrong elsewhere. For the double well and for boxes, `DoubleWell` and
`box_scores` have the laws of every temperature, the former by a quadrature in one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor, nn

from ldam_widget.core.exact import TwoTemplates, truncated_normal
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Kernel, Noise, State, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.objectives import L2
from ldam_widget.parametrizations import Pixels

from ..conftest import SIGMAS

CURVATURE = 0.5  # Λ
DIMENSIONS = 784
CHAINS = 512  # 512 × 784 numbers: 5.5 standard errors of the variance are 1.2 %


@dataclass(frozen=True)
class Law:
    """A kernel at temperature T, and the variance of a pixel that it has on a quadratic of curvature Λ."""

    kernel: Kernel
    variance: Callable[[float, float], float]  # (Λ, T) -> the stationary variance in closed form
    steps: int  # after which the start is forgotten at Λ = CURVATURE: its share in the mean is below 1e-5
    temperature: float = 1.0
    dimensions: int = DIMENSIONS  # fewer for Metropolis kernels, whose steps are longer there
    chains: int = CHAINS
    warm_up: int = 0  # of the steps, those in which the kernel finds its step size


def algorithm1(beta: float, gamma: float, sigma: float, temperature: float) -> Law:
    """`Algorithm1` with plain gradients is an AR(2) process on a quadratic (reference/algorithm.md, section 1.3a)."""

    def variance(curvature: float, temperature: float) -> float:
        hidden = temperature * beta * sigma**2 / (2 * (1 - gamma))
        return hidden / curvature / (1 - beta * curvature / (2 * (1 + gamma)))

    # x_{t+1} = (1 + γ − βΛ) x_t − γ x_{t−1} + …: the larger root gives how fast the start is forgotten
    half, product = (1 + gamma - beta * CURVATURE) / 2, gamma
    root = half**2 - product
    slowest = abs(half) + math.sqrt(root) if root > 0 else math.sqrt(product)
    steps = math.ceil(math.log(1e-5) / math.log(slowest))
    return Law(Algorithm1(beta, sigma, gamma, normalize="none"), variance, steps, temperature)


def boltzmann(curvature: float, temperature: float) -> float:
    """The variance of p ∝ exp(E/T) itself, of kernels that are exact on quadratics at any stable step."""
    return temperature / curvature


LAWS = {
    "Algorithm1, much momentum": algorithm1(beta=0.1, gamma=0.9, sigma=1.0, temperature=0.1),
    "Algorithm1, no momentum": algorithm1(beta=0.1, gamma=0.0, sigma=0.5, temperature=4.0),
    "Algorithm1, little noise": algorithm1(beta=0.1, gamma=0.5, sigma=0.03, temperature=1.0),
    "Algorithm1, near the limit of stability": algorithm1(beta=4.0, gamma=0.5, sigma=2.0, temperature=0.3),
    "BAOAB": Law(BAOAB(1.0, 1.0), boltzmann, 100),
    "BAOAB, long steps": Law(BAOAB(2.4, 0.3), boltzmann, 100, 0.3),
    "GHMC": Law(GHMC(0.6, 1.0), boltzmann, 250, 2.0, 256),
    "GHMC, finds its step": Law(GHMC(friction=1.0), boltzmann, 350, 0.5, 256, warm_up=100),
    "MALA": Law(MALA(0.18), boltzmann, 300, 0.3, 256),
    "MALA, finds its step": Law(MALA(), boltzmann, 400, 3.0, 256, warm_up=100),
    "Leimkuhler-Matthews": Law(LeimkuhlerMatthews(1.0), boltzmann, 40, 2.0),
    "Leimkuhler-Matthews, long steps": Law(LeimkuhlerMatthews(2.8), boltzmann, 40),
    "ULA": Law(ULA(0.3), lambda curvature, temperature: temperature / curvature / (1 - 0.15 * curvature), 90),
    "ULA, hot": Law(ULA(1.0), lambda curvature, temperature: temperature / curvature / (1 - 0.5 * curvature), 40, 3.0),
}


class LinearNeuron:
    """f(x) = w·x, a term of a target; `exact.LinearNeuron` is the same as a module."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight  # (D,)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.weight, self.weight.expand_as(x)


def gaussian(
    weight: Tensor, temperature: float | Tensor, curvature: float = CURVATURE, bounds: tuple[float, float] | None = None
) -> Target:
    """The target with E = w·x − ½Λ‖x‖²."""
    return Target(
        {NEURON: LinearNeuron(weight), "l2": L2()}, {NEURON: 1.0, "l2": curvature}, temperature, Pixels(bounds)
    )


def direction(seed: int, dimensions: int = DIMENSIONS) -> Tensor:
    """A weight vector w with components of order 1."""
    return torch.randn(dimensions, generator=torch.Generator().manual_seed(seed))


def numbers(chains: int, dimensions: int, seed: int) -> ChainNoise:
    """The sampler's own random numbers, for `chains` chains of one neuron."""
    return ChainNoise(seed, 1, chains, (dimensions,), torch.device("cpu"))


def last_states(
    kernel: Kernel, target: Target, noise: ChainNoise | Noise, x: Tensor, steps: int, warm_up: int = 0
) -> Tensor:
    """(chain, D) after `steps` steps from x, in the first `warm_up` of which a step size may be found."""
    state: State = kernel.init(x, target)
    for step in range(steps):
        state, info = kernel.step(state, target, noise)
        if step < warm_up:
            state = kernel.adapt(state, info, step + 1, target)  # type: ignore[attr-defined]
    return state.x


@dataclass(frozen=True)
class Departure:
    """How far states are from N(mean, variance), in standard errors.

    With C chains in D dimensions, C Σ_d (x̄_d − μ_d)²/v has the law χ²(D) and (C − 1)D s²/v has χ²((C − 1)D), exactly
    and independently of each other. Both are given as the standard normal number whose tail is as likely, so that a
    correct kernel leaves ±5.5 with probability 4e-8 by either, in any dimension.
    """

    mean: float
    variance: float

    @classmethod
    def of(cls, states: Tensor, mean: Tensor, variance: float) -> Departure:
        chains, dimensions = states.shape
        states = states.double()
        centre = states.mean(0)
        chi2 = float((centre - mean.double()).square().sum()) * chains / variance
        degrees = (chains - 1) * dimensions
        squares = float((states - centre).square().sum()) / variance
        return cls(normal_score(chi2, dimensions), normal_score(squares, degrees))

    def require_small(self) -> None:
        """The one assertion of this folder."""
        assert abs(self.mean) < SIGMAS, self
        assert abs(self.variance) < SIGMAS, self


def within_bounds(scores: Mapping[str, float]) -> None:
    """The same assertion for named statements, each in standard errors."""
    assert all(abs(score) < SIGMAS for score in scores.values()), scores


class DoubleWell:
    """`TwoTemplates` with K = 2, its law at every temperature T, and how far states are from it.

    With m = (w_0 + w_1)/2, s = x·u along u = (w_1 − w_0)/‖w_1 − w_0‖ and T_f the neuron's own temperature,

        E(x) = m·x − ½λ‖x‖² + T_f log 2cosh((‖w_1 − w_0‖ s + b_1 − b_0)/(2 T_f)) + constant,

    so that pixels across u are Gaussian at any T, N(m/λ, T/λ), and s has a density in one dimension, integrated here on
    a grid. (At T = T_f it is the mixture; a test compares the two.)

    Args:
        separation: distance of the modes in standard deviations of one at T = 1.
        share: π_1.
        dimensions, curvature: D and λ.
    """

    def __init__(self, separation: float, share: float = 0.6, dimensions: int = 16, curvature: float = 0.5) -> None:
        generator = torch.Generator().manual_seed(5)
        random = torch.randn(2, dimensions, generator=generator, dtype=torch.float64)
        axis = random[0] / random[0].norm()
        middle = random[1]
        half = axis * separation * math.sqrt(curvature) / 2
        weights = torch.stack([middle - half, middle + half])
        energies = weights.square().sum(1) / (2 * curvature)
        biases = torch.tensor([1 - share, share], dtype=torch.float64).log() - energies
        self.curvature, self.dimensions, self.share = curvature, dimensions, share
        self.axis = axis
        self.model = TwoTemplates(weights.float(), biases.float())
        ends = sorted(float(mean @ axis) for mean in self.model.means(curvature).double())
        self.middle = sum(ends) / 2
        self.across = middle - (middle @ axis) * axis
        self._along = (middle @ axis, weights[1] - weights[0], biases[1] - biases[0], ends)

    def target(self, temperature: float | Tensor = 1.0) -> Target:
        """For a kernel without a sampler."""
        return Target(
            {NEURON: Module(self.model), "l2": L2()}, {NEURON: 1.0, "l2": self.curvature}, temperature, Pixels(None)
        )  # fmt: skip

    def moments(self, temperature: float = 1.0) -> tuple[float, float, float, float]:
        """Of s: mean, variance, variance of (s − mean)², and the share of s beyond the middle between the modes."""
        s, density = self.density(temperature)
        mean = float(density @ s)
        square = (s - mean).square()
        variance = float(density @ square)
        return mean, variance, float(density @ (square - variance).square()), float(density[s > self.middle].sum())

    def density(self, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """A fine grid of s, and the share of each of its points; the two integrate to rounding."""
        along, difference, bias, (low, high) = self._along
        room = 12 * math.sqrt(temperature / self.curvature)
        s = torch.linspace(low - room, high + room, 200_001, dtype=torch.float64)
        wells = (difference.norm() * s + bias) / 2
        energy = along * s - self.curvature * s.square() / 2 + wells.abs() + torch.log1p(torch.exp(-2 * wells.abs()))
        return s, torch.softmax(energy / temperature, 0)

    def scores(self, states: Tensor, temperature: float = 1.0) -> dict[str, float]:
        """How far independent states (C, D) are from the law at T, in standard errors that are known, not estimated.

        Five statements. A correct kernel leaves ±5.5 with a probability of about 4e-8 by each (χ² is given as a normal
        score, since it is skewed in few dimensions), with the central limit theorem for some thousand chains.
        """
        x = states.double()
        chains = len(x)
        mean, variance, spread, share = self.moments(temperature)
        s = x @ self.axis
        rest = x - s[:, None] * self.axis - self.across / self.curvature
        free = self.dimensions - 1
        chi2 = float(rest.mean(0).square().sum()) * chains * self.curvature / temperature
        # the square of the part across is χ² with (D − 1)C degrees of freedom, times T/λ
        total = float(rest.square().sum()) * self.curvature / temperature
        return {
            "share of the modes": (float((s > self.middle).double().mean()) - share)
            / math.sqrt(share * (1 - share) / chains),
            "mean along": (float(s.mean()) - mean) / math.sqrt(variance / chains),
            "variance along": (float((s - mean).square().mean()) - variance) / math.sqrt(spread / chains),
            "mean across": normal_score(chi2, free),
            "variance across": normal_score(total, free * chains),
        }


def normal_score(chi2: float, degrees: int) -> float:
    """The standard normal number whose tail is as likely as that of χ²: Wilson and Hilferty's cube root.

    It errs on the side of few false alarms: at 5.5 the tail of χ² is 6e-9 with 6 degrees and 1.9e-8 with many.
    """
    return float(((chi2 / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees)))


def binomial_score(count: int, trials: int, probability: float) -> float:
    """The standard normal number whose tail is as likely as that of the binomial distribution, exactly."""
    law = stats.binom(trials, probability)
    if count > trials * probability:
        return float(stats.norm.isf(law.sf(count - 1)))
    return float(stats.norm.ppf(law.cdf(count)))


class Module:
    """A module (batch, D) -> (batch, 1) as a term of a target."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            value = self.model(leaf)[:, 0]
            (grad,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), grad


def box_scores(states: Tensor, mean: Tensor, variance: float, bounds: tuple[float, float]) -> dict[str, float]:
    """How far states (C, D) are from N(mean, variance) cut off at the walls, in known standard errors.

    Statements on the mean of every pixel (one χ², given as a normal score), on the mean pull away from the middle, in
    which errors at a wall add up, and on the squares. All by the central limit theorem for C ≥ 500: false alarm 4e-8
    each. A pixel at a wall has a skewness of 2, a sum of 500 × 40 of them one of .014, which makes 6e-8 of it.
    """
    chains = len(states)
    expected, spread = truncated_normal(mean, variance, *bounds)
    x = states.double() - expected
    outward = torch.sign(expected - sum(bounds) / 2)
    grid = torch.linspace(*bounds, 20_001, dtype=torch.float64)[:, None]
    density = torch.softmax(-(grid - mean.double()).square() / (2 * variance), 0)
    fourth = (density * ((grid - expected).square() - spread).square()).sum(0)
    return {
        "means": normal_score(float((x.mean(0).square() / spread).sum()) * chains, len(expected)),
        "pull to the walls": float((x.mean(0) * outward).sum()) / math.sqrt(float(spread.sum()) / chains),
        "variances": float((x.square().mean(0) - spread).sum()) / math.sqrt(float(fourth.sum()) / chains),
    }
