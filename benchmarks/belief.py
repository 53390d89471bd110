"""How often does `belief` doubt honest networks, and does it notice attacked ones?

    python benchmarks/belief.py --data DIR                        the shipped networks, in two laws, all ten classes
    python benchmarks/belief.py --data DIR --networks small       LeNets trained here, briefly, from five seeds
    python benchmarks/belief.py --data DIR --networks attacks     the attacked networks of the tests

DIR (or LDAM_DATA) holds `mnist/` and `cifar10/`. Prints one row per neuron, and the quantiles from which the thresholds
of `diagnostics/belief.py` were chosen.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.judge import judge
from ldam_widget.demo.lenet import LeNet5, preprocess
from ldam_widget.diagnostics.belief import NeuronBelief

SMALL_SEEDS = range(1, 6)


class Case(NamedTuple):
    name: str
    model: nn.Module
    settings: dict[str, Any]
    images: Tensor
    judge: nn.Module | None
    natural: bool


def shipped_mnist(data: Path) -> Iterator[Case]:
    images, _ = load_mnist(data / "mnist")
    for which in ("epoch1", "final", "averaged"):
        d = ldam.demo.mnist(which)
        yield Case(f"LeNet {which}, natural", d.model, d.settings | {"prior": d.prior}, images, judge(), True)
        yield Case(f"LeNet {which}, pixels", d.model, d.settings | {"prior": None}, images, judge(), False)


def shipped_cifar(data: Path) -> Iterator[Case]:
    images = torch.as_tensor(np.load(data / "cifar10" / "cifar10_lossless_5k.npz")["train_images"])
    for which in ("final", "averaged"):
        d = ldam.demo.cifar(which)
        yield Case(f"VGG {which}, natural", d.model, d.settings | {"prior": d.prior}, images, None, True)
        yield Case(f"VGG {which}, pixels", d.model, d.settings | {"prior": None}, images, None, False)


def small(data: Path) -> Iterator[Case]:
    images, labels = load_mnist(data / "mnist")
    d = ldam.demo.mnist()
    for seed in SMALL_SEEDS:
        model = briefly_trained(images, labels, seed)
        yield Case(f"LeNet seed {seed}, natural", model, d.settings | {"prior": d.prior}, images, judge(), True)
        yield Case(f"LeNet seed {seed}, pixels", model, d.settings | {"prior": None}, images, judge(), False)


def briefly_trained(images: Tensor, labels: Tensor, seed: int, steps: int = 600) -> LeNet5:
    """A LeNet-5 after one pass over 60,000 images, by Adam."""
    torch.manual_seed(seed)
    model = LeNet5()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        some = torch.randint(len(images), (100,))
        loss = F.cross_entropy(model(preprocess(images[some].unsqueeze(1) / 255)), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def assessed(case: Case, neurons: list[int], steps: int, seed: int) -> list[NeuronBelief]:
    sampler = ldam.Sampler(case.model, neurons=neurons, dataset=None, seed=seed, execution="plain", **case.settings)
    sampler.step(steps)
    return list(sampler.belief(case.images, judge=case.judge, seed=seed).neurons)


def row(found: NeuronBelief) -> str:
    recognised = "–" if found.recognised is None else f"{found.recognised:.2f}"
    ends = " ".join(f"{value:.1f}" for value in found.starts.values())
    return (
        f"{found.label:12} f {found.activation:7.2f} over {found.overshoot:5.2f} recognised {recognised} silent "
        f"{found.silent:.3f} starts {ends} gap {found.gap:.2f} departure {found.departure:.2f} "
        f"shuffled {found.shuffled:.3f} preference {found.preference:.2f}  {found.text}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LDAM_DATA"))
    parser.add_argument("--networks", default="mnist", choices=["mnist", "cifar", "small", "attacks"])
    parser.add_argument("--neurons", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("--data DIR, or LDAM_DATA, must name the folder of real images")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ldam.LDAMWarning)
    cases = {"mnist": shipped_mnist, "cifar": shipped_cifar, "small": small, "attacks": attacks}[chosen.networks]
    every: dict[bool, list[NeuronBelief]] = {True: [], False: []}
    for case in cases(Path(chosen.data)):
        if chosen.only not in case.name:
            continue
        began = time.perf_counter()
        for neuron in chosen.neurons:
            (found,) = assessed(case, [neuron], chosen.steps, chosen.seed)
            every[case.natural].append(found)
            print(f"{case.name:24} {row(found)}", flush=True)
        print(f"{case.name:24} {time.perf_counter() - began:.0f} s", flush=True)
    for natural, rows in every.items():
        summary("natural prior" if natural else "pixels", rows)


def summary(name: str, rows: list[NeuronBelief]) -> None:
    if not rows:
        return
    doubtful = sum(bool(each.doubts) for each in rows)
    print(f"{name}: {doubtful} of {len(rows)} neurons doubtful")
    for figure in ("overshoot", "recognised", "silent", "gap", "departure", "shuffled", "preference"):
        values = sorted(each[figure] for each in rows if each[figure] is not None and each[figure] == each[figure])
        if values:
            print(f"  {figure:11} {values[0]:.3f} to {values[-1]:.3f}, median {statistics.median(values):.3f}")


def attacks(data: Path) -> Iterator[Case]:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.attacks import fooling_circuit, slingshot

    images, _ = load_mnist(data / "mnist")
    d = ldam.demo.mnist()
    for attack, prior in itertools.product((fooling_circuit, slingshot), (d.prior, None)):
        name = attack.__name__.rpartition(".")[2].replace("_", " ")
        law = "pixels" if prior is None else "natural"
        yield Case(
            f"{name}, {law}",
            attack.network(),
            d.settings | {"layer": None, "prior": prior},
            images,
            judge(),
            prior is not None,
        )


if __name__ == "__main__":
    main()
