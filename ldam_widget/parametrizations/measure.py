"""Image statistics for the natural prior: mean, colour covariance, spectrum, and strongest directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .maps import LinearMap, Spectral, normalised, radii

MOST_PIXELS = 4000  # largest image (channels included) whose full covariance is measured: a matrix of 128 MB
MOST_DIRECTIONS = 256


def colours(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (channels,) and symmetric root of the colour covariance (channels, channels) of images (n, channels, …)."""
    channels = images.transpose(0, 1).flatten(1).double()
    mean = channels.mean(1)
    centred = channels - mean[:, None]
    return mean.float(), root(centred @ centred.T / centred.shape[1]).float()


def spectrum(images: Tensor, colour: Tensor) -> Tensor:
    """Amplitude at 1, 2, 3, … cycles per image, (shortest side // 2,), up to a common factor.

    Log power averaged over all images, decorrelated channels and each ring of the Fourier plane, with a Hann window so
    that image edges do not appear as fine detail.
    """
    sides = tuple(images.shape[2:])
    mean = images.mean((0, *range(2, images.ndim)), keepdim=True)[0]
    power = torch.zeros(*sides[:-1], sides[-1] // 2 + 1, dtype=torch.float64)
    window = torch.ones(sides, dtype=torch.float64)
    for axis, side in enumerate(sides):
        shape = [1] * len(sides)
        shape[axis] = side
        window = window * torch.hann_window(side, periodic=False, dtype=torch.float64).view(shape)
    unmix = torch.linalg.pinv(colour.double())
    for image in images:
        channels = (unmix @ (image - mean).double().flatten(1)).view(len(colour), *sides)
        own = torch.fft.rfftn(channels * window, dim=tuple(range(1, len(sides) + 1))).abs().square()
        power += own.clamp_min(1e-12).log().mean(0)
    ring = radii(sides).round().long()
    least = max(1, min(sides) // 2)
    rings = [power[ring == k].mean() if bool((ring == k).any()) else power.mean() for k in range(1, least + 1)]
    return (torch.stack(rings) / (2 * len(images))).exp().float()


def filter_of(amplitude: Tensor, sides: tuple[int, ...]) -> Tensor:
    """The gain of `Spectral` for images of the given sides, from a table of amplitudes.

    Log-log interpolation between the entries of the table; beyond them, the power law fitted to their upper half. The
    mean of an image varies as much as its lowest frequency.
    """
    radius = radii(sides).clamp_min(1.0).log()
    table = amplitude.double().clamp_min(1e-12).log()
    known = torch.arange(1, len(table) + 1, dtype=torch.float64).log()
    if len(table) == 1:
        return normalised(torch.ones_like(radius), sides).float()
    above = torch.searchsorted(known, radius).clamp(1, len(known) - 1)
    low, high = known[above - 1], known[above]
    share = (radius - low) / (high - low)
    inside = table[above - 1] + share * (table[above] - table[above - 1])
    upper = slice(len(table) // 2, None)
    centred = known[upper] - known[upper].mean()
    slope = float((centred * table[upper]).sum() / centred.square().sum()) if len(centred) > 1 else -1.0
    beyond = table[-1] + min(slope, 0.0) * (radius - known[-1])
    return normalised(torch.where(radius > known[-1], beyond, inside).exp(), sides).float()


def covariance(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (pixels,), variances (pixels,) in decreasing order, and directions (pixels, pixels) of images (n, …)."""
    flat = images.flatten(1).double()
    mean = flat.mean(0)
    flat = flat - mean
    variances, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    return mean.float(), variances.clamp_min(0).flip(0).float(), vectors.T.flip(0).float().contiguous()


def leading(images: Tensor, mean: Tensor, rest: LinearMap) -> tuple[Tensor, Tensor]:
    """Variances (k,) and directions (k, pixels) in which images vary more than the map `rest` predicts.

    With few images of many pixels, any sample covariance has large eigenvalues. Only those beyond the Marchenko–Pastur
    edge for white noise are kept, and each is corrected for noise (Baik & Silverstein, J. Multivariate Anal. 97 (2006),
    1382).
    """
    white = rest.inverse(images - mean).flatten(1).double()
    count, pixels = white.shape
    values, vectors = torch.linalg.eigh(white @ white.T / count)  # same spectrum as the large matrix, except zeros
    values, vectors = values.flip(0), vectors.flip(1)
    ratio = pixels / count
    level = float(white.square().mean())
    found = values / level
    kept = int((found > (1 + math.sqrt(ratio)) ** 2).sum())
    kept = min(kept, MOST_DIRECTIONS)
    sample = found[:kept]
    middle = sample + 1 - ratio
    variances = (middle + (middle.square() - 4 * sample).clamp_min(0).sqrt()) / 2
    directions = vectors[:, :kept].T @ white
    directions = directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return variances.float(), directions.float()


def root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = vectors * values.clamp_min(0).sqrt() @ vectors.T
    return found


def spectral(amplitude: Tensor, colour: Tensor, sides: tuple[int, ...]) -> Spectral:
    """The map for a spectrum and a colour covariance, for images of the given sides."""
    return Spectral(colour, filter_of(amplitude, sides), sides)
