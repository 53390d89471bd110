"""How the shipped LeNet-5 weights were made, and how to make your own: `ldam train lenet5 --data DIR`."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from ldam_widget.demo.fit import Recipe, Weights, fit, network_input
from ldam_widget.demo.lenet import MEAN, STD, LeNet5, with_weights
from ldam_widget.demo.mnist_data import checksums, load_mnist, published_checksums

CARD_FILE = "lenet5.json"


class TrainingResult(NamedTuple):
    """Three states of one run, by name: "epoch1", "final", "averaged"."""

    weights: dict[str, Weights]
    accuracy: dict[str, float]  # on the test images, 0…1
    card: dict[str, Any]  # what `lenet5.json` holds: recipe, versions, checksums, accuracies
    out: Path | None  # where the files are; None: nothing was written


def train_lenet5(
    data: str | os.PathLike[str],
    *,
    epochs: int = Recipe.epochs,
    seed: int = Recipe.seed,
    batch_size: int = Recipe.batch_size,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    on_step: Callable[[LeNet5, int], None] | None = None,
) -> TrainingResult:
    """Train on all training images in the folder `data` and test on its test images; about three minutes on one core.

    With `out`, writes `lenet5_epoch1.safetensors`, `lenet5_final.safetensors`, `lenet5_averaged.safetensors` and
    `lenet5.json` there when all is done. A run that fails or is interrupted leaves what was there before.

    `on_step(model, steps_done)` is called after every step, for instance to watch a neuron while it is formed.
    On one machine the same arguments give the same bits. Random numbers, thread count and flags of torch are left as
    they were found.

    Raises what `load_mnist` raises for bad data, ValueError for epochs or batch_size below 1.
    """
    recipe = Recipe(epochs=epochs, seed=seed, batch_size=batch_size)
    train_images, train_labels = load_mnist(data, "train")
    test_images, test_labels = load_mnist(data, "test")  # before training: a missing file should not cost minutes
    data_checksums = checksums(data)

    with _staging(out) as write:
        weights = fit(train_images, train_labels, recipe, progress=progress, on_step=on_step)
        correct = {name: count_correct(state, test_images, test_labels) for name, state in weights.items()}
        card = _card(recipe, correct, len(train_images), len(test_images), data_checksums)
        for name, state in weights.items():
            content = save(state)
            write(file_name(name), content)
            card["files"][file_name(name)] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        write(CARD_FILE, (json.dumps(card, indent=2) + "\n").encode())
    return TrainingResult(weights, card["test_accuracy"], card, None if out is None else Path(out))


def file_name(which: str) -> str:
    """Name of the weight file of "epoch1", "final" or "averaged"."""
    return f"lenet5_{which}.safetensors"


def count_correct(weights: Weights, images: Tensor, labels: Tensor) -> int:
    """How many of `images` (uint8, (N, 28, 28)) are classified as `labels` (N,) say."""
    model = with_weights(weights)
    with torch.no_grad():
        hits = (
            (model(network_input(some)).argmax(1) == truth).sum().item()
            for some, truth in zip(torch.split(images, 1000), torch.split(labels, 1000), strict=True)
        )
        return int(sum(hits))


def _card(
    recipe: Recipe, correct: dict[str, int], train_size: int, test_size: int, data_checksums: dict[str, str]
) -> dict[str, Any]:
    options = {"--epochs": "epochs", "--seed": "seed"}
    changed = [
        f"{flag} {getattr(recipe, f)}" for flag, f in options.items() if getattr(recipe, f) != getattr(Recipe, f)
    ]
    return {
        "model": "LeNet-5 (conv1, conv2, fc1, fc2, fc3; ReLU, max pooling, logits)",
        "input": f"(N, 1, 28, 28), pixels in [0, 1], then (x - {MEAN}) / {STD}",
        "made_by": " ".join(["ldam train lenet5 --data DIR", *changed]),
        "states": recipe.states,
        "test_accuracy": {name: hits / test_size for name, hits in correct.items()},
        "test_correct": correct,
        "test_size": test_size,
        "paper": {
            "source": "Jiang, Chan, Zhang & Canny 2018, arXiv:1812.04604",
            "test_accuracy": {"final": 0.987, "averaged": 0.991},
        },
        "recipe": {
            "optimizer": "torch.optim.RMSprop",
            "loss": "cross-entropy",
            "augmentation": None,
            **asdict(recipe),
        },
        "train_size": train_size,
        "data": {
            "name": "MNIST" if data_checksums == published_checksums() else "not the published MNIST",
            "sha256_of_decoded_files": data_checksums,
        },
        "torch": str(torch.__version__),
        "threads": 1,
        "files": {},
    }


@contextmanager
def _staging(out: str | os.PathLike[str] | None) -> Iterator[Callable[[str, bytes], None]]:
    """Yields write(name, content); the files appear in `out` together, on leaving without an exception.

    The folder is made and tried at once, so that a place that cannot be written is known before minutes of training.
    """
    if out is None:
        yield lambda name, content: None
        return
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".lenet5-", dir=folder) as hidden:  # same file system: a move is a rename
        names: list[str] = []

        def write(name: str, content: bytes) -> None:
            (Path(hidden) / name).write_bytes(content)
            names.append(name)

        yield write
        for name in names:
            os.replace(Path(hidden) / name, folder / name)
