"""LeNet-5 for MNIST, as in Jiang, Chan, Zhang & Canny 2018 (arXiv:1812.04604): two convolutions, three dense layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean and standard deviation of all training pixels, in [0, 1], to the four digits usually quoted.
MEAN, STD = 0.1307, 0.3081


def preprocess(x: Tensor) -> Tensor:
    """Pixels in [0, 1], (N, 1, 28, 28), to network input: (x - 0.1307) / 0.3081; any device."""
    return (x - MEAN) / STD


class LeNet5(nn.Module):
    """(N, 1, 28, 28) standardised pixels (see `preprocess`) to (N, 10) logits; 61,706 parameters.

    The classic net with ReLU and max pooling. There is no softmax at the end: a neuron of the last layer is a logit,
    which still has a gradient where the probability is saturated. Only layers with weights are modules, so only they
    can be selected by name: conv1, conv2, fc1, fc2, fc3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)  # padding replaces the 32×32 input of LeCun et al. 1998 by 28×28
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, 28, 28)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 6, 14, 14)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 16, 5, 5)
        x = F.relu(self.fc1(x.flatten(1)))  # (N, 120)
        x = F.relu(self.fc2(x))  # (N, 84)
        logits: Tensor = self.fc3(x)  # (N, 10)
        return logits


def with_weights(weights: dict[str, Tensor]) -> LeNet5:
    """A network in eval mode that uses these tensors (not copies); RuntimeError where names or shapes differ."""
    with torch.device("meta"):  # no initialisation, which would use up random numbers of the user's generator
        model = LeNet5()
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()
