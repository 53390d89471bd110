"""What users give for a map: checked, as tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _forwards(values: Any) -> Any:
    """torch has no negative strides, such as those of ``values[:, ::-1]``."""
    return values.copy() if min(values.strides, default=0) < 0 else values


def array(name: str, values: Any, device: torch.device | None = None) -> Tensor:
    """Rows of numbers (n, d) as floating-point numbers, further axes flattened.

    Raises:
        TypeError: not numbers.
        ValueError: one axis or none, no rows or columns, NaN, infinite in single precision.
    """
    try:
        rows = values.detach() if isinstance(values, Tensor) else torch.as_tensor(_forwards(np.asarray(values)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be rows of numbers, one row a point, as an array, a tensor or lists of one length; got "
            f"{type(values).__name__}: {error}"
        ) from error
    if rows.is_complex():
        raise TypeError(f"{name} must be real numbers; got {rows.dtype}")
    if rows.ndim < 2 or not rows.numel():
        raise ValueError(
            f"{name} must have one row a point, (points, features), at least one of each; got shape {tuple(rows.shape)}"
        )
    rows = rows.flatten(1).to(device)
    rows = rows if rows.dtype == torch.float64 else rows.float()
    sound = rows.float().isfinite().all(1)
    if not bool(sound.all()):
        wrong = (~sound).nonzero().flatten().tolist()
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"{name} holds numbers that are NaN or infinite in single precision, in row {wrong[0]}{more}")
    return rows


def between(name: str, value: Any, low: float, high: float) -> float:
    """A number in [low, high]."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}; got {value!r}") from None
    if not (low <= number <= high) or math.isnan(number):
        raise ValueError(f"{name} must be from {low:g} to {high:g}; got {value!r}")
    return number


def whole(name: str, value: Any, least: int) -> int:
    """An integer of at least `least`."""
    try:
        number = int(value.__index__())
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer ≥ {least}; got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be an integer ≥ {least}; got {value!r}")
    return number


def chosen_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; None: CUDA if available, else the CPU."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except Exception as error:
        raise ValueError(f"device={str(device)!r} cannot be used here: {error}. Try device='cpu'.") from error
    return chosen
