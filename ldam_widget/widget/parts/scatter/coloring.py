"""Values of points as colour levels: classes, numbers, or all alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

NONE = 255  # level of points without a class or a finite number
MOST_CLASSES = 254
_LAST = 254  # level of the largest number

Values = npt.NDArray[Any]


class Coloring(NamedTuple):
    """A level for each point.

    Attributes:
        kind: "one": all points alike; "classes": levels are classes; "numbers": levels 0…254 run from low to high.
        levels: (n,) uint8; 255: none.
        classes: name and number of points of levels 0, 1, …
        low, high: smallest and largest finite number; None: there is none.
        values: (n,) as given; None: all points alike.
    """

    kind: Literal["one", "classes", "numbers"]
    levels: npt.NDArray[np.uint8]
    classes: tuple[tuple[str, int], ...] = ()
    low: float | None = None
    high: float | None = None
    values: Values | None = None

    def text(self, index: int) -> str:
        """What a point has, in words; "" for none."""
        level = int(self.levels[index])
        if level == NONE or self.values is None:
            return ""
        return self.classes[level][0] if self.kind == "classes" else f"{float(self.values[index]):.4g}"

    def names(self) -> Values | None:
        """Name of each point's class, (n,), "unknown" for none; None if these are no classes."""
        if self.kind != "classes":
            return None
        known = [name for name, _ in self.classes]
        return np.array([*known, "unknown"])[np.minimum(self.levels, len(known))]


def one_colour(count: int) -> Coloring:
    """All points alike."""
    return Coloring("one", np.zeros(count, np.uint8))


def coloring(values: Any, count: int, name: str, class_names: Sequence[str] = ()) -> Coloring:
    """Values (n,) of points as levels.

    Text and booleans are classes; empty text and None are no class. So are integers of at most 254 kinds, of which −1
    is no class. Other numbers are numbers. Of more than 254 kinds of text, all but the 253 most frequent are one class.

    Args:
        values: array, tensor or list.
        count: points.
        name: of the argument, for errors.
        class_names: of the classes 0, 1, …

    Raises:
        TypeError: neither numbers nor text.
        ValueError: another number of values than points.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype.is_floating_point else values  # NumPy knows no bfloat16
    try:
        given = np.asarray(values)
    except ValueError as error:  # such as lists of several lengths
        raise TypeError(
            f"{name} must be numbers or text, one per point; got {type(values).__name__}: {error}"
        ) from None
    if given.shape != (count,):
        raise ValueError(f"{name} must be one per point, {count}; got {type(values).__name__} of shape {given.shape}")
    if given.dtype.kind == "O":
        given = _of_objects(given, name)
    if given.dtype.kind in "USb":
        return _texts(given.astype(str))
    if given.dtype.kind in "iu":
        kinds = np.unique(given)
        if len(kinds) - (kinds[0] == -1) <= MOST_CLASSES:
            return _whole(given, kinds[kinds != -1] if kinds[0] == -1 else kinds, class_names)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers or text, one per point; got {given.dtype}")
    return _numbers(given)


def _of_objects(given: Values, name: str) -> Values:
    """Python objects, as in a column of pandas."""
    missing = np.array([value is None or (isinstance(value, float) and value != value) for value in given])
    present = given[~missing]
    if len(present) and all(isinstance(value, str) for value in present):
        return np.where(missing, "", given).astype(str)
    try:
        if len(present) and not missing.any() and all(isinstance(value, (int, np.integer)) for value in present):
            return np.array(given.tolist())
        return np.where(missing, np.nan, given).astype(float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers or text, one per point; got {given[0]!r:.80}, …") from None


def _texts(given: Values) -> Coloring:
    names, kind, counts = np.unique(given, return_inverse=True, return_counts=True)
    if names[0] == "":
        known = given != ""
        if not known.any():
            return Coloring("classes", np.full(len(given), NONE, np.uint8), values=given)
        found = _texts(given[known])
        levels = np.full(len(given), NONE, np.uint8)
        levels[known] = found.levels
        return found._replace(levels=levels, values=given)
    if len(names) > MOST_CLASSES:
        kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CLASSES - 1])
        order = np.full(len(names), MOST_CLASSES - 1)
        order[kept] = np.arange(MOST_CLASSES - 1)
        others = int(counts.sum() - counts[kept].sum())
        classes = [(str(names[i]), int(counts[i])) for i in kept]
        classes.append((f"{len(names) - len(kept)} others", others))
        return Coloring("classes", order[kind].astype(np.uint8), tuple(classes), values=given)
    classes = [(str(name), int(number)) for name, number in zip(names, counts, strict=True)]
    return Coloring("classes", kind.astype(np.uint8), tuple(classes), values=given)


def _whole(given: Values, kinds: Values, class_names: Sequence[str]) -> Coloring:
    known = given != -1 if len(kinds) == 0 or kinds[0] >= 0 else np.ones(len(given), bool)
    levels = np.full(len(given), NONE, np.uint8)
    levels[known] = np.searchsorted(kinds, given[known])
    counts = np.bincount(levels, minlength=256)
    named = [class_names[kind] if 0 <= kind < len(class_names) else str(kind) for kind in kinds.tolist()]
    return Coloring(
        "classes", levels, tuple((str(n), int(counts[i])) for i, n in enumerate(named)), values=given
    )  # fmt: skip


def _numbers(given: Values) -> Coloring:
    finite = np.isfinite(given)
    levels = np.full(len(given), NONE, np.uint8)
    if not finite.any():
        return Coloring("numbers", levels, values=given)
    exact = given.astype(np.float64)
    low, high = float(exact[finite].min()), float(exact[finite].max())
    span = (high / 2 - low / 2) or 1.0  # the whole may be too large a number
    levels[finite] = np.rint((exact[finite] / 2 - low / 2) / span * _LAST).astype(np.uint8)
    return Coloring("numbers", levels, low=low, high=high, values=given)
