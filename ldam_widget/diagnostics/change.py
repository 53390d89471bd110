"""How much an average picture changed between models, beyond what chance gives."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_COARSE = 3  # a third of the picture's height and width
_FLIPS = 8  # chains of which all sign flips are tried: 128
_LEVEL = 0.95


class PictureChange(NamedTuple):
    """The change of one neuron's average picture; all in the units of the pixels."""

    size: float  # root mean square over the coarse picture, chance subtracted; 0 if chance explains it all
    error: float  # standard error of `size` over chains
    noise: float  # what `size` exceeds in 5 % of the neurons that did not change


def change_of(first: Tensor, others: Tensor) -> PictureChange:
    """The change from the first model to the others, from independent chains that run with the same noise in all.

    Differences are averaged over a third of the picture, since its fine detail differs from chain to chain. From the
    squared mean of n chains' differences, their variance / n is subtracted: what is left has mean zero if only chance
    makes the models differ. `noise` is the 95th percentile of the sizes with the signs of the chains' differences
    flipped at random, which changes nothing if there is no systematic difference; with n < 5 chains there are too few
    flips for that, and 1 in 2ⁿ⁻¹ unchanged neurons exceeds it. `error` is the jackknife's, NaN for two chains.

    Args:
        first: average pictures, (chains, *image), chains ≥ 2.
        others: (models, chains, *image); with several models, their mean square.
    """
    differences = torch.stack([_coarse(other.double() - first.double()) for other in others])
    chains = first.shape[0]
    energy = differences.square().sum((0, 2))  # of every chain
    products = torch.einsum("mip,mjp->ij", differences, differences)
    scale = others.shape[0] * differences.shape[2]

    def size(signs: Tensor, used: Tensor) -> Tensor:
        """For rows of signs (n, chains), of which `used` (n, chains) count."""
        weights, count = signs * used, used.sum(1)
        together = torch.einsum("ni,ij,nj->n", weights, products, weights)
        unbiased = (together - used @ energy) / (count * (count - 1))
        return (unbiased / scale).clamp_min(0).sqrt()

    ones = torch.ones(1, chains, dtype=torch.float64)
    value = float(size(ones, ones))
    flips = _flips(chains)
    noise = float(size(flips, torch.ones_like(flips)).quantile(_LEVEL))
    if chains < 3:
        return PictureChange(value, float("nan"), noise)
    left_out = size(ones.expand(chains, -1), 1 - torch.eye(chains, dtype=torch.float64))
    error = float(((chains - 1) / chains * (left_out - left_out.mean()).square().sum()).sqrt())
    return PictureChange(value, error, noise)


def _coarse(images: Tensor) -> Tensor:
    """(chains, *image) -> (chains, pixels), each the mean of its surroundings; other than pictures as they are."""
    if images.ndim < 4 or min(images.shape[-2:]) < 2 * _COARSE:
        return images.flatten(1)
    height, width = (size // _COARSE | 1 for size in images.shape[-2:])
    flat = images.reshape(images.shape[0], -1, *images.shape[-2:])
    padding = (height // 2, width // 2)
    return F.avg_pool2d(flat, (height, width), 1, padding, count_include_pad=False).flatten(1)


def _flips(chains: int) -> Tensor:
    """Signs for the chains, (n, chains): all choices for a few chains, up to a common sign; else some."""
    if chains <= _FLIPS:
        return torch.tensor([(1.0, *signs) for signs in itertools.product((1.0, -1.0), repeat=chains - 1)]).double()
    generator = torch.Generator().manual_seed(0)
    return torch.randint(2, (2**_FLIPS, chains), generator=generator).double() * 2 - 1
