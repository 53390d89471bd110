"""What is shown of images: contrast, bands, slices, and the windows that neurons look through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ldam_widget import Jitter, Robust, Sampler
from ldam_widget.network.receptive_field import Box, Fields
from ldam_widget.pictures import figures, images
from ldam_widget.pictures.crops import Known, crop_of, moved
from ldam_widget.pictures.display import Display, axes_of, checked_bands, checked_contrast
from ldam_widget.sampling.frame import Frame

from .conftest import with_fixed_weights

STRETCHED = Display("stretched")


def frame(pictures: torch.Tensor, scale: float = 1.0, base: float = 127.5) -> Frame:
    neurons, chains = pictures.shape[:2]
    params = {"display_scale": scale, "display_base": base, "average": 100.0}
    burned_in = torch.ones(neurons, chains, dtype=torch.bool)
    return Frame(pictures, pictures * 0.1, torch.zeros(neurons, chains), burned_in, 7, params)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


# ---- contrast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "base"), [(1.0, 127.5), (0.5, 100.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stretched_tiles_reach_from_black_to_white_and_keep_their_values(
    channels: int, scale: float, base: float
) -> None:
    """Level k of a tile stands for the value k/255 of the way between the ends of its own range."""
    pictures = 0.3 + 0.2 * noise(4, 2, channels, 9, 8) * torch.arange(1.0, 5)[:, None, None, None, None]
    panes = images.panes(frame(pictures, scale, base), 3, (0.0, 1.0), 2, STRETCHED)
    for tiles, values in ((panes.samples, pictures.transpose(0, 1)), (panes.averages, pictures.mean(1)[None] * 0.1)):
        assert tiles.ranges is not None
        for row, ranges in enumerate(tiles.ranges):
            for column, (low, high) in enumerate(ranges):
                levels, own = tiles.levels[row, column], values[row, column].movedim(0, -1).numpy()
                np.testing.assert_allclose(low + (high - low) * levels / 255, own, atol=(high - low) / 255)
                if scale == 1:
                    assert (levels.min(), levels.max()) == (0, 255)
                    np.testing.assert_allclose((low, high), (own.min(), own.max()), rtol=1e-6)


def test_a_tile_without_contrast_of_its_own_is_as_it_is() -> None:
    pictures = torch.full((3, 1, 1, 4, 4), 0.5)
    pictures[1, 0, 0, 0, 0], pictures[1, 0, 0, 0, 1] = torch.nan, 1.0
    pictures[2] = torch.nan
    plain = images.panes(frame(pictures), 3, (0.0, 1.0), 1)
    stretched = images.panes(frame(pictures), 3, (0.0, 1.0), 1, STRETCHED)
    np.testing.assert_array_equal(stretched.sample[0, [0, 2]], plain.sample[0, [0, 2]])
    assert stretched.sample[0, 1, 0, :3, 0].tolist() == [0, 255, 0]  # NaN is black
    assert plain.samples.ranges is None


# ---- bands and slices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "display", "index"),
    [
        ((4, 5, 6), Display(), ([0],)),
        ((4, 5, 6), Display(bands=(2,)), ([2],)),
        ((12, 5, 6), Display(bands=(3, 2, 1)), ([3, 2, 1],)),
        ((3, 5, 6), Display(bands=(1,)), ([1],)),
        ((1, 8, 5, 6), Display(), ([0], 4)),
        ((1, 8, 5, 6), Display(slice=7), ([0], 7)),
        ((2, 8, 5, 6), Display(bands=(1,), slice=0), ([1], 0)),
        ((3, 8, 5, 6), Display(slice=2), ([0, 1, 2], 2)),
    ],
    ids=str,
)
def test_bands_and_slices(shape: tuple[int, ...], display: Display, index: tuple[Any, ...]) -> None:
    x = noise(2, 3, *shape)
    shown = images.as_pictures(x, len(shape), display)
    assert shown.shape == (2, 3, 5, 6, len(index[0]))
    for n in range(2):
        for c in range(3):
            np.testing.assert_array_equal(shown[n, c], x[n, c][index].movedim(0, -1))


def test_what_is_shown_is_said_in_words() -> None:
    windows = (Box(1, 2, 4, 6),)
    assert Display().remarks((3, 8, 8)) == Display().remarks((1, 8, 8)) == Display().remarks((9,)) == []
    assert Display(bands=(0,)).remarks((3, 8, 8)) == ["band 0"]
    assert Display().remarks((12, 8, 8)) == ["band 0"]
    assert Display("stretched", (3, 2, 1), 4, windows).remarks((12, 9, 8, 8)) == [
        "stretched", "bands 3, 2, 1", "slice 4", "3×4 of 8×8",
    ]  # fmt: skip
    (first, second), average = images.row_names(frame(noise(1, 2, 4, 5, 6)), 2, STRETCHED)
    assert first == "sample\nchain 1 of 2\nstretched\nband 0"
    assert second.startswith("sample\nchain 2 of 2\n")
    assert average == "average\n100 frames × 2\nstretched\nband 0"


@pytest.mark.parametrize(
    ("bands", "count", "chosen"), [(3, 4, (3,)), ([0], 1, (0,)), ((3, 2, 1), 12, (3, 2, 1)), (np.int64(1), 2, (1,))]
)
def test_good_bands(bands: Any, count: int, chosen: tuple[int, ...]) -> None:
    assert checked_bands(bands, count) == chosen
    assert checked_bands(None, count) is None


@pytest.mark.parametrize("bands", [4, -1, (1, 2), (0, 1, 9), ()])
def test_bands_that_there_are_not(bands: Any) -> None:
    with pytest.raises(ValueError, match="bands must be one channel or three, each between 0 and 3"):
        checked_bands(bands, 4)


def test_what_are_no_bands_and_no_contrast() -> None:
    for bands in ("red", 1.5, (1, 2, "3")):
        with pytest.raises(TypeError, match="three for red, green and blue"):
            checked_bands(bands, 4)
    with pytest.raises(ValueError, match="'as it is' or 'stretched'; got 'wide'"):
        checked_contrast("wide")


def test_axes() -> None:
    shapes = {(5, 4): (1, 1, 5, 4), (2, 3, 5, 4): (2, 3, 5, 4), (9,): (1, 1, 3, 3), (2, 3, 2, 5, 4): (2, 6, 5, 4)}
    assert {shape: axes_of(shape) for shape in shapes} == shapes


# ---- windows ---------------------------------------------------------------------------------------------------------


def test_a_page_and_a_figure_show_the_windows() -> None:
    windows = (Box(0, 1, 3, 4), Box(2, 0, 5, 3))
    pictures = noise(2, 1, 1, 6, 6)
    display = Display(windows=windows)
    panes = images.panes(frame(pictures), 3, (0.0, 1.0), 1, display)
    whole = images.panes(frame(pictures), 3, (0.0, 1.0), 1)
    for n, window in enumerate(windows):
        cut = whole.sample[:, n, window.top : window.bottom, window.left : window.right]
        np.testing.assert_array_equal(panes.sample[:, n], cut)
    assert panes.samples.corners == panes.averages.corners == [(0, 1), (2, 0)]
    figure = figures.samples(frame(pictures), ["a", "b"], pixel_range=(0, 1), display=display)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), panes.sample[0, 1, ..., 0])


def network() -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten()), 1
    )


def sampler(**options: Any) -> Sampler:
    return Sampler(network(), input_shape=(3, 20, 20), pixel_range=(0, 1), prior=None, **options)


def test_neurons_look_through_windows_of_one_size() -> None:
    crop = crop_of([sampler(layer="2", neurons=["1", "2@0,0", "3@5,19"])])
    assert crop is not None
    assert crop.field == crop.size == (5, 5)
    assert crop.windows == ((8, 8, 13, 13), (0, 0, 5, 5), (3, 15, 8, 20))
    assert crop.is_small(20, 20)
    assert not crop.is_small(20, 9)
    assert crop.boxes == ((8, 8, 13, 13), (0, 0, 3, 3), (3, 17, 8, 20))
    both = crop_of([sampler(layer="0", neurons=[1]), sampler(layer="2", neurons=[1])])
    assert both is not None
    assert both.windows == ((8, 8, 13, 13),)


def test_expressions_look_through_the_windows_of_all_their_terms() -> None:
    crop = crop_of([sampler(layer="0", neurons=["1@4,4 - 2@6,9", "+0:1@10,10 + 2:0@10,10"])])
    assert crop is not None
    assert crop.windows == ((3, 3, 8, 11), (8, 7, 13, 15))  # 5×8; and 5×5, made as wide
    assert crop_of([sampler(layer="0", neurons=["1@mean - 2", "3"])]) is None


def test_fields_are_found_once_for_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, ...]] = []
    box = Fields.box
    monkeypatch.setattr(Fields, "box", lambda self, at: (looked.append(at), box(self, at))[1])
    known: Known = {}
    for neurons in ([1, 2], [3], ["0@0,0", 1]):
        crop = crop_of([sampler(layer="2", neurons=neurons)], known)
    assert looked == [(10, 10), (0, 0)]
    assert crop == crop_of([sampler(layer="2", neurons=["0@0,0", 1])])
    assert crop is not None
    assert crop.boxes == ((0, 0, 3, 3), (8, 8, 13, 13))
    assert crop.windows == ((0, 0, 5, 5), (8, 8, 13, 13))  # of one size


@pytest.mark.parametrize(
    "options",
    [{"layer": "2", "at": "mean"}, {"layer": "3"}, {"layer": "2", "neurons": [torch.ones(4)]}],
    ids=str,
)
def test_whole_pictures_have_no_windows(options: dict[str, Any]) -> None:
    assert crop_of([sampler(**options)]) is None


def test_random_transforms_move_more_into_the_window() -> None:
    crop = crop_of([sampler(layer="0", neurons=[1], transforms=Jitter(2))])
    assert crop is not None
    assert (crop.field, crop.size) == ((3, 3), (7, 7))
    box = Box(30, 30, 33, 33)
    seen = moved(Robust(), box, (3, 64, 64))
    numbers = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(200, 1, 64, 64, requires_grad=True)
    (grad,) = torch.autograd.grad(Robust().apply(x, numbers)[..., 30:33, 30:33].sum(), x)
    rows, columns = (grad[:, 0] != 0).any(0).any(1).nonzero(), (grad[:, 0] != 0).any(0).any(0).nonzero()
    assert seen.top <= rows.min() <= rows.max() < seen.bottom
    assert seen.left <= columns.min() <= columns.max() < seen.right
    assert seen.height < 20
    assert moved(None, box, (3, 64, 64)) == box
