"""The noise of a chain depends on (seed, neuron, chain, step) alone, and is what it says: standard normal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ldam_widget.core.noise import ChainNoise

from .conftest import SIGMAS, run_seed

CPU = torch.device("cpu")


def numbers(seed: int, neurons: int, chains: int, shape: tuple[int, ...], steps: int) -> Tensor:
    """(steps + 1, neurons, chains, *shape): the start, then every step."""
    noise = ChainNoise(seed, neurons, chains, shape, CPU)
    return torch.stack([noise.start(), *(noise.normal().clone() for _ in range(steps))]).unflatten(1, (neurons, chains))


@pytest.mark.parametrize(
    "shape", [(1,), (5,), (1, 28, 28), (3, 60, 95)], ids=str
)  # the last: more than one block holds
def test_a_chain_sees_the_same_bits_however_many_there_are(shape: tuple[int, ...]) -> None:
    """Over more steps than are drawn together, so that blocks begin and end within."""
    few, many = numbers(3, 2, 1, shape, 40), numbers(3, 3, 4, shape, 40)
    assert torch.equal(few, many[:, :2, :1])


def test_every_number_is_drawn_once() -> None:
    x = numbers(3, 2, 3, (4,), 50)
    rows = x.flatten(0, 2)
    assert len(torch.unique(rows, dim=0)) == len(rows)


@pytest.mark.parametrize("other", [(4, 0, 0), (3, 1, 0), (3, 0, 1), (3 + 2**32, 0, 0)])
def test_another_seed_neuron_or_chain_has_other_numbers(other: tuple[int, int, int]) -> None:
    seed, neuron, chain = other
    one = numbers(3, 1, 1, (64,), 20)[:, 0, 0]
    others = numbers(seed, neuron + 1, chain + 1, (64,), 20)[:, neuron, chain]
    assert not (one == others).any()


@pytest.mark.statistical
def test_numbers_are_standard_normal() -> None:
    """Mean, variance, kurtosis of 800,000 numbers, and the correlations of neighbours: between steps, neurons, chains,
    pixels, and seeds that differ by one. Ten statements: false alarm 4e-7."""
    x = numbers(run_seed(), 2, 8, (250,), 199)
    error = 1 / math.sqrt(x.numel())
    assert abs(float(x.mean())) < SIGMAS * error
    assert abs(float(x.var()) - 1) < SIGMAS * math.sqrt(2) * error
    assert abs(float(x.pow(4).mean()) - 3) < SIGMAS * math.sqrt(96) * error
    assert abs(float((x.abs() < 0.6744898).float().mean()) - 0.5) < SIGMAS * 0.5 * error
    for axis in range(x.ndim):
        length = x.shape[axis]
        product = x.narrow(axis, 0, length - 1) * x.narrow(axis, 1, length - 1)
        assert abs(float(product.mean())) < SIGMAS / math.sqrt(product.numel()), axis
    neighbour = x * numbers(run_seed() + 1, 2, 8, (250,), 199)
    assert abs(float(neighbour.mean())) < SIGMAS * error


def test_numbers_are_float32_whatever_the_default() -> None:
    plain = numbers(0, 1, 1, (20,), 3)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(numbers(0, 1, 1, (20,), 3), plain)
    finally:
        torch.set_default_dtype(torch.float32)


def test_numbers_once_handed_out_do_not_change() -> None:
    noise = ChainNoise(0, 1, 2, (4,), CPU)
    noise.start()
    views = [noise.normal() for _ in range(40)]
    copies = [view.clone() for view in views]
    for _ in range(40):
        noise.normal()
    assert all(torch.equal(view, copy) for view, copy in zip(views, copies, strict=True))


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17])
@pytest.mark.parametrize("ahead", [0, 1, 16, 40])
@pytest.mark.parametrize("shape", [(4,), (3, 60, 95)], ids=str)
def test_rewound_steps_come_again(at: int, ahead: int, shape: tuple[int, ...]) -> None:
    expected = numbers(7, 1, 2, shape, at + 20)[1 + at :, 0]
    noise = ChainNoise(7, 1, 2, shape, CPU)
    noise.start()
    for _ in range(at):
        noise.normal()
    mark = noise.mark()
    for _ in range(ahead):
        noise.normal()
    noise.rewind(mark)
    assert torch.equal(torch.stack([noise.normal().clone() for _ in range(20)]), expected)


def test_the_users_random_numbers_stay_where_they_are() -> None:
    before = torch.get_rng_state()
    numbers(0, 2, 2, (10,), 20)
    assert torch.equal(torch.get_rng_state(), before)
