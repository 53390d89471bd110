"""t-SNE as an iterator: what it finds, when it is stopped, and what it makes of odd data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.embedding.affinities import conditional, symmetric
from ldam_widget.embedding.neighbours import nearest
from ldam_widget.embedding.quality import quality
from ldam_widget.embedding.space import Space, distinct

from .clouds import clusters
from .test_forces import exact_cost


def last(run: ldam.TSNE) -> Tensor:
    for _ in run:
        pass
    return run.points


def purity(points: Tensor, kind: Tensor) -> float:
    """Share of the points whose nearest one on the map is of their kind."""
    near = nearest(points - points.mean(0), 1)[0].flatten()
    return float((kind[near] == kind).float().mean())


@pytest.mark.parametrize("count", [400, 1500])  # exact and interpolated repulsion
def test_clusters_stay_together(count: int) -> None:
    points, kind = clusters(count)
    run = ldam.TSNE(points, perplexity=15, steps=200)
    start = run.kl
    y = last(run)
    assert purity(y, kind) > 0.99
    assert run.kl < start / 2
    assert quality(points, y).trust > 0.9
    assert float(y.mean(0).abs().max()) < 1e-3


def test_the_cost_is_that_of_the_definition() -> None:
    points, _ = clusters(300)
    run = ldam.TSNE(points, perplexity=20, steps=150)
    y = last(run)
    for perplexity, kl in ((20.0, run.kl), (30.0, ldam.Embedding(y, points).kl)):
        found, distances = nearest(run.space.points, round(3 * perplexity))
        cost = exact_cost(symmetric(found, conditional(distances, perplexity)), y.T.double())
        assert kl == pytest.approx(float(cost), abs=1e-3)


@pytest.mark.parametrize("power", [-80, 60, 90])
def test_the_unit_of_the_features_does_not_matter(power: int) -> None:
    """Powers of two, so that not a bit changes; squares of the features would overflow or vanish."""
    points, _ = clusters(100)
    run, scaled = (ldam.TSNE(points * 2.0**p, perplexity=10, steps=20) for p in (0, power))
    assert torch.equal(last(scaled), last(run))
    assert scaled.space.unit == run.space.unit * 2.0**power


def test_it_can_be_stopped_and_resumed_at_any_step() -> None:
    points, _ = clusters(200)
    whole, parts = ldam.TSNE(points, perplexity=10, steps=40), ldam.TSNE(points, perplexity=10, steps=40)
    expected = [positions.clone() for positions in whole]
    assert len(expected) == 40
    for positions, same in zip(parts, expected, strict=False):
        assert torch.equal(positions, same)
        assert bool(positions.isfinite().all())
        positions.fill_(torch.nan)  # each is the caller's own
        if parts.done == 17:
            break
    assert len(parts) == 23
    e = ldam.Embedding.of(parts)
    assert e.settings["steps"] == 17
    assert np.array_equal(e.points, expected[16].numpy())
    assert torch.equal(last(parts), expected[-1])


def test_seeds_and_the_users_settings() -> None:
    points, _ = clusters(150)
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            one = last(ldam.TSNE(points, perplexity=10, steps=30))
    finally:
        torch.set_default_dtype(torch.float32)
    assert one.dtype == torch.float32
    again, other = (last(ldam.TSNE(points, perplexity=10, steps=30, seed=seed)) for seed in (0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_exaggeration_draws_clusters_together() -> None:
    points, kind = clusters(600, kinds=3)
    sizes = []
    for exaggeration in (1.0, 4.0):
        y = last(ldam.TSNE(points, perplexity=15, steps=240, exaggeration=exaggeration))
        own = torch.stack([y[kind == k] - y[kind == k].mean(0) for k in range(3)]).square().mean()
        sizes.append(float(own / y.square().mean()))
    assert sizes[1] < sizes[0] / 2


def test_a_map_that_starts_from_another() -> None:
    points, kind = clusters(300)
    first = last(ldam.TSNE(points, perplexity=15, steps=150))
    turned = first @ torch.tensor([[0.0, 1], [-1, 0]])
    second = last(ldam.TSNE(points, perplexity=15, steps=150, start=turned.numpy()))
    middles = [torch.stack([y[kind == k].mean(0) for k in range(5)]) for y in (turned, second)]
    middles = [middle - middle.mean(0) for middle in middles]
    cosine = torch.nn.functional.cosine_similarity(middles[0].flatten(), middles[1].flatten(), 0)
    assert float(cosine) > 0.9


def test_equal_points_share_a_place() -> None:
    few, _ = clusters(40)
    points = few.repeat_interleave(200, 0)[torch.randperm(8000, generator=torch.Generator().manual_seed(0))]
    y = last(ldam.TSNE(points, perplexity=8, steps=60))
    assert len(y) == 8000
    same = (points[:500].unsqueeze(1) == points[:500]).all(2)
    apart = torch.cdist(y[:500], y[:500], compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(apart == 0, same)


def test_distinct_points_keep_their_order() -> None:
    points = torch.tensor([[2.0, 1], [0, 0], [2, 1], [-0.0, 0], [5, 5]])
    first, kind = distinct(points)
    assert first.tolist() == [0, 1, 4]
    assert kind.tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dimensions", [1, 4])
def test_fewer_points_than_have_a_choice(count: int, dimensions: int) -> None:
    points = torch.arange(count * dimensions, dtype=torch.float32).view(count, dimensions).square()
    run = ldam.TSNE(points)
    y = last(run)
    assert y.shape == (count, 2)
    assert bool(y.isfinite().all())
    assert run.kl == 0
    assert len({tuple(row) for row in y.tolist()}) == count
    e = ldam.embed(features=points, progress=False)
    assert np.array_equal(e.points, y)
    assert np.allclose(e.place(points).positions, e.points)


@pytest.mark.parametrize("count", [4, 7, 50])
def test_fewer_points_than_the_perplexity_needs(count: int) -> None:
    points, _ = clusters(count)
    with pytest.warns(ldam.LDAMWarning, match=rf"perplexity=30 needs at least 91 distinct points; with {count} it is"):
        run = ldam.TSNE(points, steps=60)
    assert run.perplexity == pytest.approx((count - 1) / 3)
    y = last(run)
    assert bool(y.isfinite().all())
    assert len({tuple(row) for row in y.tolist()}) == count


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "NaN": (
        torch.tensor([[1.0, 2], [torch.nan, 1], [1, 1]]),
        ValueError,
        "NaN or infinite in single precision, in row 1",
    ),
    "infinite": ([[1.0, float("inf")]], ValueError, "NaN or infinite"),
    "too large": (np.array([[1e200, 0], [0, 1e200]]), ValueError, "infinite in single precision, in row 0 and 1 more"),
    "one axis": (torch.arange(9.0), ValueError, r"one row a point, \(points, features\).*shape \(9,\)"),
    "a number": (3.0, ValueError, r"got shape \(\)"),
    "no points": (torch.zeros(0, 4), ValueError, "at least one of each"),
    "no features": (torch.zeros(4, 0), ValueError, "at least one of each"),
    "constant": (torch.ones(100, 5), ValueError, "the same for all points, so there is nothing to map"),
    "ragged": ([[1, 2], [3]], TypeError, "lists of one length"),
    "text": ([["a", "b"]], TypeError, "rows of numbers"),
    "complex": (torch.zeros(3, 2, dtype=torch.complex64), TypeError, "real numbers"),
}


@pytest.mark.parametrize(("points", "kind", "words"), BAD.values(), ids=BAD.keys())
def test_data_that_cannot_be_mapped(points: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=f"features .*{words}"):
        ldam.TSNE(points)
    with pytest.raises(kind, match=words):
        ldam.embed(features=points, progress=False)


def test_any_kind_of_numbers() -> None:
    points, _ = clusters(60)
    whole = (10 * points).round()
    expected = last(ldam.TSNE(whole, perplexity=5, steps=20))
    for same in (whole.int(), whole.numpy().astype(np.int64), whole.tolist(), whole.double(), whole.view(60, 2, 4),
                 whole.clone().requires_grad_()):  # fmt: skip
        torch.testing.assert_close(last(ldam.TSNE(same, perplexity=5, steps=20)), expected, rtol=1e-3, atol=1e-6)
    offset = whole.double() + 1e9  # single precision would lose it
    torch.testing.assert_close(last(ldam.TSNE(offset, perplexity=5, steps=20)), expected, rtol=1e-3, atol=1e-6)


ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"perplexity": 0.5}, ValueError, "perplexity must be from 1"),
    ({"perplexity": "many"}, TypeError, "perplexity must be a number"),
    ({"exaggeration": float("nan")}, ValueError, "exaggeration must be"),
    ({"steps": 0}, ValueError, "steps must be an integer ≥ 1"),
    ({"steps": 10.0}, TypeError, "steps must be an integer"),
    ({"seed": -1}, ValueError, "seed must be an integer ≥ 0"),
    ({"start": torch.zeros(3, 2)}, ValueError, r"all 30 points, \(30, 2\); got \(3, 2\)"),
    ({"method": "fast"}, ValueError, "method must be one of"),
    ({"device": "abacus"}, ValueError, "device='abacus' cannot be used"),
]


@pytest.mark.parametrize(("argument", "kind", "words"), ARGUMENTS, ids=lambda a: str(a)[:30])
def test_arguments_out_of_range(argument: dict[str, Any], kind: type[Exception], words: str) -> None:
    points, _ = clusters(30)
    with pytest.raises(kind, match=words):
        ldam.TSNE(points, **({"perplexity": 5} | argument))


def test_principal_components() -> None:
    own = torch.Generator().manual_seed(0)
    for wide in (60, 1500):  # directly, and by iteration
        scales = torch.linspace(1, 0, wide) ** 4
        features = torch.randn(400, wide, generator=own) * scales + 3
        space = Space.of(features)
        centred = features.double() - features.double().mean(0)
        expected = torch.linalg.svdvals(centred)[:50] / space.unit
        torch.testing.assert_close(space.points.double().norm(dim=0)[:20], expected[:20], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(space.components.T @ space.components, torch.eye(50), rtol=0, atol=1e-5)
        torch.testing.assert_close(space.project(features), space.points, rtol=0, atol=1e-5)
    narrow, _ = clusters(30)
    space = Space.of(narrow)
    kept, apart = (torch.cdist(each.double(), each.double()) for each in (space.unit * space.points, narrow))
    torch.testing.assert_close(kept, apart, rtol=1e-5, atol=1e-5)


def test_quality_against_its_definition() -> None:
    points, _ = clusters(120)
    own = torch.Generator().manual_seed(0)
    y = points[:, :2] + torch.randn(120, 2, generator=own)
    k, n = 6, 120
    apart, on_map = (torch.cdist(each.double(), each.double()).fill_diagonal_(torch.inf) for each in (points, y))
    rank = apart.argsort(1).argsort(1) + 1
    near = on_map.argsort(1)[:, :k]
    ranks = rank.gather(1, near)
    trust = 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * float((ranks - k).clamp(min=0).sum())
    found = quality(points, y, k)
    assert found.trust == pytest.approx(trust, abs=1e-6)
    assert found.kept == pytest.approx(float((ranks <= k).float().mean()))
    assert quality(points, points, k) == (1.0, 1.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu() -> None:
    points, kind = clusters(3000)
    run = ldam.TSNE(points, steps=300, device="cuda")
    y = last(run).cpu()
    cpu = ldam.TSNE(points, steps=300, device="cpu")
    last(cpu)
    assert purity(y, kind) > 0.99
    assert run.kl == pytest.approx(cpu.kl, rel=0.02)
    e = ldam.Embedding.of(run)
    np.testing.assert_array_equal(e.place(points).positions, e.points)
