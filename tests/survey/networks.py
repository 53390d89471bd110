"""Small networks and images for surveys, and what a survey must find, by numpy and plain hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conftest import with_fixed_weights


class Functional(nn.Module):
    """Rectifiers and poolings that are functions. Coarse weights make many ties, and dead units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3, 2), nn.Linear(8 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, 1)
        return self.fc(F.relu(self.conv2(x)).flatten(1))


def functional() -> nn.Module:
    network = with_fixed_weights(Functional, 5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * 4).round())
        network.conv1.weight[2], network.conv1.bias[2] = 0, -1  # dead
        network.conv1.weight[3], network.conv1.bias[3] = 0, 2  # constant
    return network.eval()


def coarse_images(count: int, seed: int = 0) -> Tensor:
    """(count, 1, 8, 8), of pixels 0, 1/2 and 1: many activations are equal."""
    own = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (count, 1, 8, 8), generator=own) / 2


class Found(NamedTuple):
    """Values and places of a layer's units, (images, units)."""

    values: Any
    places: Any

    def top(self, unit: int, k: int) -> list[tuple[float, int, int]]:
        values = self.values[:, unit]
        images = np.lexsort((np.arange(len(values)), -values))  # by value, then by number
        return [(float(values[i]), int(i), int(self.places[i, unit])) for i in images[:k] if not np.isnan(values[i])]


def by_hand(model: nn.Module, x: Tensor, batch: int) -> dict[str, Found]:
    """What every module returns, in the same batches, as rounding depends on their size."""
    rows: dict[str, list[Any]] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            maps = output.detach().reshape(output.shape[0], output.shape[1], -1).numpy()
            rows.setdefault(name, []).append((maps.max(2), maps.argmax(2)))

        return note

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    with torch.no_grad():
        for first in range(0, len(x), batch):
            model(x[first : first + batch])
    for handle in handles:
        handle.remove()
    return {name: Found(*(np.concatenate(parts) for parts in zip(*found, strict=True))) for name, found in rows.items()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
