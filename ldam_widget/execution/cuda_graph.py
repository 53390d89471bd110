"""A gradient as one CUDA graph: launched at once, where a small network's operations wait for Python one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .recordings import Gradient

_WARM_UPS = 3  # runs before the recording: libraries choose their algorithms and allocate what they keep
_right = [True]  # to record: one at a time in a process


class CudaGraph:
    """A recording of a function that waits for nothing.

    It reads the weights where they lie: changes in place are seen. Every number that is not on the device stays what
    it was. An attempt that fails may leave torch unable to free memory, so this is for those who ask for it.
    """

    def __init__(self, function: Gradient, x: Tensor, seed: Tensor) -> None:
        self._x, self._seed = x.detach().clone(), seed.clone()
        try:
            right = _right.pop()
        except IndexError:
            raise RuntimeError("another thread is recording; try again") from None
        try:
            self._record(function)
        finally:
            _right.append(right)

    def _record(self, function: Gradient) -> None:
        device = self._x.device
        here: Any = torch.cuda.current_stream(device)
        # a failure inside must not leave this thread on another stream than before
        with torch.cuda.device(device), torch.cuda.stream(here):
            stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function(self._x, self._seed)
            here.wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # what other threads do with the device meanwhile is no fault of this recording
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._output, self._grad = function(self._x, self._seed)

    def replay(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """For arguments of the same shapes; returns copies."""
        self._x.copy_(x.detach())
        self._seed.copy_(seed)
        self._graph.replay()
        return self._output.clone(), self._grad.clone()
