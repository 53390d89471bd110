"""Features -> the coordinates in which neighbours are found: centred, in units of their spread, few dimensions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DIMENSIONS = 50
_MOST_DIRECT = 1024  # features; with more, leading components are found by iteration
_ROWS = 4096  # looked at together
_EXTRA, _ROUNDS = 14, 6  # of the iteration: further directions, and products with the covariance


class Space(NamedTuple):
    """points = (features − mean) @ components / unit."""

    points: Tensor  # (n, at most 50), of the features it was made from
    beyond: Tensor  # (n,), how far each of them lies outside the components' span, in the same unit
    mean: Tensor  # (d,)
    components: Tensor  # (d, at most 50), orthonormal, by falling variance
    unit: float  # root mean square distance of the features from their mean

    @classmethod
    def of(cls, features: Tensor, *, seed: int = 0, dimensions: int = DIMENSIONS) -> Space:
        """Principal components of features (n, d).

        Raises:
            ValueError: two or more points, and all are the same.
        """
        mean = features.mean(0)
        centred = (features - mean).float()
        if len(features) > 1 and not bool((features != features[0]).any()):
            raise ValueError("features are the same for all points, so there is nothing to map")
        size = 2.0 ** int(torch.frexp(centred.abs().max()).exponent)  # first, or squares may overflow
        centred /= size
        spread = float(centred.square().sum(1).mean().sqrt()) or 1.0
        centred /= spread
        count = min(dimensions, centred.shape[1])
        components = _leading(centred, count, seed)
        points = centred @ components
        return cls(points, _beyond(centred, points, components), mean.float(), components, size * spread)

    def project(self, features: Tensor) -> Tensor:
        """(m, d) -> (m, at most 50)."""
        return self._centred(features) @ self.components

    def outside(self, features: Tensor) -> Tensor:
        """(m, d) -> (m,): what `project` leaves out of them, as `beyond`."""
        return _beyond(self._centred(features), self.project(features), self.components)

    def _centred(self, features: Tensor) -> Tensor:
        return (features - self.mean).float() / self.unit


def _beyond(centred: Tensor, points: Tensor, components: Tensor) -> Tensor:
    d, count = components.shape
    if count == d:
        return points.new_zeros(len(points))
    rows = zip(torch.split(centred, _ROWS), torch.split(points, _ROWS), strict=True)
    return torch.cat([(some - point @ components.T).norm(dim=1) for some, point in rows])


def _leading(centred: Tensor, count: int, seed: int) -> Tensor:
    """(n, d) -> (d, count): the directions with the largest variance."""
    d = centred.shape[1]
    if d <= _MOST_DIRECT:
        covariance = centred.T @ centred
        components = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]
    else:  # Halko, Martinsson & Tropp, SIAM Review 53 (2011)
        own = torch.Generator().manual_seed(seed)
        basis = torch.randn(d, min(d, count + _EXTRA), generator=own, dtype=torch.float32).to(centred.device)
        for _ in range(_ROUNDS):
            basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
        right = torch.linalg.eigh((seen := centred @ basis).T @ seen).eigenvectors.flip(1)
        components = (basis @ right)[:, :count]
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0).to(components)
    return torch.mul(components, signs)  # signs that do not depend on the library


def distinct(points: Tensor) -> tuple[Tensor, Tensor]:
    """Points that are equal, found once: the index of the first of each kind, by order; and of which kind each is."""
    kinds, kind = torch.unique(points, dim=0, return_inverse=True)
    n = len(points)
    first = torch.full((len(kinds),), n, device=points.device).scatter_reduce_(
        0, kind, torch.arange(n, device=points.device), "amin"
    )
    order = first.argsort()
    return first[order], order.argsort()[kind]
