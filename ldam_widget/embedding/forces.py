"""The two forces of t-SNE on the map, and its cost.

With w = 1 / (1 + |yᵢ − yⱼ|²) and Z the sum of w over all pairs, the gradient of KL(P‖Q) with respect to yᵢ is
4 (Σ P w (yᵢ − yⱼ) − Σ w² (yᵢ − yⱼ) / Z). Positions are columns (2, n), which keeps memory accesses contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .affinities import Graph
from .field import Field, Kernels

MOST_EXACT = 1000  # points; with more, repulsion is interpolated on a grid
_PAIRS = 1 << 22  # at once
_IN_CACHE = 1 << 17


class Attraction:
    """Σⱼ P w (yᵢ − yⱼ) over the edges of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._blocks = graph.blocks()
        self._offsets = [graph.offsets[a : b + 1] - first for a, b, first, _ in self._blocks]

    def __call__(self, y: Tensor) -> Tensor:
        """(2, n) -> (2, n)."""
        x_force, y_force = [], []
        for (_, _, first, last), offsets in zip(self._blocks, self._offsets, strict=True):
            dx, dy, w = self._pairs(y, first, last)
            w = torch.div(self._graph.weights[first:last], w, out=w)
            x_force.append(torch.segment_reduce(dx.mul_(w), "sum", offsets=offsets, unsafe=True))
            y_force.append(torch.segment_reduce(dy.mul_(w), "sum", offsets=offsets, unsafe=True))
        return torch.stack([torch.cat(x_force), torch.cat(y_force)])

    def _pairs(self, y: Tensor, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Differences of the positions of these edges, and 1 / w."""
        i, j = self._graph.rows[first:last], self._graph.columns[first:last]
        dx = y[0].index_select(0, i).sub_(y[0].index_select(0, j))
        dy = y[1].index_select(0, i).sub_(y[1].index_select(0, j))
        return dx, dy, (dx * dx).addcmul_(dy, dy).add_(1)

    def cost(self, y: Tensor) -> float:
        """Σ P log(P / w): KL(P‖Q) without log Z."""
        total = 0.0
        for _, _, first, last in self._blocks:
            p = self._graph.weights[first:last]
            inverse = self._pairs(y, first, last)[2]
            total += float(torch.special.xlogy(p, p * inverse).sum())
        return total


class Repulsion:
    """Σⱼ w² (yᵢ − yⱼ) over all points, and Z: exact for few points, otherwise interpolated on a grid."""

    def __init__(self, exact: bool | None = None) -> None:
        self._exact = exact
        self._kernels = Kernels()

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(2, n) -> (2, n) and a scalar."""
        exact = y.shape[1] <= MOST_EXACT if self._exact is None else self._exact
        return _summed(y) if exact else self._interpolated(y)

    def _interpolated(self, y: Tensor) -> tuple[Tensor, Tensor]:
        field = Field(y, self._kernels).read(y)
        return field[1:], field[0].sum() - y.shape[1]


def is_sparse(y: Tensor) -> bool:
    """Whether the points (2, n) are so far apart that Z would be lost in the error of interpolation."""
    return bool(Field(y).read(y)[0].sum() < 2 * y.shape[1])  # of which n are w of each point and itself


def partition(y: Tensor) -> Tensor:
    """Z of points (2, n), by sums over all pairs, each once: 20,000 points take half a second of CPU time."""
    n = y.shape[1]
    total = torch.zeros((), dtype=torch.float64, device=y.device)
    room = torch.empty(2, max(n, _IN_CACHE), dtype=y.dtype, device=y.device)
    rows = max(1, _IN_CACHE // n)
    for first in range(0, n, rows):
        some, rest = y[:, first : first + rows, None], y[:, None, first:]
        size = some.shape[1] * rest.shape[2]
        w, other = room[:, :size].view(2, some.shape[1], rest.shape[2])
        torch.sub(some[0], rest[0], out=w).square_()
        torch.sub(some[1], rest[1], out=other)
        w.addcmul_(other, other).add_(1).reciprocal_()
        total += 2 * w.sum(dtype=torch.float64) - w[:, : w.shape[0]].sum(dtype=torch.float64)
    return (total - n).to(y.dtype)


def _summed(y: Tensor) -> tuple[Tensor, Tensor]:
    points, forces = y.T, []
    z = torch.zeros((), dtype=y.dtype, device=y.device)
    for some in torch.split(points, max(1, _PAIRS // len(points))):
        dx, dy = some[:, :1] - y[0], some[:, 1:] - y[1]
        w = (dx * dx).addcmul_(dy, dy).add_(1).reciprocal_()
        z = z + w.sum()
        w.square_()
        forces.append(torch.stack([(w * dx).sum(1), (w * dy).sum(1)]))
    return torch.cat(forces, 1), z - len(points)
