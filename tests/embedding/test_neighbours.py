"""Neighbours against numpy's sort; affinities against their definition."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ldam_widget.embedding import neighbours
from ldam_widget.embedding.affinities import conditional, symmetric
from ldam_widget.embedding.neighbours import nearest, smallest

from .clouds import clusters


def by_sorting(points: Tensor, queries: Tensor, k: int, itself: bool) -> np.ndarray[Any, Any]:
    """Distances to the k nearest, in double precision."""
    apart = (queries.double().unsqueeze(1) - points.double()).norm(dim=2).numpy()
    if not itself:
        np.fill_diagonal(apart, np.inf)
    return np.sort(apart, 1)[:, :k]


@pytest.mark.parametrize("count", [40, 700, 3001])  # few, grouped, and with a rest
def test_exact_neighbours(count: int) -> None:
    points, _ = clusters(count)
    found, distances = nearest(points, 12)
    np.testing.assert_allclose(distances, by_sorting(points, points, 12, False), rtol=1e-5)
    np.testing.assert_allclose((points[found] - points.unsqueeze(1)).norm(dim=2), distances, rtol=1e-6)
    assert not bool((found == torch.arange(count).unsqueeze(1)).any())
    queries = points[:50] + 0.1
    np.testing.assert_allclose(nearest(points, 7, queries)[1], by_sorting(points, queries, 7, True), rtol=1e-4)


def test_small_distances_are_exact_far_from_the_origin() -> None:
    points = torch.cat([torch.zeros(30, 3), torch.full((30, 3), 1e3)]) + 0.5 * torch.arange(60).unsqueeze(1)
    np.testing.assert_allclose(nearest(points, 2)[1][5], [3**0.5 / 2] * 2, rtol=1e-6)


def test_the_smallest_of_a_row_wherever_they_are() -> None:
    own = torch.Generator().manual_seed(3)
    values = torch.rand(20, 1999, generator=own).round(decimals=2)  # many are equal
    for k in (1, 9, 15):
        found = values.gather(1, smallest(values, k)).sort(1).values
        assert torch.equal(found, values.sort(1).values[:, :k])
        assert all(len(set(row)) == k for row in smallest(values, k).tolist())


def test_lists_find_nearly_all_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_CANDIDATES", 400)
    points, _ = clusters(6000, kinds=40)
    exact, _ = nearest(points, 10, method="exact")
    found, distances = nearest(points, 10, method="lists")
    again, _ = nearest(points, 10, method="lists")
    assert torch.equal(found, again)
    shared = (found.unsqueeze(2) == exact.unsqueeze(1)).any(2).float().mean()
    assert shared > 0.95
    assert not bool((found == torch.arange(6000).unsqueeze(1)).any())
    assert bool((distances.diff(dim=1) >= 0).all())
    monkeypatch.setattr(neighbours, "_CANDIDATES", 10_000)  # every list is searched
    assert torch.equal(nearest(points[:900], 10, method="lists")[1], nearest(points[:900], 10)[1])


def test_many_points_are_searched_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(neighbours.MOST_EXACT, "cpu", 500)
    monkeypatch.setattr(neighbours, "_CANDIDATES", 50)
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    points, _ = clusters(2000, kinds=30)
    assert torch.equal(nearest(points, 5)[0], nearest(points, 5, method="lists")[0])
    assert torch.equal(nearest(points[:400], 5)[0], nearest(points[:400], 5, method="exact")[0])


class FakeIndex:
    """Answers as faiss does: the point itself first, unless an equal one comes before it."""

    def __init__(self, *_: Any) -> None:
        self.cp = SimpleNamespace(seed=0)
        self.nprobe = 1

    def train(self, _: Any) -> None: ...

    def add(self, points: Any) -> None:
        self._points = torch.from_numpy(points)

    def search(self, points: Any, k: int) -> tuple[None, Any]:
        apart = torch.cdist(torch.from_numpy(points), self._points)
        return None, apart.argsort(dim=1, stable=True)[:, :k].numpy()


def test_with_faiss_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(IndexIVFFlat=FakeIndex, IndexFlatL2=FakeIndex))
    points, _ = clusters(300)
    points[:40] = points[0]  # more equal points than neighbours: the point itself is not always among them
    found, distances = nearest(points, 8, method="faiss")
    assert torch.equal(distances, nearest(points, 8, method="exact")[1])
    assert not bool((found == torch.arange(300).unsqueeze(1)).any())
    with pytest.raises(ValueError, match="method must be one of 'auto', 'exact'"):
        nearest(points, 8, method="annoy")  # type: ignore[arg-type]


def test_affinities_have_the_perplexity() -> None:
    points, _ = clusters(500)
    _, distances = nearest(1e-12 * points, 60)  # whatever the unit
    for perplexity in (2.0, 20.0):
        p = conditional(distances, perplexity).double()
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose((-torch.special.xlogy(p, p).sum(1)).exp(), perplexity, rtol=1e-3)
        assert bool((p.diff(dim=1) <= 1e-7).all())
        some = p[:, 8] > 1e-6
        squared = distances[some].double().square()
        slopes = [(p[some, 0] / p[some, k]).log() / (squared[:, k] - squared[:, 0]) for k in (4, 8)]
        assert int(some.sum()) > 100
        np.testing.assert_allclose(*slopes, rtol=2e-3)  # Gaussian


def test_a_perplexity_that_cannot_be_met() -> None:
    same = torch.tensor([[1.0, 1, 1, 1, 9, 9], [2.0] * 6, [0.0] * 6])
    expected = torch.tensor([[0.25] * 4 + [0] * 2, [1 / 6] * 6, [1 / 6] * 6])
    torch.testing.assert_close(conditional(same, 2.0), expected)
    torch.testing.assert_close(conditional(torch.tensor([[1.0, 2, 3]]), 9.0).sum(), torch.tensor(1.0))


def test_the_symmetric_graph() -> None:
    points, _ = clusters(200)
    found, distances = nearest(points, 9)
    p = conditional(distances, 3.0)
    graph = symmetric(found, p)
    dense = torch.zeros(200, 200).scatter_(1, found, p)
    expected = (dense + dense.T) / 400
    made = torch.zeros(200, 200)
    made[graph.rows.long(), graph.columns.long()] = graph.weights
    torch.testing.assert_close(made, expected)
    assert len(graph.weights) == int((expected > 0).sum())
    assert graph.offsets.tolist() == [0, *(expected > 0).sum(1).cumsum(0).tolist()]
    assert graph.weights.dtype == torch.float32
    torch.testing.assert_close(graph.weights.sum(), torch.tensor(1.0))
