"""Time and memory of a chain as there are more of them: `python benchmarks/scale.py`.

Every case has a process of its own, in which two samplers of the same network take turns: one with 10 chains, and the
one that is measured. Time is that of a chain and step over that of the ten; below 1, many are cheaper together. Memory
is the growth of the process's peak (Linux alone; on CUDA of what torch has taken) from when the ten stand ready, so
that what every process needs anyhow is not in it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timing import clock_for, measure
from torch import nn

import ldam_widget as ldam

TEN = 10
BLOCK = 0.2  # seconds that a block of steps takes at least
SKIPPED = 200  # steps at first, or two seconds: whatever is tried or compiled is over


class Case(NamedTuple):
    """Neurons and chains of one network; its ten chains are of the first ten neurons, or of the only one."""

    network: str
    layer: str
    neurons: int
    chains: int  # a neuron

    @property
    def total(self) -> int:
        return self.neurons * self.chains


CASES = [
    *(Case("lenet", "fc3", 1, chains) for chains in (1, 4, 16, 64, 256, 1024, 4096)),
    *(Case("lenet", "conv2", neurons, 1) for neurons in (10, 100)),
    *(Case("mlp", "3", neurons, 1) for neurons in (10, 1000)),
]
TITLES = {"lenet": "LeNet-5", "mlp": "784–256–1000 perceptron"}


class Row(NamedTuple):
    """What came of a case."""

    ratio: float  # time a chain and step over that of the ten
    low: float
    high: float
    microseconds: float  # a chain and step
    bytes: float | None  # a chain
    execution: str | None


def sampler_of(case: Case, device: torch.device) -> ldam.Sampler:
    # units of a convolution one by one, from the top left corner on: 16 channels of 10×10
    keys: Sequence[Any] = range(case.neurons)
    if case.layer == "conv2":
        keys = [f"{i % 16}@{i // 16},{i // 16}" for i in keys]
    demo = ldam.demo.mnist("final")
    model: nn.Module = demo.model
    if case.network == "mlp":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 1000)).eval()
    return ldam.Sampler(
        model, layer=case.layer, neurons=keys, chains=case.chains, kernel=ldam.kernels.BAOAB(0.1),
        scale="none", temperature=1.0, regularizers=[ldam.L2(0.1)], steps_per_frame=1, input_shape=(1, 28, 28),
        pixel_range=(0, 1), preprocess=demo.settings["preprocess"], device=device,
    )  # fmt: skip


class Blocks:
    """Blocks of steps of one sampler, as many as take a while."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.sampler = sampler_of(case, device)
        began = time.perf_counter()
        while self.sampler.steps < SKIPPED and time.perf_counter() - began < 2:
            self.sampler.step(1)
        clock = clock_for(device)
        start = clock()
        self.sampler.step(3)
        self.steps = math.ceil(BLOCK / max((clock() - start) / 3, 1e-6))

    def __call__(self) -> None:
        self.sampler.step(self.steps)


def peak(device: torch.device, *, reset: bool = False) -> int | None:
    """Most bytes held so far, or since it was last reset; None where that is not known."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return None


def run(case: Case, rounds: int, device: torch.device) -> Row:
    """In a process of its own."""
    torch.set_num_threads(1)
    ten_case = case._replace(neurons=TEN) if case.neurons > 1 else case._replace(chains=TEN)
    ten = Blocks(ten_case, device)
    before = peak(device, reset=True)
    measured = Blocks(case, device)
    measured()
    after = peak(device)
    found = measure(ten, {"": measured}, rounds, clock_for(device))
    share = (TEN * ten.steps) / (case.total * measured.steps)  # chains and steps in a block
    ratios = [ratio * share for ratio in found.ratios[""]]
    each = statistics.median(ratios) * statistics.median(found.floor) / (TEN * ten.steps)
    grown = None if before is None or after is None else (after - before) / case.total
    execution = getattr(measured.sampler, "execution_report", None)
    return Row(statistics.median(ratios), min(ratios), max(ratios), each * 1e6, grown, execution)


def table(rounds: int, device: torch.device) -> None:
    print("\n| network, layer | neurons × chains | time ÷ that of 10 | range | µs | kB a chain | run as |")
    print("|---" * 7 + "|")
    for i, case in enumerate(CASES):
        command = [sys.executable, __file__, "--case", str(i), "--rounds", str(rounds), "--device", str(device)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = Row(*json.loads(done.stdout.splitlines()[-1]))
        what = f"{TITLES[case.network]}, {case.layer} | {case.neurons} × {case.chains}"
        times = f"{row.ratio:.2f} | {row.low:.2f}–{row.high:.2f} | {row.microseconds:.3g}"
        memory = "–" if row.bytes is None else f"{row.bytes / 1e3:.3g}"
        print(f"| {what} | {times} | {memory} | {row.execution or '–'} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--case", type=int, help="run this one here, and print it as JSON")
    asked = parser.parse_args()
    if asked.case is None:
        return table(asked.rounds, asked.device)
    print(json.dumps(run(CASES[asked.case], asked.rounds, asked.device)))
    return None


if __name__ == "__main__":
    main()
