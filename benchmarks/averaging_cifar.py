"""Do averaged weights show more modes, in colour? `python benchmarks/averaging_cifar.py --data DIR --weights DIR`.

`averaging.py` asks it of LeNet-5 on MNIST. Here a smaller network than the shipped VGG (three convolutions, 27,000
weights, a minute of CPU a training) is trained on CIFAR-10 from several seeds, as LeNet-5 was: RMSProp with momentum
at a constant rate. Of each training, the last weights are compared with the mean over the steps of the last epochs.
Both are sampled from the same start with the same noise, in two settings:

* Algorithm 1 with L2 and no discriminator, running averages of the chains: the setting of the paper's Fig. 5 as far as
  it is known;
* the natural prior of the shipped network, the sampler's defaults otherwise, single samples.

A ResNet-20 by others gives the features and the judgement. Three numbers a network, means over the ten classes:

* right: share of the pictures that the judge takes for their class;
* diversity: mean distance between pictures of one class in its features, over that between real images;
* modes: groups of these pictures, one picture a chain. Those nearer than the lower quartile of the distances between
  real images of the class count as one.

The paired differences, averaged − final, have Student's t intervals over the seeds, 95 %, each on its own. `--out`
saves all numbers and some pictures, for `notebooks/cifar_study.ipynb`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from averaging import Floats, count, difference, diverse, spread, verdict
from cifar_discriminator import Judge, load_judge
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import ldam_widget as ldam
from ldam_widget.data.cifar import Split, load_cifar
from ldam_widget.demo.cifar_fit import augment, network_input
from ldam_widget.demo.fit import copy, fresh, passes

STATES = ("final", "averaged")
SETTINGS = ("Algorithm 1, L2 0.1, averages", "natural prior, samples")
MEASURES = ("right", "diversity", "modes")
EPOCHS, AVERAGED = 8, 4  # of the averages, the last so many epochs
SHOWN = 2  # seeds whose pictures are saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LDAM_DATA", "."))
    parser.add_argument("--seeds", type=int, default=5, help="trainings, seeds 1 to this; at least 2")
    parser.add_argument("--images", type=int, default=10_000, help="training images, drawn once")
    parser.add_argument("--weights", type=Path, required=True, help="trainings are taken from and kept in it")
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.npz")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error("an interval needs at least two seeds")
    torch.set_num_threads(1)
    judge, cifar, began = load_judge(Path(asked.data)), load_cifar(Path(asked.data) / "cifar10"), time.perf_counter()
    order = torch.randperm(len(cifar.train.labels), generator=torch.Generator().manual_seed(0))[: asked.images]
    train = Split(cifar.train.images[order], cifar.train.labels[order])
    real, apart = look_at_real(judge, cifar.test)
    found = np.empty((asked.seeds, len(SETTINGS), len(STATES), len(MEASURES)))
    accuracy, pictures = np.empty((asked.seeds, len(STATES))), {}
    for i, seed in enumerate(range(1, asked.seeds + 1)):
        networks = trained(asked.weights, train, seed)
        for k, (state, model) in enumerate(networks.items()):
            accuracy[i, k] = right(model, cifar.test)
            for j, setting in enumerate(SETTINGS):
                images = sampled(model, setting, asked.chains, asked.steps, seed)
                found[i, j, k] = measure(judge, images, real, apart)
                if seed <= SHOWN:
                    pictures[f"{setting}; {state}; {seed}"] = (255 * images[:, 0]).round().byte().numpy()
        print(f"seed {seed}, {time.perf_counter() - began:.0f} s: accuracy {accuracy[i]}, "
              f"averaged − final {(found[i, :, 1] - found[i, :, 0]).round(2).tolist()}", flush=True)  # fmt: skip
    report(found, accuracy)
    if asked.out:
        numbers = {
            "command": f"python benchmarks/averaging_cifar.py --seeds {asked.seeds} --images {asked.images} "
            f"--chains {asked.chains} --steps {asked.steps}",
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "settings": SETTINGS, "states": STATES, "measures": MEASURES, "axes": "seed, setting, state, measure",
            "found": found.round(4).tolist(), "accuracy": accuracy.tolist(),
        }  # fmt: skip
        asked.out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        np.savez_compressed(asked.out.with_suffix(".npz"), **pictures)


class Small(nn.Module):
    """(N, 3, 32, 32) standardised pixels to (N, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.fc = nn.Linear(48 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def trained(folder: Path, train: Split, seed: int) -> dict[str, nn.Module]:
    """Networks in `STATES`, trained unless their weights are in `folder`."""
    files = {state: folder / f"seed{seed}_{state}.safetensors" for state in STATES}
    if not all(file.is_file() for file in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for file, weights in zip(files.values(), fit(train, seed), strict=True):
            save_file(weights, file)
    networks: dict[str, nn.Module] = {}
    for state, file in files.items():
        networks[state] = Small()
        networks[state].load_state_dict(load_file(file))
    return {state: model.eval() for state, model in networks.items()}


def fit(train: Split, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State dicts of `STATES`. LeNet-5's optimizer, with flips and shifts; no batch norm, so averages need no data."""
    model, source = fresh(Small, seed), torch.Generator("cpu").manual_seed(seed)
    averaged = AveragedModel(model)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-4, alpha=0.99, momentum=0.9, weight_decay=1e-3)
    for epoch, batches in passes(len(train.labels), EPOCHS, 100, source, progress=False):
        for batch in batches:
            x = network_input(augment(train.images[batch], 2, source))
            loss = F.cross_entropy(model(x), train.labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch >= EPOCHS - AVERAGED:
                averaged.update_parameters(model)
    return copy(model), copy(averaged.module)


@torch.no_grad()
def right(model: nn.Module, test: Split) -> float:
    """Share of the test images."""
    said = torch.cat([model(network_input(some)).argmax(1) for some in test.images.split(500)])
    return float((said == test.labels).float().mean())


def sampled(model: nn.Module, setting: str, chains: int, steps: int, seed: int) -> Tensor:
    """Pictures (10, chains, 3, 32, 32)."""
    demo = ldam.demo.cifar("final")
    how: dict[str, Any] = {"prior": demo.prior}
    if setting == SETTINGS[0]:
        how = {"prior": None, "kernel": ldam.kernels.Algorithm1(), "regularizers": [ldam.L2(0.1)]}
    s = ldam.Sampler(model, neurons=range(10), chains=chains, seed=seed, **how, **demo.settings)
    s.step(steps)
    return s.average_images if setting == SETTINGS[0] else s.images


def look_at_real(judge: Judge, test: Split) -> tuple[Floats, list[float]]:
    """By class: diversity of real images, and the distance from which two count as two modes; of 200 test images."""
    by_class = torch.stack([judge.features(test.images[test.labels == c][:200].float() / 255) for c in range(10)])
    return diverse(by_class), [float(torch.pdist(own).quantile(0.25)) for own in by_class]


def measure(judge: Judge, images: Tensor, real: Floats, apart: list[float]) -> list[float]:
    """`MEASURES`, means over the ten classes."""
    chains = images.shape[1]
    features = judge.features(images.flatten(0, 1))
    with torch.no_grad():
        said = judge.head(features).argmax(1)
    hit = float((said == torch.arange(10).repeat_interleave(chains)).float().mean())
    by_class = features.view(10, chains, -1)
    modes = [count(points, near) for points, near in zip(by_class, apart, strict=True)]
    return [hit, float((diverse(by_class) / real).mean()), float(np.mean(modes))]


def report(found: Floats, accuracy: Floats) -> None:
    print("\n| setting | measure | final | averaged | averaged − final (95 %) | averaging shows |")
    print("|---|---|---|---|---|---|")
    for j, setting in enumerate(SETTINGS):
        for m, measured in enumerate(MEASURES):
            final, averaged = found[:, j, 0, m], found[:, j, 1, m]
            d, less = difference(final, averaged), "fewer" if measured == "modes" else "less"
            print(f"| {setting} | {measured} | {spread(final)} | {spread(averaged)} | {d.mean:+.2f} ({d.low:+.2f} to "
                  f"{d.high:+.2f}) | {verdict(d, f'more {measured}', f'{less} {measured}', len(found))} |")  # fmt: skip
    d = difference(100 * accuracy[:, 0], 100 * accuracy[:, 1])
    final, averaged = (spread(100 * accuracy[:, k]) for k in range(len(STATES)))
    print(f"\nMean ± standard deviation over {len(found)} trainings. Test accuracy, %: final {final}, averaged "
          f"{averaged}, difference {d.mean:+.2f} ({d.low:+.2f} to {d.high:+.2f}).")  # fmt: skip


if __name__ == "__main__":
    main()
