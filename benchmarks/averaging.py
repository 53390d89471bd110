"""Do averaged weights show more modes? `python benchmarks/averaging.py --data DIR --seeds 6 --weights DIR`.

The paper's Fig. 5 says so of one network (98.7 % of the test images before, 99.11 % after averaging). Here LeNet-5 is
trained from several seeds, and of each training the last weights are compared with the average over the last epochs.
Both are sampled with the same noise, many chains for each of the ten logits, in two settings:

* Algorithm 1 with L2 and no discriminator, running averages of the chains: the setting of Fig. 5 as far as it is known;
* BAOAB with frozen scales and the shipped discriminator, single samples: the defaults. That discriminator was
  trained against the final weights of seed 0, which is none of the seeds here.

Neither law depends on how long a network's gradients are. Three numbers a network, means over the ten digits:

* diversity: mean distance between pictures of one digit in the judge's features, over that between real digits;
* modes seen: groups of these pictures, one picture a chain. Those nearer than a threshold in the judge's features are
  one: the lower quartile of the distances between real digits of that class, by which 16 of them make about 7 groups;
* modes of E: the same count after every chain was taken uphill to its maximum of E, as `ldam.explore` does. (Its own
  count, by pixels, is no use here: every chain has a mode of its own.)

The verdict is on the paired differences between averaged and final: Student's t over the seeds, 95 %, each on its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from scipy import stats  # type: ignore[import-untyped]  # comes with arviz-stats
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.judge import Judge, judge
from ldam_widget.demo.lenet import with_weights
from ldam_widget.demo.train import file_name, train_lenet5
from ldam_widget.diagnostics.realism import diversity

STATES = ("final", "averaged")
SETTINGS = ("Algorithm 1, L2 0.1", "BAOAB, discriminator 0.5")
MEASURES = ("diversity", "modes seen", "modes of E")
Floats = npt.NDArray[np.float64]


class Real(NamedTuple):
    """Real digits as the judge sees them, by class."""

    diverse: Floats  # (10,)
    apart: list[float]  # from which distance on two pictures count as two modes
    modes: float  # of so many real digits as there are chains


class Difference(NamedTuple):
    """Of paired numbers, with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(os.environ.get("LDAM_DATA", "."), "mnist"))
    parser.add_argument("--seeds", type=int, default=5, help="trainings, seeds 1 to this; at least 2")
    parser.add_argument("--weights", type=Path, required=True, help="trainings are taken from and kept in its seed1, …")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--steps", type=int, default=500)
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error("an interval needs at least two seeds")
    torch.set_num_threads(1)
    network, began = judge(), time.perf_counter()
    real = look_at_real(network, asked.data, asked.chains)
    found = np.empty((asked.seeds, len(SETTINGS), len(STATES), len(MEASURES)))
    accuracy = np.empty((asked.seeds, len(STATES)))
    for i, seed in enumerate(range(1, asked.seeds + 1)):
        accuracy[i] = train_if_missing(asked.weights / f"seed{seed}", asked.data, seed)
        for j, setting in enumerate(SETTINGS):
            for k, state in enumerate(STATES):
                model = with_weights(load_file(asked.weights / f"seed{seed}" / file_name(state)))
                sampler = sampler_of(model, setting, asked.chains, seed)
                sampler.step(asked.steps)
                found[i, j, k] = measure(network, sampler, setting, real)
        differences = (found[i, :, 1] - found[i, :, 0]).round(2).tolist()
        print(f"seed {seed}, {time.perf_counter() - began:.0f} s: averaged − final {differences}", flush=True)
    report(found, accuracy, real, asked.chains, asked.steps)


def train_if_missing(folder: Path, data: str, seed: int) -> list[float]:
    """Test accuracies of `STATES`; the weights are in `folder`."""
    if not (folder / "lenet5.json").is_file():
        train_lenet5(data, seed=seed, progress=False, out=folder)
    accuracy = json.loads((folder / "lenet5.json").read_text(encoding="utf-8"))["test_accuracy"]
    return [accuracy[state] for state in STATES]


def sampler_of(model: torch.nn.Module, setting: str, chains: int, seed: int) -> ldam.Sampler:
    demo = ldam.demo.mnist("final")
    how: dict[str, Any] = {"kernel": ldam.kernels.Algorithm1(), "regularizers": [ldam.L2(0.1)]}
    if setting == SETTINGS[1]:
        how = {
            "kernel": ldam.kernels.BAOAB(0.2, 1.0), "scale": "frozen", "temperature": 0.0036,  # the defaults
            "regularizers": [ldam.Discriminator(demo.discriminator, 0.5)],
        }  # fmt: skip
    return ldam.Sampler(model, neurons=range(10), chains=chains, seed=seed, **how, **demo.settings)


def look_at_real(network: Judge, data: str, chains: int) -> Real:
    test, labels = load_mnist(data, "test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))  # the files are not in random order
    pixels, labels = test[order, None].float() / 255, labels[order]
    by_class = torch.stack([features(network, pixels[labels == digit][:200]) for digit in range(10)])
    apart = [float(torch.pdist(own).quantile(0.25)) for own in by_class]
    counts = [count(some, a) for own, a in zip(by_class, apart, strict=True) for some in own.split(chains)[:-1]]
    return Real(diverse(by_class), apart, float(np.mean(counts)))


def measure(network: Judge, sampler: ldam.Sampler, setting: str, real: Real) -> list[float]:
    """`MEASURES`, means over the ten digits."""
    shown = sampler.average_images if setting == SETTINGS[0] else sampler.images
    maxima = sampler.quenched()
    seen, there = (features(network, images.flatten(0, 1)).view(10, sampler.chains, -1) for images in (shown, maxima))
    modes = [np.mean([count(*each) for each in zip(points, real.apart, strict=True)]) for points in (seen, there)]
    return [float((diverse(seen) / real.diverse).mean()), *map(float, modes)]


def features(network: Judge, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return network.features(pixels)


def diverse(by_class: Tensor) -> Floats:
    """(classes, n, d) -> (classes,)."""
    classes, n, _ = by_class.shape
    return diversity(by_class.flatten(0, 1), torch.arange(classes).repeat_interleave(n))


def count(points: Tensor, apart: float) -> int:
    """Groups of points (n, d): each joins the first group whose first member is near, or founds a new one."""
    leaders: list[Tensor] = []
    for point in points:
        if all(torch.dist(point, leader) >= apart for leader in leaders):
            leaders.append(point)
    return len(leaders)


def difference(before: Floats, after: Floats) -> Difference:
    paired = after - before
    half = stats.t.ppf(0.975, len(paired) - 1) * stats.sem(paired)
    return Difference(paired.mean(), paired.mean() - half, paired.mean() + half)


def verdict(d: Difference, more: str, fewer: str, seeds: int) -> str:
    if d.low > 0:
        return more
    return fewer if d.high < 0 else f"no difference that {seeds} seeds can show"


def report(found: Floats, accuracy: Floats, real: Real, chains: int, steps: int) -> None:
    seeds, answers = len(found), []
    print(f"\n{seeds} trainings, {chains} chains a digit, {steps} steps. Real digits: {real.modes:.1f} modes seen.\n")
    print("| setting | measure | final | averaged | averaged − final (95 %) | averaging shows |")
    print("|---|---|---|---|---|---|")
    for j, setting in enumerate(SETTINGS):
        for m, measure in enumerate(MEASURES):
            final, averaged = found[:, j, 0, m], found[:, j, 1, m]
            d, what = difference(final, averaged), measure.split()[0]
            less = "less" if what == "diversity" else "fewer"
            answer = verdict(d, f"more {what}", f"{less} {what}", seeds)
            interval = f"{d.low:+.2f} to {d.high:+.2f}"
            print(
                f"| {setting} | {measure} | {spread(final)} | {spread(averaged)} | "
                f"{d.mean:+.2f} ({interval}) | {answer} |"
            )
            answers += [f"{setting}, {measure}: {answer} (interval {interval})"] if what == "modes" else []
    d = difference(100 * accuracy[:, 0], 100 * accuracy[:, 1])
    right = [spread(100 * accuracy[:, k]) for k in range(len(STATES))]
    print("\nMean ± standard deviation over the seeds.")
    print(f"Test accuracy, %: final {right[0]}, averaged {right[1]} (paper: 98.7, 99.11); "
          f"averaged − final {d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f}).")  # fmt: skip
    print("Does averaging show more modes?", *answers, sep="\n")


def spread(values: Floats) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


if __name__ == "__main__":
    main()
