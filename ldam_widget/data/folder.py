"""A folder of pictures, read when needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.notes import Notes
from .labels import UNKNOWN, checked_labels
from .pictures import Fit, PictureError, check_fit, check_range, read_picture

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
            ".avif", ".heic", ".heif", ".jp2", ".tga", ".ico")  # fmt: skip
_TOLD = 20  # files; the rest are listed in `skipped`


class PictureFolder:
    """The pictures of a folder and of all folders in it, in the order of their paths.

    Files are known by their endings and opened only when taken. One that cannot be read keeps its number: its pixels
    are NaN, `skipped` says why, and so does a note. Pictures in sub-folders are labelled by the first of these.

    Args:
        folder: hidden files and folders in it are left out.
        input_shape: (1 or 3, height, width).
        pixel_range: (lo, hi) of black and white; None: (0, 1).
        fit: "crop" or "stretch", see `read_picture`.
        labels: one per file, in place of those of the sub-folders; see `checked_labels`.
        notes: receives a line for each of the first 20 files that are skipped; None: a Python warning.

    Attributes:
        files: their paths.
        class_names: the sub-folders, sorted; label 0 is the first.
        skipped: number of a file -> why it cannot be used; of those taken so far.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no pictures in it, a shape that pictures cannot have, or no range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        input_shape: Sequence[int],
        pixel_range: tuple[float, float] | None = None,
        *,
        fit: Fit = "crop",
        labels: Any = None,
        notes: Notes | None = None,
    ) -> None:
        self.folder, self.input_shape, self.fit = Path(folder), tuple(input_shape), fit
        check_fit(fit, self.input_shape)
        check_range(pixel_range)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"images: there is no folder {self.folder}")
        found = (path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        inside = sorted(path.relative_to(self.folder).parts for path in found if path.is_file())
        inside = [parts for parts in inside if not any(part.startswith(".") for part in parts)]
        if not inside:
            raise ValueError(f"images: no pictures in {self.folder}; known are {', '.join(SUFFIXES)}")
        self.files = [self.folder.joinpath(*parts) for parts in inside]
        if labels is None:
            self.class_names = tuple(sorted({parts[0] for parts in inside if len(parts) > 1}))
            number = {name: i for i, name in enumerate(self.class_names)}
            self._labels = torch.tensor([number[parts[0]] if len(parts) > 1 else UNKNOWN for parts in inside])
        else:
            self._labels, self.class_names = checked_labels(labels, len(inside))
        self.labelled = True  # without files being read
        self.skipped: dict[int, str] = {}
        self.pixel_range, self._notes = pixel_range, Notes() if notes is None else notes

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The path of a file within the folder."""
        return self.files[index].relative_to(self.folder).as_posix()

    def take(self, chosen: Tensor | Sequence[int]) -> Tensor:
        """The pictures with these numbers, (n, *input_shape); NaN where one cannot be read."""
        return torch.stack([self._read(int(i)) for i in chosen])

    def labels(self, chosen: Tensor | Sequence[int]) -> Tensor:
        """Their labels, (n,) int64; −1: unknown."""
        return self._labels[torch.as_tensor(chosen)]

    def _read(self, index: int) -> Tensor:
        try:
            return read_picture(self.files[index], self.input_shape, self.fit, self.pixel_range)
        except PictureError as error:
            if index not in self.skipped:
                self.skipped[index] = str(error)
                self._tell(index)
            return torch.full(self.input_shape, torch.nan)

    def _tell(self, index: int) -> None:
        if len(self.skipped) <= _TOLD:
            self._notes.tell(f"{self.name(index)} is skipped: {self.skipped[index]}")
        elif len(self.skipped) == _TOLD + 1:
            self._notes.tell(f"more than {_TOLD} pictures are skipped; `skipped` lists them all")
