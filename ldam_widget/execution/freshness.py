"""Have the weights changed since we looked? For networks whose own weights are computed from the user's."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable

import torch
from torch import Tensor

_EVERY = 1.0  # seconds between two sums over all weights, at least
_SHARE = 0.005  # of the time that the sums may take


class Freshness:
    """Notices changes of tensors: at once what torch counts as one (optimisers, `load_state_dict`, `copy_`), and
    within about a second what it does not (writes through `.data`, NumPy or shared memory).

    Args:
        originals: the user's own tensors, which share memory with `aliases`.
        aliases: the sampler's.
    """

    def __init__(self, originals: Iterable[weakref.ref[Tensor]], aliases: Iterable[Tensor]) -> None:
        self._originals = list(originals)
        self._aliases = list(aliases)
        self._versions = self._counted()
        self._sum_at = 0.0
        self._sum: list[int] = []
        self._look()

    def changed(self) -> bool:
        """Since the last call, or since it was made?"""
        versions = self._counted()
        if versions != self._versions:
            self._versions = versions
            self._look()
            return True
        return time.monotonic() >= self._sum_at and self._look()

    def _counted(self) -> list[int]:
        tensors = (ref() for ref in self._originals)
        return [tensor._version for tensor in tensors if tensor is not None and not tensor.is_inference()]

    def _look(self) -> bool:
        began = time.monotonic()
        before, self._sum = self._sum, [_bits(tensor) for tensor in self._aliases]
        needed = time.monotonic() - began
        self._sum_at = began + max(_EVERY, needed / _SHARE)
        return before != self._sum


def _bits(tensor: Tensor) -> int:
    """A sum that any change of a number changes: of the bits, as integers, without rounding."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = integers.get(tensor.element_size())
    if kind is None or tensor.is_complex():
        return 0
    return int(tensor.detach().contiguous().view(kind).sum(dtype=torch.int64)) if tensor.numel() else 0
