"""Where pictures come from: images given in Python, files given in the page, the camera."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....data import Images, PictureError, PictureFolder, RealImages, read_picture
from ....pictures.images import encode_page
from ...protocol import Content, flag, integer, text
from ..part import Action, Command, Feature
from .bench import Bench

IMAGES, FILES, CAMERA = "images", "files", "camera"
MOST_FILES = 200  # the oldest are forgotten
LARGEST = 32_000_000  # bytes of one file; pages send far smaller ones

Fit = Literal["crop", "stretch"]


class _File(NamedTuple):
    name: str
    content: bytes


class Sources(Feature):
    """The present picture, and where the next one comes from. All methods but `hear` run on the loop.

    Args:
        bench: the toolbox.
        images: given in Python; None: there are none.
        input_shape, pixel_range: of the network's pictures.
    """

    def __init__(
        self, bench: Bench, images: Images | None, input_shape: tuple[int, ...], pixel_range: tuple[float, float]
    ) -> None:
        self.bench, self._images = bench, images
        self._shape, self._range = input_shape, pixel_range
        self._files: list[_File] = []
        self._index = {IMAGES: 0, FILES: 0}
        self._given: Tensor | None = None  # set in Python, instead of a picture of the source
        self._newest: tuple[int, bytes] | None = None  # from the camera, not yet looked at; set by any thread
        self._camera = b""
        self._made: tuple[object, Tensor] | None = None  # what the present picture was made from, and itself
        self.source = IMAGES if images is not None else FILES
        self.answers: int | None = None  # number of the camera's picture that is shown

    @property
    def takes_files(self) -> bool:
        """Whether picture files fit the network."""
        return self._shape[0] in (1, 3)

    @property
    def name(self) -> str:
        """What the present picture is called; "" if there is none."""
        if self._given is not None:
            return "given in Python"
        if self.source == CAMERA:
            return CAMERA
        if not self.count:
            return ""
        index = self._index[self.source]
        if self.source == FILES:
            return self._files[index].name
        assert self._images is not None
        return self._images.name(index)

    @property
    def count(self) -> int:
        """Pictures of the source; 0 for a camera."""
        if self.source == CAMERA:
            return 0
        return len(self._files) if self.source == FILES else len(cast(Images, self._images))

    @property
    def index(self) -> int:
        """Which of them is shown."""
        return self._index.get(self.source, 0)

    def current(self, fit: str) -> Tensor | None:
        """The present picture (channels, height, width) in the pixel range; None if there is none.

        Raises:
            PictureError: it cannot be read.
        """
        if self._given is not None:
            return self._given
        if self.source == CAMERA:
            newest, self._newest = self._newest, None
            if newest is not None:
                self.answers, self._camera = newest
        made_from = self.source, self.index, fit, self._camera if self.source == CAMERA else None, len(self._files)
        if self._made is not None and self._made[0] == made_from:
            return self._made[1]
        picture = self._read(cast(Fit, fit))
        if picture is not None:
            self._made = made_from, picture
        return picture

    def _read(self, fit: Fit) -> Tensor | None:
        if self.source == CAMERA:
            return read_picture(self._camera, self._shape, fit, self._range) if self._camera else None
        if not self.count:
            return None
        if self.source == FILES:
            file = self._files[self.index]
            return _read_file(file.name, file.content, self._shape, fit, self._range)
        images = cast(Images, self._images)
        if isinstance(images, PictureFolder):
            images.fit = fit
        picture = images.take(torch.tensor([self.index]))[0]
        if self.index in images.skipped and not bool(picture.isfinite().all()):
            raise PictureError(f"{images.name(self.index)}: {images.skipped[self.index]}")
        return picture

    # ---- choosing --------------------------------------------------------------------------------------------------

    def use(self, source: str) -> None:
        """Take pictures from another source. Raises ValueError."""
        known = [*([IMAGES] if self._images is not None else []), *([FILES, CAMERA] if self.takes_files else [])]
        if source not in known:
            raise ValueError(f"source must be one of {', '.join(map(repr, known))}; got {source!r}")
        self.source, self._given = source, None
        if source != CAMERA:
            self.answers, self._camera, self._newest = None, b"", None

    def step(self, by: int) -> None:
        """The next picture that can be read, or the one before. Raises PictureError if none can."""
        self._given = None
        if self.source == CAMERA or not self.count:
            return
        start, fit = self.index, self.bench.explorer.choice.fit
        for _ in range(min(self.count, 1000)):
            self._index[self.source] = (self.index + by) % self.count
            try:
                self.current(fit)
                return
            except PictureError as error:
                self.bench.report(error)
        self._index[self.source] = start
        raise PictureError("none of the pictures can be read")

    def go_to(self, index: int) -> None:
        """Show picture `index` of the source; negative ones count from the end. Raises IndexError or TypeError."""
        try:
            index = operator.index(index)
        except TypeError:
            raise TypeError(f"index must be the number of a picture; got {index!r}") from None
        if self.source == CAMERA or not -self.count <= index < self.count:
            raise IndexError(f"index {index} is out of range: the source {self.source!r} holds {self.count} pictures")
        self._given = None
        self._index[self.source] = index % self.count

    def give(self, image: Any, fit: str) -> None:
        """Show a picture given in Python: a tensor, array, PIL image or file. Raises ValueError, TypeError."""
        self._given = self._as_tensor(image, cast(Fit, fit))

    def _as_tensor(self, image: Any, fit: Fit) -> Tensor:
        if isinstance(image, Image.Image):
            return read_picture(encode_page(image, "png"), self._shape, fit, self._range)
        if isinstance(image, (str, os.PathLike)):
            return read_picture(Path(image), self._shape, fit, self._range)
        if not isinstance(image, (Tensor, np.ndarray)):
            raise TypeError(f"image must be a tensor, an array, a PIL image or a file; got {type(image).__name__}")
        one = RealImages(image[None], self._shape, self._range)
        return one.take(torch.tensor([0]))[0].cpu()

    # ---- the page --------------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        return {"takes_files": self.takes_files, "input_shape": list(self._shape)}

    def state(self) -> dict[str, Any]:
        known = [*([IMAGES] if self._images is not None else []), *([FILES] if self._files else [])]
        fields = {"source": self.source, "sources": known, "index": self.index, "count": self.count}
        return {"picture": {**fields, "name": self.name[:200]}}

    def actions(self) -> Mapping[str, Action]:
        return {"next": lambda: self._from_page(1), "previous": lambda: self._from_page(-1)}

    def _from_page(self, by: int) -> None:
        self.bench.report(None)
        self.step(by)
        self.bench.post_state()
        self.bench.look()

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"source": self._read_source}

    def _read_source(self, content: Content) -> Command | None:
        what = text(content, "what")
        return None if what is None else Command(lambda: self._use_from_page(what))

    def _use_from_page(self, what: str) -> None:
        self.use(what)
        self.bench.post_state()
        self.bench.look()

    def hear(self, content: Content, buffers: Sequence[Any]) -> Command | None:
        """A picture from the page, on any thread; the newest of the camera wins. None: nothing to be done."""
        name, camera, number = text(content, "name"), flag(content, "camera"), integer(content, "number")
        if name is None or camera is None or number is None or len(buffers) != 1 or not self.takes_files:
            return None
        data = bytes(buffers[0])
        if len(data) > LARGEST:
            return None
        if not camera:
            return Command(lambda: self._add(_File(name[:200], data)))
        if self.source == CAMERA and not self.bench.explorer.choice.frozen:
            self._newest = number, data
            self.bench.look()
        return None

    def _add(self, file: _File) -> None:
        fit = cast(Fit, self.bench.explorer.choice.fit)
        _read_file(file.name, file.content, self._shape, fit, self._range)  # raises
        self._files = [*self._files, file][-MOST_FILES:]
        self.use(FILES)
        self._index[FILES] = len(self._files) - 1
        self._made = None
        self.bench.post_state()
        self.bench.look()

    def close(self) -> None:
        """Forget all pictures."""
        self._images, self._files, self._given, self._made = None, [], None, None
        self._camera, self._newest = b"", None


def _read_file(name: str, content: bytes, shape: tuple[int, ...], fit: Fit, pixel_range: tuple[float, float]) -> Tensor:
    try:
        return read_picture(content, shape, fit, pixel_range)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
