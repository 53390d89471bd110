"""Where chains start: in noise, in grey, in real images, or in pictures of the user's."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..core.target import Coordinates
from ..data import RealImages

Start = Literal["noise", "grey", "data"] | Tensor
NAMES = ("noise", "grey", "data")
_OUTSIDE = 1e-3  # tolerance for rounding, as a fraction of the pixel range


def checked(
    start: Any,
    input_shape: tuple[int, ...],
    pixel_range: tuple[float, float] | None,
    chains: int,
    dataset: RealImages | None,
) -> Start:
    """A validated start; pictures become a float32 copy, (*image) or (chains, *image).

    Args:
        start: "noise", "grey", "data", or a tensor or array of these shapes; bytes are scaled to the pixel range.
        input_shape, pixel_range, chains, dataset: of the sampler.

    Raises:
        TypeError, ValueError: anything else; "data" without a data set; pictures that do not fit.
    """
    if isinstance(start, str):
        if start not in NAMES:
            raise ValueError(f"start must be {', '.join(map(repr, NAMES))} or a picture; got {start!r}")
        if start == "data" and dataset is None:
            raise ValueError('start="data" begins with real images, of which there are none: give dataset=')
        return start  # type: ignore[return-value]  # one of the three
    if not isinstance(start, Tensor) and not (isinstance(start, np.ndarray) and start.dtype.kind in "fiub"):
        raise TypeError(f'start must be "noise", "grey", "data", or a tensor of pixels; got {start!r:.80}')
    pictures = torch.as_tensor(start).detach()
    if pictures.shape not in (input_shape, (chains, *input_shape)):
        raise ValueError(
            f"start must be one picture of shape {input_shape} for all chains, or one for each of the {chains} chains "
            f"of a neuron, {(chains, *input_shape)}; got shape {tuple(pictures.shape)}"
        )
    low, high = pixel_range or (0.0, 1.0)
    if pictures.dtype == torch.uint8:
        return pictures.float() * ((high - low) / 255) + low
    if not pictures.is_floating_point():
        raise ValueError(f"start must hold bytes (torch.uint8) or floating-point numbers; got {pictures.dtype}")
    pictures = pictures.to(torch.float32, copy=True)
    if not bool(pictures.isfinite().all()):
        raise ValueError("start holds numbers that are NaN or infinite")
    slack = _OUTSIDE * (high - low)
    least, most = float(pictures.min()), float(pictures.max())
    if pixel_range is not None and (least < low - slack or most > high + slack):
        raise ValueError(
            f"start holds pixels from {least:.3g} to {most:.3g}, outside of pixel_range=({low:g}, {high:g})"
        )
    return pictures


def places(
    start: Start,
    numbers: Tensor,
    coordinates: Coordinates,
    pixel_range: tuple[float, float] | None,
    rungs: int,
    dataset: RealImages | None,
) -> Tensor:
    """Start positions z of all chains, (chain · rung, *image), other than those of noise.

    Args:
        start: from `checked`; not "noise".
        numbers: standard normal, of the shape of the result; they choose among the real images.
        coordinates, pixel_range, rungs, dataset: of the sampler.
    """
    if isinstance(start, Tensor):
        each = start if start.ndim == numbers.ndim else start[None]
        pictures = each.repeat_interleave(rungs, 0).to(numbers)
        pictures = pictures.repeat(len(numbers) // len(pictures), *(1,) * (numbers.ndim - 1))
    elif start == "data":
        assert dataset is not None, "checked"
        uniform = torch.special.ndtr(numbers.flatten(1)[:, 0].cpu().double())
        chosen = (uniform * len(dataset)).long().clamp_max(len(dataset) - 1)
        pictures = dataset.take(chosen).to(numbers)
    else:
        middle = 0.0 if pixel_range is None else math.fsum(pixel_range) / 2
        pictures = torch.full_like(numbers, middle)
    return coordinates.place(pictures)
