"""How the shipped LeNet-5 weights were made, and how to make your own: `ldam train lenet5 --data DIR`.

Also contains what all our training on MNIST shares: reading the data, writing the files, and describing both in cards.
"""

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

from ldam_widget.data.mnist import checksums, load_mnist, published_checksums
from ldam_widget.demo.fit import LeNetRecipe, Weights, fit, network_input
from ldam_widget.demo.lenet import MEAN, STD, LeNet5, with_weights

CARD_FILE = "lenet5.json"


class TrainingResult(NamedTuple):
    """Result of a training. For LeNet-5: three states of one run, "epoch1", "final", "averaged"."""

    weights: dict[str, Weights]
    accuracy: dict[str, float]  # on the test images, 0…1
    card: dict[str, Any]  # contents of the .json file: recipe, versions, checksums, accuracies
    out: Path | None  # where the files are; None: nothing was written


def train_lenet5(
    data: str | os.PathLike[str],
    *,
    epochs: int = LeNetRecipe.epochs,
    seed: int = LeNetRecipe.seed,
    batch_size: int = LeNetRecipe.batch_size,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    on_step: Callable[[LeNet5, int], None] | None = None,
) -> TrainingResult:
    """Train on all training images in the folder `data` and test on its test images; about three minutes on one core.

    With `out`, writes `lenet5_epoch1.safetensors`, `lenet5_final.safetensors`, `lenet5_averaged.safetensors` and
    `lenet5.json` there at the end. A run that fails or is interrupted leaves existing files unchanged.

    `on_step(model, steps_done)` is called after every step, for instance to watch a neuron as it forms.
    On one machine the same arguments give the same bits. Random numbers, thread count and flags of torch are left
    unchanged.

    Raises what `load_mnist` raises for bad data, ValueError for epochs or batch_size below 1.
    """
    recipe = LeNetRecipe(epochs=epochs, seed=seed, batch_size=batch_size)
    digits = load_digits(data)

    with staging(out) as write:
        weights = fit(digits.train_images, digits.train_labels, recipe, progress=progress, on_step=on_step)
        correct = {name: count_correct(state, *digits.test) for name, state in weights.items()}
        card = _card(recipe, correct, digits)
        for name, state in weights.items():
            write_weights(write, card, file_name(name), state)
        write_card(write, card, CARD_FILE)
    return TrainingResult(weights, card["test_accuracy"], card, None if out is None else Path(out))


def file_name(which: str) -> str:
    """Name of the weight file of "epoch1", "final" or "averaged"."""
    return f"lenet5_{which}.safetensors"


def count_correct(weights: Weights, images: Tensor, labels: Tensor) -> int:
    """Number of `images` (uint8, (N, 28, 28)) that are classified as `labels` (N,) say."""
    model = with_weights(weights)
    return count_hits(lambda some: model(network_input(some)), images, labels)


def _card(recipe: LeNetRecipe, correct: dict[str, int], digits: Digits) -> dict[str, Any]:
    return {
        "model": "LeNet-5 (conv1, conv2, fc1, fc2, fc3; ReLU, max pooling, logits)",
        "input": f"(N, 1, 28, 28), pixels in [0, 1], then (x - {MEAN}) / {STD}",
        "made_by": command("lenet5", recipe),
        "states": recipe.states,
        "test_accuracy": {name: hits / len(digits.test_images) for name, hits in correct.items()},
        "test_correct": correct,
        "test_size": len(digits.test_images),
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
        **provenance(digits),
    }


# ---- shared by all training on MNIST ---------------------------------------------------------------------------------


class Digits(NamedTuple):
    """All of MNIST: images uint8 (N, 28, 28) and labels int64 (N,) of both splits, checksums of the decoded files."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    checksums: dict[str, str]

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        return self.test_images, self.test_labels


def load_digits(data: str | os.PathLike[str]) -> Digits:
    """Load both splits before any training: a missing file should not cost minutes. Raises what `load_mnist` raises."""
    return Digits(*load_mnist(data, "train"), *load_mnist(data, "test"), checksums(data))


def count_hits(logits: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> int:
    """Number of images whose largest logit is that of their label (N,); `logits` gets 1000 images at a time."""
    with torch.no_grad():
        hits = (
            (logits(some).argmax(1) == truth).sum().item()
            for some, truth in zip(torch.split(images, 1000), torch.split(labels, 1000), strict=True)
        )
        return int(sum(hits))


def command(network: str, recipe: Any) -> str:
    """The command line that reproduces a run; `recipe` is a dataclass whose class holds the defaults."""
    options = [
        f"--{name} {getattr(recipe, name)}"
        for name in ("epochs", "seed")
        if getattr(recipe, name) != getattr(type(recipe), name)
    ]
    return " ".join([f"ldam train {network} --data DIR", *options])


def provenance(digits: Digits) -> dict[str, Any]:
    """The end of a card: the data and software that the weights were made with; `write_weights` fills in the files."""
    return {
        "train_size": len(digits.train_images),
        "data": {
            "name": "MNIST" if digits.checksums == published_checksums() else "not the published MNIST",
            "sha256_of_decoded_files": digits.checksums,
        },
        "torch": str(torch.__version__),
        "threads": 1,
        "files": {},
    }


Write = Callable[[str, bytes], None]  # (file name, content)


def write_weights(write: Write, card: dict[str, Any], name: str, weights: Weights) -> None:
    """Write one file of weights, and enter its size and checksum in the card."""
    content = save(weights)
    write(name, content)
    card["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_card(write: Write, card: dict[str, Any], name: str) -> None:
    """Write the card itself, once it lists all files."""
    write(name, (json.dumps(card, indent=2) + "\n").encode())


@contextmanager
def staging(out: str | os.PathLike[str] | None) -> Iterator[Write]:
    """Yields write(name, content); the files appear in `out` together, on leaving without an exception.

    The folder is created and checked at once, so that an unwritable location is reported before minutes of training.
    """
    if out is None:
        yield lambda name, content: None
        return
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ldam-", dir=folder) as hidden:  # same file system: a move is a rename
        names: list[str] = []

        def write(name: str, content: bytes) -> None:
            (Path(hidden) / name).write_bytes(content)
            names.append(name)

        yield write
        for name in names:
            os.replace(Path(hidden) / name, folder / name)
