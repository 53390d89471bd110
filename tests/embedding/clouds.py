"""Points to map: a few clusters, and what stands for a map of many points."""

from __future__ import annotations

import torch
from torch import Tensor


def clusters(count: int, kinds: int = 5, dimensions: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (n, d) of round clusters that lie apart, and which one each is of."""
    own = torch.Generator().manual_seed(seed)
    kind = torch.arange(count) % kinds
    centres = 8 * torch.randn(kinds, dimensions, generator=own)
    return centres[kind] + torch.randn(count, dimensions, generator=own), kind


def discs(count: int, seed: int = 0) -> Tensor:
    """Positions (2, n) as of a finished map: discs of even density, one point on a unit of area."""
    own = torch.Generator().manual_seed(seed)
    kinds = 6
    radius = (count / kinds / 3.14) ** 0.5
    angle = 6.2832 * torch.rand(count, generator=own)
    away = radius * torch.rand(count, generator=own).sqrt()
    kind = torch.arange(count) % kinds
    middle = 2.2 * radius * torch.tensor([[0.0, 0.0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])[kind]
    return torch.stack([middle[:, 0] + away * angle.cos(), middle[:, 1] + away * angle.sin()])
