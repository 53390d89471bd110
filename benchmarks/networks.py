"""The networks that are sampled, and what is climbed in each.

Weights are real where the variable LDAM_DATA names a folder that has them; else they are random, with statistics of the
batch norms from a few forward passes, so that activations are neither 0 nor infinite. The cost is the same.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from shims import torchvision_without_its_operators
from torch import Tensor, nn

import ldam_widget as ldam


@dataclass(frozen=True)
class Network:
    """A network, a layer of it, and the units of that layer that a batch of images climbs."""

    title: str
    weights: str  # what they are, in words
    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, ...]  # of one image
    layer: str
    units: tuple[int, ...]  # several: one image each
    images: int  # in a batch
    steps: int  # in a block
    path: tuple[str, ...] = ()  # the children that lead to a layer inside; of a chain of modules

    def fresh(self, device: torch.device, *, frozen: bool) -> nn.Module:
        """A copy of its own for everyone: no contender may find another's hooks."""
        return copy.deepcopy(self.model).to(device).requires_grad_(not frozen)

    def early_exit(self, model: nn.Module) -> nn.Module:
        """The forward pass as far as the layer."""
        return nn.Sequential(*(model.get_submodule(name) for name in self.path)) if self.path else model

    def preprocess(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Images in 0…1 to what the network was trained on."""
        if len(self.mean) == 1:
            (mean,), (std,) = self.mean, self.std
            return lambda x: (x - mean) / std
        means, stds = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.mean, self.std))
        return lambda x: (x - means) / stds

    def climbed(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Of the layer's output, what each image climbs: a unit, or the mean of a channel over its map."""
        images, units = torch.arange(self.images, device=device), torch.tensor(self.units, device=device)
        if len(self.units) > 1:
            return lambda output: output[images, units]
        (unit,) = self.units
        return lambda output: output[:, unit] if output.ndim == 2 else output[:, unit].mean((1, 2))

    @property
    def batch(self) -> tuple[int, ...]:
        return (self.images, *self.shape)

    @property
    def neurons(self) -> list[str]:
        """The units as a `Sampler` takes them."""
        return [f"{self.layer}:{unit}{'@mean' if self.path else ''}" for unit in self.units]

    @property
    def chains(self) -> int:
        return self.images // len(self.units)


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def lenet() -> Network:
    model = ldam.demo.mnist("final").model
    ten = tuple(range(10))
    return Network(
        "LeNet-5, ten logits, batch 10", "as shipped", model, (0.1307,), (0.3081,), (1, 28, 28), "fc3", ten, 10, 200
    )


def resnet18() -> Network:
    model, weights = with_weights(_torchvision_resnet18(), "imagenet/resnet18_fp16.pt", (3, 224, 224))
    return Network(
        "ResNet-18 224×224, one logit, batch 1", weights, model, *IMAGENET, (3, 224, 224), "fc", (285,), 1, 6
    )


def resnet18_layer2() -> Network:
    model, weights = with_weights(_torchvision_resnet18(), "imagenet/resnet18_fp16.pt", (3, 224, 224))
    return Network(
        "ResNet-18 224×224, a channel of layer2, batch 1", weights, model, *IMAGENET, (3, 224, 224), "layer2", (17,),
        1, 12, ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"),
    )  # fmt: skip


def resnet20() -> Network:
    model, weights = with_weights(CifarResNet20(), "cifar10/resnet20.pt", (3, 32, 32))
    return Network(
        "ResNet-20 32×32, one logit, batch 64", weights, model, *IMAGENET, (3, 32, 32), "linear", (3,), 64, 4
    )


NETWORKS: dict[str, Callable[[], Network]] = {
    "lenet": lenet, "resnet18": resnet18, "layer2": resnet18_layer2, "resnet20": resnet20,
}  # fmt: skip


def _torchvision_resnet18() -> nn.Module:
    """Raises ImportError without torchvision."""
    torchvision_without_its_operators()
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = resnet18()
        return model


def with_weights(model: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[nn.Module, str]:
    """The network in eval mode, and what its weights are."""
    path = Path(os.environ.get("LDAM_DATA", ""), "weights", name)
    if not os.environ.get("LDAM_DATA") or not path.is_file():
        return _settled(model, shape), "random weights: there are no others in LDAM_DATA"
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {key.removeprefix("module."): value for key, value in state.get("state_dict", state).items()}
    found = model.load_state_dict(state, strict=False)
    if found.unexpected_keys or not all(key.endswith("num_batches_tracked") for key in found.missing_keys):
        raise RuntimeError(f"{path} does not fit: {found}")
    return model.float().eval(), f"weights of {name}"


def _settled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Batch norms with the statistics of a few batches of noise."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean over all batches
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(3):
            model.train()(torch.randn(4, *shape))
    return model.eval()


class Block(nn.Module):
    """Two convolutions beside a shortcut without parameters: every second pixel, and channels of zeros."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride = 1 if channels == width else 2
        self.pad = (width - channels) // 2
        self.conv1 = nn.Conv2d(channels, width, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class CifarResNet20(nn.Module):
    """ResNet-20 for CIFAR-10: He et al. 2016, section 4.2, option A. (N, 3, 32, 32) to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
