"""Record a program as one CUDA graph, to avoid the launch overhead of a small network's operations.

Only the forward and backward pass are captured. Capturing whole steps would require kernels that compute with tensors
instead of numbers, a copy of every state, and noise drawn in advance. Kernels stay plain arithmetic instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .recordings import NotNowError, Tensors

_WARM_UPS = 3  # runs before recording, in which libraries choose algorithms and allocate workspaces
_right = [True]  # token for recording: one at a time per process
# streams not used by any graph, by device: libraries keep memory for every stream, and some free it with its graph
_streams: dict[int, list[Any]] = {}


class CudaGraph:
    """A `Tape` of a program without host synchronisation.

    Weights are read in place, so in-place changes take effect. Values that are not on the device are frozen at
    recording. A failed recording may leave torch unable to free memory, so this is opt-in.

    Args:
        program: runs on the current device, without drawing random numbers.
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
        # a failure inside must not leave this thread on a different stream
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
            # thread_local: other threads may use the device during recording
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self.made = program()

    def replay(self) -> None:
        """Run the program again, writing its results into `made`."""
        self._graph.replay()
