"""Check that weights are finite and representable in the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from .fitting import memory_of
from .inert import UnreadableTensor


def check_values(path: str | os.PathLike[str], values: Mapping[str, object], state: Mapping[str, object]) -> None:
    """Raise ValueError unless all weights can be stored in the model and tied weights agree."""
    seen: dict[object, tuple[str, Tensor]] = {}
    for name, value in values.items():
        if isinstance(value, UnreadableTensor):
            raise ValueError(f"{path}: weight {name!r} {value.reason}")
        if isinstance(value, Tensor):
            new = _converted(f"{path}: weight {name!r}", value, cast(Tensor, state[name]).dtype)
            twin, other = seen.setdefault(memory_of(state[name]), (name, new))
            if not torch.equal(new, other):
                raise ValueError(f"{path}: {twin!r} and {name!r} are one weight in the model, but differ in the file")


def _converted(what: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """The value in the model's dtype, checked to be finite there."""
    if value.is_complex() and not dtype.is_complex:
        raise ValueError(f"{what} is complex, and real in the model ({dtype})")
    try:
        value = value.to(dtype)
    except NotImplementedError as error:  # such as packed 4-bit numbers
        raise ValueError(f"{what} is {value.dtype}, which PyTorch cannot convert to the model's {dtype}") from error
    check_numbers(what, value)
    return value


def check_numbers(what: str, value: Tensor) -> None:
    """Raise ValueError unless all numbers of a tensor are finite."""
    if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all()):
        count = int((~torch.isfinite(value)).sum())
        raise ValueError(
            f"{what} holds {count} NaN or infinite value{'s' if count > 1 else ''} of {value.numel()} in the model's "
            f"{value.dtype}. Did training diverge? Load an earlier checkpoint."
        )
