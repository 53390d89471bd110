"""Detect changes of the user's weights, for networks whose weights are derived from them."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable

import torch
from torch import Tensor

_EVERY = 1.0  # minimum seconds between two sums over all weights
_SHARE = 0.005  # largest fraction of time spent on sums


class Freshness:
    """Detects changes of tensors: at once if torch counts them (optimisers, `load_state_dict`, `copy_`), otherwise
    within about a second (writes through `.data`, NumPy or shared memory).

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
        """Whether tensors have changed since the last call, or since construction."""
        versions = counted(self._originals)
        if versions != self._versions:
            # skip the sums: training changes weights at every step and would pay for them each time
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
        """Two sums that detect any change between them: of the bits as integers, which is exact for single changes,
        and of the numbers times random ones, which also depends on their positions."""
        if not tensor.numel():
            return 0, 0.0
        flat = tensor.detach().contiguous().flatten()
        if not flat.is_floating_point():
            return _bits(flat), 0.0
        if self._numbers.device != flat.device:
            self._numbers = self._numbers.to(flat.device)
        return _bits(flat), float(torch.dot(flat.float(), self._numbers[: len(flat)]))


def counted(originals: Iterable[weakref.ref[Tensor]]) -> list[int]:
    """torch's version counter of each tensor."""
    tensors = (ref() for ref in originals)
    return [tensor._version for tensor in tensors if tensor is not None and not tensor.is_inference()]


def bits(tensors: Iterable[Tensor]) -> list[int]:
    """The sum of the bits of each tensor, as integers: exact, whatever the number of threads; another one after any
    training step."""
    return [_bits(tensor.detach().contiguous().flatten()) if tensor.numel() else 0 for tensor in tensors]


def _bits(flat: Tensor) -> int:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = integers.get(flat.element_size())
    return 0 if kind is None or flat.is_complex() else int(flat.view(kind).sum(dtype=torch.int64))
