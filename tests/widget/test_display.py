"""Contrast, bands, slices and crops of a widget: from Python, from the page, on the wire and in files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldam_widget import LDAM, Compare
from ldam_widget.pictures import images

from ..conftest import with_fixed_weights
from .page import FakePage
from .test_live import Page

Shape = tuple[int, ...]
BANDS, VOLUME, RGB = (5, 12, 12), (1, 6, 10, 10), (3, 16, 16)


def network(shape: Shape) -> nn.Module:
    convolution = nn.Conv2d if len(shape) == 3 else nn.Conv3d
    units = 4 * math.prod(shape[1:])
    return with_fixed_weights(
        lambda: nn.Sequential(convolution(shape[0], 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(units, 5))
    )


@pytest.fixture
def open_page() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(shape: Shape, **options: Any) -> Page:
        plain = {"input_shape": shape, "pixel_range": (0, 1), "neurons": [0, 3], "prior": None, "chains": 2}
        page = Page(model=network(shape), **plain | options)
        pages.append(page)
        page.receive(kind="hello", view="a")
        page.widget.step(3)
        return page

    yield make
    for page in pages:
        page.widget.close()


def shown(page: Page, name: str = "sample") -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The newest tiles of a pane, and their description."""
    page.settle()
    content, buffers = next(sent for sent in reversed(page.sent) if sent[0]["kind"] == "frame")
    (index,) = [i for i, pane in enumerate(content["panes"]) if pane["name"] == name]
    pane = content["panes"][index]
    return np.frombuffer(buffers[index], np.uint8).reshape(pane["shape"]), pane


def samples(w: LDAM) -> Tensor:
    """Rows are chains, as on the page."""
    return w.sampler.images.transpose(0, 1)


def levels(x: Tensor) -> np.ndarray[Any, Any]:
    return images.to_levels(np.moveaxis(x.numpy(), -3, -1), (0, 1))


def test_contrast_from_python_and_from_the_page(open_page: Callable[..., Page]) -> None:
    page = open_page((1, 8, 8))
    w = page.widget
    assert w.contrast == "as it is"
    tiles, pane = shown(page)
    np.testing.assert_array_equal(tiles, levels(samples(w)))
    assert "ranges" not in pane
    page.receive(kind="display", contrast="stretched")
    tiles, pane = shown(page)
    assert w.contrast == page.of("state")[-1]["display"]["contrast"] == "stretched"
    assert {int(tile.min()) for row in tiles for tile in row} == {0}
    assert {int(tile.max()) for row in tiles for tile in row} == {255}
    for row, ranges in enumerate(pane["ranges"]):
        for column, (low, high) in enumerate(ranges):
            found = low + (high - low) * tiles[row, column, ..., 0] / 255
            np.testing.assert_allclose(found, samples(w)[row, column, 0], atol=(high - low) / 255)
    assert all("stretched" in label for label in pane["labels"])
    w.contrast = "as it is"
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)))


def test_bands_from_python_and_from_the_page(open_page: Callable[..., Page]) -> None:
    page = open_page(BANDS)
    w = page.widget
    assert w.bands == 0
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)[..., [0], :, :]))
    w.bands = 4
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)[..., [4], :, :]))
    page.receive(kind="display", bands=[3, 2, 1])
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)[..., [3, 2, 1], :, :]))
    assert w.bands == (3, 2, 1)
    state = page.of("state")[-1]["display"]
    assert (state["bands"], state["band_count"]) == ([3, 2, 1], 5)
    average = w.sampler.average_images.mean(1)[None][..., [3, 2, 1], :, :]
    np.testing.assert_array_equal(shown(page, "average")[0], levels(average))
    w.bands = None
    assert w.bands == 0


def test_slices_are_a_slider(open_page: Callable[..., Page]) -> None:
    page = open_page(VOLUME)
    w = page.widget
    slider = next(p for p in page.of("setup")[-1]["parameters"] if p["name"] == "slice")
    assert (slider["low"], slider["high"], slider["default"], slider["integer"]) == (0, 5, 3, True)
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)[..., 3, :, :]))
    page.receive(kind="set", view="a", rev=1, params={"slice": 5})
    np.testing.assert_array_equal(shown(page)[0], levels(samples(w)[..., 5, :, :]))
    w.slice = 0
    tiles, pane = shown(page)
    np.testing.assert_array_equal(tiles, levels(samples(w)[..., 0, :, :]))
    assert pane["labels"][0] == "sample\nchain 1 of 2\nslice 0"
    with pytest.raises(ValueError, match="slice must be between 0 and 5; got 6"):
        w.slice = 6
    assert not hasattr(open_page(RGB).widget, "slice")


def test_small_receptive_fields_are_cropped_to(open_page: Callable[..., Page]) -> None:
    page = open_page(RGB, layer="0")
    w = page.widget
    state = page.of("setup")[-1]["display"]
    assert (state["field"], state["window"], state["picture"], state["cropped"]) == ([3, 3], [3, 3], [16, 16], True)
    assert w.crop
    tiles, pane = shown(page)
    np.testing.assert_array_equal(tiles, levels(samples(w)[..., 7:10, 7:10]))
    assert pane["corners"] == [[7, 7], [7, 7]]
    page.receive(kind="display", cropped=False)
    tiles, pane = shown(page)
    np.testing.assert_array_equal(tiles, levels(samples(w)))
    assert "corners" not in pane
    assert not w.crop
    w.crop = True
    w.neurons = ["1@0,0", "2"]
    tiles, pane = shown(page)
    assert pane["corners"] == [[0, 0], [7, 7]]
    np.testing.assert_array_equal(tiles[:, 0], levels(samples(w)[:, 0, :, :3, :3]))
    w.layer = "3"
    assert not w.crop
    assert page.of("setup")[-1]["display"]["field"] is None
    assert shown(page)[0].shape[2:4] == (16, 16)


@pytest.mark.slow
def test_snapshots_and_figures_show_the_same(open_page: Callable[..., Page]) -> None:
    page = open_page(BANDS, layer="0")
    w = page.widget
    w.contrast, w.bands = "stretched", 2
    tiles, pane = shown(page)
    figure = w.figure()
    assert [axis.get_ylabel() for axis in figure.axes[:4:2]] == pane["labels"]
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), tiles[0, 1, ..., 0])
    grey = np.asarray(w.snapshot().convert("L"))
    wanted = tiles[1, 0, ..., 0].repeat(28, 0).repeat(28, 1)  # 84 pixels a tile
    windows = np.lib.stride_tricks.sliding_window_view(grey, wanted.shape)
    assert (windows == wanted).all((2, 3)).any()


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        ("contrast", "loud", ValueError, "'as it is' or 'stretched'"),
        ("bands", 5, ValueError, "between 0 and 4"),
        ("bands", (1, 2), ValueError, "one channel or three"),
        ("bands", "red", TypeError, "red, green and blue"),
        ("crop", "yes", TypeError, "True, False or None"),
    ],
)
def test_bad_values_change_nothing(
    open_page: Callable[..., Page], name: str, value: Any, error: type[Exception], said: str
) -> None:
    page = open_page(BANDS)
    before = getattr(page.widget, name)
    with pytest.raises(error, match=said):
        setattr(page.widget, name, value)
    assert getattr(page.widget, name) == before
    for content in ({"contrast": "loud"}, {"bands": [9]}):
        page.receive(kind="display", **content)
        page.settle()
        assert page.of("error")[-1]["error"]
    for content in ({}, {"bands": "red"}, {"bands": [0.5]}, {"cropped": 1}):
        page.receive(kind="display", **content)
    page.settle()
    assert (page.widget.contrast, page.widget.bands) == ("as it is", 0)


def test_models_side_by_side(open_page: Callable[..., Page]) -> None:
    """Samples, averages and differences show the same bands, slice and window."""
    models = {name: network((2, 4, 12, 12)) for name in ("a", "b")}
    with torch.no_grad():
        models["b"][0].weight.mul_(-1)
    c = Compare(models, input_shape=(2, 4, 12, 12), pixel_range=(0, 1), layer="0", neurons=[0], play=False, prior=None)
    try:
        c.step(5)
        c.bands, c.slice = 1, 2
        page = FakePage(c)
        c.contrast = "stretched"
        page.settle()
        content, buffers = [message for message in page.sent if message[0]["kind"] == "frame"][-1]
        panes = {
            pane["name"]: (pane, np.frombuffer(data, np.uint8).reshape(pane["shape"]))
            for pane, data in zip(content["panes"], buffers, strict=True)
        }
        assert {pane["shape"][2:4] == [3, 3] for pane, _ in panes.values()} == {True}
        assert {"ranges" in pane for name, (pane, _) in panes.items() if name != "difference:1"} == {True}
        difference = c.comparison.difference_images[..., 1, 2, 5:8, 5:8]
        pane, tiles = panes["difference:1"]
        assert pane["corners"] == [[5, 5]]
        found = (tiles[0, 0, ..., 0].astype(float) - 128) / 127 * pane["range"][1]
        np.testing.assert_allclose(found, difference[0, 0], atol=pane["range"][1] / 100)
        assert c.snapshot().size[0] > 84
        assert "stretched\nband 1\nslice 2" in c.figure().axes[0].get_ylabel()
    finally:
        c.close()
