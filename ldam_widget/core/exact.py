"""Neurons whose distribution is known in closed form: references for testing samplers.

Both are modules for `Sampler(model, input_shape=(D,), regularizers=[L2(λ)])`: x (batch, D) -> (batch, 1), so that
E(x) = f(x) − ½λ‖x‖² and p ∝ exp(E/T).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LinearNeuron(nn.Module):
    """f(x) = w·x + b, so that p is the Gaussian N(w/λ, T/λ) in every pixel, for any b.

    Args:
        weight: w, (D,).
        bias: b.

    Raises:
        ValueError: weight is not a non-empty vector.
    """

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        if weight.ndim != 1 or not len(weight):
            raise ValueError(f"weight must be a vector (D,); got shape {tuple(weight.shape)}")
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, D) -> (batch, 1)."""
        return (x @ self.weight + self.bias)[:, None]

    def mean(self, l2: float) -> Tensor:
        """w/λ, (D,)."""
        return self.weight.detach() / l2

    def variance(self, l2: float, temperature: float = 1.0) -> float:
        """T/λ of every pixel."""
        return temperature / l2

    def sample(self, n: int, l2: float, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """n independent samples (n, D), drawn exactly and without any chain."""
        mean = self.mean(l2)
        numbers = torch.randn(n, len(mean), generator=generator, dtype=mean.dtype)
        return mean + math.sqrt(self.variance(l2, temperature)) * numbers


class TwoTemplates(nn.Module):
    """f(x) = T logsumexp_k((w_k·x + b_k)/T): a neuron with K templates, K = 2 the double well in any dimension.

    Sampled at the same T with an L2 weight λ, it is exactly a mixture of Gaussians, one per template,

        p(x) = Σ_k π_k N(x; w_k/λ, T/λ),   π_k ∝ exp((b_k + ‖w_k‖²/(2λ))/T),

    with known shares π_k, however far apart the modes are. At any other temperature, as on the hot rungs of a ladder,
    it is not a mixture of Gaussians. (The name refers to the double well; K may be larger than 2.)

    Args:
        weights: w, (K, D).
        biases: b, (K,); None is 0.
        temperature: T > 0 in f, a constant of the neuron, not a slider.

    Raises:
        ValueError: mismatched shapes, or a temperature ≤ 0.
    """

    def __init__(self, weights: Tensor, biases: Tensor | None = None, temperature: float = 1.0) -> None:
        super().__init__()
        biases = weights.new_zeros(len(weights)) if biases is None else biases
        if weights.ndim != 2 or biases.shape != weights.shape[:1]:
            shapes = f"{tuple(weights.shape)} and {tuple(biases.shape)}"
            raise ValueError(f"weights must be (K, D) and biases (K,); got {shapes}")
        if not temperature > 0:
            raise ValueError(f"temperature must be > 0; got {temperature!r}")
        self.weights = nn.Parameter(weights.detach().clone())
        self.biases = nn.Parameter(biases.detach().clone())
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, D) -> (batch, 1)."""
        heights = torch.addmm(self.biases, x, self.weights.T)
        return self.temperature * torch.logsumexp(heights / self.temperature, 1, keepdim=True)

    def probabilities(self, l2: float) -> Tensor:
        """π, (K,) float64, summing to 1: the share of samples in each mode."""
        weights, biases = self.weights.detach().double(), self.biases.detach().double()
        return torch.softmax((biases + weights.square().sum(1) / (2 * l2)) / self.temperature, 0)

    def means(self, l2: float) -> Tensor:
        """w_k/λ, (K, D)."""
        return self.weights.detach() / l2

    def variance(self, l2: float) -> float:
        """T/λ of every pixel within a mode."""
        return self.temperature / l2

    def sample(self, n: int, l2: float, generator: torch.Generator) -> Tensor:
        """n independent samples (n, D), drawn exactly and without any chain."""
        mode = torch.multinomial(self.probabilities(l2), n, replacement=True, generator=generator)
        means = self.means(l2)
        numbers = torch.randn(n, means.shape[1], generator=generator, dtype=means.dtype)
        return means[mode] + math.sqrt(self.variance(l2)) * numbers


def truncated_normal(mean: Tensor, variance: float, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of N(mean, variance) truncated to [low, high]; both shaped like mean, float64.

    This is the distribution of every pixel of a `LinearNeuron` in a box: mean w/λ, variance T/λ. With α, β the walls
    in standard deviations σ from the mean, and Z = Φ(β) − Φ(α),

        E = mean + σ (φ(α) − φ(β))/Z,   Var = σ² (1 + (α φ(α) − β φ(β))/Z − ((φ(α) − φ(β))/Z)²).

    Accurate to five digits if the box is at least 10⁻³ σ wide and at most 30 σ from the mean.

    Args:
        mean: of the untruncated normal, any shape.
        variance: of the untruncated normal, > 0.
        low, high: the walls.

    Raises:
        ValueError: variance ≤ 0 or low ≥ high.
    """
    if not (variance > 0 and low < high):
        raise ValueError(f"needs variance > 0 and low < high; got {variance!r}, {low!r}, {high!r}")
    sigma = math.sqrt(variance)
    centre = mean.double()
    alpha, beta = (low - centre) / sigma, (high - centre) / sigma
    # mirrored if the box lies above the mean: a difference of two Φ near 1 would be lost to rounding
    mirrored = alpha + beta > 0
    a, b = torch.where(mirrored, -beta, alpha), torch.where(mirrored, -alpha, beta)
    inside = (torch.erfc(-b / math.sqrt(2)) - torch.erfc(-a / math.sqrt(2))) / 2  # torch's own Φ has no lower tail
    at_a, at_b = (torch.exp(-0.5 * end * end) / math.sqrt(2 * math.pi) / inside for end in (a, b))
    shift = at_a - at_b
    found = centre + sigma * torch.where(mirrored, -shift, shift)
    return found, variance * (1 + a * at_a - b * at_b - shift.square())
