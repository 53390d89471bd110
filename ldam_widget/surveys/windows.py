"""Receptive fields of many units of a layer, and windows of one size around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..network.receptive_field import Box, Fields


class Line(NamedTuple):
    """Fields along an axis of a stack of convolutions and poolings: of unit y, stride·y + first to stride·y + end."""

    stride: int
    first: int
    end: int
    size: int  # of the picture

    def of(self, at: int) -> tuple[int, int]:
        """What a unit sees, cut off at the borders."""
        return max(0, self.stride * at + self.first), min(self.size, self.stride * at + self.end)


class FieldsOfLayer:
    """The fields of a layer's units by their flat places; measured at three of them, where the others follow.

    Args:
        fields: of the layer.
        shape: of a unit's map.
        picture: height and width.
    """

    def __init__(self, fields: Fields, shape: tuple[int, ...], picture: tuple[int, int]) -> None:
        self._fields, self._shape = fields, shape
        self._known: dict[int, Box] = {}
        self._lines = self._fitted(picture) if len(shape) == 2 and min(shape) > 1 else None

    def box(self, place: int) -> Box:
        """The box of a place. Raises ValueError if it depends on no pixel."""
        if self._lines is None:
            return self._measured(place)
        (top, bottom), (left, right) = (
            line.of(int(at)) for line, at in zip(self._lines, np.unravel_index(place, self._shape), strict=True)
        )
        return Box(top, left, bottom, right)

    def _measured(self, place: int) -> Box:
        if place not in self._known:
            at = [int(i) for i in np.unravel_index(place, self._shape)] if self._shape else ()
            self._known[place] = self._fields.box(at)
        return self._known[place]

    def _fitted(self, picture: tuple[int, int]) -> tuple[Line, Line] | None:
        """None: what was measured does not lie on lines."""
        height, width = self._shape
        places = [(0, 0), (height // 2, width // 2), (height - 1, width - 1)]
        boxes = [self._measured(y * width + x) for y, x in places]
        rows = fit([(y, box.top, box.bottom) for (y, _), box in zip(places, boxes, strict=True)], picture[0])
        columns = fit([(x, box.left, box.right) for (_, x), box in zip(places, boxes, strict=True)], picture[1])
        return (rows, columns) if rows and columns else None


def fit(seen: list[tuple[int, int, int]], size: int) -> Line | None:
    """The line through what the first, a middle and the last unit of an axis see; None: it does not follow.

    Args:
        seen: (unit, first, end) three times.
        size: of the picture.
    """
    (_, _, end), (middle, first_of_middle, end_of_middle), (last, first_of_last, _) = seen
    if end == size or first_of_last == 0:
        return None
    if end_of_middle < size:
        stride, rest = divmod(end_of_middle - end, middle)
    elif first_of_middle > 0 and last > middle:
        stride, rest = divmod(first_of_last - first_of_middle, last - middle)
    else:
        return None
    line = Line(stride, first_of_last - stride * last, end, size)
    return line if rest == 0 and all(line.of(at) == (first, end) for at, first, end in seen) else None


def window(picture: Tensor, box: Box, height: int, width: int, outside: Tensor) -> Tensor:
    """A part of this size with the box in it, (…, height, width).

    A box is smaller than others where the border of the picture cuts it off: the window goes on beyond that border.

    Args:
        picture: (…, height, width).
        box: at most as large as the window.
        height, width: of the window.
        outside: what is shown beyond the borders; broadcasts to the picture.
    """
    top, bottom = _span(box.top, box.bottom, height, picture.shape[-2])
    left, right = _span(box.left, box.right, width, picture.shape[-1])
    cut = outside.expand(*picture.shape[:-2], height, width).clone()
    within = Box(max(top, 0), max(left, 0), min(bottom, picture.shape[-2]), min(right, picture.shape[-1]))
    part = picture[..., within.top : within.bottom, within.left : within.right]
    cut[..., within.top - top : within.bottom - top, within.left - left : within.right - left] = part
    return cut


def _span(first: int, end: int, size: int, whole: int) -> tuple[int, int]:
    missing = size - (end - first)
    before = missing if first == 0 and end < whole else 0 if end == whole and first > 0 else missing // 2
    return first - before, first - before + size
