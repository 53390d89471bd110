"""The change beyond chance: unbiased, with the error and the false alarms that it claims."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ldam_widget.diagnostics.change import PictureChange, change_of

from .conftest import SIGMAS, run_seed

N, CHAINS = 1000, 8


def chains(shift: float, shape: tuple[int, ...], generator: torch.Generator, count: int = CHAINS) -> tuple[Tensor, ...]:
    """First and others: averages that vary between chains by 1, and differ by a shift of all pixels."""
    first = torch.randn(count, *shape, generator=generator)
    return first, first[None] + shift + torch.randn(1, count, *shape, generator=generator)


def many(shift: float, shape: tuple[int, ...] = (3,), count: int = CHAINS) -> list[PictureChange]:
    generator = torch.Generator().manual_seed(run_seed())
    return [change_of(*chains(shift, shape, generator, count)) for _ in range(N)]


def by_hand(first: Tensor, other: Tensor) -> float:
    """The mean product of the differences of two different chains, pixel by pixel."""
    d = (other.double() - first.double()).flatten(1)
    pairs = [float((d[i] * d[j]).mean()) for i in range(len(d)) for j in range(len(d)) if i != j]
    return math.sqrt(max(sum(pairs) / len(pairs), 0))


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_the_size_by_hand(count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for shift in (0.0, 1.0):
        first, others = chains(shift, (5,), generator, count)
        found = change_of(first, others)
        assert found.size == pytest.approx(by_hand(first, others[0]), rel=1e-9, abs=1e-9)
        assert math.isnan(found.error) == (count == 2)


def test_coarse_structure_of_pictures() -> None:
    """A shift of all pixels is kept whole; a chessboard is averaged away."""
    first = torch.zeros(4, 1, 12, 12)
    board = (torch.arange(12)[:, None] + torch.arange(12)) % 2 * 2.0 - 1
    assert change_of(first, first[None] + 0.5).size == pytest.approx(0.5)
    assert change_of(first, (first + board)[None]).size < 0.1
    two = torch.stack([first + 0.5, first - 0.5])
    assert change_of(first, two).size == pytest.approx(0.5)
    assert change_of(first, first[None]) == (0, 0, 0)


@pytest.mark.statistical
@pytest.mark.parametrize(("count", "level"), [(5, 1 / 16), (8, 7 / 128), (20, 0.05)])
def test_false_alarms_are_one_in_twenty(count: int, level: float) -> None:
    """Where only chance makes a difference; the count is binomial. Of 16 sign flips only the largest exceeds 95 %."""
    alarms = sum(change.size > change.noise for change in many(0.0, count=count))
    assert alarms < level * N + SIGMAS * math.sqrt(level * (1 - level) * N)
    assert alarms > 0.02 * N  # but not without reason


@pytest.mark.statistical
def test_changes_are_unbiased_and_their_errors_right() -> None:
    """A shift of 1 with noise of 1 per pixel and chain: size² has mean 1 and variance 4 / (8 · 3) + 2 / (56 · 3)."""
    found = many(1.0)
    squares = torch.tensor([change.size**2 for change in found], dtype=torch.float64)
    spread = math.sqrt((4 / (CHAINS * 3) + 2 / (CHAINS * (CHAINS - 1) * 3)) / N)
    assert abs(float(squares.mean()) - 1) < SIGMAS * spread
    sizes = torch.tensor([change.size for change in found], dtype=torch.float64)
    errors = torch.tensor([change.error for change in found], dtype=torch.float64)
    # the jackknife's variance is right to within a tenth for 8 chains, and its mean varies by about a percent
    assert float(errors.square().mean() / sizes.var()) == pytest.approx(1, abs=0.2)
    assert all(change.size > change.noise for change in many(5.0)[:200])
