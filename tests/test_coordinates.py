"""Maps from white coordinates to pictures, their adjoints, slopes and inverses, at every shape."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.parametrizations import Pixels, maps
from ldam_widget.parametrizations.natural import NaturalCoordinates

CPU = torch.device("cpu")
SPECTRAL_SHAPES = [
    (3, 16, 16),
    (3, 7, 9),
    (1, 8, 5),
    (13, 6, 6),
    (3, 1, 8),
    (3, 8, 1),
    (2, 31),
    (1, 32),
    (24,),
    (4, 3, 4, 5),
]
SHAPES = [(3, 32, 32), (3, 33, 31), (3, 16, 40)]


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spectral(shape: tuple[int, ...]) -> maps.Spectral:
    sides = shape[1:] if len(shape) > 1 else shape
    channels = shape[0] if len(shape) > 1 else 1
    colour = noise(channels, channels, seed=7)
    colour = colour @ colour.T / channels + 0.3 * torch.eye(channels, dtype=torch.float64)
    gain = maps.normalised((1 + maps.radii(sides)) ** -1, sides)
    return maps.Spectral(colour, gain, sides)


def orthonormal(count: int, pixels: int) -> Tensor:
    return torch.linalg.qr(noise(pixels, count, seed=8)).Q.T.contiguous()


def dense(pixels: int) -> maps.Dense:
    return maps.Dense(torch.linspace(3.0, 0.01, pixels, dtype=torch.float64), orthonormal(pixels, pixels))


def leading(shape: tuple[int, ...]) -> maps.Leading:
    return maps.Leading(
        spectral(shape), torch.tensor([9.0, 4.0], dtype=torch.float64), orthonormal(2, math.prod(shape))
    )


CASES: list[tuple[str, maps.LinearMap, tuple[int, ...]]] = [
    *((f"spectral {shape}", spectral(shape), shape) for shape in SPECTRAL_SHAPES),
    *((f"leading {shape}", leading(shape), shape) for shape in [(3, 7, 9), (1, 8, 5), (2, 31)]),
    *((f"dense {shape}", dense(math.prod(shape)), shape) for shape in [(3, 4, 5), (1, 6, 6), (13, 2, 2), (30,)]),
    ("flat", maps.Flat(0.7), (3, 4, 5)),
]
each_map = pytest.mark.parametrize(("linear", "shape"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])


def matrix(linear: maps.LinearMap, shape: tuple[int, ...]) -> Tensor:
    """M as a matrix, column by column."""
    unit = torch.eye(math.prod(shape), dtype=torch.float64)
    return linear.forward(unit.view(-1, *shape)).flatten(1).T


@each_map
@pytest.mark.parametrize("natural", [1.0, 0.6, 0.0])
def test_the_adjoint_is_the_transpose(linear: maps.LinearMap, shape: tuple[int, ...], natural: float) -> None:
    at = linear.at(natural)
    z, y = noise(5, *shape), noise(5, *shape, seed=2)
    forward = (at.forward(z) * y).flatten(1).sum(1)
    torch.testing.assert_close((z * at.adjoint(y)).flatten(1).sum(1), forward)
    torch.testing.assert_close(at.forward(z).flatten(1), z.flatten(1) @ matrix(at, shape).T)


@each_map
def test_the_inverse_undoes_the_map(linear: maps.LinearMap, shape: tuple[int, ...]) -> None:
    z = noise(5, *shape)
    for natural in (1.0, 0.4):
        at = linear.at(natural)
        torch.testing.assert_close(at.inverse(at.forward(z)), z)


@each_map
def test_natural_changes_the_shape_of_the_covariance_and_not_its_mean_variance(
    linear: maps.LinearMap, shape: tuple[int, ...]
) -> None:
    def covariance(natural: float) -> Tensor:
        root = matrix(linear.at(natural), shape)
        return root @ root.T

    natural = covariance(1.0)
    variance = natural.diagonal().mean()
    torch.testing.assert_close(covariance(0.5).diagonal().mean(), variance)
    white = covariance(0.0)
    torch.testing.assert_close(white, torch.eye(len(white), dtype=torch.float64) * variance)


def test_a_direction_that_no_image_has_is_never_made_up() -> None:
    variances = torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64)
    linear = maps.Dense(variances, orthonormal(3, 3))
    lost = linear.inverse(linear.forward(noise(4, 3)))
    assert bool((lost[:, 2] == 0).all())
    assert bool(lost.isfinite().all())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pixel_range", [None, (0.0, 1.0), (-2.0, 3.0)])
@pytest.mark.parametrize("natural", [1.0, 0.3])
def test_the_gradient_is_taken_back_to_z(
    shape: tuple[int, ...], pixel_range: tuple[float, float] | None, natural: float
) -> None:
    """Held against autograd through the picture, and against differences of the picture itself."""
    coordinates = ldam.Natural("photos").coordinates(shape, pixel_range, CPU).at(natural)
    z = noise(2, *shape, dtype=torch.float32)
    grad = noise(2, *shape, seed=2, dtype=torch.float32)
    way = noise(2, *shape, seed=3, dtype=torch.float32)
    picture, along = torch.autograd.functional.jvp(plain(coordinates), z, way)
    torch.testing.assert_close(coordinates.picture(z), picture)
    back = coordinates.pulled_back(grad, picture)
    torch.testing.assert_close((back * way).sum(), (grad * along).sum(), rtol=1e-4, atol=1e-3)
    near = (coordinates.picture(z + 1e-2 * way).double() - coordinates.picture(z - 1e-2 * way).double()) / 2e-2
    torch.testing.assert_close(near.float(), along, rtol=2e-2, atol=5e-3)
    assert picture.min() > coordinates_low(pixel_range)


def plain(coordinates: NaturalCoordinates):  # type: ignore[no-untyped-def]
    """The picture without operations in place, which forward differentiation refuses."""

    def picture(z: Tensor) -> Tensor:
        y = coordinates._now.forward(z) + coordinates._mean
        if coordinates._steepness is not None:
            y = torch.sigmoid(coordinates._steepness * (y - 0.5))
        return coordinates._offset + coordinates._gain * y

    return picture


def coordinates_low(pixel_range: tuple[float, float] | None) -> float:
    return -math.inf if pixel_range is None else pixel_range[0]


@pytest.mark.parametrize("pixel_range", [None, (0.0, 1.0), (-2.0, 3.0)])
def test_a_picture_of_the_prior_is_placed_where_it_came_from(pixel_range: tuple[float, float] | None) -> None:
    coordinates = ldam.Natural("photos").coordinates((3, 32, 32), pixel_range, CPU)
    z = 0.5 * noise(4, 3, 32, 32, dtype=torch.float32).clamp(-3, 3)
    placed = coordinates.place(coordinates.picture(z))
    # single precision, and pixels that a strong contrast drives to the ends of the range
    assert float((placed - z).square().mean().sqrt()) < (1e-3 if pixel_range is None else 0.05)


def test_a_picture_that_is_not_natural_is_placed_within_reach() -> None:
    coordinates = ldam.Natural("photos").coordinates((3, 32, 32), (0.0, 1.0), CPU)
    placed = coordinates.place(torch.rand(2, 3, 32, 32).round())
    assert float(placed.abs().max()) <= 3


def test_pixels_are_their_own_coordinates() -> None:
    pixels, x = Pixels((0.0, 1.0)), torch.rand(2, 3, 4, 4)
    assert pixels.picture(x) is x
    assert pixels.pulled_back(x, x) is x
    assert pixels.place(3 * x).max() <= 1


def test_without_a_range_every_channel_is_standardised_or_stays_about_0_to_1() -> None:
    z = noise(400, 3, 16, 16, dtype=torch.float32)
    natural = ldam.Natural("photos")
    standard = natural.coordinates((3, 16, 16), None, CPU, standardised=True).picture(z)
    assert standard.mean((0, 2, 3)).abs().max() < 0.2
    assert standard.var((0, 2, 3)).sub(1).abs().max() < 0.2
    unit = natural.coordinates((3, 16, 16), None, CPU).picture(z)
    assert unit.mean((0, 2, 3)).sub(natural._tensors["mean"]).abs().max() < 0.1
