"""Group pictures into modes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def modes(pictures: npt.ArrayLike, alike: float = 0.9, spread: float = 1.0) -> npt.NDArray[np.int64]:
    """Group pictures by cosine similarity.

    Each picture joins the first group whose first member has cosine ≥ `alike` with it, or starts a new one (leader
    clustering). Groups are numbered in order of appearance. Blank pictures form one group. A single-pixel picture has
    no direction except its sign: it joins a group whose first member is at most (1 − alike) · spread away.

    Args:
        pictures: (P, pixels), centred on neutral grey.
        alike: cosine in (0, 1).
        spread: spread of the samples, for pictures of a single pixel.

    Returns:
        the group of every picture, (P,).
    """
    values = np.asarray(pictures, dtype=np.float64)
    if values.shape[1] > 1:
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        blank = norms <= 1e-6 * norms.max(initial=0)  # a separate direction
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
    """How often a chain's group changes between successive snapshots; labels (snapshots, chains)."""
    values = np.asarray(labels)
    return int((values[1:] != values[:-1]).sum())
