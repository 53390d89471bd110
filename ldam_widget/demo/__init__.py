"""Networks that come with the package, ready to sample: nothing to download, nothing to train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from safetensors.torch import load

from ldam_widget.demo.lenet import LeNet5, preprocess, with_weights
from ldam_widget.discriminator.build import DiscriminatorNet
from ldam_widget.discriminator.files import load_discriminator

__all__ = ["Demo", "LeNet5", "mnist"]

STATES = ("epoch1", "final", "averaged")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Demo:
    """A trained network and what a sampler must know of it: `Sampler(d.model, neurons=range(10), **d.settings)`."""

    name: str
    model: LeNet5  # eval mode, float32, on the CPU
    settings: dict[str, Any]  # layer, input_shape, preprocess, pixel_range, class_names
    card: dict[str, Any]  # how the weights were made, their test accuracy, checksums

    @cached_property
    def discriminator(self) -> DiscriminatorNet:
        """Tells handwritten digits from samples of the final LeNet-5: ``Discriminator(d.discriminator, 0.5)``.

        Made by ``ldam train discriminator``; in eval mode, on the CPU.
        """
        return load_discriminator(str(files("ldam_widget.demo") / "weights" / "discriminator.safetensors"))


def mnist(which: str = "final") -> Demo:
    """LeNet-5 on handwritten digits, in one of three states of a single training run.

    "epoch1": after the first epoch; "final": after the last; "averaged": the mean of the weights over the last five
    epochs. `card["test_accuracy"]` has the accuracy of each. Every call makes a network of its own and draws no
    random numbers. Raises ValueError for any other name.
    """
    if which not in STATES:
        raise ValueError(f"mnist({which!r}): there is " + ", ".join(f'"{state}"' for state in STATES))
    folder = files("ldam_widget.demo") / "weights"
    return Demo(
        name=f"LeNet-5 on MNIST, {which}",
        model=with_weights(load((folder / f"lenet5_{which}.safetensors").read_bytes())),
        settings={
            "layer": "fc3",
            "input_shape": (1, 28, 28),
            "preprocess": preprocess,
            "pixel_range": (0.0, 1.0),
            "class_names": DIGITS,
        },
        card=json.loads((folder / "lenet5.json").read_text(encoding="utf-8")),
    )
