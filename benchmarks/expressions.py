"""Cost of a step that climbs an expression over two layers, as a ratio to its deeper layer alone.

`python benchmarks/expressions.py`. Both run the same network, batch and kernel; blocks of steps are interleaved in
shuffled order, and the median over rounds is reported with its range. One CPU thread, process-CPU time. The shallower
layer is the first one of the network, so that what is read is kept for as long as possible.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
from typing import Any

import torch
from networks import NETWORKS, Network
from timing import Run, clock_for, measure, median_and_range, warm

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB

FORMS = ("two layers", "interpolated", "two units of one layer", "cosine")


def climbing(network: Network, asked: list[Any], device: torch.device) -> Run:
    sampler = ldam.Sampler(
        network.fresh(device, frozen=False), layer=network.layer, neurons=asked, chains=network.chains,
        kernel=BAOAB(0.01), prior=None, transforms=None, scale="none", temperature=1.0, pixel_range=(0, 1),
        preprocess=network.preprocess(device), input_shape=network.shape, device=device, execution="plain",
    )  # fmt: skip
    return lambda: sampler.step(network.steps)


def forms(network: Network, device: torch.device) -> dict[str, list[Any]]:
    """One column for each unit of the network, in every form."""
    rows = ldam.layers(network.model, network.shape)
    first = next(row.name for row in rows if row.leaf and len(row.shape) > 1)
    width = next(row.units for row in rows if row.name == network.layer)
    units = [ldam.neuron(name.split(":")[1]) for name in network.neurons]
    early = [ldam.neuron(f"{first}:{i % 4}") for i in range(len(units))]
    other = [ldam.neuron((unit + 1) % width) for unit in network.units]
    direction = torch.ones(width)
    return {
        "two layers": [unit + 0.5 * one for unit, one in zip(units, early, strict=True)],
        "interpolated": [ldam.interpolate(unit, one) for unit, one in zip(units, early, strict=True)],
        "two units of one layer": [unit - one for unit, one in zip(units, other, strict=True)],
        "cosine": [unit + ldam.cosine(direction + 0.1 * i) for i, unit in enumerate(units)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cpu")
    clock = clock_for(device)
    print(
        "| network | " + " | ".join(f"{form}, median | range" for form in FORMS) + " |\n|---|" + "---|---|" * len(FORMS)
    )
    for name in asked.networks:
        try:
            network = NETWORKS[name]()
        except ImportError as error:
            print(f"\n{name} is not measured: {error}")
            continue
        units = [name.split(":")[1] for name in network.neurons]
        alone = climbing(network, units, device)
        runs = {form: climbing(network, neurons, device) for form, neurons in forms(network, device).items()}
        for run in (alone, *runs.values()):
            warm(run, clock)
        ratios = measure(alone, runs, asked.rounds, clock).ratios
        print(f"| {network.title} | " + " | ".join(median_and_range(ratios[form]) for form in FORMS) + " |", flush=True)


if __name__ == "__main__":
    main()
