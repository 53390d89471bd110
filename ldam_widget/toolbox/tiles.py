"""Channels of a layer as tiles of grey levels, or of signed levels where values are negative."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 4096  # tiles
PIXELS = 1 << 18  # of all tiles together; larger maps are shown at a lower resolution
ZERO, LAST = 128, 127  # signed levels: 128 is exactly 0, 1 and 255 are the ends

Levels = np.ndarray[Any, np.dtype[np.uint8]]


class ChannelTiles(NamedTuple):
    """Tiles as they are sent."""

    levels: Levels  # (tiles, height, width)
    signed: bool
    scale: float  # the largest |value| of the layer


def as_maps(values: Tensor) -> Tensor:
    """(units, *positions) -> (units, height, width). Tokens form a square where they can, without the class token."""
    units, positions = len(values), tuple(values.shape[1:])
    if len(positions) == 2:
        return values
    if len(positions) == 1:
        (count,) = positions
        for extra in (0, 1):
            side = math.isqrt(count - extra)
            if side * side == count - extra and side > 1:
                return values[:, extra:].reshape(units, side, side)
        return values.reshape(units, 1, count)
    return values.reshape(units, -1, positions[-1] if positions else 1)


def tiles(maps: Tensor, boost: float, gamma: float, *, signed: bool, limit: int | None = PIXELS) -> ChannelTiles:
    """Levels of maps (units, height, width), of which the first `MOST` are shown.

    Args:
        boost: 0: all channels are scaled by the layer's largest |value|; 1: each by its own; between: geometrically.
        gamma: exponent of the scaled values; below 1, small values are brighter.
        signed: 128 is 0, and signs are kept; else negative values are black.
        limit: pixels of all tiles together; None: full resolution.
    """
    maps = torch.nan_to_num(maps.float(), nan=0.0, posinf=0.0, neginf=0.0)
    own = maps.abs().amax((1, 2), keepdim=True)
    scale = float(own.max())
    maps = _smaller(maps[:MOST], limit)
    largest = (own[:MOST] if boost else own.max()).clamp(min=1e-30)
    divisor = largest**boost * max(scale, 1e-30) ** (1 - boost)
    share = maps / divisor
    if signed:
        levels = ZERO + LAST * share.sign() * share.abs().clamp(max=1) ** gamma
    else:
        levels = 255 * share.clamp(0, 1) ** gamma
    return ChannelTiles(levels.round_().to(torch.uint8).cpu().numpy(), signed, scale)


def _smaller(maps: Tensor, limit: int | None) -> Tensor:
    if limit is None or maps.numel() <= limit:
        return maps
    height, width = maps.shape[1:]
    factor = math.sqrt(limit / maps.numel())
    size = max(1, int(height * factor)), max(1, int(width * factor))
    return F.adaptive_avg_pool2d(maps, size)
