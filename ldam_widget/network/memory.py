"""How many images fit into memory at once, and returning freed memory to the system."""

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
# control groups v2 and v1: folder, limit file, usage file, and the entry for cached files in memory.stat
_GROUPS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
SHARE = 0.25  # of free memory: other widgets and the user's own work need the rest


def images_at_once(bytes_each: float, images: int, device: torch.device) -> int:
    """How many of `images` images of `bytes_each` bytes fit into the current budget; at least 1."""
    return max(1, min(images, int(budget(device) / max(1.0, bytes_each))))


def bytes_of_passes(forward: Callable[[], object], weights: Sequence[Tensor]) -> int:
    """Bytes that a forward and backward pass takes.

    Args:
        forward: runs the network, with gradients on, on one image.
        weights: of the network; not counted.
    """
    return 2 * _kept_bytes(forward, weights)  # gradients take as much again as the saved tensors


def budget(device: torch.device) -> float:
    """Bytes that the images of one step may take."""
    if device.type == "cuda":
        return SHARE * torch.cuda.mem_get_info(device)[0]
    if _MEMINFO.exists():
        free = re.search(r"MemAvailable:\s+(\d+) kB", _MEMINFO.read_text())
        if free is not None:
            return SHARE * min(1024 * int(free[1]), _left_to_container())
    return 2.0**30  # unknown system


def give_back() -> None:
    """Return freed memory to the system; some C libraries keep and fragment it. Takes milliseconds."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], object] | None:
    """glibc's `malloc_trim`; None elsewhere."""
    try:
        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # Windows, macOS, musl
        return None
    return found


def _left_to_container() -> float:
    """Bytes left below the limit of the control group, if there is one. Its usage includes cached files, which are
    subtracted because they are dropped on demand."""
    for folder, most, now, cached in _GROUPS:
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int((_CONTAINER / folder / name).read_text()) for name in (most, now))
            found = re.search(rf"^{cached} (\d+)$", (_CONTAINER / folder / "memory.stat").read_text(), re.MULTILINE)
            return limit - max(0, used - (int(found[1]) if found else 0))
    return math.inf


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, on any device."""
    known = isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
    return known or (
        isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory", str(error)) is not None
    )


def _kept_bytes(forward: Callable[[], object], weights: Sequence[Tensor]) -> int:
    """Bytes that a forward pass saves for the backward pass."""
    there = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an operation that saves its own output with its graph would never be freed

    result = None
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = forward()
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise  # else torch.func within it, which accepts none: what was kept until then is counted
    del result  # only now: memory reused within the pass would otherwise be counted only once
    return sum(kept.values())
