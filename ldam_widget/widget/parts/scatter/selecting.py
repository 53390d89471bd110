"""The selected points: a trait of the widget, and bits in messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import traitlets
from torch import Tensor

Selection = npt.NDArray[np.int64]


def _empty() -> Selection:
    return _frozen(np.empty(0, np.int64))


def _frozen(indices: Selection) -> Selection:
    indices.flags.writeable = False
    return indices


class PointIndices(traitlets.TraitType[Any, Any]):
    """Indices of points, (k,) int64, rising and read-only. Can be set to indices, in any order, or to a mask (n,)."""

    info_text = "indices of points, or a mask"

    def __init__(self) -> None:
        super().__init__(default_value=_empty())

    def validate(self, obj: Any, value: Any) -> Selection:
        return checked(value, obj.count)

    def set(self, obj: Any, value: Any) -> None:
        """As `TraitType.set`, but arrays are compared as a whole."""
        new = cast(Selection, self._validate(obj, value))
        assert self.name is not None
        old: Selection = obj._trait_values.get(self.name, _empty())
        obj._trait_values[self.name] = new
        if not np.array_equal(old, new):
            obj._notify_trait(self.name, old, new)


def checked(value: Any, count: int) -> Selection:
    """Indices of points, from what users give.

    Raises:
        TypeError: neither integers nor booleans.
        ValueError: of another shape. IndexError: there is no such point.
    """
    given = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray([] if value is None else value)
    if given.dtype == bool:
        if given.shape != (count,):
            raise ValueError(f"a mask of selected points must have shape ({count},); got {given.shape}")
        return _frozen(np.flatnonzero(given).astype(np.int64))
    if given.size == 0:
        return _empty()
    if given.dtype.kind not in "iu":
        raise TypeError(f"selection must be indices of points, or a mask of booleans; got {given.dtype}")
    if given.ndim != 1:
        raise ValueError(f"selection must be a list of indices; got an array of shape {given.shape}")
    if given.min() < 0 or given.max() >= count:
        wrong = int(given.min() if given.min() < 0 else given.max())
        raise IndexError(f"selection holds {wrong}, but the map has points 0…{count - 1}")
    return _frozen(np.unique(given.astype(np.int64)))


def to_bits(selection: Selection, count: int) -> bytes:
    """A bit per point, the lowest of a byte first."""
    mask = np.zeros(count, bool)
    mask[selection] = True
    return np.packbits(mask, bitorder="little").tobytes()


def of_bits(buffers: Sequence[Any], count: int) -> Selection | None:
    """The selection in a message's only buffer; None if it is malformed."""
    if len(buffers) != 1:
        return None
    data = np.frombuffer(bytes(buffers[0]), np.uint8)
    if len(data) != (count + 7) // 8:
        return None
    return _frozen(np.flatnonzero(np.unpackbits(data, count=count, bitorder="little")).astype(np.int64))


def spread(selection: Selection, count: int) -> Selection:
    """So many of the selected points, evenly spread over them; some repeatedly, if there are fewer."""
    evenly = np.linspace(0, len(selection) - 1, count).round().astype(np.int64)
    chosen: Selection = selection[evenly if count <= len(selection) else np.arange(count) % len(selection)]
    return chosen
