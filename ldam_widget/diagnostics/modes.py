"""Which pictures are the same mode?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def modes(pictures: npt.ArrayLike, alike: float = 0.9, spread: float = 1.0) -> npt.NDArray[np.int64]:
    """Group pictures that point the same way.

    Each picture joins the first group whose first member has at least the cosine `alike` with it, or founds a new one
    (leader clustering). Groups are numbered in order of appearance. Blank pictures are one group. A picture of a single
    pixel has no direction but its sign: it joins a group whose first member is at most (1 − alike) · spread away.

    Args:
        pictures: (P, pixels), centred on the grey that counts as nothing.
        alike: cosine in (0, 1).
        spread: how far samples lie apart in the pixel, if there is but one.

    Returns:
        the group of every picture, (P,).
    """
    values = np.asarray(pictures, dtype=np.float64)
    if values.shape[1] > 1:
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        blank = norms <= 1e-6 * norms.max(initial=0)  # a direction of their own
        values = np.where(blank, 0, values) / np.where(blank, 1, norms)
        values = np.concatenate([values, blank], axis=1)
    leaders: list[npt.NDArray[np.float64]] = []
    labels = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        known = np.array(leaders).reshape(-1, values.shape[1])
        if values.shape[1] > 1:
            near = np.flatnonzero(known @ value >= alike)
        else:
            near = np.flatnonzero(np.abs(known - value) <= (1 - alike) * spread)
        if near.size:
            labels[i] = near[0]
        else:
            labels[i] = len(leaders)
            leaders.append(value)
    return labels


def moves(labels: npt.ArrayLike) -> int:
    """How often a chain's group changes from one look to the next; labels (looks, chains)."""
    values = np.asarray(labels)
    return int((values[1:] != values[:-1]).sum())
