"""The natural prior on a linear neuron: a Gaussian whose mean and covariance are known in closed form.

With x = μ + g M z, f = w·x and p(z) ∝ N(z; 0, τ²I) exp(f/(sT)), z has the law N(τ²/(sT) Mᵀgw, τ²I), and the picture

    x ~ N(μ + τ²/(sT) Σw, τ²Σ),   Σ = g M Mᵀ g.

Σ is computed here in float64 and another way than the package does, so that neither a map nor its adjoint is taken on
trust. Whitened by Σ's own Cholesky root, pictures must be standard normal: `Departure` then has the last word.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Kernel, Target
from ldam_widget.kernels import BAOAB
from ldam_widget.parametrizations.natural import NaturalCoordinates

from ..conftest import run_seed
from .harness import Departure, last_states

Array = npt.NDArray[np.float64]
CHAINS = 256
TEMPERATURE, SCALE = 0.35, 1.7  # T and the neuron's frozen scale s, both unlike 1


@dataclass(frozen=True)
class Prior:
    """A prior with the mean and covariance of its pictures, from another source."""

    natural: ldam.Natural
    shape: tuple[int, ...]
    mean: Array  # (D,)
    covariance: Array  # (D, D) at natural = 1

    def coordinates(self, natural: float) -> NaturalCoordinates:
        return self.natural.coordinates(self.shape, None, torch.device("cpu")).at(natural)


@functools.lru_cache
def photos() -> Prior:
    """`Natural("photos")` on 3 × 16 × 16: the published table, read with NumPy."""
    natural = ldam.Natural("photos")
    return Prior(
        natural, (3, 16, 16), np.repeat(_table(natural, "mean"), 256), spectral_covariance(natural, (16, 16), 1.0)
    )


@functools.lru_cache
def whole() -> Prior:
    """`Natural.of` many small pictures: the covariance of the pictures themselves, 3 × 4 × 5."""
    pictures = correlated(400, (3, 4, 5))
    natural = ldam.Natural.of(pictures, pixel_range=(0.0, 1.0))
    flat = pictures.flatten(1).double().numpy()
    return Prior(natural, (3, 4, 5), flat.mean(0), np.cov(flat.T, bias=True))


@functools.lru_cache
def leading() -> Prior:
    """`Natural.of` few pictures with two strong directions of their own, 3 × 8 × 8."""
    generator = torch.Generator().manual_seed(3)
    own = torch.randn(2, 3, 8, 8, generator=generator)
    strength = torch.randn(150, 2, generator=generator)
    pictures = 0.5 + 0.02 * torch.randn(150, 3, 8, 8, generator=generator)
    pictures = pictures + 0.03 * torch.einsum("nk,k...->n...", strength, own)
    natural = ldam.Natural.of(pictures, pixel_range=(0.0, 1.0))
    return Prior(natural, (3, 8, 8), pictures.double().mean(0).flatten().numpy(), leading_covariance(natural, (8, 8)))


PRIORS = {"photos": photos, "whole covariance": whole, "leading directions": leading}


def correlated(count: int, shape: tuple[int, ...]) -> Tensor:
    """Pictures whose pixels vary together, each with a variance of its own."""
    generator = torch.Generator().manual_seed(2)
    pixels = math.prod(shape)
    mix = torch.randn(pixels, pixels, generator=generator) / math.sqrt(pixels)
    rising = torch.linspace(0.3, 1.0, pixels)
    pictures = (
        torch.linspace(0.2, 0.8, pixels) + 0.25 * (torch.randn(count, pixels, generator=generator) * rising) @ mix
    )
    return pictures.clamp(0, 1).view(count, *shape)


def cycles(sides: tuple[int, int]) -> Array:
    """Spatial frequency over the Fourier plane, in cycles per image."""
    axes = np.meshgrid(*(np.fft.fftfreq(side) for side in sides), indexing="ij")
    found: Array = np.hypot(*axes) * math.sqrt(math.prod(sides))
    return found


def spectrum_of(natural: ldam.Natural, sides: tuple[int, int], power: float) -> Array:
    """Variance of every Fourier mode, 1 on average, from the table of amplitudes."""
    table = _table(natural, "amplitude")
    rings, far = np.arange(1, len(table) + 1), cycles(sides)
    log = np.interp(np.log(np.maximum(far, 1)), np.log(rings), np.log(table))
    upper = slice(len(table) // 2, None)
    slope = min(0.0, np.polyfit(np.log(rings[upper]), np.log(table[upper]), 1)[0])
    log += slope * np.log(np.maximum(far / rings[-1], 1))
    spectrum: Array = np.exp(2 * power * log)
    return spectrum / spectrum.mean()


def spectral_covariance(natural: ldam.Natural, sides: tuple[int, int], power: float) -> Array:
    """Of a table of amplitudes and colours, to a power, with the mean variance that it has at 1."""
    values, vectors = np.linalg.eigh(_table(natural, "colour"))
    colours = vectors * values ** (2 * power) @ vectors.T
    colours *= (values**2).sum() / np.trace(colours)
    spectrum = spectrum_of(natural, sides, power)
    # what is the same everywhere has the covariance that is the spectrum's transform, of the distance alone
    of_distance = np.fft.ifft2(spectrum).real
    y, x = np.indices(sides).reshape(2, -1)
    pixels = of_distance[(y[:, None] - y) % sides[0], (x[:, None] - x) % sides[1]]
    return np.kron(colours, pixels)


def leading_covariance(natural: ldam.Natural, sides: tuple[int, int]) -> Array:
    rest = np.linalg.eigh(spectral_covariance(natural, sides, 1.0))
    root = rest[1] * np.sqrt(np.maximum(rest[0], 0)) @ rest[1].T
    directions, variances = _table(natural, "directions"), _table(natural, "variances")
    return root @ (np.eye(len(root)) + directions.T * (variances - 1) @ directions) @ root


def powered(covariance: Array, power: float) -> Array:
    """A whole covariance to a power, at the same mean variance."""
    values, vectors = np.linalg.eigh(covariance)
    raised = np.maximum(values, 0) ** power
    return vectors * (raised * values.sum() / raised.sum()) @ vectors.T


def _table(natural: ldam.Natural, name: str) -> Array:
    return natural._tensors[name].double().numpy()


class LinearNeuron:
    """f(x) = w·x of pictures."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1) @ self.weight.flatten(), self.weight.expand_as(x)


def filter_for(covariance: Array, shape: tuple[int, ...], tau: float) -> Tensor:
    """A filter w with which the neuron pulls the chains as far as the prior's noise throws them, τ√D."""
    direction = np.random.default_rng(run_seed()).standard_normal(len(covariance))
    length = math.sqrt(direction @ covariance @ direction) * tau / (SCALE * TEMPERATURE)
    return torch.from_numpy(direction * math.sqrt(len(covariance)) / length).float().view(shape)


def target_of(coordinates: Any, neuron: Any, tau: float, **changes: Any) -> Target:
    scales = {NEURON: torch.full((CHAINS,), SCALE)}
    return Target({NEURON: neuron}, {NEURON: 1.0}, TEMPERATURE, coordinates, tau, scales=scales, **changes)


def chains_of(kernel: Kernel, target: Target, shape: tuple[int, ...], steps: int, tau: float) -> Tensor:
    """Last states z, (chain, *shape)."""
    noise = ChainNoise(run_seed(), 1, CHAINS, shape, torch.device("cpu"))
    begin = noise.start() * tau
    return last_states(kernel, target, noise, begin, steps)


class Unsquashed:
    """f = w·y of y = ½ + logit(p)/k, with which a squashed picture is linear in z once more."""

    def __init__(self, weight: Tensor, steepness: float, pixel_range: tuple[float, float]) -> None:
        self.weight, self.steepness = weight, steepness
        self.low, self.width = pixel_range[0], pixel_range[1] - pixel_range[0]

    def linear(self, x: Tensor) -> Tensor:
        return 0.5 + torch.logit((x - self.low) / self.width) / self.steepness

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = (x - self.low) / self.width
        return self.linear(x).flatten(1) @ self.weight.flatten(), self.weight / (
            p - p * p
        ) / self.steepness / self.width


def departure(pictures: Tensor, mean: Array, covariance: Array) -> Departure:
    """How far pictures are from N(mean, covariance)."""
    centred = pictures.flatten(1).double().numpy() - mean
    white = np.linalg.solve(np.linalg.cholesky(covariance), centred.T).T
    return Departure.of(torch.from_numpy(white), torch.zeros(len(mean)), 1.0)


def require_law(kernel: Kernel, prior: Prior, covariance: Array, natural: float, tau: float, steps: int,
                warmth: float = 1.0) -> None:  # fmt: skip
    """The assertion of these tests: last states have mean and covariance of the closed form, in pictures.

    Args:
        covariance: Σ at this `natural`.
        warmth: what the kernel's own discretisation multiplies the covariance by.
    """
    weight = filter_for(covariance, prior.shape, tau)
    coordinates = prior.coordinates(natural)
    target = target_of(coordinates, LinearNeuron(weight), tau, energy_needed=kernel.needs_energy)
    z = chains_of(kernel, target, prior.shape, steps, tau)
    departure(
        coordinates.picture(z), tilted(prior.mean, covariance, weight, tau), warmth * tau**2 * covariance
    ).require_small()


def tilted(mean: Array, covariance: Array, weight: Tensor, tau: float) -> Array:
    """μ + τ²/(sT) Σw."""
    return mean + tau**2 / (SCALE * TEMPERATURE) * covariance @ weight.double().flatten().numpy()


def require_law_behind_the_squash(tau: float, pixel_range: tuple[float, float]) -> None:
    """The same of y with x = squash(y), which is what the prior is Gaussian in."""
    prior = whole()
    neuron = Unsquashed(filter_for(prior.covariance, prior.shape, tau), prior.natural.steepness, pixel_range)
    coordinates = prior.natural.coordinates(prior.shape, pixel_range, torch.device("cpu"))
    z = chains_of(BAOAB(0.7, 1.0), target_of(coordinates, neuron, tau, energy_needed=False), prior.shape, 70, tau)
    mean = tilted(prior.mean, prior.covariance, neuron.weight, tau)
    departure(neuron.linear(coordinates.picture(z).double()), mean, tau**2 * prior.covariance).require_small()
