"""Real images with numbers, labels and names, wherever they are: a folder, an array, a tensor, a Dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ..core.notes import Notes
from .folder import PictureFolder
from .labels import UNKNOWN, checked_labels, label_of
from .pictures import Fit
from .real_images import RealImages

_HASHED = 64  # items of a fingerprint
_UNREAD = -2  # a label that is told by an item not taken so far


class Images(Protocol):
    """Numbered images of one shape.

    Attributes:
        input_shape: of one image.
        pixel_range: (lo, hi) of black and white; None: not given, and then (0, 1) for pictures and bytes.
        class_names: of the labels; () if unknown.
        skipped: number -> why this image cannot be used; of those taken so far.
    """

    input_shape: tuple[int, ...]
    pixel_range: tuple[float, float] | None
    class_names: tuple[str, ...]
    skipped: dict[int, str]

    @property
    def labelled(self) -> bool:
        """Whether labels are known without images being read."""
        ...

    def __len__(self) -> int: ...

    def take(self, chosen: Tensor) -> Tensor:
        """The images with these numbers (n,): (n, *input_shape) float32, in the pixel range; NaN: cannot be used."""
        ...

    def labels(self, chosen: Tensor) -> Tensor:
        """Their labels, (n,) int64 from 0 on; −1: unknown. Free for images that have just been taken."""
        ...

    def name(self, index: int) -> str:
        """What to call an image: a file's name, or its number."""
        ...


def images_of(
    source: Any,
    input_shape: tuple[int, ...] | None,
    pixel_range: tuple[float, float] | None = None,
    *,
    labels: Any = None,
    fit: Fit = "crop",
    notes: Notes | None = None,
) -> Images:
    """The user's images.

    Args:
        source: a folder, see `PictureFolder`; or an array, tensor or Dataset, see `RealImages`; or `Images`, which are
            returned as they are.
        input_shape: of one image; None: that of the data, unless it is a folder.
        pixel_range: (lo, hi); None: pictures and bytes are scaled to (0, 1), floating-point numbers taken as they are.
        labels: one per image; None: those of sub-folders, of a Dataset's items (image, label), or none.
        fit: how pictures of a folder are brought into shape, "crop" or "stretch".
        notes: receives a line for each picture that is skipped; None: a Python warning.

    Raises:
        TypeError, ValueError, FileNotFoundError: as these, with "dataset" or "images" in the message.
    """
    if isinstance(source, (PictureFolder, DatasetImages)):
        return source
    if not isinstance(source, (str, os.PathLike)):
        return DatasetImages(source, input_shape, pixel_range, labels)
    if input_shape is None:
        raise ValueError("input_shape is needed for a folder of pictures, e.g. input_shape=(3, 224, 224)")
    return PictureFolder(source, input_shape, pixel_range, fit=fit, labels=labels, notes=notes)


def known_range(images: Images) -> tuple[float, float] | None:
    """(lo, hi) of black and white: as given, or (0, 1) if 16 of the images lie within; None: unknown."""
    if images.pixel_range is not None:
        return images.pixel_range
    some = _some(images)
    return (0.0, 1.0) if bool(((some >= 0) & (some <= 1) | some.isnan()).all()) else None


def shown_range(images: Images) -> tuple[float, float]:
    """Pixel values to show as black and white: `known_range`, or ± the 99.5th percentile of |x| in 16 of the images."""
    known = known_range(images)
    if known is not None:
        return known
    some = _some(images)
    sizes = some[some.isfinite()].abs().numpy()
    top = max(float(np.quantile(sizes, 0.995)), 1e-6) if len(sizes) else 1.0
    return -top, top


def _some(images: Images) -> Tensor:
    """16 of them, spread evenly."""
    chosen = torch.linspace(0, len(images) - 1, min(16, len(images)), dtype=torch.float64).round().long()
    return images.take(chosen).cpu()


class DatasetImages(RealImages):
    """`RealImages` with labels: given ones, or those of the data set's items (image, label). Images may hold NaN."""

    def __init__(
        self,
        dataset: Any,
        input_shape: tuple[int, ...] | None,
        pixel_range: tuple[float, float] | None,
        labels: Any = None,
    ) -> None:
        self.class_names: tuple[str, ...] = ()
        self.skipped: dict[int, str] = {}
        self._labels = torch.empty(0, dtype=torch.int64)
        super().__init__(dataset, input_shape, pixel_range)
        self._told = labels if labels is not None else _targets(dataset)
        if self._told is not None:
            self._labels, self.class_names = checked_labels(self._told, len(self))
        if labels is None and not self.class_names:
            names = getattr(dataset, "classes", ())
            self.class_names = tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()

    @property
    def held(self) -> Any:
        """The data as given, arrays as tensors."""
        return self._all

    @property
    def labelled(self) -> bool:
        """Whether labels are known without items being read."""
        return self._told is not None

    def name(self, index: int) -> str:
        """The image's number."""
        return str(index)

    def labels(self, chosen: Tensor | Sequence[int]) -> Tensor:
        """Labels (n,) int64; −1: unknown. Items not taken so far are read for it."""
        chosen = torch.as_tensor(chosen)
        labels = self._of_items()
        unread = chosen[labels[chosen] == _UNREAD]
        if len(unread):
            self._items(unread.tolist())
        return labels[chosen]

    def _require_sound(self, some: Tensor) -> None:
        """NaN in some images is no error: whoever takes them leaves these out."""
        finite = some.isfinite().flatten(1).all(1)
        super()._require_sound(some[finite] if bool(finite.any()) else some)

    def _of_items(self) -> Tensor:
        if not len(self._labels):
            first = UNKNOWN if isinstance(self._all, Tensor) else _UNREAD
            self._labels = torch.full((len(self),), first)
        return self._labels

    def _items(self, chosen: list[int], generator: torch.Generator | None = None) -> list[Any]:
        items = super()._items(chosen, generator)
        labels = self._of_items()
        for i, item in zip(chosen, items, strict=True):
            if labels[i] == _UNREAD:
                labels[i] = label_of(item)
        return items


def _targets(dataset: Any) -> Any:
    """Labels that a Dataset tells without its items being read, as torchvision's do; None: it does not."""
    if isinstance(dataset, TensorDataset):
        found = dataset.tensors[1] if len(dataset.tensors) > 1 else None
    elif getattr(dataset, "target_transform", None) is not None:
        return None  # the labels of its items are others
    else:
        found = getattr(dataset, "targets", None)
    try:
        return None if found is None else checked_labels(found, len(dataset))[0]
    except (TypeError, ValueError):  # something else of this name
        return None


def fingerprint(images: Images) -> str:
    """How many images there are, and a hash of 64 of them, spread evenly, with their labels.

    Of arrays and tensors, all images and labels are hashed.
    """
    digest = hashlib.sha256(repr(images.input_shape).encode())
    if isinstance(images, DatasetImages) and isinstance(images.held, Tensor):
        for some in torch.split(images.held.detach(), _HASHED):
            digest.update(some.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        digest.update(images.labels(torch.arange(len(images))).numpy().tobytes())
    for i in torch.linspace(0, len(images) - 1, min(_HASHED, len(images)), dtype=torch.float64).round().long():
        digest.update(images.take(i[None]).contiguous().numpy().tobytes())
        digest.update(images.labels(i[None]).numpy().tobytes())
    return f"{len(images)} images, {digest.hexdigest()[:32]}"
