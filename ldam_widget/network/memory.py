"""How many images fit into memory at once? And giving it back."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

_MEMINFO, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
SHARE = 0.25  # of the memory that is free: other widgets, and the user's own work, need theirs


def images_at_once(forward: Callable[[], object], images: int, weights: Sequence[Tensor]) -> int:
    """Images whose forward and backward pass stay within the budget, at least 1.

    Args:
        forward: runs the network, with gradients on, on one image.
        images: wanted.
        weights: of the network; they are there anyway.
    """
    device = weights[0].device if weights else torch.device("cpu")
    # gradients take as much once more as what is kept for them
    return max(1, min(images, int(budget(device) / max(1, 2 * _kept_bytes(forward, weights)))))


def budget(device: torch.device) -> float:
    """Bytes that the images of one step may take."""
    if device.type == "cuda":
        return SHARE * torch.cuda.mem_get_info(device)[0]
    if _MEMINFO.exists():
        free = re.search(r"MemAvailable:\s+(\d+) kB", _MEMINFO.read_text())
        if free is not None:
            return SHARE * min(1024 * int(free[1]), _left_to_container())
    return 2.0**30  # nothing is known of this system


def give_back() -> None:
    """Hand what was freed to the system; some C libraries keep it, in ever more pieces. Takes milliseconds."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], object] | None:
    """glibc's own."""
    try:
        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return None
    return found


def _left_to_container() -> float:
    """Bytes below the limit of the control group, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((_CONTAINER / name).read_text() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    return math.inf


def is_out_of_memory(error: BaseException) -> bool:
    """Is it that, in the words of any device?"""
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or (
        isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory", str(error)) is not None
    )


def _kept_bytes(forward: Callable[[], object], weights: Sequence[Tensor]) -> int:
    """What a forward pass keeps for the backward pass."""
    there = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an operation that kept its own output, graph and all, would never be freed

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result  # only now: memory that is given back would be counted once for all that has it in turn
    return sum(kept.values())
