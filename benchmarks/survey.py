"""What a survey costs beside the forward pass alone: every layer, nine images of each unit, correlations.

    LDAM_DATA=… python benchmarks/survey.py [network …]

CPU seconds of this process, one thread. The network alone runs on each batch just before the survey does, so that both
meet the same machine. The first images are not counted, nor is looking at the network. Networks and images are those of
LDAM_DATA (see CONTRIBUTING.md).
"""

from __future__ import annotations

import copy
import importlib.util
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ldam_widget as ldam

ROUNDS = 3


def networks() -> dict[str, Any]:
    """By name: a function that makes the network, its weights, images of a round, batch size, side of an image."""
    data = Path(os.environ["LDAM_DATA"])
    spec = importlib.util.spec_from_file_location("models_of_others", data / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)

    def loaded(make: Any, file: str) -> nn.Module:
        weights = torch.load(data / "weights" / file, weights_only=True)
        network = make().eval()
        network.load_state_dict({name: w.float() if w.is_floating_point() else w for name, w in weights.items()})
        return network

    cifar = data / "weights/cifar10/resnet20.pt"
    return {
        "ResNet-20, 32²": (lambda: models.load_cifar_resnet(cifar, 20), (1024, 2048), 256, 32),
        "ResNet-18, 224²": (lambda: loaded(models.ResNet, "imagenet/resnet18_fp16.pt"), (16, 48), 16, 224),
        "SqueezeNet, 227²": (lambda: loaded(models.SqueezeNet, "imagenet/squeezenet1_0.pt"), (16, 48), 16, 227),
    }


def images(count: int, side: int) -> Tensor:
    """Real ones for 32², smooth noise for others."""
    if side == 32:
        path = Path(os.environ["LDAM_DATA"]) / "cifar10/cifar10_lossless_5k.npz"
        return torch.from_numpy(np.load(path)["train_images"][:count]).permute(0, 3, 1, 2).contiguous().float() / 255
    noise = torch.rand(count, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (side, side), mode="bicubic").clamp(0, 1)


class Clock:
    """Runs the network alone on each batch of a survey, just before the survey does, and counts both times."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        self._network, self._mean, self._std = network, mean, std
        self.alone: list[tuple[float, float, int]] = []  # per batch: when it began, what the network took, images

    def preprocess(self, x: Tensor) -> Tensor:
        began = time.process_time()
        x = (x - self._mean) / self._std
        with torch.no_grad():
            self._network(x)
        self.alone.append((began, time.process_time() - began, len(x)))
        return x

    def ratio(self, few: int, end: float) -> tuple[float, float]:
        """CPU time of the survey per that of the network, and seconds of the network an image, after `few` images."""
        counted, images = [], 0
        for batch in self.alone:
            if images >= few:
                counted.append(batch)
            images += batch[2]
        plain = sum(seconds for _, seconds, _ in counted)
        whole = end - counted[0][0]  # with the network alone
        return (whole - plain) / plain, plain / sum(n for *_, n in counted)


def main() -> None:
    torch.set_num_threads(1)
    for name, (make, (few, many), batch, side) in networks().items():
        if sys.argv[1:] and not any(name.startswith(wanted) for wanted in sys.argv[1:]):
            continue
        network, x = make(), images(many, side)
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (network.mean, network.std))
        ratios, plain = [], []
        for _ in range(ROUNDS):
            clock = Clock(copy.deepcopy(network), mean, std)  # a survey refuses to run the model itself
            found = ldam.survey(network, x, preprocess=clock.preprocess, batch=batch, device="cpu", progress=False)
            # looking at the network runs a few images, too, before the first batch
            first = next(i for i, (*_, n) in enumerate(clock.alone) if n == batch)
            del clock.alone[:first]
            ratio, seconds = clock.ratio(few, time.process_time())
            ratios.append(ratio)
            plain.append(1000 * seconds)
        units = sum(found.units(layer) for layer in found.layers)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {len(found.layers)} layers, {units:,} units; forward {statistics.median(plain):.1f} ms an image; "
            f"survey × {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"peak memory {peak:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
