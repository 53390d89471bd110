"""New points in a finished map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo import lenet

from .clouds import clusters


class Mapped:
    """A map of five clusters, and new points of each."""

    def __init__(self) -> None:
        everything, kinds = clusters(900)
        self.features, self.kind = everything[:800], kinds[:800]
        self.unseen, self.unseen_kind = everything[800:], kinds[800:]
        self.map = ldam.embed(features=self.features, perplexity=15, steps=240, progress=False)


@pytest.fixture(scope="module")
def mapped() -> Mapped:
    return Mapped()


def test_old_points_land_on_themselves(mapped: Mapped) -> None:
    placed = mapped.map.place(mapped.features)
    np.testing.assert_array_equal(placed.positions, mapped.map.points)
    np.testing.assert_allclose(placed.distance, 0, atol=1e-5)
    np.testing.assert_array_equal(placed.neighbours[:, 0], np.arange(800))
    again = mapped.map.place(mapped.features + 1e-6, start=mapped.map.points + 3)
    np.testing.assert_array_equal(again.positions, mapped.map.points)


def test_points_near_old_ones_land_near_them(mapped: Mapped) -> None:
    """No jump between a real point's place and the field."""
    width = np.ptp(mapped.map.points)
    for off in (0.03, 0.1):
        near = mapped.map.place(mapped.features + off * torch.randn(800, 8, generator=torch.Generator().manual_seed(0)))
        moved = np.linalg.norm(near.positions - mapped.map.points, axis=1)
        assert 0 < np.median(moved) < 0.01 * width


def test_new_points_land_among_their_own(mapped: Mapped) -> None:
    placed = mapped.map.place(mapped.unseen)
    near = ((placed.positions[:, None] - mapped.map.points) ** 2).sum(2).argmin(1)
    assert (mapped.kind.numpy()[near] == mapped.unseen_kind.numpy()).mean() == 1
    nearest = np.linalg.norm(mapped.unseen.numpy()[:, None] - mapped.features.numpy(), axis=2)
    np.testing.assert_allclose(placed.distance, nearest.min(1), rtol=1e-4)
    np.testing.assert_array_equal(placed.neighbours, nearest.argsort(1)[:, :15])
    around = mapped.map.points[placed.neighbours]
    spread = np.linalg.norm(around - placed.positions[:, None], axis=2).mean(1)
    np.testing.assert_allclose(placed.spread, spread, rtol=1e-4)


def test_only_points_like_the_real_ones_are_solid(mapped: Mapped) -> None:
    assert mapped.map.place(mapped.features).solid.mean() > 0.8
    assert mapped.map.place(mapped.unseen).solid.mean() > 0.6  # 90 % by distance and 90 % by spread, of a few points
    far = mapped.map.place(mapped.unseen + 5)
    assert not far.solid.any()
    first, second = (mapped.features[mapped.kind == k][:50] for k in (0, 1))
    assert not mapped.map.place((first + second) / 2).solid.any()


def test_what_the_reduction_leaves_out_counts_as_distance() -> None:
    """Features of 60 dimensions, of which the map knows 50."""
    own = torch.Generator().manual_seed(0)
    features = torch.randn(300, 60, generator=own) * torch.cat([torch.ones(50), torch.full((10,), 0.01)])
    e = ldam.embed(features=features, perplexity=10, steps=60, progress=False)
    again = e.place(features)
    np.testing.assert_array_equal(again.positions, e.points)
    assert again.solid.mean() > 0.8
    off = features[:50].clone()
    off[:, 50:] += 10
    placed = e.place(off)
    nearest = torch.cdist(off, features).amin(1)
    np.testing.assert_allclose(placed.distance, nearest, rtol=0.1)
    assert not placed.solid.any()


def test_copies_of_points_do_not_narrow_the_real_range(mapped: Mapped) -> None:
    some = mapped.features[:200]
    e = ldam.embed(features=some.repeat(20, 1), perplexity=15, steps=60, progress=False)
    np.testing.assert_array_equal(e.place(some).positions, e.points[:200])
    assert e.place(some + 0.01).solid.mean() > 0.7


def test_a_moving_point_is_followed_without_jumps(mapped: Mapped) -> None:
    one, other = (mapped.features[mapped.kind == k][0] for k in (0, 1))
    width = np.ptp(mapped.map.points, axis=0).max()
    track, last = [], None
    for share in torch.linspace(0, 1, 40):
        placed = mapped.map.place((one * (1 - share) + other * share).unsqueeze(0), start=last)
        last = placed.positions
        track.append(last[0])
    steps = np.linalg.norm(np.diff(track, axis=0), axis=1)
    assert steps[1:-1].max() < 0.21 * width  # ten steps of 2 %
    assert np.linalg.norm(track[-1] - mapped.map.place(other.unsqueeze(0)).positions[0]) == 0


def test_where_it_starts_and_what_it_is_placed_with_do_not_matter_in_the_end(mapped: Mapped) -> None:
    alone = np.concatenate([mapped.map.place(x.unsqueeze(0)).positions for x in mapped.unseen[:5]])
    together = mapped.map.place(mapped.unseen[:5])
    np.testing.assert_allclose(together.positions, alone, atol=1e-3)
    start = torch.full((5, 2), torch.nan)
    start[0] = torch.from_numpy(together.positions[0]) + 1
    settled = [start]
    for _ in range(20):
        settled.append(torch.from_numpy(mapped.map.place(mapped.unseen[:5], start=settled[-1]).positions))
    np.testing.assert_allclose(mapped.map.place(mapped.unseen[:5], start=start).positions[1:], alone[1:], atol=1e-3)
    assert float((settled[-1][0] - torch.from_numpy(together.positions[0])).norm()) < 0.1


def test_between_two_clusters_a_point_joins_one(mapped: Mapped) -> None:
    """Its cost, by direct sums, is about as low as at the best of its neighbours, and not that of the void between."""
    from ldam_widget.embedding.affinities import conditional

    first, second = (mapped.features[mapped.kind == k] for k in (0, 1))
    between = torch.cat([first[:60] * share + second[:60] * (1 - share) for share in (0.4, 0.5, 0.6)])
    placed = mapped.map.place(between)
    near = torch.from_numpy(placed.neighbours)
    kinds = mapped.kind[near]
    mixed = (kinds == 0).any(1) & (kinds == 1).any(1)
    assert mixed.sum() > 10
    p = conditional(torch.cdist(between, mapped.features).gather(1, near), 5.0).double()
    known = torch.from_numpy(mapped.map.points).double()

    def cost(y: Tensor) -> Tensor:
        """(m, 2) or, of several places each, (m, k, 2)."""
        every = y if y.ndim == 3 else y.unsqueeze(1)
        attraction = (p.unsqueeze(1) * (known[near].unsqueeze(1) - every.unsqueeze(2)).square().sum(3).log1p()).sum(2)
        z = (1 / (1 + (every.unsqueeze(2) - known).square().sum(3))).sum(2)
        return (attraction + z.log()).view(y.shape[:-1])

    best = cost(known[near]).amin(1)
    reached = cost(torch.from_numpy(placed.positions).double())
    mean = cost((p.unsqueeze(2) * known[near]).sum(1))
    assert float((mean - best)[mixed].median()) > 0.3, "else any start will do"
    assert float((reached - best)[mixed].quantile(0.9)) < 0.1


def label_accuracy(e: ldam.Embedding, features: Tensor, labels: Tensor, known: Tensor) -> float:
    """How often the nearest real point on the map has the label."""
    places = torch.from_numpy(e.place(features).positions)
    near = torch.cdist(places, torch.from_numpy(e.points)).argmin(1)
    return float((known[near] == labels).float().mean())


@pytest.mark.realdata
def test_unseen_digits_land_among_their_own(data_folder: Path) -> None:
    """Of 1,000 digits 93 %: by their pixels among 10,000, and among 3,000 by what a network makes of them."""
    known, labels = load_mnist(data_folder / "mnist")
    unseen, own = (part[:1000] for part in load_mnist(data_folder / "mnist", "test"))
    digits, held_out = (part.unsqueeze(1).float() / 255 for part in (known[:10_000], unseen))
    e = ldam.embed(digits, steps=400, progress=False)
    assert label_accuracy(e, held_out.flatten(1), own, labels) >= 0.93
    model = ldam.demo.mnist().model
    small = ldam.embed(digits[:3000], model=model, layer="fc2", preprocess=lenet.preprocess, progress=False)
    assert small.features_of is not None
    assert label_accuracy(small, small.features_of(held_out), own, labels) >= 0.93


@pytest.mark.parametrize("scale", [0.01, 10.0, 1000.0])
def test_figures_of_a_layout_of_any_scale(mapped: Mapped, scale: float) -> None:
    """KL against sums over all pairs in double precision; trustworthiness does not depend on scale or place."""
    from ldam_widget.embedding.affinities import conditional

    features = torch.cat([mapped.features, mapped.features + 1]).double()
    own = torch.Generator().manual_seed(0)
    y = torch.randn(1600, 2, generator=own, dtype=torch.float64) * scale
    near, found = (torch.cdist(features, features) + 1e9 * torch.eye(1600)).topk(90, largest=False)
    p = torch.zeros(1600, 1600, dtype=torch.float64).scatter_(1, found, conditional(near.float(), 30.0).double())
    p = (p + p.T) / 3200
    w = (1 / (1 + torch.cdist(y, y).square())).fill_diagonal_(0)
    kl = float(torch.special.xlogy(p, p * w.sum() / w.clamp(min=1e-300)).sum())
    assert ldam.embed(points=y, features=features).kl == pytest.approx(kl, rel=1e-3)
    trust = ldam.embed(points=y, features=features).trust
    assert ldam.embed(points=y / scale + 1e3, features=features).trust == pytest.approx(trust, abs=1e-3)


def test_it_goes_down_the_cost_of_new_points(mapped: Mapped) -> None:
    """−Σ p log w + log Σ w, in double precision, over all points."""
    from ldam_widget.embedding.affinities import conditional

    placed = mapped.map.place(mapped.unseen)
    known = torch.from_numpy(mapped.map.points).double()
    apart = torch.cdist(mapped.unseen, mapped.features).gather(1, torch.from_numpy(placed.neighbours))
    p = conditional(apart, 5.0).double()
    around = known[torch.from_numpy(placed.neighbours)]

    def cost(y: Tensor) -> Tensor:
        w = 1 / (1 + (around - y.unsqueeze(1)).square().sum(2))
        every = 1 / (1 + torch.cdist(y, known).square())
        return -(p * w.log()).sum(1) + every.sum(1).log()

    end = torch.from_numpy(placed.positions).double()
    mean = (p.unsqueeze(2) * around).sum(1)
    assert float((cost(end) - cost(mean)).mean()) < 0
    for _ in range(10):
        end = torch.from_numpy(mapped.map.place(mapped.unseen, start=end).positions).double()
    end.requires_grad_()
    (slope,) = torch.autograd.grad(cost(end).sum(), end)
    assert float(slope.norm(dim=1).median()) < 0.02


def test_a_layout_from_elsewhere(mapped: Mapped) -> None:
    own = torch.Generator().manual_seed(0)
    layout = (mapped.features @ torch.randn(8, 2, generator=own)).numpy() * 0.02 + 1000
    e = ldam.embed(points=layout, features=mapped.features)
    np.testing.assert_array_equal(e.points, layout.astype(np.float32))
    np.testing.assert_array_equal(e.place(mapped.features).positions, e.points)
    assert np.isfinite(e.place(mapped.unseen).positions).all()
    assert e.kl > mapped.map.kl
    assert 0 < e.trust < mapped.map.trust
    np.testing.assert_array_equal(ldam.Embedding(layout[:, ::-1]).points, e.points[:, ::-1])
    bare = ldam.Embedding(layout)
    assert np.isnan([bare.kl, bare.trust, bare.kept]).all()
    with pytest.raises(ValueError, match=r"positions only.*ldam.embed\(points=…, features=…\)"):
        bare.place(mapped.unseen)


WRONG: list[tuple[Any, Any, str]] = [
    (torch.zeros(3, 7), None, "features must have 8 numbers a point, as the map's; got 7"),
    (torch.full((2, 8), torch.nan), None, "features holds numbers that are NaN"),
    (torch.zeros(8), None, "one row a point"),
    (torch.zeros(3, 8), torch.zeros(2, 2), r"start must be \(3, 2\), a position for each row; got \(2, 2\)"),
]


@pytest.mark.parametrize(("features", "start", "words"), WRONG)
def test_what_cannot_be_placed(mapped: Mapped, features: Any, start: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mapped.map.place(features, start=start)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.zeros(5, 3), r"positions on a map, \(n, 2\); got \(5, 3\).*ldam.embed\(features=…\)"),
        (torch.full((5, 2), torch.inf), "points holds numbers that are NaN or infinite"),
        (torch.zeros(4, 2), "4 points, but features of 5"),
    ],
)
def test_layouts_that_are_none(points: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ldam.Embedding(points, torch.rand(5, 4, generator=torch.Generator().manual_seed(0)))


def test_it_prints_and_is_drawn(mapped: Mapped) -> None:
    assert repr(mapped.map).startswith("Embedding of 800 points: KL ")
    assert "perplexity 15" in repr(mapped.map)
    html = mapped.map._repr_html_()
    assert "data:image/png;base64," in html
    drawn = mapped.map.figure(mapped.kind, title="five").axes[0]
    assert [text.get_text() for text in drawn.texts] == ["0", "1", "2", "3", "4"]
    assert drawn.get_title() == "five"
    np.testing.assert_array_equal(drawn.collections[0].get_offsets(), mapped.map.points)
    colours = drawn.collections[0].get_facecolors()
    assert len({tuple(colour) for colour in colours}) == 5
    names = np.array(["b", "a"])[mapped.kind.numpy() % 2]
    assert [text.get_text() for text in mapped.map.figure(names).axes[0].texts] == ["a", "b"]
    assert len(mapped.map.figure(mapped.features[:, 0]).axes) == 2  # with a colour bar
    assert not mapped.map.figure(np.zeros(800, int)).axes[0].texts[1:]  # one class
    with pytest.raises(ValueError, match=r"labels must be one for each of the 800 points; got shape \(3,\)"):
        mapped.map.figure([1, 2, 3])


def test_it_is_kept_in_a_file(mapped: Mapped, tmp_path: Any) -> None:
    mapped.map.save(tmp_path / "map.safetensors")
    e = ldam.Embedding.load(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(e.points, mapped.map.points)
    assert (e.kl, e.settings) == (mapped.map.kl, mapped.map.settings)
    np.testing.assert_allclose(e.place(mapped.unseen).positions, mapped.map.place(mapped.unseen).positions, atol=1e-3)
    ldam.Embedding(mapped.map.points).save(tmp_path / "bare.safetensors")
    assert np.isnan(ldam.Embedding.load(tmp_path / "bare.safetensors").kl)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ldam.Embedding.load(tmp_path / "none")
    content = (tmp_path / "map.safetensors").read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    (tmp_path / "other").write_bytes(content.replace(b"ldam-embedding-1", b"ldam-embedding-9"))
    for name in ("half", "other"):
        with pytest.raises(ValueError, match=r"is not a map that Embedding\.save wrote"):
            ldam.Embedding.load(tmp_path / name)
