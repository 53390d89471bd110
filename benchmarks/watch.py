"""What `watch` costs the loop that it watches, as a ratio to the same loop without it: `python benchmarks/watch.py`.

LeNet-5 trains on random images, batch 64, one CPU thread for all. Contenders take turns, block by block, in shuffled
order, a plain block at both ends of every round. Hidden: CPU time of the training thread, all of a block, since
snapshots are rare and must count; and, where the machine is too busy for that to tell, the share of it that is spent
within `update`. On show: wall-clock time of the median iteration, since the picture has a thread of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import ldam_widget as ldam
from ldam_widget.demo.lenet import LeNet5

BATCH, BLOCK = 64, 100  # images, iterations: one checkpoint a block


class Training:
    """A network, and a way to train it for a block; its watch is not told."""

    def __init__(self, **watch: Any) -> None:
        self.model = LeNet5().train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.watch = ldam.Watch(self.model, every=BLOCK, input_shape=(1, 28, 28), pixel_range=(0, 1), **watch)
        self.update: Callable[[], None] = lambda: None
        self.within: list[float] = []  # share of the time that `update` takes, a number a block

    def block(self) -> tuple[float, float]:
        """Seconds an iteration: of this thread's CPU, and by the clock."""
        x, y = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
        times, within = [], 0.0
        began, before = time.thread_time(), time.perf_counter()
        for _ in range(BLOCK):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()
            called = time.thread_time()
            self.update()
            within += time.thread_time() - called
            now = time.perf_counter()
            times.append(now - before)
            before = now
        spent = time.thread_time() - began
        self.within.append(within / spent)
        return spent / BLOCK, statistics.median(times)


class Hidden(Training):
    """Nobody looks."""

    def __init__(self, **watch: Any) -> None:
        super().__init__(play=False, **watch)
        self.update = self.watch.update


class OnShow(Training):
    """A page that answers every frame at once."""

    def __init__(self) -> None:
        super().__init__(play=True)
        self.update = self.watch.update
        self.watch.send = self.answer

    def answer(self, content: dict[str, Any], _buffers: Any = None) -> None:
        if content["kind"] == "frame":
            self.watch._loop.acknowledge(content["seq"], True)

    def block(self) -> tuple[float, float]:
        self.watch.play()
        times = super().block()
        self.watch.pause()
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    plain, shown = Training(), OnShow()
    contenders = {"hidden": Hidden(), "hidden, decay=0.98": Hidden(decay=0.98), "without": Training(), "on show": shown}
    for training in [plain, *contenders.values(), shown]:
        training.block()
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    floors = []
    for _ in range(parser.parse_args().rounds):
        before = plain.block()
        times = {name: contenders[name].block() for name in random.sample(list(contenders), len(contenders))}
        floor = [(a + b) / 2 for a, b in zip(before, plain.block(), strict=True)]
        floors.append(floor[1])
        for name, (cpu, median) in times.items():
            ratios[name].append(median / floor[1] if name == "on show" else cpu / floor[0])
    print(f"plain: {statistics.median(floors) * 1e3:.2f} ms an iteration, load {os.getloadavg()[0]:.1f}")
    print("\n| training of LeNet-5, batch 64 | ÷ plain, median | range | within `update` |\n|---|---|---|---|")
    for name, values in ratios.items():
        within = statistics.median(contenders[name].within)
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f}–{max(values):.3f} | {within:.2%} |")
    cost = "not known" if shown.watch.cost is None else f"{1 + shown.watch.cost:.3f}"
    print(f"\n`w.cost` says of the picture on show: {cost}; a snapshot: {shown.watch._snapshot_seconds * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
