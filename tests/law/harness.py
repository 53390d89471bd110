"""Closed forms: every kernel with the law that it has, discretisation and all, on a linear neuron with L2.

To add a kernel, write one line in `LAWS`: the kernel, the variance of a pixel in closed form, and how many steps it
takes to forget the start. It then runs through every test of this folder.

The energy is E(x) = w·x − ½Λ‖x‖², so p ∝ exp(E/T) is the Gaussian N(w/Λ, T/Λ). A kernel with a finite step has the
mean w/Λ and a variance of its own, which is what is tested: a tolerance that forgives the discretisation would also
forgive a wrong temperature. Of many independent chains the last state alone is kept. The states are then independent
and exactly Gaussian, no effective sample size has to be estimated, and the tolerance of five standard errors has a
known false-alarm rate; see `Departure`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ldam_widget.kernels import Algorithm1
from ldam_widget.noise import ChainNoise
from ldam_widget.regularizers import L2
from ldam_widget.target import NEURON, Target
from ldam_widget.types import Kernel, Noise, State

CURVATURE = 0.5  # Λ
DIMENSIONS = 784
CHAINS = 512  # 512 × 784 numbers: five standard errors of the variance are 1.1 %


@dataclass(frozen=True)
class Law:
    """A kernel at temperature T, and the variance of a pixel that it has on a quadratic of curvature Λ."""

    kernel: Kernel
    variance: Callable[[float, float], float]  # (Λ, T) -> the stationary variance in closed form
    steps: int  # after which the start is forgotten at Λ = CURVATURE: its share in the mean is below 1e-5
    temperature: float = 1.0


def algorithm1(beta: float, gamma: float, sigma: float, temperature: float) -> Law:
    """`Algorithm1` with plain gradients is an AR(2) process on a quadratic (reference/algorithm.md, section 1.3a)."""

    def variance(curvature: float, temperature: float) -> float:
        hidden = temperature * beta * sigma**2 / (2 * (1 - gamma))
        return hidden / curvature / (1 - beta * curvature / (2 * (1 + gamma)))

    # x_{t+1} = (1 + γ − βΛ) x_t − γ x_{t−1} + …: the larger root tells how fast the start is forgotten
    half, product = (1 + gamma - beta * CURVATURE) / 2, gamma
    root = half**2 - product
    slowest = abs(half) + math.sqrt(root) if root > 0 else math.sqrt(product)
    steps = math.ceil(math.log(1e-5) / math.log(slowest))
    return Law(Algorithm1(beta, sigma, gamma, normalize="none"), variance, steps, temperature)


LAWS = {
    "Algorithm1, much momentum": algorithm1(beta=0.1, gamma=0.9, sigma=1.0, temperature=0.1),
    "Algorithm1, no momentum": algorithm1(beta=0.1, gamma=0.0, sigma=0.5, temperature=4.0),
    "Algorithm1, little noise": algorithm1(beta=0.1, gamma=0.5, sigma=0.03, temperature=1.0),
    "Algorithm1, near the limit of stability": algorithm1(beta=4.0, gamma=0.5, sigma=2.0, temperature=0.3),
}


class LinearNeuron:
    """f(x) = w·x."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight  # (D,)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.weight, self.weight.expand_as(x)


def gaussian(weight: Tensor, temperature: float, curvature: float = CURVATURE) -> Target:
    """The target with E = w·x − ½Λ‖x‖²."""
    return Target({NEURON: LinearNeuron(weight), "l2": L2()}, {NEURON: 1.0, "l2": curvature}, temperature)


def direction(seed: int, dimensions: int = DIMENSIONS) -> Tensor:
    """A weight vector w with components of order 1."""
    return torch.randn(dimensions, generator=torch.Generator().manual_seed(seed))


def last_states(kernel: Kernel, target: Target, noise: ChainNoise | Noise, x: Tensor, steps: int) -> Tensor:
    """(chain, D) after `steps` steps from x."""
    state: State = kernel.init(x, target)
    for _ in range(steps):
        state, _ = kernel.step(state, target, noise)
    return state.x


@dataclass(frozen=True)
class Departure:
    """How far states are from N(mean, variance), in standard errors.

    With C chains in D dimensions, C Σ_d (x̄_d − μ_d)²/v has the law χ²(D) and (C − 1)D s²/v has χ²((C − 1)D), exactly
    and independently of each other. Both are centred and scaled to unit variance. For D = 784 and C = 512 a correct
    kernel leaves ±5 with probability 1.7e-6 by its mean (χ²(784) is a little skewed) and 6e-7 by its variance.
    """

    mean: float
    variance: float

    @classmethod
    def of(cls, states: Tensor, mean: Tensor, variance: float) -> Departure:
        chains, dimensions = states.shape
        states = states.double()
        centre = states.mean(0)
        chi2 = float((centre - mean.double()).square().sum()) * chains / variance
        ratio = float((states - centre).square().sum()) / ((chains - 1) * dimensions) / variance
        return cls(
            (chi2 - dimensions) / math.sqrt(2 * dimensions), (ratio - 1) / math.sqrt(2 / ((chains - 1) * dimensions))
        )

    def require_small(self) -> None:
        """The one assertion of this folder."""
        assert abs(self.mean) < 5, self
        assert abs(self.variance) < 5, self
