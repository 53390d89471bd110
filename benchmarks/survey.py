"""What a survey costs beside the forward pass alone: every layer, nine images of each unit, correlations.

    LDAM_DATA=… python benchmarks/survey.py [network …]

CPU seconds of this process, one thread. The cost per image is that of more images less that of fewer, so that looking
at the network and loading torch are not in it; the forward pass runs the same images in batches of the same size, just
before and after. Networks and images are those of LDAM_DATA (see CONTRIBUTING.md).
"""

from __future__ import annotations

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


def seconds(run: Any) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def main() -> None:
    torch.set_num_threads(1)
    for name, (make, (few, many), batch, side) in networks().items():
        if sys.argv[1:] and not any(name.startswith(wanted) for wanted in sys.argv[1:]):
            continue
        network, x = make(), images(many, side)
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (network.mean, network.std))

        def forward(network: nn.Module = network, x: Tensor = x, batch: int = batch, few: int = few,
                    mean: Tensor = mean, std: Tensor = std) -> None:  # fmt: skip
            with torch.no_grad():
                for part in x[few:].split(batch):
                    network((part - mean) / std)

        def surveyed(count: int, network: nn.Module = network, x: Tensor = x, batch: int = batch,
                     mean: Tensor = mean, std: Tensor = std) -> ldam.Survey:  # fmt: skip
            return ldam.survey(
                network, x[:count], preprocess=lambda x: (x - mean) / std, batch=batch, device="cpu", progress=False
            )

        found = surveyed(batch)
        units = sum(found.units(layer) for layer in found.layers)
        ratios, plain = [], []
        for _ in range(ROUNDS):
            alone = seconds(forward)
            with_survey = seconds(lambda: surveyed(many)) - seconds(lambda: surveyed(few))  # noqa: B023
            alone = (alone + seconds(forward)) / 2
            plain.append(1000 * alone / (many - few))
            ratios.append(with_survey / alone)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {len(found.layers)} layers, {units:,} units; forward {statistics.median(plain):.1f} ms an image; "
            f"survey × {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"peak memory {peak:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
