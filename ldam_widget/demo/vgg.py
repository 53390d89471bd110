"""A small VGG-style network for CIFAR-10 (Simonyan & Zisserman, arXiv:1409.1556), designed to be inspected."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean and standard deviation of the training pixels, in [0, 1], as usually quoted: red, green, blue.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def preprocess(x: Tensor) -> Tensor:
    """Pixels in [0, 1], (N, 3, 32, 32), to network input: (x - mean) / std per colour; any device."""
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device).view(3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


class VGG(nn.Module):
    """(N, 3, 32, 32) standardised pixels (see `preprocess`) to (N, 10) logits; 954,698 parameters.

    Seven 3×3 convolutions in sequence, each with batch norm and ReLU; max pooling halves the picture three times; the
    mean over the last 4×4 positions gives the 192 features, and the logits are linear in them. No softmax at the end: a
    logit still has a gradient where the probability is saturated. Layers by name: conv1, bn1, … conv7, bn7, fc.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, 64)
        self.conv2, self.bn2 = _convolution(64, 96)
        self.conv3, self.bn3 = _convolution(96, 96)
        self.conv4, self.bn4 = _convolution(96, 128)
        self.conv5, self.bn5 = _convolution(128, 128)
        self.conv6, self.bn6 = _convolution(128, 192)
        self.conv7, self.bn7 = _convolution(192, 192)
        self.fc = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, 32, 32)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)  # (N, 64, 16, 16)
        x = F.relu(self.bn2(self.conv2(x)))  # (N, 96, 16, 16)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)  # (N, 96, 8, 8)
        x = F.relu(self.bn4(self.conv4(x)))  # (N, 128, 8, 8)
        x = F.max_pool2d(F.relu(self.bn5(self.conv5(x))), 2)  # (N, 128, 4, 4)
        x = F.relu(self.bn6(self.conv6(x)))  # (N, 192, 4, 4)
        x = F.relu(self.bn7(self.conv7(x)))  # (N, 192, 4, 4)
        logits: Tensor = self.fc(x.mean((2, 3)))  # (N, 10)
        return logits


def _convolution(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)  # batch norm has the bias


def with_weights(weights: dict[str, Tensor]) -> VGG:
    """A network in eval mode with these weights in float32; RuntimeError where names or shapes differ."""
    with torch.device("meta"):  # no initialisation, which would use up random numbers of the user's generator
        model = VGG()
    full = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    model.load_state_dict(full, strict=True, assign=True)
    return model.eval()
