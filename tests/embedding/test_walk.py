"""Chains that walk on a map of real images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam

SHAPE = (1, 4, 4)


class Net(nn.Module):
    """Two layers of a few units."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        own = torch.Generator().manual_seed(seed)
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 3)
        for p in self.parameters():
            p.data.normal_(0, 0.4, generator=own)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x.flatten(1)).tanh())


class Mapped:
    """A map of 200 images of three kinds, by the hidden layer."""

    def __init__(self) -> None:
        own = torch.Generator().manual_seed(0)
        self.labels = torch.arange(200) % 3
        kinds = torch.rand(3, *SHAPE, generator=own)
        self.images = (kinds[self.labels] + 0.15 * torch.randn(200, *SHAPE, generator=own)).clamp(0, 1)
        self.net = Net()
        self.map = ldam.embed(self.images, model=self.net, layer="hidden", perplexity=10, steps=150, progress=False)

    def sampler(self, **more: Any) -> ldam.Sampler:
        given = {"neurons": [0, 2], "chains": 3, "input_shape": SHAPE, "pixel_range": (0.0, 1.0), "prior": None} | more
        return ldam.Sampler(self.net, layer="head", **given)


@pytest.fixture(scope="module")
def mapped() -> Mapped:
    return Mapped()


def test_positions_are_those_of_the_samples_features(mapped: Mapped) -> None:
    s = mapped.sampler()
    walk = ldam.Walk(mapped.map, s, mapped.labels)
    start = None
    for _ in range(4):
        s.step(5)
        walk.update()
        features = mapped.net.hidden(s.images.flatten(0, 1).flatten(1)).detach()
        placed = mapped.map.place(features, start=start)
        start = placed.positions
        np.testing.assert_allclose(walk.positions, placed.positions, atol=1e-3)
        np.testing.assert_allclose(walk.distance, placed.distance, rtol=1e-3)
        np.testing.assert_array_equal(walk.nearest, placed.neighbours[:, 0])
        np.testing.assert_array_equal(walk.trails[-1], walk.positions)
    assert walk.trails.shape == (4, 6, 2)
    assert [(w.neuron, w.chain) for w in walk.walkers] == [(n, c) for n in "02" for c in range(3)]


def test_real_images_are_solid_and_covered(mapped: Mapped) -> None:
    """Chains that hold real images cover what is near these; against all distances."""

    s = mapped.sampler(start=mapped.images[:3], chains=3, neurons=[0])
    walk = ldam.Walk(mapped.map, s, mapped.labels.numpy().astype(str))
    walk.update()  # before the first step
    np.testing.assert_array_equal(walk.nearest, [0, 1, 2])
    np.testing.assert_allclose(walk.positions, mapped.map.points[:3], atol=1e-4)
    apart = np.linalg.norm(mapped.map.points[:, None] - mapped.map.points[:3][walk.solid], axis=2)
    np.testing.assert_array_equal(walk.visited("", "0"), (apart <= walk.radius * (1 + 1e-6)).any(1))
    (row,) = walk.coverage()
    assert (row.home, row.solid) == ("0", walk.solid.mean())
    assert row.covered == walk.visited("", "0")[mapped.labels == 0].mean() > 0
    assert np.isnan(row.stays), "one moment says nothing of that"
    assert sum(mode.share for mode in row.modes) == pytest.approx(1)
    assert {mode.label for mode in row.modes} == {"0", "1", "2"}


def test_new_neurons_and_restarts_break_trails(mapped: Mapped) -> None:
    s = mapped.sampler()
    walk = ldam.Walk(mapped.map, s, trail=5)
    for _ in range(3):
        s.step(5)
        walk.update()
    old = walk.trails
    s.select(neurons=[2, 1])
    s.step(5)
    walk.update()
    np.testing.assert_array_equal(walk.trails[:3, :3], old[:, 3:])
    assert np.isnan(walk.trails[:3, 3:]).all()
    assert np.isfinite(walk.trails[3]).all()
    s.restart()
    walk.update()
    assert np.isnan(walk.trails[:4]).all()
    for _ in range(9):
        s.step(1)
        walk.update()
    assert walk.trails.shape == (5, 6, 2)
    walk.clear()
    assert walk.trails.shape[0] == 0
    assert not walk.visited("", "2").any()
    assert walk.coverage() == []
    s.step(1)
    walk.update()
    assert walk.trails.shape == (1, 6, 2)


def test_restarts_that_only_the_caller_knows_of(mapped: Mapped) -> None:
    s = mapped.sampler()
    walk = ldam.Walk(mapped.map, s)
    s.step(3)
    walk.update()
    s.restart(seed=1)
    s.step(5)
    walk.update(restarted=True)
    assert np.isnan(walk.trails[0]).all()
    np.testing.assert_array_equal(
        walk.positions, mapped.map.place(mapped.net.hidden(s.images.flatten(0, 1).flatten(1)).detach()).positions
    )


def test_units_of_another_layer_have_been_nowhere(mapped: Mapped) -> None:
    def solid(images: torch.Tensor) -> torch.Tensor:
        return mapped.net.hidden(mapped.images[: len(images)].flatten(1)).detach()

    s = mapped.sampler()
    walk = ldam.Walk(mapped.map, s, features=solid)
    s.step(1)
    walk.update()
    assert walk.visited("", "0").any()
    s.select("hidden", [0, 2])
    s.step(5)
    walk._features = lambda images: torch.full((len(images), 12), 1e3)  # far from all
    walk.update()
    assert np.isnan(walk.trails[0]).all()
    assert not walk.solid.any()
    assert not walk.visited("", "0").any()


def test_chains_that_have_diverged_have_no_position(mapped: Mapped) -> None:
    s = mapped.sampler(pixel_range=None, kernel=ldam.kernels.ULA(0.1))
    s.step(2)
    walk = ldam.Walk(mapped.map, s, mapped.labels, features=lambda x: lost(mapped.net.hidden(x.flatten(1)).detach()))

    def lost(features: torch.Tensor) -> torch.Tensor:
        features[[0, 3, 4, 5]] = torch.tensor([[float("nan")], [float("inf")], [float("nan")], [float("nan")]])
        return features

    for _ in range(2):
        walk.update()
    assert np.isnan(walk.positions).all(1).tolist() == [True, False, False, True, True, True]
    assert walk.nearest[[0, 3, 4, 5]].tolist() == [-1] * 4
    assert not walk.solid[[0, 3, 4, 5]].any()
    (row,) = walk.coverage()  # of the neuron with chains that have a position
    assert row.neuron == "0"
    assert row.modes[0].image >= 0
    with pytest.raises(ValueError, match=r"one row for each of 6 images; got shape \(2, 12\)"):
        ldam.Walk(mapped.map, s, features=lambda x: mapped.net.hidden(x.flatten(1))[:2]).update()


def test_a_comparison_and_what_the_table_says(mapped: Mapped) -> None:
    c = ldam.Comparison(
        {"one": mapped.net, "other": Net(1)}, layer="head", neurons=[1], chains=2, input_shape=SHAPE,
        pixel_range=(0.0, 1.0), prior=None,
    )  # fmt: skip
    walk = ldam.Walk(mapped.map, c, mapped.labels)
    for _ in range(6):
        c.step(5)
        walk.update()
    assert [(w.model, w.chain) for w in walk.walkers] == [("one", 0), ("one", 1), ("other", 0), ("other", 1)]
    table = walk.coverage()
    assert [row.model for row in table] == ["one", "other"]
    assert repr(table).splitlines()[0].split()[:3] == ["model", "neuron", "home"]
    assert table.to_list()[1]["modes"][0]["image"] == table[1].modes[0].image
    for i, row in enumerate(table):
        trails = walk.trails[:, 2 * i : 2 * i + 2]
        near = np.linalg.norm(trails[:, 0] - trails[:, 1], axis=1) <= walk.radius
        assert row.meets == pytest.approx(near.mean())
    figure = walk.figure(title="two models")
    assert len(figure.axes[0].lines) == 2 * 4


def test_pixels_are_brought_into_the_maps_range(mapped: Mapped) -> None:
    e = ldam.embed(mapped.images, pixel_range=(0.0, 1.0), perplexity=10, steps=60, progress=False)
    start = mapped.images[:2] * 4 - 2
    s = mapped.sampler(pixel_range=(-2.0, 2.0), start=start, chains=2, neurons=[0])
    walk = ldam.Walk(e, s)
    walk.update()
    np.testing.assert_array_equal(walk.nearest, [0, 1])
    np.testing.assert_allclose(walk.distance, 0, atol=1e-3)
    own = ldam.Walk(e, s, features=lambda x: x / 4 + 0.5)  # in the sampler's range, as documented
    own.update()
    np.testing.assert_allclose(own.positions, walk.positions, atol=1e-3)


def test_what_cannot_be_followed_is_told(mapped: Mapped) -> None:
    s = mapped.sampler()
    with pytest.raises(TypeError, match="e must be a map"):
        ldam.Walk(mapped.map.points, s)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Sampler, a Comparison or a widget .* got Net"):
        ldam.Walk(mapped.map, mapped.net)
    with pytest.raises(ValueError, match="does not know how its features were computed"):
        ldam.Walk(ldam.Embedding(mapped.map.points), s)
    with pytest.raises(TypeError, match="features must be a function"):
        ldam.Walk(mapped.map, s, features=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one for each of the 200 real images"):
        ldam.Walk(mapped.map, s, mapped.labels[:5])
    with pytest.raises(TypeError, match="labels must be all integers or all text"):
        ldam.Walk(mapped.map, s, ["a", None] * 100)
    for radius in (0, -1, float("nan"), "far"):
        with pytest.raises(ValueError, match="radius must be"):
            ldam.Walk(mapped.map, s, radius=radius)  # type: ignore[arg-type]
    for trail in (1, 2.5, True):
        with pytest.raises(ValueError, match="trail must be"):
            ldam.Walk(mapped.map, s, trail=trail)  # type: ignore[arg-type]
    other = ldam.Sampler(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), input_shape=(1, 3, 3), prior=None)
    with pytest.raises(ValueError, match="images of the map have shape"):
        ldam.Walk(mapped.map, other).update()
