"""Tensors to pictures and back: shapes, grey levels, mosaics, files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image

from ldam_widget.pictures import images
from ldam_widget.sampling.frame import Frame


def frame(pictures: torch.Tensor, scale: float = 1.0, base: float = 127.5) -> Frame:
    neurons, chains = pictures.shape[:2]
    params = {"display_scale": scale, "display_base": base, "average": 100.0}
    activation = torch.arange(neurons * chains).view(neurons, chains).float()
    return Frame(pictures, pictures * 0.5, activation, torch.zeros(neurons, chains, dtype=torch.bool), 7, params)


# ---- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "picture"),
    [
        ((1, 5, 4), (5, 4, 1)),  # grey
        ((3, 5, 4), (5, 4, 3)),  # RGB
        ((2, 5, 4), (5, 4, 1)),  # of other channels, the first
        ((7, 5, 4), (5, 4, 1)),
        ((3, 5, 1), (5, 1, 3)),
        ((5, 4), (5, 4, 1)),
        ((9,), (3, 3, 1)),  # folded to a square
        ((10,), (1, 10, 1)),
        ((1,), (1, 1, 1)),
        ((1, 3, 5, 4), (5, 4, 1)),  # of volumes, the slice in the middle
        ((2, 3, 5, 4), (5, 4, 1)),
        ((3, 3, 5, 4), (5, 4, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3)], ids=str)
def test_every_shape_becomes_a_picture(shape: tuple[int, ...], picture: tuple[int, ...], lead: tuple[int, ...]) -> None:
    x = torch.randn(*lead, *shape)
    pictures = images.as_pictures(x, len(shape))
    assert pictures.shape == (*lead, *picture)
    assert pictures.dtype == np.float32
    if len(shape) == 4:
        x = x[..., 1, :, :]
    for channel in range(picture[-1]):
        seen = x if len(shape) < 3 else x[..., channel, :, :]
        np.testing.assert_array_equal(pictures[..., channel].reshape(-1), seen.reshape(-1))  # nothing moves


def test_tensors_of_any_kind_become_pictures() -> None:
    for x in (torch.ones(1, 2, 2, dtype=torch.bfloat16), torch.ones(1, 2, 2, requires_grad=True)):
        assert images.as_pictures(x, 3).tolist() == [[[1], [1]], [[1], [1]]]


# ---- grey levels -----------------------------------------------------------------------------------------------------

RANGES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-3.5, 40.0)]


@pytest.mark.parametrize("shown", RANGES, ids=str)
def test_levels_of_the_range(shown: tuple[float, float]) -> None:
    low, high = shown
    values = np.array([low, (low + high) / 2, high, low - 1e6, high + 1e6], np.float32)
    assert images.to_levels(values, shown).tolist() == [0, 128, 255, 0, 255]


def test_bytes_are_themselves() -> None:
    values = np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(images.to_levels(values, (0, 255)), np.arange(256))
    np.testing.assert_array_equal(images.to_levels(values / 255, (0, 1)), np.arange(256))


@settings(deadline=None)
@given(some.sampled_from(RANGES), some.floats(0.05, 10), some.floats(0, 400))
def test_level_range_is_the_inverse_of_to_levels(shown: tuple[float, float], scale: float, base: float) -> None:
    """Level k stands for the value that lies k/255 of the way between the ends; it comes back as level k."""
    low, high = images.level_range(shown, scale, base)
    levels = np.arange(256)
    values = low + (high - low) * levels / 255
    np.testing.assert_allclose((high - low) * scale, shown[1] - shown[0], rtol=1e-9)
    assert np.abs(images.to_levels(values.astype(np.float32), shown, scale, base).astype(int) - levels).max() <= 1
    # float32 rounding may tip a value that lies on a border; a quarter of a level inside, none may
    inside = (low + (high - low) * (levels + 0.25) / 255).astype(np.float32)
    np.testing.assert_array_equal(images.to_levels(inside, shown, scale, base), levels)


def test_scale_and_base_are_the_original_programs() -> None:
    """level = base + scale · (distance from the middle in grey levels); Synthesis.scala, line 234."""
    x = np.float32([0.25, 0.5, 0.75])
    assert images.to_levels(x, (0, 1), scale=2.0, base=100.0).tolist() == [0, 100, 228]  # 100 ∓ 127.5, rounded
    assert images.to_levels(x, (0, 1), scale=0.0, base=60.0).tolist() == [60, 60, 60]
    assert images.level_range((0, 1), 0.0, 60.0) == (0, 1)


def test_value_range() -> None:
    x = np.linspace(-2, 5, 10_001, dtype=np.float32)
    assert images.value_range(x, (0.0, 1.0)) == (0.0, 1.0)
    low, high = images.value_range(x, None)
    assert low == -high  # zero is the middle grey
    assert high == pytest.approx(5 - 7 * 0.005, rel=1e-3)  # the 99.5th percentile of |x|
    x[77] = 1e9  # one wild pixel does not make all others grey
    assert images.value_range(x, None)[1] == pytest.approx(high, rel=1e-3)
    low, high = images.value_range(np.zeros(9, np.float32), None)
    assert low < 0 < high


# ---- tiles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_mosaic_puts_every_tile_in_its_place(channels: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 6, channels)).astype(np.uint8)
    whole = images.mosaic(tiles)
    assert whole.shape == (15, 24, channels)
    for row in range(3):
        for column in range(4):
            part = whole[5 * row : 5 * row + 5, 6 * column : 6 * column + 6]
            np.testing.assert_array_equal(part, tiles[row, column])


def test_panes_are_chains_by_neurons_and_one_row_of_averages() -> None:
    pictures = torch.rand(4, 3, 1, 5, 6)
    panes = images.panes(frame(pictures), 3, (0.0, 1.0), chains_shown=2)
    assert panes.sample.shape == (2, 4, 5, 6, 1)
    assert panes.average.shape == (1, 4, 5, 6, 1)
    assert panes.shown == (0.0, 1.0)
    np.testing.assert_array_equal(panes.sample[1, 2, ..., 0], images.to_levels(pictures[2, 1, 0].numpy(), (0.0, 1.0)))
    mean = (pictures[2, :, 0] * 0.5).mean(0).numpy()  # over all chains, shown or not
    np.testing.assert_array_equal(panes.average[0, 2, ..., 0], images.to_levels(mean, (0.0, 1.0)))


def test_sample_and_average_share_one_contrast() -> None:
    """Else a faint average would look as strong as the sample."""
    panes = images.panes(frame(torch.randn(2, 1, 1, 30, 30), scale=2.0), 3, None, 1)
    spread = [float((tiles.astype(float) - 127.5).std()) for tiles in (panes.sample, panes.average)]
    assert spread[1] < 0.8 * spread[0]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 5), (16,)], ids=str)
def test_page_shows_all_tiles_and_labels(shape: tuple[int, ...]) -> None:
    pictures = torch.rand(3, 2, *shape)
    page = images.page(
        frame(pictures), ["0 zero", "1 a name that does not fit in the column", "2"], len(shape), None, 2
    )
    plain = images.grid(images.panes(frame(pictures), len(shape), None, 2).sample)
    assert page.mode == "RGB"
    assert page.width > plain.width  # row labels
    assert page.height > plain.height  # headings
    assert len(np.unique(np.asarray(page))) > 10


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)], ids=str)
def test_grid_enlarges_small_tiles_by_whole_factors(size: tuple[int, int]) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (1, 2, *size, 1)).astype(np.uint8)
    page = np.asarray(images.grid(tiles))
    factor = (page.shape[0] - 8) // size[0]
    assert factor == max(1, round(84 / max(size)))
    first = page[4 : 4 + size[0] * factor, 4 : 4 + size[1] * factor, 0]
    np.testing.assert_array_equal(first, tiles[0, 0, ..., 0].repeat(factor, 0).repeat(factor, 1))


def test_a_grid_writes_no_boxes_for_letters_that_its_font_lacks() -> None:
    tiles = np.zeros((1, 1, 8, 8, 1), np.uint8)
    unknown, times, accent = (np.asarray(images.grid(tiles, rows=[text])) for text in ("\U0001f9ff", "×", "é"))
    assert not np.array_equal(times, unknown)
    np.testing.assert_array_equal(times, np.asarray(images.grid(tiles, rows=["x"])))
    np.testing.assert_array_equal(accent, np.asarray(images.grid(tiles, rows=["e"])))


# ---- files -----------------------------------------------------------------------------------------------------------


def some_picture(channels: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (12, 9, channels)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels: int) -> None:
    picture = some_picture(channels)
    with Image.open(io.BytesIO(images.encode(picture, "png"))) as read:
        assert read.format == "PNG"
        np.testing.assert_array_equal(np.asarray(read).reshape(picture.shape), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close_and_closer_with_quality(channels: int) -> None:
    smooth = np.linspace(0, 255, 40 * 40 * channels).reshape(40, 40, channels).astype(np.uint8)
    errors = []
    for quality in (30, 95):
        with Image.open(io.BytesIO(images.encode(smooth, "jpeg", quality))) as read:
            assert read.format == "JPEG"
            errors.append(np.abs(np.asarray(read).reshape(smooth.shape).astype(int) - smooth).mean())
    assert errors[1] < errors[0]
    assert errors[1] < 3


def test_grey_gif_keeps_32_greys(tmp_path: Path) -> None:
    """Black and white exactly, all others to half a step of 255/31, rounded down."""
    pictures = [some_picture(1, seed) for seed in range(3)]
    pictures[0][0, :2, 0] = 0, 255
    images.save_gif([images.to_image(p) for p in pictures], tmp_path / "x.gif", 12)
    with Image.open(tmp_path / "x.gif") as read:
        assert read.format == "GIF"
        assert read.n_frames == 3
        assert read.info["loop"] == 0  # for ever
        for k, picture in enumerate(pictures):
            read.seek(k)
            assert read.info["duration"] == 80  # 1000/12 ms, in the format's hundredths of a second
            got = np.asarray(read.convert("L")).astype(int)
            assert np.abs(got - picture[..., 0]).max() <= 5
            if k == 0:
                assert got[0, :2].tolist() == [0, 255]


def test_grey_pages_in_rgb_make_the_same_gif() -> None:
    grey = some_picture(1)
    assert images.gif_bytes([images.to_image(grey)], 12) == images.gif_bytes(
        [images.to_image(grey.repeat(3, axis=2))], 12
    )


def test_colour_gif_is_close() -> None:
    ramp = np.zeros((16, 16, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, 16)[:, None], np.linspace(0, 255, 16)
    other = 255 - ramp
    with Image.open(io.BytesIO(images.gif_bytes([images.to_image(p) for p in (ramp, other)], 10))) as read:
        assert read.n_frames == 2
        for k, picture in enumerate((ramp, other)):
            read.seek(k)
            assert np.abs(np.asarray(read.convert("RGB")).astype(int) - picture).mean() < 12


def test_grey_and_colour_pictures_may_follow_each_other() -> None:
    pages = [images.to_image(some_picture(1)), images.to_image(some_picture(3)), images.to_image(some_picture(1, 5))]
    with Image.open(io.BytesIO(images.gif_bytes(pages, 10))) as read:
        assert read.n_frames == 3


def test_a_gif_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        images.gif_bytes([], 10)


def test_fast_gifs_are_slowed_to_what_browsers_show() -> None:
    pages = [images.to_image(some_picture(1, seed)) for seed in range(2)]
    with Image.open(io.BytesIO(images.gif_bytes(pages, 1000))) as read:
        assert read.info["duration"] == 20
