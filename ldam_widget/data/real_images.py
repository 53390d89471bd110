"""Real images for training: any map-style data set, tensor or array, converted to the sampler's pixel range."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.random_numbers import drawing_from
from .pictures import check_range

_LOOKED_AT = 64  # images of a Dataset that are checked; also the batch size of checks
_LOOKED_AT_IN_MEMORY = 10_000  # of a floating-point tensor, where finding NaNs or a wrong range is cheap
_OUTSIDE = 1e-3  # tolerance for rounding, as a fraction of the pixel range


class RealImages:
    """Batches of real images, (n, *input_shape) float32 in `pixel_range`.

    Args:
        dataset: a map-style `torch.utils.data.Dataset` (items are images, or tuples starting with one), or a tensor or
            array of images. Bytes 0…255 are scaled to the pixel range; floating-point numbers must already be in it.
            Channels may come last, or be omitted if there is only one.
        input_shape: of one image; None: taken from the data set.
        pixel_range: (lo, hi); None: unbounded, with bytes scaled to 0…1.

    Raises:
        TypeError: an object without length and items.
        ValueError: no images, wrong shapes, labels instead of images, numbers non-finite or outside the pixel range.
    """

    def __init__(
        self, dataset: Any, input_shape: tuple[int, ...] | None, pixel_range: tuple[float, float] | None
    ) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, (str, bytes)):
            raise TypeError(
                "dataset must be a map-style torch Dataset, or a tensor or array of images; got "
                f"{type(dataset).__name__}, which has no length and items"
            )
        if getattr(dataset, "ndim", 1) == 0 or len(dataset) == 0:
            raise ValueError("dataset holds no images")
        self._all = torch.as_tensor(np.ascontiguousarray(dataset)) if isinstance(dataset, np.ndarray) else dataset
        if isinstance(self._all, Tensor) and not (self._all.is_floating_point() or self._all.dtype == torch.uint8):
            numbers = "single numbers, which look like labels" if self._all.ndim == 1 else f"{self._all.dtype} numbers"
            raise ValueError(
                f"dataset holds {numbers}; images are bytes (torch.uint8, 0 to 255) or floating-point numbers"
            )
        self.pixel_range = pixel_range
        self.input_shape = self._natural_shape() if input_shape is None else input_shape
        self._check()

    @classmethod
    def checked(
        cls, dataset: Any, input_shape: tuple[int, ...] | None, pixel_range: tuple[float, float] | None
    ) -> RealImages | None:
        """Like the constructor, but passes None and `RealImages` through unchanged."""
        return dataset if dataset is None or isinstance(dataset, cls) else cls(dataset, input_shape, pixel_range)

    def __len__(self) -> int:
        return len(self._all)

    def draw(self, n: int, generator: torch.Generator, device: torch.device | None = None) -> Tensor:
        """n random images; `generator` is a CPU generator, also used by random transforms of the data set."""
        chosen = torch.randint(len(self), (n,), generator=generator)
        return self._take(chosen, generator).to(device)

    def spread(self, most: int) -> Tensor:
        """Up to `most` images, evenly spaced over the data set, on the CPU."""
        some = self._take(self._evenly(most)).cpu()
        self._require_sound(some)
        return some

    def take(self, chosen: Tensor) -> Tensor:
        """The images with these indices (n,)."""
        return self._take(chosen)

    def _evenly(self, most: int) -> Tensor:
        return torch.linspace(0, len(self) - 1, min(len(self), most)).long()

    def _take(self, chosen: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if isinstance(self._all, Tensor):
            batch = self._all.detach()[chosen.to(self._all.device)]
        else:
            items = [_image(item).detach() for item in self._items(chosen.tolist(), generator)]
            shapes = {tuple(item.shape) for item in items}
            if len(shapes) > 1:
                raise ValueError(f"dataset holds images of different shapes, such as {min(shapes)} and {max(shapes)}")
            batch = torch.stack(items)
        return self._in_range(self._in_shape(batch))

    def _items(self, chosen: list[int], generator: torch.Generator | None = None) -> list[Any]:
        """Raw items; random transforms draw from `generator`, not from the user's global generators."""
        with drawing_from(torch.Generator().manual_seed(0) if generator is None else generator):
            return [self._all[i] for i in chosen]

    def _natural_shape(self) -> tuple[int, ...]:
        (item,) = map(_image, self._items([0]))
        if item.ndim == 0:
            raise ValueError("dataset holds single numbers, which look like labels; give the images")
        if item.ndim == 2:
            return (1, *item.shape)
        if item.ndim == 3 and item.shape[2] in (1, 3, 4) and item.shape[0] not in (1, 3, 4):
            return (item.shape[2], item.shape[0], item.shape[1])
        return tuple(item.shape)

    def _in_shape(self, batch: Tensor) -> Tensor:
        have, want = tuple(batch.shape[1:]), self.input_shape
        if have == want:
            return batch
        if len(want) == 3 and have == (want[1], want[2], want[0]):
            return batch.permute(0, 3, 1, 2)
        if want[0] == 1 and have == want[1:]:
            return batch.unsqueeze(1)
        if have == ():
            raise ValueError("dataset holds single numbers, which look like labels; give the images")
        raise ValueError(f"dataset holds images of shape {have}, but the model takes {want}: resize or crop them first")

    def _in_range(self, batch: Tensor) -> Tensor:
        low, high = self.pixel_range or (0.0, 1.0)
        if batch.dtype == torch.uint8:
            return batch.float() * ((high - low) / 255) + low
        if not batch.is_floating_point():
            raise ValueError(
                f"dataset holds {batch.dtype} numbers; images are bytes (torch.uint8, 0 to 255) or floating-point "
                "numbers"
            )
        return batch.float()

    def _check(self) -> None:
        check_range(self.pixel_range)
        in_memory = isinstance(self._all, Tensor) and self._all.is_floating_point()
        chosen = self._evenly(_LOOKED_AT_IN_MEMORY if in_memory else _LOOKED_AT)
        for first in range(0, len(chosen), _LOOKED_AT):
            self._require_sound(self._take(chosen[first : first + _LOOKED_AT]))

    def _require_sound(self, some: Tensor) -> None:
        if not bool(some.isfinite().all()):
            raise ValueError("dataset holds numbers that are NaN or infinite")
        if self.pixel_range is None:
            return
        low, high = self.pixel_range
        slack = _OUTSIDE * (high - low)
        least, most = float(some.min()), float(some.max())
        if least < low - slack or most > high + slack:
            raise ValueError(
                f"dataset holds pixels from {least:.3g} to {most:.3g}, outside of pixel_range=({low:g}, {high:g}): "
                "give images before any normalisation (preprocess= is the model's own), or the right pixel_range"
            )


def _image(item: Any) -> Tensor:
    if isinstance(item, (tuple, list)) and item:
        item = item[0]  # (image, label)
    if isinstance(item, Tensor):
        return item
    try:
        return torch.as_tensor(np.array(item))  # a copy: the pixels of a PIL image are read-only
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"dataset items must be images or (image, label); got {type(item).__name__}") from error
