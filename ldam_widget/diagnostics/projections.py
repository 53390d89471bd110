"""Thumbnails of pictures, and the directions in which chains differ most.

The activation alone does not distinguish locked chains from mixing ones: modes of equal height have the same
activation.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

SIDE = 8  # pixels per side of a thumbnail
PROJECTIONS = 3
Array = npt.NDArray[np.float64]


def thumbnails(images: Tensor, image_ndim: int) -> Tensor:
    """Pictures (…, *image) -> (…, P) with P ≤ 64: unchanged if small, else area means on an 8×8 grid."""
    lead, shape = images.shape[: images.ndim - image_ndim], images.shape[images.ndim - image_ndim :]
    if shape.numel() <= SIDE**2:
        return images.reshape(*lead, -1)
    if len(shape) == 1:
        return adaptive_avg_pool1d(images.reshape(-1, 1, shape[0]), SIDE**2).view(*lead, -1)
    grey = images.reshape(*lead, -1, *shape[-2:])
    grey = grey[..., 0, :, :] if grey.shape[-3] == 1 else grey.mean(-3)
    down, across = (_area_means(size, min(SIDE, size), images.device) for size in shape[-2:])
    return (down @ grey @ across.T).flatten(-2)


@functools.lru_cache(maxsize=8)
def _area_means(pixels: int, parts: int, device: torch.device) -> Tensor:
    """(parts, pixels): row i averages the pixels that part i touches. Two small products cost less than pooling."""
    rows = torch.zeros(parts, pixels, dtype=torch.float32)  # like pictures, whatever the user's default dtype
    for i in range(parts):
        first, end = i * pixels // parts, -(-(i + 1) * pixels // parts)
        rows[i, first:end] = 1 / (end - first)
    return rows.to(device)


def principal(draws: npt.ArrayLike) -> Array:
    """Projections onto the directions of largest variance, separately for every neuron.

    Args:
        draws: (draws, N, C, P) thumbnails.

    Returns:
        (draws, N, C, k), k = min(3, P), of pictures centred on their mean. NaN for neurons with non-finite pixels.
    """
    values = np.asarray(draws, dtype=np.float64)
    count, neurons, chains, pixels = values.shape
    flat = values.transpose(1, 0, 2, 3).reshape(neurons, count * chains, pixels)
    finite = np.isfinite(flat).all((1, 2))[:, None, None]
    flat = np.where(finite, flat, 0)
    flat = flat - flat.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(flat.transpose(0, 2, 1) @ flat)  # ascending
    found: Array = np.where(finite, flat @ axes[:, :, ::-1][:, :, : min(PROJECTIONS, pixels)], np.nan)
    by_draw: Array = found.reshape(neurons, count, chains, -1).transpose(1, 0, 2, 3)
    return by_draw


def switches(projection: npt.ArrayLike) -> Array:
    """How often chains cross from one side to the other, summed over chains, (N,); NaN if a draw is not finite.

    A chain has changed sides once it is half a standard deviation (of all draws) beyond the middle of the range, so
    noise around the middle does not count.

    Args:
        projection: (draws, N, C), the direction of largest variance.
    """
    values = np.asarray(projection, dtype=np.float64)
    middle = (values.min((0, 2)) + values.max((0, 2))) / 2
    margin = values.std((0, 2)) / 2
    count = np.zeros(values.shape[1])
    side = np.zeros(values.shape[1:])
    for draw in values:
        now = np.where(draw > (middle + margin)[:, None], 1, np.where(draw < (middle - margin)[:, None], -1, 0))
        count += ((now != 0) & (side != 0) & (now != side)).sum(1)
        side = np.where(now != 0, now, side)
    return np.where(np.isfinite(margin), count, np.nan)


def spread(images: Tensor) -> Tensor:
    """Mean distance between the chains of a neuron, (N,); images (N, C, *image). NaN for one chain."""
    flat = images.flatten(2).cpu().double()
    chains = flat.shape[1]
    if chains < 2:
        return flat.new_full((len(flat),), float("nan"))
    return torch.cdist(flat, flat).sum((1, 2)) / (chains * (chains - 1))
