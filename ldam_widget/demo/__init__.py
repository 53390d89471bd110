"""Networks that come with the package, ready to sample: nothing to download, nothing to train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Generic, TypeVar

from safetensors.torch import load
from torch import nn

from ldam_widget.data.cifar import CLASSES
from ldam_widget.demo import lenet, vgg
from ldam_widget.demo.lenet import LeNet5
from ldam_widget.demo.vgg import VGG
from ldam_widget.objectives.discriminator_file import load_discriminator
from ldam_widget.objectives.discriminator_net import DiscriminatorNet
from ldam_widget.parametrizations import Natural

__all__ = ["VGG", "Demo", "LeNet5", "cifar", "mnist"]

Net = TypeVar("Net", bound=nn.Module)

WEIGHTS = files("ldam_widget.demo") / "weights"
MNIST_STATES = ("epoch1", "final", "averaged")
CIFAR_STATES = ("final", "averaged")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Demo(Generic[Net]):
    """A trained network with the sampler's settings for it: `Sampler(d.model, neurons=range(10), **d.settings)`."""

    name: str
    model: Net  # eval mode, float32, on the CPU
    settings: dict[str, Any]  # layer, input_shape, preprocess, pixel_range, class_names
    card: dict[str, Any]  # how the weights were made, their test accuracy, checksums
    discriminator_file: str
    prior_file: str

    @cached_property
    def prior(self) -> Natural:
        """The natural prior of the images it was trained on: ``Sampler(d.model, prior=d.prior, **d.settings)``.

        Mean and covariance of 10,000 training images, restricted to the strongest directions; see `Natural`.
        """
        return Natural.load(str(WEIGHTS / self.prior_file))

    @cached_property
    def discriminator(self) -> DiscriminatorNet:
        """Distinguishes training images from samples of the final network: ``Discriminator(d.discriminator, 0.5)``.

        Made by ``ldam train discriminator``; in eval mode, on the CPU; `card` says how.
        """
        return load_discriminator(str(WEIGHTS / self.discriminator_file))


def mnist(which: str = "final") -> Demo[LeNet5]:
    """LeNet-5 on handwritten digits, in one of three states of a single training run.

    "epoch1": after the first epoch; "final": after the last; "averaged": the mean of the weights over the last five
    epochs. `card["test_accuracy"]` has the accuracy of each. Every call creates a new network and draws no random
    numbers. Raises ValueError for any other name.
    """
    _check("mnist", which, MNIST_STATES)
    return Demo(
        name=f"LeNet-5 on MNIST, {which}",
        model=lenet.with_weights(load((WEIGHTS / f"lenet5_{which}.safetensors").read_bytes())),
        settings={
            "layer": "fc3",
            "input_shape": (1, 28, 28),
            "preprocess": lenet.preprocess,
            "pixel_range": (0.0, 1.0),
            "class_names": DIGITS,
        },
        card=json.loads((WEIGHTS / "lenet5.json").read_text(encoding="utf-8")),
        discriminator_file="discriminator.safetensors",
        prior_file="mnist_prior.safetensors",
    )


def cifar(which: str = "final") -> Demo[VGG]:
    """A small VGG on the colour photographs of CIFAR-10, in one of two states of a single training run.

    "final": after the last epoch; "averaged": the mean of the weights over the last four epochs.
    `card["test_accuracy"]` has the accuracy of each on JPEG test images, the format the network was trained on,
    `card["lossless_test_accuracy"]` that on exact pixels. Every call creates a new network and draws no random
    numbers. Raises ValueError for any other name.
    """
    _check("cifar", which, CIFAR_STATES)
    return Demo(
        name=f"VGG on CIFAR-10, {which}",
        model=vgg.with_weights(load((WEIGHTS / f"cifar_{which}.safetensors").read_bytes())),
        settings={
            "layer": "fc",
            "input_shape": (3, 32, 32),
            "preprocess": vgg.preprocess,
            "pixel_range": (0.0, 1.0),
            "class_names": CLASSES,
        },
        card=json.loads((WEIGHTS / "cifar.json").read_text(encoding="utf-8")),
        discriminator_file="cifar_discriminator.safetensors",
        prior_file="cifar_prior.safetensors",
    )


def _check(demo: str, which: str, states: tuple[str, ...]) -> None:
    if which not in states:
        raise ValueError(f"{demo}({which!r}): choose " + " or ".join(f'"{state}"' for state in states))
