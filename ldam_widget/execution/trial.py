"""Which way of running the network is fastest here? Measured, in about a second, or twice for every candidate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .threads import can_be_set, cpu_threads

T = TypeVar("T")

SECONDS = 0.5  # that a trial takes
_ROUNDS = 20
_HOPELESS = 1.3  # times the best: not timed again
_GAIN = 0.95  # of the plain time: less is noise, and plain is plain
_WORTH_TWICE = 0.75  # of the time, that twice the threads must get below: they are taken from others
_SMALL = 2e-3  # seconds of a gradient that nothing is gained by sharing out
# How far two right ways of running a network were apart, image by image. Outputs: by 1e-6 of the largest in float32,
# 1e-5 in a deep network, 3e-3 where hardware multiplies numbers of 10 bits (TF32). Gradients: by 1e-6 in float32, as
# long as rounding decides for no rectifier on which side of its kink it is. Values that are off by r do so for about a
# share r of them, and that moves a gradient by √r of its length: by up to 1 % in float32, and with TF32 by 2 to 16 %
# (measured on LeNet, VGG and a residual block).
_OUTPUTS = {True: 1e-3, False: 1e-2}  # is it exact? of an image's largest output
_GRADIENTS = {True: 0.05, False: 0.25}  # of the length of an image's gradient
_NOTHING = 1e-4  # of the largest in the batch: an image with a dead neuron has nothing but rounding

Run = Callable[[T], object]


def ranked(candidates: Sequence[T], run: Run[T], device: torch.device) -> list[tuple[T, float]]:
    """The candidates that are as fast as the first of them, the plain one, with their times over its time; the fastest
    comes first.

    All have run before. Rounds are interleaved and least times compared: whatever else the machine does only adds.
    """
    if len(candidates) == 1:
        return [(candidates[0], 1.0)]
    began = time.perf_counter()
    least = {candidate: _seconds(run, candidate, device) for candidate in candidates}
    plain, left = candidates[0], list(candidates)
    for done in range(1, _ROUNDS):
        left = [c for c in left if c is plain or least[c] <= _HOPELESS * min(least.values())]
        if len(left) == 1 or (done > 1 and time.perf_counter() - began > SECONDS):
            break
        for candidate in left:
            least[candidate] = min(least[candidate], _seconds(run, candidate, device))
    ratios = [(c, least[c] / least[plain]) for c in candidates if c is plain or least[c] < _GAIN * least[plain]]
    return sorted(ratios, key=lambda found: found[1])


def best_threads(run: Callable[[], object], device: torch.device) -> int:
    """How many CPU threads are worth taking, up to the number that torch would use for this thread's work."""
    most = torch.get_num_threads()
    if device.type != "cpu" or most == 1 or not can_be_set():
        return most
    count, best = 1, _with_threads(run, 1)
    if best < _SMALL:
        return 1
    while 2 * count <= most:
        needed = _with_threads(run, 2 * count)
        if needed > _WORTH_TWICE * best:
            break
        count, best = 2 * count, needed
    return count


def agree(plain: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Are outputs (image, …), and the gradient (image, …) that comes last, of two networks the same but for rounding,
    image by image?"""
    exact = plain[0].device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
    if [tensor.shape for tensor in plain] != [tensor.shape for tensor in other]:
        return False
    (*outputs, grad), (*its_outputs, its_grad) = _flat(plain), _flat(other)
    return _near(grad, its_grad, 2, _GRADIENTS[exact]) and all(
        bool(its.isfinite().all()) and _near(output, its, math.inf, _OUTPUTS[exact])
        for output, its in zip(outputs, its_outputs, strict=True)
    )


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.double().flatten(1) for tensor in tensors]


def _near(a: Tensor, b: Tensor, order: float, tolerance: float) -> bool:
    off, size = ((t.norm(order, dim=1)) for t in (a - b, a))
    return bool((off <= tolerance * size + _NOTHING * size.max()).all())


def _with_threads(run: Callable[[], object], count: int) -> float:
    """Seconds of wall time: what is taken from others counts."""
    with cpu_threads(count):
        run()
        began = time.perf_counter()
        run()
        return time.perf_counter() - began


def _seconds(run: Run[T], candidate: T, device: torch.device) -> float:
    # what other processes do is no part of this thread's own time, but that of its helpers would be missing
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    _synchronize(device)
    began = clock()
    run(candidate)
    _synchronize(device)
    return clock() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
