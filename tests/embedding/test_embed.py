"""Maps of images through a model: features, what is kept of them, and interrupts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.analysis import features
from ldam_widget.embedding import tsne

from ..conftest import TINY_SHAPE

FEW: dict[str, Any] = {"perplexity": 8, "steps": 30, "progress": False}


def pictures(count: int = 60) -> Tensor:
    own = torch.Generator().manual_seed(0)
    return torch.rand(count, *TINY_SHAPE, generator=own)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_MEMORY", features._Memory())


@pytest.mark.parametrize("layer", ["fc", "layer1.1", None])
def test_the_features_are_the_layers_outputs(tiny_cnn: nn.Module, layer: str | None) -> None:
    x = pictures()
    outputs = ldam.activations(tiny_cnn, 2 * x - 1, [layer or "fc"])[layer or "fc"].flatten(1)
    e = ldam.embed(x, model=tiny_cnn, layer=layer, preprocess=lambda x: 2 * x - 1, batch=7, cache=False, **FEW)
    expected = ldam.embed(features=outputs, **FEW)
    np.testing.assert_allclose(e.points, expected.points, atol=1e-2 * np.abs(expected.points).max())
    np.testing.assert_array_equal(e.place(outputs).positions, e.points)


def test_means_over_positions_and_pixels(tiny_cnn: nn.Module) -> None:
    x = pictures()
    outputs = ldam.activations(tiny_cnn, x, ["conv2"])["conv2"]
    e = ldam.embed(x, model=tiny_cnn, layer="conv2", at="mean", **FEW)
    np.testing.assert_array_equal(e.place(outputs.mean((2, 3))).positions, e.points)
    pixels = ldam.embed((255 * x).byte().numpy(), **FEW)
    np.testing.assert_array_equal(pixels.place((255 * x).byte() / 255).positions, pixels.points)


def test_the_model_is_left_as_it_was(tiny_cnn: nn.Module) -> None:
    model = nn.Sequential(tiny_cnn, nn.Dropout(0.5), nn.BatchNorm1d(5)).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with pytest.warns(ldam.LDAMWarning, match="training mode"):
        one = ldam.embed(pictures(), model=model, **FEW)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(one.points, ldam.embed(pictures(), model=model.eval(), **FEW).points)


def test_within_inference_mode(tiny_cnn: nn.Module) -> None:
    x = pictures()
    expected = ldam.embed(x, model=tiny_cnn, layer="fc", cache=False, **FEW)
    with torch.inference_mode():
        e = ldam.embed(x.clone(), model=tiny_cnn, layer="fc", cache=False, **FEW)
        placed = e.place(ldam.activations(tiny_cnn, x.clone(), ["fc"])["fc"])
    np.testing.assert_array_equal(e.points, expected.points)
    np.testing.assert_array_equal(placed.positions, e.points)


class Counting(nn.Module):
    """Counts the images that it sees, in a list of the test's."""

    seen: list[int] = []  # noqa: RUF012  # shared by the copies that are run

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        Counting.seen.append(len(x))
        y: Tensor = self.fc(x.flatten(1))
        return y


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_features_are_computed_once(where: str, tmp_path: Path) -> None:
    model, x = Counting(), pictures(200)[:, 0, 0, :6]
    cache: Any = True if where == "memory" else tmp_path / "kept"

    def seen(**changed: Any) -> int:
        Counting.seen.clear()
        ldam.embed(**({"images": x, "model": model, "input_shape": (6,), "cache": cache} | FEW | changed))
        return sum(Counting.seen)

    whole = seen()
    assert whole >= 200
    assert seen() < 100  # one to look at the model, and 32 to see that nothing has changed
    assert seen(perplexity=5) < 100
    assert seen(cache=False) >= 200
    assert seen(preprocess=lambda x: 2 * x) >= 200  # not in the key: noticed by the features
    assert seen(images=x.flip(0)) >= 200
    with torch.no_grad():
        model.fc.weight += 0.1
    assert seen() >= 200
    if where == "folder":
        for file in cache.iterdir():
            file.write_bytes(file.read_bytes()[:100])
        assert seen() >= 200
        assert seen() < 100
        assert not list(cache.glob("*.part*"))


@contextlib.contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    step = tsne.TSNE._step

    def once(self: tsne.TSNE) -> None:
        if self.done == after:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patched:
        patched.setattr(tsne.TSNE, "_step", once)
        yield


def test_an_interrupt_returns_the_map_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures().flatten(1)
    with interrupted(monkeypatch, 12), pytest.warns(ldam.LDAMWarning, match="as it was after 12 of 30 steps"):
        e = ldam.embed(features=x, **FEW)
    assert e.settings["steps"] == 12
    assert np.isfinite(e.points).all()
    assert np.isfinite(e.kl)
    run = tsne.TSNE(x, perplexity=8, steps=30)
    for positions in run:
        if run.done == 12:
            np.testing.assert_array_equal(e.points, positions)
            break


def test_positions_alone() -> None:
    e = ldam.embed(points=[[0, 1], [2, 3], [4, 6]])
    assert e.points.dtype == np.float32
    assert repr(e) == "Embedding of 3 points"


def test_a_layout_of_images(tiny_cnn: nn.Module) -> None:
    x, layout = pictures(), pictures()[:, 0, 0, :2]
    e = ldam.embed(x, model=tiny_cnn, layer="fc", points=layout, progress=False)
    np.testing.assert_array_equal(e.points, layout)
    np.testing.assert_array_equal(e.place(ldam.activations(tiny_cnn, x, ["fc"])["fc"]).positions, e.points)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ValueError, "nothing to map: give images"),
    ({"images": pictures(), "features": torch.zeros(3, 2)}, ValueError, "give images or features, not both"),
    ({"features": torch.zeros(3, 2), "model": nn.Linear(2, 2)}, ValueError, "model and layer need images"),
    ({"images": pictures(), "layer": "fc"}, ValueError, "layer='fc' needs a model"),
    ({"images": pictures(), "model": "lenet"}, TypeError, "model must be"),
    ({"images": pictures(), "model": nn.Linear(9, 2)}, ValueError, "does not fit the model"),
    ({"images": 3, "model": nn.Linear(9, 2)}, TypeError, "dataset must be"),
    ({"images": pictures(), "at": "max", "model": nn.Flatten()}, ValueError, "at must be 'all' or 'mean'"),
    ({"images": pictures(), "batch": 0}, ValueError, "batch must be an integer ≥ 1"),
    ({"images": pictures() * torch.nan}, ValueError, "NaN or infinite"),
    ({"images": pictures(2)[:1].repeat(30, 1, 1, 1)}, ValueError, "the same for all points"),
    ({"points": torch.zeros(3, 3)}, ValueError, "positions on a map"),
    ({"features": pictures().flatten(1), "points": torch.zeros(3, 2)}, ValueError, "3 points, but features of 60"),
]


@pytest.mark.parametrize(("given", "kind", "words"), WRONG, ids=[words[:25] for *_, words in WRONG])
def test_what_cannot_be_embedded(given: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        ldam.embed(**(FEW | given))


def test_a_layer_that_is_unknown_or_not_finite(tiny_cnn: nn.Module) -> None:
    with pytest.raises(ValueError, match="unknown layer 'fcc'"):
        ldam.embed(pictures(), model=tiny_cnn, layer="fcc", **FEW)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.Hardtanh())
    x = pictures()
    x[7] = 1e30
    with torch.no_grad():
        model[1].weight.fill_(1e30)
    with pytest.raises(ValueError, match="NaN or infinite for image 7; choose another"):
        ldam.embed(x, model=model, layer="1", **FEW)
