"""The number of CPU threads that the calling thread's own work is spread over."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads for work that *this* thread starts meanwhile; all other threads keep theirs.

    `torch.set_num_threads` would change every thread that starts later; OpenMP's own call changes the caller alone.
    Where torch's OpenMP cannot be found, nothing is changed.
    """
    before = torch.get_num_threads()  # torch sets the number of a new thread on first use: let that be over
    if before == count:
        yield
        return
    _set(count)
    try:
        yield
    finally:
        _set(before)


def can_be_set() -> bool:
    """Was torch's OpenMP found?"""
    return bool(_libraries())


def _set(count: int) -> None:
    for set_number in _libraries():
        set_number(count)


@functools.cache
def _libraries() -> list[Callable[[int], None]]:
    found: list[Callable[[int], None]] = []
    root = Path(torch.__file__).parent
    # wheels for some processors keep the library beside torch
    places = [folder for folder in (root / "lib", root.parent / "torch.libs") if folder.is_dir()]
    for library in (
        file for place in places for file in place.iterdir() if re.match(r"lib[gi]?omp[-.\d].*", file.name)
    ):
        with contextlib.suppress(OSError, AttributeError):
            found.append(ctypes.CDLL(str(library)).omp_set_num_threads)
    return found
