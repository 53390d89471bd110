"""Gaussian blur of batches of images, along every axis but the channels."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

TRUNCATE = 4.0  # σ: weights further out are 0


def blurred(x: Tensor, sigma: float) -> Tensor:
    """x (chain, *image) blurred, channel by channel; edges are mirrored (d c b a | a b c d | d c b a).

    The same as `scipy.ndimage.gaussian_filter` with its defaults.

    Args:
        sigma: standard deviation in pixels; up to 1/8, where all weights but one are cut off, nothing changes.
    """
    for axis in spatial_axes(x.ndim):
        matrix = _matrix(x.shape[axis], sigma, x.dtype, x.device)
        x = (x.movedim(axis, -1) @ matrix).movedim(-1, axis)
    return x.contiguous()


def spatial_axes(ndim: int) -> range:
    """The axes of a batch (chain, channel, *positions) that are positions; of signals (chain, length), the last."""
    return range(min(2, ndim - 1), ndim)


@functools.lru_cache(maxsize=16)
def _matrix(side: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side): a row of pixels times it is the blurred row."""
    radius = int(TRUNCATE * sigma + 0.5)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    if radius == 0:
        return matrix.fill_diagonal_(1).to(device, dtype)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    to = torch.arange(side).repeat(len(offsets), 1)
    source = (to + offsets.long()[:, None]) % (2 * side)  # a mirrored row has a period of two widths
    source = torch.where(source < side, source, 2 * side - 1 - source)
    matrix.index_put_((source, to), weights[:, None].expand(-1, side), accumulate=True)
    return matrix.to(device, dtype)
