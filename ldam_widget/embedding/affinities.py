"""Perplexity-calibrated affinities between neighbours, as a symmetric sparse graph.

van der Maaten & Hinton, "Visualizing data using t-SNE", JMLR 9 (2008); neighbours only, as in van der Maaten,
"Accelerating t-SNE using tree-based algorithms", JMLR 15 (2014).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ROWS = 4096  # calibrated at once, so that they stay in the cache
_HALVINGS = 26  # of the interval of log β
_LEAST, _MOST = math.log(1e-4), math.log(1e7)  # of β times the mean squared distance
_EDGES = {"cpu": 1 << 16}  # at once, so that intermediate results stay in the cache
_EDGES_ELSEWHERE = 1 << 26


class Graph(NamedTuple):
    """Symmetric affinities P of n points: P[i, j] for every edge i -> j, sorted by i; they sum to 1."""

    offsets: Tensor  # (n + 1,) int64: edges of point i are offsets[i] … offsets[i + 1]
    rows: Tensor  # (edges,) int32: i
    columns: Tensor  # (edges,) int32: j
    weights: Tensor  # (edges,) float32: P[i, j]

    def blocks(self) -> list[tuple[int, int, int, int]]:
        """Ranges of points, with their ranges of edges, that are computed at once."""
        most = _EDGES.get(self.weights.device.type, _EDGES_ELSEWHERE)
        ends, blocks, first = self.offsets.tolist(), [], 0
        while first < len(ends) - 1:
            last = first + 1
            while last < len(ends) - 1 and ends[last + 1] - ends[first] <= most:
                last += 1
            blocks.append((first, last, ends[first], ends[last]))
            first = last
        return blocks


def conditional(distances: Tensor, perplexity: float) -> Tensor:
    """p(j|i) of the k neighbours of each point: Gaussian, with the width at which 2^entropy is the perplexity.

    Args:
        distances: (n, k).
        perplexity: > 0. Where it cannot be met (≥ k, or more neighbours at the smallest distance), p is uniform on the
            nearest.

    Returns:
        (n, k); rows sum to 1.
    """
    p = torch.empty_like(distances)
    for first in range(0, len(distances), _ROWS):
        p[first : first + _ROWS] = _calibrated(distances[first : first + _ROWS], math.log(perplexity))
    return p


def _calibrated(distances: Tensor, entropy: float) -> Tensor:
    squared = distances.square()
    squared = squared - squared.amin(1, keepdim=True)
    squared = squared / squared.mean(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    low = torch.full_like(squared[:, :1], _LEAST)
    high = torch.full_like(low, _MOST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        beta = middle.exp()
        p = (-beta * squared).exp_()
        total = p.sum(1, keepdim=True)
        wide = total.log() + beta * (p * squared).sum(1, keepdim=True) / total > entropy
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    p = (-((low + high) / 2).exp() * squared).exp_()
    return p / p.sum(1, keepdim=True)


def symmetric(neighbours: Tensor, p: Tensor) -> Graph:
    """P = (p(j|i) + p(i|j)) / 2n from k neighbours (n, k) and their p(j|i), by sorting both directions of all edges."""
    n, k = neighbours.shape
    i = torch.arange(n, device=p.device).unsqueeze(1)
    keys, order = torch.stack([i * n + neighbours, neighbours * n + i]).flatten().sort()
    weights = p.flatten()[order.remainder_(n * k)].div_(2 * n)
    del order  # 16 bytes an edge, when memory is at its highest
    keys, edge = torch.unique_consecutive(keys, return_inverse=True)
    summed = torch.bincount(edge, weights, len(keys)).float()
    del edge
    rows, columns = keys // n, keys % n
    offsets = torch.zeros(n + 1, dtype=torch.int64, device=p.device)
    torch.cumsum(torch.bincount(rows, minlength=n), 0, out=offsets[1:])
    return Graph(offsets, rows.int(), columns.int(), summed)
