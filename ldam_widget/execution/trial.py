"""Measure which way of running the network is fastest: about a second, or at least two runs per candidate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from .threads import can_be_set, cpu_threads

T = TypeVar("T")

SECONDS = 0.5  # duration of a trial
_ROUNDS = 20
_HOPELESS = 1.3  # candidates slower than this times the best are not timed again
_GAIN = 0.95  # of the plain time: smaller gains are noise, and plain is preferred
_WORTH_TWICE = 0.75  # doubling the threads must cut the time below this fraction, since others need them too
_SMALL = 2e-3  # seconds per gradient below which more threads do not help
# Measured differences between two correct implementations, image by image. Outputs: 1e-6 of the largest in float32,
# 1e-5 in a deep network, 3e-3 where hardware multiplies with 10-bit mantissas (TF32). Gradients: 1e-6 in float32,
# unless rounding flips a rectifier across its kink. Values off by r flip about a fraction r of the rectifiers, which
# changes a gradient by √r of its length: by up to 1 % in float32, and by 2 to 16 % with TF32 (measured on LeNet, VGG
# and a residual block).
_OUTPUTS = {True: 1e-3, False: 1e-2}  # exact arithmetic -> tolerance, relative to an image's largest output
_GRADIENTS = {True: 0.05, False: 0.25}  # relative to the length of an image's gradient
_NOTHING = 1e-4  # relative to the largest in the batch: an image with a dead neuron has only rounding errors

Run = Callable[[T], object]


def ranked(candidates: Sequence[T], run: Run[T], device: torch.device) -> list[tuple[T, float]]:
    """The first candidate (the plain one) and all that are faster, with their times relative to it, fastest first.

    All must have run before. Rounds are interleaved and minimum times compared, since other load only adds time.
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
    """How many CPU threads are worth using, up to the number torch would use for this thread's work."""
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
    """Whether the outputs and, last, the gradient of two networks, (image, …) each, agree image by image up to
    rounding."""
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
    """Seconds of wall time, so that waiting for contended CPUs counts."""
    with cpu_threads(count):
        run()
        began = time.perf_counter()
        run()
        return time.perf_counter() - began


def _seconds(run: Run[T], candidate: T, device: torch.device) -> float:
    # thread time excludes other processes, but would miss helper threads
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
