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
        self._versions = counted(self._originals)
        self._sum_at = 0.0
        self._sum: list[tuple[int, float]] = []
        size = max((tensor.numel() for tensor in self._aliases), default=0)
        self._numbers = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        self._look()

    def changed(self) -> bool:
        """Since the last call, or since it was made?"""
        versions = counted(self._originals)
        if versions != self._versions:
            # no look now: a training changes them at every step, and would pay for one at every step
            self._versions, self._sum, self._sum_at = versions, [], time.monotonic() + _EVERY
            return True
        return time.monotonic() >= self._sum_at and self._look()

    def _look(self) -> bool:
        began = time.monotonic()
        before, self._sum = self._sum, [self._sums(tensor) for tensor in self._aliases]
        needed = time.monotonic() - began
        self._sum_at = began + max(_EVERY, needed / _SHARE)
        return before != self._sum

    def _sums(self, tensor: Tensor) -> tuple[int, float]:
        """Two sums, one of which any change makes another: of the bits as integers, which one number changes without
        rounding, and of the numbers times random ones, which tells where they stand."""
        if not tensor.numel():
            return 0, 0.0
        flat = tensor.detach().contiguous().flatten()
        if not flat.is_floating_point():
            return _bits(flat), 0.0
        if self._numbers.device != flat.device:
            self._numbers = self._numbers.to(flat.device)
        return _bits(flat), float(torch.dot(flat.float(), self._numbers[: len(flat)]))


def counted(originals: Iterable[weakref.ref[Tensor]]) -> list[int]:
    """What torch counts of changes of each."""
    tensors = (ref() for ref in originals)
    return [tensor._version for tensor in tensors if tensor is not None and not tensor.is_inference()]


def _bits(flat: Tensor) -> int:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = integers.get(flat.element_size())
    return 0 if kind is None or flat.is_complex() else int(flat.view(kind).sum(dtype=torch.int64))
