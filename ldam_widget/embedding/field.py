"""The repulsive field of all points of a map, by interpolation on a grid and fast Fourier transforms.

Linderman, Rachh, Hoskins, Steinerberger & Kluger, "Fast interpolation-based t-SNE for improved visualization of
single-cell RNA-seq data", Nature Methods 16 (2019). Two things differ: the force has kernels of its own, so that one
charge is transformed instead of three; and quadratic B-splines interpolate, which with the same nine nodes a point are
several times as accurate as the polynomials used there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SPACING = 0.4  # of the nodes, in units of the map, in which the kernel's half-width is 1
_FEWEST = 96  # nodes along the longer side; a small map gets a finer grid
_MOST = 2048  # nodes along a side; beyond, the grid gets coarser


class Kernels:
    """Fourier transforms of w, w² x and w² y on a grid; the last ones are kept, since a map rarely changes its grid."""

    def __init__(self) -> None:
        self._grid: tuple[object, ...] = ()
        self._transforms = torch.empty(0)

    def of(self, shape: tuple[int, int], spacing: float, device: torch.device) -> Tensor:
        """(3, *shape of a real transform): for circular convolutions on a grid of this shape."""
        grid = (shape, spacing, device)
        if grid != self._grid:
            x, y = (torch.fft.fftfreq(size, 1 / (size * spacing), dtype=torch.float32, device=device) for size in shape)
            w = 1 / (1 + x.square().unsqueeze(1) + y.square())
            squared = w.square()
            kernels = torch.stack([w, squared * x.unsqueeze(1), squared * y])
            # Splines through values, not only near them: their coefficients are deconvolved, once for writing and once
            # for reading.
            rows = _blur(torch.fft.fftfreq(shape[0], dtype=torch.float32, device=device))
            columns = _blur(torch.fft.rfftfreq(shape[1], dtype=torch.float32, device=device))
            self._grid, self._transforms = grid, torch.fft.rfft2(kernels) / (rows.unsqueeze(1) * columns).square()
        return self._transforms


class Field:
    """Σⱼ w, Σⱼ w² (x − xⱼ) and Σⱼ w² (y − yⱼ) at any place, for fixed points j; w = 1 / (1 + distance²).

    The error of the force is about 2 % of its root mean square, that of Σ w below 0.5 %, both less on small maps
    (`tests/embedding/test_field.py` compares them with direct sums).

    Args:
        points: (2, n), finite.
        kernels: keeps the kernels between fields.
    """

    def __init__(self, points: Tensor, kernels: Kernels | None = None) -> None:
        low, high = points.amin(1), points.amax(1)
        width, height = (high - low).tolist()
        self.spacing = _spacing(max(width, height))
        self._low = (low - self.spacing).unsqueeze(1)  # a margin, so that the neighbours of every node exist
        self._nodes = (math.ceil(width / self.spacing) + 4, math.ceil(height / self.spacing) + 4)
        rows, columns = self._nodes
        shape = (_smooth(2 * rows - 1), _smooth(2 * columns - 1))  # wide enough for a convolution that does not wrap
        self._row = shape[1]
        charges = torch.zeros(shape[0] * shape[1], dtype=torch.float32, device=points.device)
        for node, weight in self._around(points):
            charges.index_add_(0, node, weight)
        transforms = (kernels or Kernels()).of(shape, self.spacing, points.device)
        self._potentials = torch.fft.irfft2(torch.fft.rfft2(charges.view(shape)) * transforms, s=shape).flatten(1)

    def read(self, places: Tensor) -> Tensor:
        """(2, m) -> (3, m); places off the map's bounding box get the values at its edge."""
        field = torch.zeros(3, places.shape[1], dtype=torch.float32, device=places.device)
        for node, weight in self._around(places):
            for kind in range(3):
                field[kind].addcmul_(self._potentials[kind].index_select(0, node), weight)
        return field

    def _around(self, places: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The nine nodes around each place, as indices, and their weights: quadratic B-splines."""
        nodes = torch.tensor(self._nodes, dtype=torch.float32, device=places.device).unsqueeze(1)
        scaled = torch.minimum(((places - self._low) / self.spacing).clamp_(min=1), nodes - 2)
        middle = scaled.round()
        t = scaled - middle
        weights = [(0.5 - t).square() / 2, 0.75 - t * t, (0.5 + t).square() / 2]
        centre = middle.int()
        first = (centre[0] - 1) * self._row + centre[1] - 1
        return [(first + (a * self._row + b), weights[a][0] * weights[b][1]) for a in range(3) for b in range(3)]


def _blur(frequency: Tensor) -> Tensor:
    """Fourier transform of a quadratic B-spline's values at the nodes: 1/8, 3/4, 1/8."""
    return 0.75 + 0.25 * torch.cos(2 * math.pi * frequency)


def _spacing(side: float) -> float:
    if side > _MOST * _SPACING:
        return side / _MOST
    finer = math.log2(_FEWEST * _SPACING / max(side, 1e-5))
    return _SPACING * 2 ** (-math.ceil(4 * max(0.0, finer)) / 4)  # in steps, so that kernels can be kept


def _smooth(size: int) -> int:
    """The next product of 2, 3 and 5 that is even: fast to transform."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and size % 2 == 0:
            return size
        size += 1
