"""Where chains have been on a map, against loops over all pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ldam_widget.diagnostics import walking

RADIUS = 0.3


@pytest.fixture
def cloud() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)


@pytest.fixture
def trails() -> np.ndarray:
    """(moments, chains, 2): random walks, one of which begins later."""
    found = np.random.default_rng(1).normal(0, 0.15, (30, 3, 2)).cumsum(0).astype(np.float32)
    found[:7, 2] = np.nan
    return found


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.linalg.norm(a - b) <= RADIUS)


def test_visited_points_have_a_position_near_them(
    cloud: np.ndarray, trails: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = trails.reshape(-1, 2)
    expected = [any(near(point, position) for position in flat) for point in cloud]
    assert 0 < sum(expected) < len(cloud)
    np.testing.assert_array_equal(walking.visited(cloud, flat, RADIUS), expected)
    monkeypatch.setattr(walking, "_PAIRS", 1000)  # a few positions at a time
    np.testing.assert_array_equal(walking.visited(cloud, flat, RADIUS), expected)
    assert not walking.visited(cloud, flat[:0], RADIUS).any()


def test_usual_gap_is_the_distance_of_the_fifteenth_neighbour(cloud: np.ndarray) -> None:
    gaps = [sorted(np.linalg.norm(cloud - point, axis=1))[15] for point in cloud]
    assert walking.usual_gap(cloud) == pytest.approx(np.median(gaps), rel=1e-5)
    assert walking.usual_gap(cloud[:1]) == 0


def test_stays_and_meets_count_pairs(trails: np.ndarray) -> None:
    for i in range(3):
        own = trails[~np.isnan(trails[:, i, 0]), i]
        pairs = [near(a, b) for a, b in combinations(own, 2)]
        assert 0 < sum(pairs) < len(pairs)
        assert walking.stays(trails[:, i], RADIUS) == pytest.approx(np.mean(pairs))
    pairs = [near(a, b) for moment in trails for a, b in combinations(moment, 2) if not np.isnan(a + b).any()]
    assert len(pairs) == 7 + 3 * 23
    assert walking.meets(trails, RADIUS) == pytest.approx(np.mean(pairs))
    assert np.isnan(walking.meets(trails[:, :1], RADIUS))
    assert np.isnan(walking.stays(trails[:7, 2], RADIUS))
    assert walking.stays(np.zeros((5, 2)), RADIUS) == 1  # locked


def test_by_chance_is_the_same_of_points(cloud: np.ndarray) -> None:
    assert walking.by_chance(cloud, RADIUS) == pytest.approx(np.mean([near(a, b) for a, b in combinations(cloud, 2)]))


def test_places_are_squares_that_touch() -> None:
    """Against a flood over a raster."""
    positions = np.random.default_rng(2).uniform(-4, 4, (150, 2))
    found = walking.places(positions, RADIUS)
    squares = {tuple(square) for square in np.floor(positions / RADIUS).astype(int)}
    place: dict[tuple[int, int], int] = {}
    for number, first in enumerate(sorted(squares)):
        waiting = [first]
        while waiting:
            x, y = waiting.pop()
            if (x, y) in squares and (x, y) not in place:
                place[x, y] = number
                waiting += [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    expected = np.array([place[tuple(square)] for square in np.floor(positions / RADIUS).astype(int)])
    assert len(set(expected)) > 5
    np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all(), "the largest comes first"


def test_places_of_many_positions() -> None:
    """A chain that never comes back: every position has a square of its own."""
    line = np.arange(20_000)[:, None] * np.array([1.0, 0.5])
    assert (walking.places(line, 1.0) == 0).all()
    assert len(np.unique(walking.places(3 * line, 1.0))) == 20_000


def test_places_of_positions_that_are_missing() -> None:
    positions = np.array([[np.nan, 0], [0, 0], [9, 9], [9, 9]])
    np.testing.assert_array_equal(walking.places(positions, RADIUS), [-1, 1, 0, 0])
    np.testing.assert_array_equal(walking.places(positions[:1], RADIUS), [-1])
