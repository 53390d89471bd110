"""How the shipped discriminators were made: `ldam train discriminator --network mnist --data DIR`, or `cifar`."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ldam_widget.adversary.recipe import Recipe
from ldam_widget.adversary.train import train_discriminator
from ldam_widget.data.cifar import checksum, load_cifar
from ldam_widget.data.mnist import checksums, load_mnist
from ldam_widget.demo.fit import one_thread
from ldam_widget.objectives.discriminator_net import DiscriminatorNet, build_discriminator

if TYPE_CHECKING:
    from torch import Tensor, nn


class Shipped(NamedTuple):
    """How a discriminator of the package was trained."""

    file: str
    rounds: int
    recipe: Recipe


SHIPPED = {
    "mnist": Shipped("discriminator.safetensors", 2923, Recipe()),
    # a step of the VGG costs far more than one of LeNet-5: smaller groups of chains leave time for more rounds
    "cifar": Shipped("cifar_discriminator.safetensors", 825, Recipe(batch=60, pool=16)),
}


def train_prior(
    data: str | os.PathLike[str],
    *,
    network: str = "mnist",
    model: nn.Module | None = None,
    rounds: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    execution: str = "auto",
) -> DiscriminatorNet:
    """Train a small convolutional discriminator against a network of the package, on its training images.

    One thread. With ``execution="plain"``, the same arguments give the same bits on one machine, unless `minutes` ends
    the training; "auto" takes about two thirds of the time on CIFAR-10.

    Args:
        data: folder of MNIST's idx files, or of CIFAR-10 as for `load_cifar`.
        network: "mnist" or "cifar".
        model: the classifier; None is the shipped network in its final state.
        rounds: of Algorithm 2; None: as many as the shipped discriminator had, or as fit into `minutes`.
        minutes: budget, see `train_discriminator`.
        seed: of all random numbers.
        out: folder for the discriminator's `.safetensors` and `.json` and, beside them, what is needed to resume.
        resume: continue from the files in `out`.
        progress: show a progress bar.
        execution: how the classifier is run, see `Trainer`.

    Raises:
        ValueError: another network; and what `load_mnist`, `load_cifar` and `train_discriminator` raise.
    """
    from ldam_widget import demo  # imported late to avoid a cycle

    if network not in SHIPPED:
        raise ValueError(f"network={network!r}: there is " + ", ".join(map(repr, SHIPPED)))
    shipped, found = SHIPPED[network], demo.mnist() if network == "mnist" else demo.cifar()
    images, source = _images(network, data)
    classifier: nn.Module = found.model if model is None else model
    settings = {name: found.settings[name] for name in ("input_shape", "pixel_range", "preprocess")}
    net = build_discriminator(classifier, settings["input_shape"], seed=seed, small=True)
    with one_thread():
        trained = train_discriminator(
            classifier, images, net=net, recipe=replace(shipped.recipe, seed=seed),
            rounds=shipped.rounds if rounds is None and minutes is None else rounds, minutes=minutes,
            out=None if out is None else Path(out) / shipped.file, resume=resume, progress=progress, device="cpu",
            execution=execution, **settings,
        )  # fmt: skip
    if out is not None:
        _write_card(Path(out) / shipped.file, network, found.name, trained, source)
    return trained


def _images(network: str, data: str | os.PathLike[str]) -> tuple[Tensor, dict[str, Any]]:
    """Training images, and where they are from."""
    if network == "mnist":
        return load_mnist(data, "train")[0], {"name": "MNIST", "sha256_of_decoded_files": checksums(data)}
    cifar = load_cifar(data)
    source = {"name": "CIFAR-10", "read_from": cifar.source, "sha256_of_decoded": {"train": checksum(cifar.train)}}
    return cifar.train.images, source


def _write_card(path: Path, network: str, against: str, net: DiscriminatorNet, source: dict[str, Any]) -> None:
    """How it was made, in a file beside it."""
    content = path.read_bytes()
    card = {
        "model": f"convolutional network built by build_discriminator(small=True); {net.design}",
        "made_by": f"ldam train discriminator --network {network} --data DIR",
        "against": against,
        **net.card,
        "data": source,
        "threads": 1,
        "files": {path.name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}},
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
