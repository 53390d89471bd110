"""Linear maps from white coordinates to pictures with the statistics of natural images, and their adjoints.

Each maps z (chain, *image) to y (chain, *image), so that white z gives y the map's covariance. `at(w)` returns the map
of that covariance to the power w, 0…1, with the same mean variance: white at 0, natural at 1.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class LinearMap(Protocol):
    """y = M z."""

    def forward(self, z: Tensor) -> Tensor:
        """M z, like z."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Mᵀ y, like y."""
        ...

    def inverse(self, y: Tensor, ridge: float = 0.0) -> Tensor:
        """z with M z nearest to y; 0 along directions in the null space of M.

        A ridge damps directions in which M is weaker than `ridge` times its RMS strength, for y that M would not
        produce.
        """
        ...

    def at(self, natural: float) -> LinearMap: ...

    def to(self, device: torch.device) -> LinearMap: ...


class Spectral:
    """y = C F⁻¹ a F z: filter every channel, then mix channels; both symmetric.

    Args:
        colour: C, (channels, channels), symmetric.
        gain: a, over the half spectrum of `torch.fft.rfftn`, (*sides[:-1], last side // 2 + 1), `normalised`.
        sides: of an image, without its channels.
    """

    def __init__(self, colour: Tensor, gain: Tensor, sides: tuple[int, ...]) -> None:
        self._colour, self._gain, self._sides = colour, gain, sides
        self._axes = tuple(range(-len(sides), 0))

    def forward(self, z: Tensor) -> Tensor:
        return self._mixed(self._colour, self._filtered(z, self._gain))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filtered(self._mixed(self._colour, y), self._gain)

    def inverse(self, y: Tensor, ridge: float = 0.0) -> Tensor:
        return self._filtered(self._mixed(torch.linalg.pinv(self._colour), y), _reciprocal(self._gain, ridge))

    def at(self, natural: float) -> Spectral:
        if natural == 1:
            return self
        values, vectors = torch.linalg.eigh(self._colour.double())
        power = values.clamp_min(0) ** natural
        power = power * (values.square().sum() / power.square().sum()).sqrt()
        colour = (vectors * power @ vectors.T).to(self._colour.dtype)
        return Spectral(colour, normalised(self._gain**natural, self._sides), self._sides)

    def to(self, device: torch.device) -> Spectral:
        return Spectral(self._colour.to(device), self._gain.to(device), self._sides)

    def scaled(self, factor: float) -> Spectral:
        """The map with pictures of `factor` times the contrast."""
        return Spectral(self._colour * factor, self._gain, self._sides)

    @property
    def variance(self) -> float:
        """Mean over all pixels."""
        return float(self._colour.square().sum()) / len(self._colour)

    def squares(self, directions: Tensor) -> Tensor:
        """|M v|² of directions (k, pixels), (k,)."""
        images = directions.view(len(directions), len(self._colour), *self._sides)
        return self.forward(images).flatten(1).square().sum(1)

    def _filtered(self, z: Tensor, gain: Tensor) -> Tensor:
        # an image without a channel axis is its only channel
        spectrum = torch.fft.rfftn(z, dim=self._axes).mul_(gain)
        filtered: Tensor = torch.fft.irfftn(spectrum, s=self._sides, dim=self._axes)
        return filtered

    def _mixed(self, colour: Tensor, y: Tensor) -> Tensor:
        channels = y.reshape(len(y), len(colour), -1)
        return torch.matmul(colour, channels).view(y.shape)


class Dense:
    """y = z (√e Uᵀ) over all pixels: a full covariance U e Uᵀ.

    Args:
        variances: e, (pixels,), ≥ 0.
        directions: Uᵀ, (pixels, pixels), orthonormal rows.
    """

    def __init__(self, variances: Tensor, directions: Tensor) -> None:
        self._variances, self._directions = variances, directions
        self._matrix = variances.sqrt()[:, None] * directions

    def forward(self, z: Tensor) -> Tensor:
        return torch.mm(z.flatten(1), self._matrix).view(z.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.mm(y.flatten(1), self._matrix.T).view(y.shape)

    def inverse(self, y: Tensor, ridge: float = 0.0) -> Tensor:
        return (torch.mm(y.flatten(1), self._directions.T) * _reciprocal(self._variances.sqrt(), ridge)).view(y.shape)

    def at(self, natural: float) -> Dense:
        return self if natural == 1 else Dense(_powered(self._variances, natural), self._directions)

    def to(self, device: torch.device) -> Dense:
        return Dense(self._variances.to(device), self._directions.to(device))


class Leading:
    """y = M (z + V (√λ − 1) Vᵀ z): some directions with their own variance, and the map M for the rest.

    Args:
        rest: M.
        variances: λ, (k,), of the directions in the coordinates of M, where the rest has variance 1.
        directions: Vᵀ, (k, pixels), orthonormal rows.
    """

    def __init__(self, rest: Spectral | Flat, variances: Tensor, directions: Tensor) -> None:
        self._rest, self._variances, self._directions = rest, variances, directions
        self._more = variances.sqrt() - 1

    def forward(self, z: Tensor) -> Tensor:
        return self._rest.forward(self._stretched(z, self._more))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._stretched(self._rest.adjoint(y), self._more)

    def inverse(self, y: Tensor, ridge: float = 0.0) -> Tensor:
        return self._stretched(self._rest.inverse(y, ridge), _reciprocal(self._variances.sqrt()) - 1)

    def at(self, natural: float) -> Leading:
        if natural == 1:
            return self
        rest, powered = self._rest.at(natural), self._variances**natural
        found = Leading(rest, powered, self._directions)
        return Leading(rest.scaled((self.variance / found.variance) ** 0.5), powered, self._directions)

    @property
    def variance(self) -> float:
        """Mean over all pixels."""
        more = (self._variances - 1) @ self._rest.squares(self._directions)
        return self._rest.variance + float(more) / self._directions.shape[1]

    def to(self, device: torch.device) -> Leading:
        return Leading(self._rest.to(device), self._variances.to(device), self._directions.to(device))

    def _stretched(self, z: Tensor, more: Tensor) -> Tensor:
        flat = z.flatten(1)
        along = torch.mm(flat, self._directions.T) * more
        return torch.addmm(flat, along, self._directions).view(z.shape)


class Flat:
    """y = s z: the same variance everywhere."""

    def __init__(self, deviation: float) -> None:
        self._deviation = deviation

    def forward(self, z: Tensor) -> Tensor:
        return z * self._deviation

    adjoint = forward

    def inverse(self, y: Tensor, ridge: float = 0.0) -> Tensor:
        return y / self._deviation

    def at(self, natural: float) -> Flat:
        return self

    def to(self, device: torch.device) -> Flat:
        return self

    def scaled(self, factor: float) -> Flat:
        """The map with pictures of `factor` times the contrast."""
        return Flat(self._deviation * factor)

    @property
    def variance(self) -> float:
        """Mean over all pixels."""
        return self._deviation**2

    def squares(self, directions: Tensor) -> Tensor:
        """|M v|² of directions (k, pixels), (k,)."""
        return directions.square().sum(1) * self.variance


def radii(sides: tuple[int, ...]) -> Tensor:
    """Spatial frequency of every entry of the half spectrum, in cycles per image (geometric mean side).

    In these units a photograph's spectrum does not depend on its size, up to the finest detail it resolves.
    """
    axes = [torch.fft.fftfreq(side, dtype=torch.float64) for side in sides[:-1]]
    axes.append(torch.fft.rfftfreq(sides[-1], dtype=torch.float64))
    side = torch.tensor(sides, dtype=torch.float64).log().mean().exp()
    grid = torch.meshgrid(*axes, indexing="ij")
    squares = torch.stack([axis.square() for axis in grid]).sum(0)
    return squares.sqrt() * side


def normalised(gain: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Scale a filter so that filtered white noise has variance 1 in every pixel."""
    twice = torch.full((sides[-1] // 2 + 1,), 2.0, dtype=gain.dtype, device=gain.device)
    twice[0] = 1.0  # the omitted half of the spectrum mirrors all columns except these
    if sides[-1] % 2 == 0:
        twice[-1] = 1.0
    count = torch.tensor(sides).prod().to(gain.dtype)
    return gain * (count / (twice * gain.square()).sum()).sqrt()


def _powered(variances: Tensor, natural: float) -> Tensor:
    """e^w with the same sum. Directions of zero variance keep it for any w > 0; at w = 0 all variances are equal."""
    powered = variances**natural
    return powered * (variances.sum() / powered.sum())


def _reciprocal(value: Tensor, ridge: float = 0.0) -> Tensor:
    if ridge:
        return value / (value.square() + ridge**2 * value.square().mean())
    return torch.where(value > 1e-6 * value.abs().max(), 1 / value, 0.0)
