"""Which pictures are the same mode?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def modes(pictures: npt.ArrayLike, alike: float = 0.9) -> npt.NDArray[np.int64]:
    """Group pictures that point the same way.

    Each picture joins the first group whose first member has at least the cosine `alike` with it, or founds a new one
    (leader clustering). Groups are numbered in order of appearance.

    Args:
        pictures: (P, pixels), centred on the grey that counts as nothing.
        alike: cosine in (0, 1).

    Returns:
        the group of every picture, (P,).
    """
    values = np.asarray(pictures, dtype=np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    values = values / np.where(norms > 0, norms, 1)
    leaders: list[npt.NDArray[np.float64]] = []
    labels = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        near = np.flatnonzero(np.array(leaders) @ value >= alike) if leaders else np.empty(0, np.int64)
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
