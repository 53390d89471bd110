"""Labels of images, as users have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

UNKNOWN = -1


def checked_labels(labels: Any, images: int) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as numbers, and their names if they were given as names.

    Args:
        labels: one per image: class numbers from 0 on (−1: unknown), or class names, which are numbered in sorted
            order.
        images: how many there are.

    Returns:
        (images,) int64; the names, or ().

    Raises:
        ValueError: another number of labels, or labels that are neither.
    """
    given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if given.ndim != 1 or len(given) != images:
        raise ValueError(f"labels must be one per image, {images}; got {type(labels).__name__} of shape {given.shape}")
    if given.dtype.kind in "US" or all(isinstance(label, str) for label in given):  # objects, in a column of pandas
        names, numbers = np.unique(given.astype(str), return_inverse=True)
        return torch.from_numpy(numbers.astype(np.int64)), tuple(map(str, names))
    if given.dtype.kind not in "iu" or given.min() < UNKNOWN:
        raise ValueError(
            "labels must be class numbers from 0 on (-1: unknown) or class names; got "
            + (f"{given.dtype} numbers from {given.min()}" if given.dtype.kind in "iuf" else f"{given.dtype}")
        )
    return torch.from_numpy(given.astype(np.int64)), ()


def label_of(item: Any) -> int:
    """The label in a data set's item, (image, label, …); −1: it has none."""
    label = item[1] if isinstance(item, (tuple, list)) and len(item) > 1 else None
    if isinstance(label, (Tensor, np.ndarray, np.generic)):
        label = label.item() if np.size(label) == 1 else None
    return label if isinstance(label, int) and not isinstance(label, bool) and label >= 0 else UNKNOWN
