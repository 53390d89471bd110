"""Networks that other processes can make or receive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SHAPE = (3, 10, 10)
QUICK: dict[str, Any] = {
    "input_shape": SHAPE, "steps": 8, "warm_up": 4, "chains": 2, "pixel_range": (0.0, 1.0), "progress": False,
}  # fmt: skip


class Small(nn.Module):
    """(N, 3, 10, 10) -> (N, 5); 70 units in one layer, so two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 70, 3, stride=2)
        self.fc = nn.Linear(70, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv2(self.conv1(x).relu()).mean((2, 3)))
        return scores


class ReLUs(Small):
    """Small with a layer of rectified units."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.relu(self.conv2(self.conv1(x))).mean((2, 3)))
        return scores


def small(seed: int = 3, kind: type[Small] = Small) -> Small:
    """The same weights at every call."""
    own = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        network = kind().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=own))
    return network


def another_each_time() -> Small:
    """A function that breaks its promise."""
    another_each_time.calls += 1  # type: ignore[attr-defined]
    return small(another_each_time.calls)  # type: ignore[attr-defined]


another_each_time.calls = 0  # type: ignore[attr-defined]
