"""Time contenders side by side: interleaved in shuffled order, as ratios to a floor that is timed around them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

Run = Callable[[], object]  # a block of steps
Clock = Callable[[], float]  # seconds

WARM_UP = 3.0  # seconds for each contender, and three blocks at least: whatever is tried or compiled first is over


def clock_for(device: torch.device, threads: int = 1) -> Clock:
    """Process-CPU time, which others on the machine disturb least; the wall clock where that is not the wait."""
    if device.type == "cuda":

        def after_the_queue() -> float:
            torch.cuda.synchronize(device)
            return time.perf_counter()

        return after_the_queue
    return time.process_time if threads == 1 else time.perf_counter


def seconds(run: Run, clock: Clock) -> float:
    start = clock()
    run()
    return clock() - start


def warm(run: Run, clock: Clock) -> None:
    began, blocks = time.perf_counter(), 0
    while blocks < 3 or time.perf_counter() - began < WARM_UP:
        seconds(run, clock)
        blocks += 1


class Measured(NamedTuple):
    """Seconds of the floor's blocks, and what every contender took of it in the same round."""

    floor: list[float]
    ratios: dict[str, list[float]]


def measure(floor: Run, contenders: Mapping[str, Run], rounds: int, clock: Clock) -> Measured:
    """The floor is timed at both ends of every round; all are warm."""
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    floors = []
    for _ in range(rounds):
        before = seconds(floor, clock)
        order = random.sample(list(contenders), len(contenders))
        times = {name: seconds(contenders[name], clock) for name in order}
        floors.append((before + seconds(floor, clock)) / 2)
        for name, value in times.items():
            ratios[name].append(value / floors[-1])
    return Measured(floors, ratios)


def median_and_range(values: list[float]) -> str:
    """Two cells of a table."""
    return f"{statistics.median(values):.2f} | {min(values):.2f}–{max(values):.2f}"
