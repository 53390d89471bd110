"""Cost of one step, as a ratio to the plain torch floor measured in the same round: `python benchmarks/step.py`.

Four networks (networks.py). The floor is a frozen network, its gradient with respect to the images alone, noise into a
reused buffer and an update in place; where a layer inside is climbed it stops there, and so does torch-sgld, whose user
writes the forward pass. Contenders (contenders.py) are interleaved in shuffled order; the floor is timed at both ends
of every round; the median over rounds is reported with its range. One CPU thread for all and process-CPU time; with
more threads, wall-clock time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import statistics

import torch
from contenders import Ours, floor, ours, rivals
from networks import NETWORKS, Network
from timing import Run, clock_for, measure, median_and_range, warm


def compare(network: Network, rounds: int, device: torch.device, threads: int = 1) -> None:
    """Print the table of one network."""
    steps = network.steps * (10 if device.type == "cuda" else 1)  # there the host's own work is what takes time
    print(f"\n**{network.title}** ({network.weights})\n")
    clock = clock_for(device, threads)
    base = floor(network, device, steps)
    contenders: dict[str, Run] = {**ours(network, device, steps), **rivals(network, device, steps)}
    for run in [base, *contenders.values()]:
        warm(run, clock)
    measured = measure(base, contenders, rounds, clock)
    each = statistics.median(measured.floor) / steps
    print(f"floor: {each * 1e3:.3g} ms a step, {1 / each:.3g} steps/s")
    print("\n| contender | ÷ floor, median | range | run as |\n|---|---|---|---|")
    for name, values in measured.ratios.items():
        run = contenders[name]
        print(f"| {name} | {median_and_range(values)} | {run.execution if isinstance(run, Ours) else ''} |", flush=True)


def compare_all(names: list[str], rounds: int, device: torch.device, threads: int = 1) -> None:
    for name in names:
        try:
            network = NETWORKS[name]()
        except ImportError as error:
            print(f"\n{name} is not measured: {error}")
            continue
        compare(network, rounds, device, threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # lucent takes a GPU unasked
    torch.set_num_threads(asked.threads)
    kind = "process-CPU" if asked.threads == 1 else "wall-clock"
    print(f"{asked.threads} CPU thread{'s' * (asked.threads > 1)}, {kind} time, load {os.getloadavg()[0]:.1f}")
    compare_all(asked.networks, asked.rounds, torch.device("cpu"), asked.threads)


if __name__ == "__main__":
    main()
