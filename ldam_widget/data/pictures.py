"""Picture files of any kind -> tensors of one shape."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Fit = Literal["crop", "stretch"]

_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # PIL's modes of more than eight bits
_16_BITS, _TO_8_BITS = 65535, 257


class PictureError(ValueError):
    """A file or its content cannot be used as a picture; the message says why, without the file's name."""


def read_picture(
    source: str | os.PathLike[str] | bytes,
    input_shape: tuple[int, ...],
    fit: Fit = "crop",
    pixel_range: tuple[float, float] | None = None,
) -> Tensor:
    """One picture as a tensor of a given shape, (channels, height, width) float32 in `pixel_range`.

    Turned upright as its EXIF data say. CMYK, palette, grey and 16-bit pictures are converted; transparent parts show
    white. Of an animation the first frame.

    Args:
        source: a file, or the content of one.
        input_shape: (1 or 3, height, width).
        fit: "crop" scales until the picture covers the shape and cuts off what is outside, keeping the centre;
            "stretch" scales both sides independently.
        pixel_range: (lo, hi) of black and white; None: (0, 1).

    Raises:
        PictureError: not a picture, a damaged one, or one larger than `PIL.Image.MAX_IMAGE_PIXELS`.
        ValueError: the shape is not that of a picture, an unknown `fit`, or no range.
    """
    check_fit(fit, input_shape)
    check_range(pixel_range)
    channels, height, width = input_shape
    try:
        with _opened(source) as picture:
            _check_size(picture)
            picture.draft("RGB" if channels == 3 else "L", (2 * width, 2 * height))  # JPEG: decode no more than needed
            upright = ImageOps.exif_transpose(picture)
            plain = _plain(upright, "L" if channels == 1 else "RGB")
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise PictureError(_too_large(None)) from None
    except FileNotFoundError:
        raise PictureError("there is no such file") from None
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise PictureError(f"it cannot be decoded ({error or type(error).__name__})") from error
    size = (width, height)
    scaled = ImageOps.fit(plain, size) if fit == "crop" else plain.resize(size, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(scaled)).view(height, width, channels).permute(2, 0, 1)
    low, high = pixel_range or (0.0, 1.0)
    return pixels.float() * ((high - low) / 255) + low


def check_range(pixel_range: Any) -> None:
    """Raises ValueError unless this is (lo, hi) or None."""
    if pixel_range is None:
        return
    try:
        low, high = map(float, pixel_range)
        ordered = low < high
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise ValueError(f"pixel_range must be (lo, hi), numbers with lo < hi, or None; got {pixel_range!r}")


def check_fit(fit: str, input_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless pictures can be brought into this shape."""
    if fit not in get_args(Fit):
        raise ValueError(f'fit must be "crop" or "stretch"; got {fit!r}')
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise ValueError(
            f"picture files have one or three channels, height and width; input_shape={input_shape} does not fit. "
            "Give such images as an array, tensor or Dataset"
        )


def _opened(source: str | os.PathLike[str] | bytes) -> Any:
    if isinstance(source, bytes):
        size, opened = len(source), io.BytesIO(source)
    else:
        size, opened = Path(source).stat().st_size, source  # type: ignore[assignment]
    if size == 0:
        raise PictureError("it is empty")
    return Image.open(opened)


def _check_size(picture: Any) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise PictureError(_too_large(picture.width * picture.height))


def _too_large(pixels: int | None) -> str:
    most = Image.MAX_IMAGE_PIXELS or 0
    size = "it is" if pixels is None else f"its {pixels / 1e6:.0f} megapixels are"
    return f"{size} more than PIL.Image.MAX_IMAGE_PIXELS allows ({most / 1e6:.0f} megapixels)"


def _plain(picture: Any, mode: str) -> Any:
    """The picture with eight bits, without transparency, in grey or RGB."""
    if picture.mode in _WIDE or picture.mode == "F":
        picture = Image.fromarray(_eight_bits(np.asarray(picture), picture.mode))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        picture = Image.alpha_composite(white, clear)
    if picture.mode not in ("RGB", "L", mode):
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _eight_bits(numbers: Any, mode: str) -> Any:
    numbers = numbers.astype(np.float64)
    least, most = float(numbers.min()), float(numbers.max())
    if mode != "F" and least >= 0 and most <= _16_BITS:
        return (numbers / _TO_8_BITS).round().astype(np.uint8)
    if mode == "F" and least >= 0 and most <= 255:
        return (numbers * (255 if most <= 1 else 1)).round().astype(np.uint8)
    raise PictureError(f"its numbers, from {least:.3g} to {most:.3g}, have no known black and white")
