"""A program as one CUDA graph: launched at once, where a small network's operations wait for Python one by one.

Forward and backward pass are captured, and nothing else. A whole step as one graph would need kernels that compute with
tensors where they have numbers, a copy of every state, and noise drawn ahead; they are plain arithmetic instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .recordings import NotNowError, Tensors

_WARM_UPS = 3  # runs before the recording: libraries choose their algorithms and allocate what they keep
_right = [True]  # to record: one at a time in a process
# that no graph uses, by device: libraries keep memory for every stream, and some give it up with a graph of it
_streams: dict[int, list[Any]] = {}


class CudaGraph:
    """A tape of a program that waits for nothing.

    It reads the weights where they lie: changes in place are seen. Every number that is not on the device stays what
    it was. An attempt that fails may leave torch unable to free memory, so this is for those who ask for it.

    Args:
        program: runs on the present device, without drawing random numbers.
    """

    made: Tensors

    def __init__(self, program: Callable[[], Tensors]) -> None:
        try:
            right = _right.pop()
        except IndexError:
            raise NotNowError("another thread is recording") from None
        try:
            self._record(program)
        finally:
            _right.append(right)

    def _record(self, program: Callable[[], Tensors]) -> None:
        here: Any = torch.cuda.current_stream()
        # a failure inside must not leave this thread on another stream than before
        with torch.cuda.stream(here):
            free = _streams.setdefault(here.device_index, [])
            stream: Any = free.pop() if free else torch.cuda.Stream()  # type: ignore[no-untyped-call]
            weakref.finalize(self, free.append, stream)
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    program()
            here.wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # what other threads do with the device meanwhile is no fault of this recording
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self.made = program()

    def replay(self) -> None:
        """Write what the program would make into `made`."""
        self._graph.replay()
