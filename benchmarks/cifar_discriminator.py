"""What the shipped discriminator does to samples of CIFAR-10: `python benchmarks/cifar_discriminator.py --data DIR`.

Ten neurons of the VGG at several weights, in pixels (Algorithm 1 with convex weights, as the paper has it) and with the
natural prior (the sampler's defaults). A ResNet-20 that had no part in it judges the samples: the share that it takes
for the right class; the kernel distance (KID) of its features to those of test images; the mean distance between
samples of one class, over that between real images of one class (diversity); and the median correlated colour
temperature, in kelvin. D is the mean of the discriminator itself.

DIR (or LDAM_DATA) holds `models.py`, `weights/cifar10/resnet20.pt` and `cifar10/`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.data.cifar import CLASSES, load_cifar
from ldam_widget.diagnostics.realism import colour_temperature, diversity, kernel_distance

PRIORS = ("pixels", "natural")


class Judge(NamedTuple):
    """A classifier in two parts."""

    body: nn.Module
    head: nn.Module
    mean: Tensor
    std: Tensor

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) in 0…1 -> (n, 64)."""
        return torch.cat([self.body((some - self.mean) / self.std).mean((2, 3)) for some in pixels.split(250)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LDAM_DATA", "."))
    parser.add_argument("--discriminator", help="a file; the shipped one if not given")
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--weights", type=float, nargs="+", default=(0.0, 0.3, 0.6))
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=PRIORS)
    parser.add_argument("--picture", help="where to write a picture of some samples and averages")
    parser.add_argument("--out", help="where to save all samples and averages, .npz")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    demo, judge = ldam.demo.cifar("final"), load_judge(Path(asked.data))
    net = demo.discriminator if asked.discriminator is None else ldam.load_discriminator(asked.discriminator)
    real, labels = load_cifar(Path(asked.data) / "cifar10").test
    real = real[::5].float() / 255  # in the order of the classes
    labels, of_real = labels[::5], judge.features(real)
    own = float(torch.as_tensor(diversity(of_real, labels)).mean())
    kelvin = float(np.nanmedian(colour_temperature(real)))
    print(f"{len(real)} test images: {rated(judge.head(of_real), labels):.0%} right, {kelvin:.0f} K\n")
    print("| prior | weight | right class, samples | averages | KID | diversity | colour temperature | D |")
    print("|---|---|---|---|---|---|---|---|")
    kept: dict[str, Tensor] = {}
    for prior in asked.priors:
        for weight in asked.weights:
            s = sampler(demo, net, prior, weight, asked.chains)
            s.step(asked.steps)
            images, averages = s.images.cpu(), s.average_images.cpu()
            kept |= {f"{prior} {weight:g}": images, f"{prior} {weight:g}, averages": averages}
            score = float(torch.as_tensor(s.discriminator_score).mean())
            print(row(judge, prior, weight, images, averages, of_real, own, score), flush=True)
    if asked.out:
        np.savez_compressed(asked.out, **{name: value.half().numpy() for name, value in kept.items()})
    if asked.picture:
        pictures = torch.stack([images[:, 0] for images in kept.values()])
        names = [name.replace(", averages", "\naveraged").replace(" ", "\n", 1) for name in kept]
        figure = ldam.figures.grid(pictures, names, list(CLASSES), pixel_range=(0, 1), tile=0.9)
        figure.savefig(asked.picture, dpi=200)


def sampler(demo: Any, net: nn.Module, prior: str, weight: float, chains: int) -> ldam.Sampler:
    how: dict[str, Any] = {"prior": demo.prior}
    if prior == "pixels":
        how = {"prior": None, "kernel": ldam.kernels.Algorithm1(mix="convex")}
    return ldam.Sampler(
        demo.model, neurons=range(10), chains=chains, seed=7, regularizers=[ldam.Discriminator(net, weight)],
        **how, **demo.settings,
    )  # fmt: skip


def row(
    judge: Judge, prior: str, weight: float, images: Tensor, averages: Tensor, of_real: Tensor, own: float, score: float
) -> str:  # fmt: skip
    labels = torch.arange(10).repeat_interleave(images.shape[1])
    features = judge.features(images.flatten(0, 1))
    kid = kernel_distance(features, of_real, subsets=4)
    right = rated(judge.head(features), labels)
    of_averages = rated(judge.head(judge.features(averages.flatten(0, 1))), labels)
    apart = float(torch.as_tensor(diversity(features, labels)).mean()) / own
    kelvin = float(np.nanmedian(colour_temperature(images.flatten(0, 1))))
    return (
        f"| {prior} | {weight:g} | {right:.0%} | {of_averages:.0%} | {kid.value:.3f} ± {kid.standard_error:.3f} | "
        f"{apart:.2f} | {kelvin:.0f} K | {score:.2f} |"
    )


def rated(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def load_judge(data: Path) -> Judge:
    spec = importlib.util.spec_from_file_location("models", data / "models.py")
    assert spec is not None, "every .py file has one"
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    net = models.load_cifar_resnet(data / "weights/cifar10/resnet20.pt", 20)
    body = nn.Sequential(net.conv1, net.bn1, net.relu, net.layer1, net.layer2, net.layer3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (net.mean, net.std))
    return Judge(body.eval(), net.linear, mean, std)


if __name__ == "__main__":
    main()
