"""How the shipped discriminator of handwritten digits was made: `ldam train discriminator --data DIR`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ldam_widget.adversary.recipe import Recipe
from ldam_widget.adversary.train import train_discriminator
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.fit import one_thread
from ldam_widget.demo.lenet import preprocess
from ldam_widget.objectives.discriminator_net import DiscriminatorNet, build_discriminator

if TYPE_CHECKING:
    from torch import nn

FILE = "discriminator.safetensors"
ROUNDS = 2923
RECIPE = Recipe()


def train_prior(
    data: str | os.PathLike[str],
    *,
    model: nn.Module | None = None,
    rounds: int = ROUNDS,
    seed: int = RECIPE.seed,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> DiscriminatorNet:
    """Train a small convolutional discriminator against LeNet-5 on the training images in the folder `data`.

    One thread; on one machine the same arguments give the same bits.

    Args:
        data: folder of MNIST's idx files.
        model: the classifier; None is the shipped LeNet-5 in its final state.
        rounds: of Algorithm 2; about half a second each on one core.
        seed: of all random numbers.
        out: folder for `discriminator.safetensors` and, beside it, what is needed to resume.
        resume: continue from the files in `out`.
        progress: show a progress bar.

    Raises:
        What `load_mnist` and `train_discriminator` raise.
    """
    from ldam_widget.demo import mnist  # imported late to avoid a cycle

    classifier: nn.Module = mnist("final").model if model is None else model
    images, _ = load_mnist(data, "train")
    net = build_discriminator(classifier, (1, 28, 28), seed=seed, small=True)
    with one_thread():
        return train_discriminator(
            classifier, images, net=net, input_shape=(1, 28, 28), pixel_range=(0.0, 1.0), preprocess=preprocess,
            recipe=replace(RECIPE, seed=seed), rounds=rounds, out=None if out is None else Path(out) / FILE,
            resume=resume, progress=progress, device="cpu",
        )  # fmt: skip
