"""The number of CPU threads that the calling thread uses."""

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
    """Let torch use `count` CPU threads for work started by *this* thread; other threads are unaffected.

    `torch.set_num_threads` would affect every thread started later; OpenMP's own call affects only the caller. If
    torch's OpenMP library cannot be found, nothing changes.
    """
    before = torch.get_num_threads()  # also triggers torch's initialisation of a new thread's number
    if before == count:
        yield
        return
    _set(count)
    try:
        yield
    finally:
        _set(before)


def can_be_set() -> bool:
    """Whether torch's OpenMP library was found."""
    return bool(_libraries())


def _set(count: int) -> None:
    for set_number in _libraries():
        set_number(count)


@functools.cache
def _libraries() -> list[Callable[[int], None]]:
    found: list[Callable[[int], None]] = []
    root = Path(torch.__file__).parent
    # wheels for some processors put the library next to torch
    places = [folder for folder in (root / "lib", root.parent / "torch.libs") if folder.is_dir()]
    for library in (
        file for place in places for file in place.iterdir() if re.match(r"lib[gi]?omp[-.\d].*", file.name)
    ):
        with contextlib.suppress(OSError, AttributeError):
            found.append(ctypes.CDLL(str(library)).omp_set_num_threads)
    return found
