"""What the shipped discriminator does to samples of MNIST: `python benchmarks/discriminator.py --data DIR`.

Ten neurons of LeNet-5 at five weights, many chains each, judged by a network of another architecture and seed
(`ldam train judge`): the share that it takes for the right digit; the kernel distance (KID) of its features to those of
the test digits, which is realism; the mean distance between samples of one digit, over that between real digits of one
class, which is diversity; and the distance to the nearest training image, over that of test digits, which would be
small if D had learnt images by heart. Samples carry the sampler's pixel noise, and are judged as they are.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.target import Kernel
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.judge import Judge, judge
from ldam_widget.diagnostics.realism import KernelDistance, diversity, kernel_distance, nearest

WEIGHTS = (0.0, 0.2, 0.5, 0.8, 1.0)


class Row(NamedTuple):
    """One weight."""

    weight: float
    right: float  # share of samples judged to be their neuron's digit
    distance: KernelDistance
    diverse: Tensor  # (10,), over that of real digits
    near: float  # median distance to the nearest training image, over that of test digits


class Real(NamedTuple):
    """Real digits as the judge sees them."""

    train: Tensor  # (n, 1, 28, 28) in 0…1
    features: Tensor  # of the test digits
    diverse: Tensor  # (10,)
    near: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.path.join(os.environ.get("LDAM_DATA", "."), "mnist"))
    parser.add_argument("--discriminator", help="a file; the shipped one if not given")
    parser.add_argument("--kernel", choices=["algorithm1", "baoab"], default="algorithm1")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    parser.add_argument("--picture", help="where to write a picture of some samples")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    demo, network = ldam.demo.mnist("final"), judge()
    net = demo.discriminator if asked.discriminator is None else ldam.load_discriminator(asked.discriminator)
    real = look_at_real(network, asked.data)
    print(f"{asked.kernel}, {asked.chains} chains a digit, {asked.steps} steps\n")
    print("| weight | right digit | KID to 10,000 test digits | diversity: mean (least) | nearest training image |")
    print("|---|---|---|---|---|")
    shown = []
    for weight in asked.weights:
        images = sample(demo, net, weight, asked.kernel, asked.chains, asked.steps)
        row = measure(network, images, weight, real)
        shown.append(images[:, 0])
        print(
            f"| {weight:g} | {row.right:.1%} | {row.distance.value:.3f} ± {row.distance.standard_error:.3f} | "
            f"{row.diverse.mean():.2f} ({row.diverse.min():.2f}) | {row.near:.2f} |",
            flush=True,
        )
    if asked.picture:
        names = [f"weight {weight:g}" for weight in asked.weights]
        pictures = torch.stack(shown)
        ldam.figures.grid(pictures, names, [str(i) for i in range(10)], pixel_range=(0, 1)).savefig(asked.picture)


def sample(demo: ldam.demo.Demo, net: torch.nn.Module, weight: float, kernel: str, chains: int, steps: int) -> Tensor:
    """Samples (10, chains, 1, 28, 28) with the default settings of a kernel."""
    how: dict[str, object] = {"kernel": ldam.kernels.Algorithm1(mix="convex")}
    if kernel == "baoab":
        moves: Kernel = ldam.kernels.BAOAB(0.2, 1.0)  # the defaults
        how = {"kernel": moves, "scale": "frozen", "temperature": 0.0036}
    sampler = ldam.Sampler(
        demo.model, neurons=range(10), chains=chains, seed=7, regularizers=[ldam.Discriminator(net, weight)],
        **how, **demo.settings,
    )  # fmt: skip
    sampler.step(steps)
    return sampler.images


def look_at_real(network: Judge, data: str) -> Real:
    train, _ = load_mnist(data, "train")
    test, labels = load_mnist(data, "test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))  # the files are not in random order
    pixels, labels = test[order, None].float() / 255, labels[order]
    features = in_chunks(network, pixels)
    known = train[:, None].float() / 255
    some = torch.cat([features[labels == digit][:200] for digit in range(10)])
    classes = torch.arange(10).repeat_interleave(200)
    near = torch.as_tensor(nearest(pixels[:500], known).distance).median()
    return Real(known, features, torch.as_tensor(diversity(some, classes)), float(near))


def measure(network: Judge, images: Tensor, weight: float, real: Real) -> Row:
    flat = images.flatten(0, 1)
    labels = torch.arange(10).repeat_interleave(images.shape[1])
    with torch.no_grad():
        right = (network(flat).argmax(1) == labels).float().mean()
    features = in_chunks(network, flat)
    mixed = torch.randperm(len(flat), generator=torch.Generator().manual_seed(1))
    near = torch.as_tensor(nearest(flat, real.train).distance).median()
    return Row(
        weight, float(right), kernel_distance(features[mixed], real.features),
        torch.as_tensor(diversity(features, labels)) / real.diverse, float(near) / real.near,
    )  # fmt: skip


def in_chunks(network: Judge, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.features(some) for some in pixels.split(1000)])


if __name__ == "__main__":
    main()
