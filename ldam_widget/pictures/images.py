"""Tensors ⇄ pictures: grey levels, grids of tiles, PNG and GIF."""

from __future__ import annotations

import functools
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..sampling.frame import Frame
from .display import PLAIN, Display

Levels = npt.NDArray[np.uint8]
Pictures = npt.NDArray[np.float32]
Range = tuple[float, float]
Ranges = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # one per tile
R = TypeVar("R", Range, Ranges)


def on_host(*tensors: Tensor) -> list[Tensor]:
    """Copies on the CPU; tensors on a GPU are copied through pinned memory, all at once before waiting for any."""
    copies = [tensor.detach().to("cpu", non_blocking=tensor.is_cuda) for tensor in tensors]
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return copies


def as_pictures(images: Tensor, image_ndim: int, display: Display = PLAIN) -> Pictures:
    """Samples (…, *image) -> arrays (…, height, width, channels) with 1 (grey) or 3 (RGB) channels.

    An image with 1 or 3 channels is kept; of any other number, `display` says which are shown, and which slice of
    volumes (channels, depth, height, width). (H, W) is grey. A vector of square length is reshaped to a square, any
    other becomes one row.
    """
    picked = display.pick(images, tuple(images.shape[images.ndim - image_ndim :]))
    return np.moveaxis(on_host(picked)[0].float().numpy(), -3, -1)


def value_range(pictures: Pictures, pixel_range: Range | None) -> Range:
    """Pixel values to show as black and white: the pixel range, or ± the 99.5th percentile of |x| if unbounded.

    Pixels that are not finite are ignored.
    """
    if pixel_range is not None:
        return pixel_range
    values = np.abs(pictures.ravel()[:: max(1, pictures.size // 50_000)])
    values = values[np.isfinite(values)]
    top = max(float(np.quantile(values, 0.995)), 1e-6) if values.size else 1.0
    return -top, top


def own_ranges(pictures: Pictures, otherwise: Range) -> Ranges:
    """Smallest and largest value of each tile (…, H, W, ch), (…, 1, 1, 1) each.

    Where all pixels are equal, or none is finite, `otherwise`.
    """
    finite = np.isfinite(pictures)
    low = np.where(finite, pictures, np.inf).min((-3, -2, -1), keepdims=True).astype(np.float64)
    high = np.where(finite, pictures, -np.inf).max((-3, -2, -1), keepdims=True).astype(np.float64)
    known = low < high
    return np.where(known, low, otherwise[0]), np.where(known, high, otherwise[1])


def to_levels(pictures: Pictures, shown: Range | Ranges, scale: float = 1.0, base: float = 127.5) -> Levels:
    """level = base + scale · 255 · (x − middle)/(hi − lo), rounded and clipped to 0…255; NaN is black.

    `scale` and `base` are the display gain and offset of the original program (Synthesis.scala, line 234), in grey
    levels about the middle of the range.
    """
    low, high = shown
    gain = np.float32(scale * 255 / (high - low))
    offset = np.float32(base + 0.5 - (low + high) / 2 * np.float64(gain))
    levels: Levels = np.minimum(np.fmax(pictures * gain + offset, 0), 255).astype(np.uint8)
    return levels


def level_range(shown: R, scale: float, base: float) -> R:
    """Pixel values that become level 0 and level 255; the shown range itself if the scale is 0."""
    if scale == 0:
        return shown
    low, high = shown
    per_level = (high - low) / (255 * scale)
    middle = (low + high) / 2
    return middle - base * per_level, middle + (255 - base) * per_level


def signed_levels(pictures: Pictures) -> tuple[Levels, float]:
    """Differences (…, H, W, ch) -> levels (…, H, W, 1) and the value of level 255.

    Level 128 is exactly 0, 1 is −end and 255 is +end, linearly; `end` is a round number (1, 2 or 5 times a power of
    ten) that at most 0.5 % of the values exceed, so that colours do not flicker. Colour channels are averaged.
    """
    grey = pictures.mean(axis=-1, keepdims=True)
    high = float(np.quantile(np.abs(grey), 0.995)) if grey.size else 0.0
    high = high if np.isfinite(high) and high > 1e-6 else 1e-6
    power = 10.0 ** np.floor(np.log10(high))
    end = float(next(f"{step * power:.0e}" for step in (1, 2, 5, 10) if step * power >= high * (1 - 1e-9)))
    scaled = np.nan_to_num(grey / end, nan=0.0, posinf=1.0, neginf=-1.0)
    levels: Levels = (128 + np.rint(np.clip(scaled, -1, 1) * 127)).astype(np.uint8)
    return levels, end


@functools.cache
def signed_table() -> Levels:
    """The colour of every level of `signed_levels` on a light page, RGB (256, 3): blue below 0, white at 0, red above.

    Read from difference_colours.json, which the front end is built with, too; its end colours have equal lightness and
    chroma in OKLab.
    """
    colours = json.loads((Path(__file__).parent / "difference_colours.json").read_text(encoding="utf-8"))["light"]
    return np.array([list(bytes.fromhex(colour)) for colour in colours], np.uint8)


def signed_colours(levels: Levels) -> Levels:
    """`signed_levels` (…, 1) as RGB (…, 3), by `signed_table`."""
    colours: Levels = signed_table()[levels[..., 0]]
    return colours


class Tiles(NamedTuple):
    """Rows of tiles, and the pixel values of their levels."""

    levels: Levels  # (rows, columns, H, W, ch)
    ranges: list[list[Range]] | None = None  # of levels 0 and 255 of each tile, if tiles have ranges of their own
    corners: list[tuple[int, int]] | None = None  # row and column of the first pixel shown, per column; None: (0, 0)


class Panes(NamedTuple):
    """The displayed tiles, and the pixel values of levels 0 and 255."""

    samples: Tiles  # rows are chains, columns neurons
    averages: Tiles  # one row: over time and chains
    shown: Range

    @property
    def sample(self) -> Levels:
        return self.samples.levels

    @property
    def average(self) -> Levels:
        return self.averages.levels


def panes(
    frame: Frame,
    image_ndim: int,
    pixel_range: Range | None,
    chains_shown: int,
    display: Display = PLAIN,
) -> Panes:
    """Turn a picture into tiles with the contrast set by its display parameters.

    Args:
        image_ndim: axes of one image, 3 for (C, H, W).
        pixel_range: of the sampler; see `value_range`.
        chains_shown: rows of the sample.
        display: contrast, and what is shown of the images.
    """
    tensors = on_host(frame.images[:, :chains_shown].transpose(0, 1), frame.average_images.mean(1)[None])
    sample, average = (as_pictures(tensor, image_ndim, display) for tensor in tensors)
    shown = value_range(sample, pixel_range)
    scale, base = frame.params["display_scale"], frame.params["display_base"]

    def tiles(pictures: Pictures) -> Tiles:
        pictures = cropped(pictures, display)
        corners = None if display.windows is None else [(window.top, window.left) for window in display.windows]
        if not display.stretched:
            return Tiles(to_levels(pictures, shown, scale, base), None, corners)
        own = own_ranges(pictures, shown)
        low, high = (ends[..., 0, 0, 0].tolist() for ends in level_range(own, scale, base))
        ranges = [list(zip(*ends, strict=True)) for ends in zip(low, high, strict=True)]
        return Tiles(to_levels(pictures, own, scale, base), ranges, corners)

    return Panes(tiles(sample), tiles(average), level_range(shown, scale, base))


def cropped(pictures: Pictures, display: Display) -> Pictures:
    """The windows shown of pictures (rows, columns, H, W, ch), one column per neuron."""
    if display.windows is None:
        return pictures
    parts = [pictures[:, n, w.top : w.bottom, w.left : w.right] for n, w in enumerate(display.windows)]
    return np.stack(parts, axis=1)


def row_names(frame: Frame, chains_shown: int, display: Display = PLAIN) -> tuple[list[str], str]:
    """Names of the rows of `panes`, on the page and in files: one per chain, and that of the average.

    A line break separates the kind of picture from its details.
    """
    chains = frame.images.shape[1]
    time = frame.params["average"]
    frames = f"{time:.4g} frame{'' if time == 1 else 's'}"
    more = "".join(f"\n{remark}" for remark in display.remarks(tuple(frame.images.shape[2:])))
    samples = [f"sample\nchain {i + 1} of {chains}{more}" for i in range(chains_shown)]
    return samples, f"average\n{frames}{'' if chains == 1 else f' × {chains}'}{more}"


def panes_alike(
    frames: Sequence[Frame],
    image_ndim: int,
    pixel_range: Range | None,
    display: Display = PLAIN,
) -> list[Panes]:
    """`panes` of several models, first chains, with a common contrast, so that grey levels are comparable."""
    first = np.stack([as_pictures(frame.images[:, 0], image_ndim, display) for frame in frames])
    shown = value_range(first, pixel_range)
    return [panes(frame, image_ndim, shown, 1, display) for frame in frames]


def page(
    frame: Frame,
    labels: Sequence[str],
    image_ndim: int,
    pixel_range: Range | None,
    chains: int,
    tile: int = 84,
    display: Display = PLAIN,
) -> Image.Image:
    """The panel's contents as a labelled picture: rows are chains, then the average, columns are neurons.

    The activation above a column is the mean over all chains. Arguments as for `panes` and `grid`; `labels` names the
    neurons.
    """
    tiles = panes(frame, image_ndim, pixel_range, chains, display)
    samples, average = row_names(frame, chains, display)
    activation = frame.activation.mean(1).tolist()
    heads = [f"{label}\n{value:.4g}" for label, value in zip(labels, activation, strict=True)]
    return grid(np.concatenate([tiles.sample, tiles.average]), heads, [*samples, average], tile)


def mosaic(tiles: Levels) -> Levels:
    """Tiles (rows, columns, H, W, ch) -> one picture (rows·H, columns·W, ch) without gaps."""
    rows, columns, height, width, channels = tiles.shape
    picture: Levels = tiles.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    return picture


def to_image(picture: Levels) -> Image.Image:
    """(H, W, 1 or 3) uint8 -> PIL image."""
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def encode(picture: Levels, kind: str, quality: int = 85) -> bytes:
    """Compress a picture (H, W, ch) as "jpeg" or "png"."""
    return encode_page(to_image(picture), kind, quality)


def encode_page(page: Image.Image, kind: str, quality: int = 85) -> bytes:
    """Like `encode`, for a PIL image."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": quality} if kind == "jpeg" else {"compress_level": 1}
    page.save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def grid(tiles: Levels, columns: Sequence[str] = (), rows: Sequence[str] = (), tile: int = 84) -> Image.Image:
    """A labelled picture of tiles, for saving or pasting.

    Args:
        tiles: (rows, columns, H, W, ch) uint8.
        columns: one heading per column, "\\n" separates lines; rows: one label per row.
        tile: small tiles are enlarged by an integer factor to about this many pixels.
    """
    n_rows, n_columns, height, width, _ = tiles.shape
    columns, rows = [printable(text) for text in columns], [printable(text) for text in rows]
    factor = max(1, round(tile / max(height, width)))
    height, width, gap = height * factor, width * factor, 4
    font = ImageFont.load_default()
    lines = max((text.count("\n") + 1 for text in columns), default=0)
    top = lines * 14 + (4 if lines else 0)
    left = max((int(font.getlength(line)) for text in rows for line in text.split("\n")), default=-10) + 10
    size = (left + n_columns * (width + gap) + gap, top + n_rows * (height + gap) + gap)
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for column in range(n_columns):
        x = left + gap + column * (width + gap)
        if column < len(columns):
            text = "\n".join(fitted(line, font, width) for line in columns[column].split("\n"))
            draw.multiline_text((x + width // 2, 2), text, "black", font, anchor="ma", align="center", spacing=2)
        for row in range(n_rows):
            big = tiles[row, column].repeat(factor, 0).repeat(factor, 1)
            page.paste(to_image(big), (x, top + gap + row * (height + gap)))
    for row, text in enumerate(rows[:n_rows]):
        draw.multiline_text((4, top + gap + row * (height + gap) + height // 2), text, "black", font, anchor="lm")
    return page


def save_gif(pages: Iterable[Image.Image], path: str | Path, frames_per_second: float) -> None:
    """Save pictures as an endlessly looping GIF.

    Raises:
        ValueError: no pictures.
    """
    buffer = gif_bytes(pages, frames_per_second)
    Path(path).write_bytes(buffer)


def gif_bytes(pages: Iterable[Image.Image], frames_per_second: float) -> bytes:
    """Pictures as the bytes of a GIF; see `save_gif`."""
    all_pages = list(pages)
    if not all_pages:
        raise ValueError("a GIF needs at least one picture")
    if all(map(_grey, all_pages)):
        # 32 greys: noise does not compress, and the eye distinguishes no more in a moving picture
        first, *others = [
            page.convert("L").point(lambda level: round(level / 255 * 31) * 255 // 31) for page in all_pages
        ]
    else:
        first, *others = [page.convert("RGB") for page in all_pages]
    buffer = io.BytesIO()
    duration = max(20, round(1000 / frames_per_second))
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=duration, loop=0, optimize=False)
    return buffer.getvalue()


def _grey(page: Image.Image) -> bool:
    array = np.asarray(page)
    return array.ndim == 2 or bool((array[..., 0] == array[..., 1]).all() and (array[..., 1] == array[..., 2]).all())


def printable(text: str) -> str:
    """Replace characters that Pillow's own font lacks: it draws boxes for "×" and "é"."""
    plain = unicodedata.normalize("NFD", text.translate({ord("×"): "x", ord("−"): "-"}))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def fitted(text: str, font: Any, width: int) -> str:
    """Shorten a line to the width of its column."""
    if font.getlength(text) <= width:
        return text
    text = text[: max(0, width)]  # hardly any character is narrower than a pixel; a name may be arbitrarily long
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
