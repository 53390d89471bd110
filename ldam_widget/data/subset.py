"""Some of many images, evenly spaced."""

from __future__ import annotations

import torch
from torch import Tensor

from .images import Images
from .labels import UNKNOWN
from .real_images import RealImages


class EvenSubset:
    """Up to `most` images, evenly spaced over all; numbered from 0.

    Args:
        images: all of them; labels are unknown unless they are `Images`.
        most: ≥ 1.

    Attributes:
        of: how many there are in all.
        numbers: of the chosen ones among all, (n,).
    """

    def __init__(self, images: Images | RealImages, most: int) -> None:
        self._all = images
        self.of = len(images)
        self.numbers = torch.linspace(0, self.of - 1, min(self.of, most), dtype=torch.float64).round().long()
        self.input_shape = images.input_shape
        self.pixel_range = images.pixel_range
        self.labelled: bool = getattr(images, "labelled", False)
        self.class_names: tuple[str, ...] = getattr(images, "class_names", ())
        self.skipped: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, chosen: Tensor) -> Tensor:
        """The images with these numbers (n,): (n, *input_shape) float32, in the pixel range; NaN: cannot be used."""
        taken = self._all.take(self.numbers[chosen])
        known: dict[int, str] = getattr(self._all, "skipped", {})
        if known:
            self.skipped |= {int(i): known[int(n)] for i, n in enumerate(self.numbers) if int(n) in known}
        return taken

    def labels(self, chosen: Tensor) -> Tensor:
        """Their labels, (n,) int64 from 0 on; −1: unknown."""
        if isinstance(self._all, RealImages) and not hasattr(self._all, "labels"):
            return torch.full((len(chosen),), UNKNOWN)
        found: Tensor = self._all.labels(self.numbers[chosen])
        return found

    def name(self, index: int) -> str:
        """What to call an image: a file's name, or its number among all."""
        name = getattr(self._all, "name", str)
        return str(name(int(self.numbers[index])))
