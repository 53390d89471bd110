"""Which units have similar pictures, and how much a unit's picture has changed between two atlases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from .layout import ACROSS

Floats = npt.NDArray[np.float32]

SIDE = 12  # pixels: pictures are compared as thumbnails of this size
_KEPT = 48  # principal components of the thumbnails
_AT_ONCE = 1000  # units compared with all others at a time


def thumbnails(sheet: Image.Image, units: int) -> Floats:
    """The tiles of a sheet with one tile for each unit, small.

    Args:
        sheet: eight units side by side.
        units: how many it has; the rest of the last row is empty.

    Returns:
        (units, 3 · SIDE²) levels from 0 to 255.
    """
    rows = -(-units // ACROSS)
    small = sheet.convert("RGB").resize((ACROSS * SIDE, rows * SIDE), Image.Resampling.BOX)
    tiles = np.asarray(small, np.float32).reshape(rows, SIDE, ACROSS, SIDE, 3).swapaxes(1, 2)
    found: Floats = tiles.reshape(rows * ACROSS, -1)[:units]
    return found


def nearest(pictures: Floats, count: int) -> list[list[int]]:
    """For each unit, the units with the most similar pictures, the most similar first.

    Similar is the cosine of the differences from the mean picture of all units.

    Args:
        pictures: (units, n); a row of NaN is a unit without a picture, which is similar to none.
        count: how many for each unit.
    """
    found: list[list[int]] = [[] for _ in pictures]
    known = np.flatnonzero(np.isfinite(pictures).all(1))
    if len(known) < 2:
        return found
    centred = pictures[known] - pictures[known].mean(0)
    if centred.shape[1] > _KEPT:
        _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        centred = centred @ directions[:, -_KEPT:].astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(length > 0, length, 1)
    count = min(count, len(known) - 1)
    rows = torch.from_numpy(unit)
    for first in range(0, len(known), _AT_ONCE):
        cosine = rows[first : first + _AT_ONCE] @ rows.T
        cosine[torch.arange(len(cosine)), torch.arange(first, first + len(cosine))] = -torch.inf  # itself
        for i, others in zip(known[first:], cosine.topk(count).indices.numpy(), strict=False):
            found[i] = [int(j) for j in known[others]]
    return found


def change(pictures: Floats, others: Floats) -> Floats:
    """How different two pictures of each unit are: 1 − their correlation, so 0 for the same and 1 for unrelated ones.

    Args:
        pictures, others: (units, n) each; NaN: no picture.

    Returns:
        (units,) from 0 to 2; NaN where a picture is missing or of one colour.
    """
    first, second = (x - x.mean(1, keepdims=True) for x in (pictures, others))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))
    found: Floats = np.clip(1 - cosine, 0, 2).astype(np.float32)
    return found
