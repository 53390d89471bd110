"""A gradient as one CUDA graph: launched at once, where a small network's operations wait for Python one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .memory import is_out_of_memory

Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_WARM_UPS = 3  # runs before the recording: libraries choose their algorithms and allocate what they keep
_RTOL = 1e-2  # of the largest number, between a replay and the function itself
_right = [True]  # to record: one at a time in a process
_SHAPES = 2  # of batches that are kept: a whole part and the last one


class Capture:
    """Calls a function through recordings of it, one for every shape of its arguments.

    A recording reads the weights where they lie: changes in place are seen. Whatever Python decides is decided for
    good, as is every number that is not on the device. An attempt that fails may leave torch unable to free memory, so
    this is for those who ask for it.
    """

    def __init__(self) -> None:
        self._recordings: dict[tuple[torch.Size, torch.Size], _Recording] = {}
        self.failed = False  # a batch of another size than that of the trial could not be recorded

    def __call__(self, function: Gradient, x: Tensor, seed: Tensor, *, strict: bool = False) -> tuple[Tensor, Tensor]:
        """`function(x, seed)`; the tensors that come back are the caller's own.

        Args:
            function: gives new tensors, and waits for nothing.
            strict: raise where the function cannot be recorded, rather than run it as it is.
        """
        key = x.shape, seed.shape
        if key not in self._recordings and not self.failed:
            if len(self._recordings) >= _SHAPES:
                self._recordings.clear()
            try:
                self._recordings[key] = _Recording(function, x, seed)
            except Exception as error:
                if strict or is_out_of_memory(error):
                    raise
                self.failed = True
        return self._recordings[key].replay(x, seed) if key in self._recordings else function(x, seed)

    def clear(self) -> None:
        """Give back what the recordings hold."""
        self._recordings.clear()


class _Recording:
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
        # by other numbers than it was recorded with, or one that does nothing at all would seem right
        other = 0.5 - x.detach()
        for mine, plain in zip(self.replay(other, -seed), function(other, -seed), strict=True):
            if not torch.allclose(mine, plain, rtol=_RTOL, atol=_RTOL * float(plain.abs().max())):
                raise RuntimeError("what was recorded does not follow its input")

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
        self._x.copy_(x.detach())
        self._seed.copy_(seed)
        self._graph.replay()
        return self._output.clone(), self._grad.clone()
