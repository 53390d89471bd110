"""How many images fit into memory at once?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHARE = 0.25  # of the memory that is free: other widgets, and the user's own work, need theirs


_EVIDENT = 1000  # numbers a pixel: no network keeps as many, so that small batches need not be measured


def images_at_once(forward: Callable[[], object], images: int, pixels: int, weights: Sequence[Tensor]) -> int:
    """Images whose forward and backward pass stay within the budget, at least 1.

    Args:
        forward: runs the network, with gradients on, on one image; not run where it is evident that all fit.
        images: wanted.
        pixels: numbers in one image.
        weights: of the network; they are there anyway.
    """
    device = weights[0].device if weights else torch.device("cpu")
    free = budget(device)
    if images * pixels * 4 * _EVIDENT <= free:
        return images
    # gradients take as much once more as what is kept for them
    return max(1, min(images, int(free / max(1, 2 * _kept_bytes(forward, weights)))))


def budget(device: torch.device) -> float:
    """Bytes that the images of one step may take."""
    if device.type == "cuda":
        return SHARE * torch.cuda.mem_get_info(device)[0]
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return SHARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2.0**30  # nothing is known of this system


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
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result  # only now: memory that is given back would be counted once for all that has it in turn
    return sum(kept.values())
