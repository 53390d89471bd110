"""`Atlas`: read access to a folder, finished or not, also while it is being built."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..core.tables import Row, as_html, as_text
from . import folder, sheets
from .exporting import export_folder
from .layout import VERDICTS, LayerOfAtlas, Sheets
from .pages import pages_of
from .status import Status, status_of


class Block(NamedTuple):
    """Up to 64 units of a layer, whole on disk."""

    layer: LayerOfAtlas
    number: int
    units: range
    failures: dict[int, str]  # unit -> why it has no picture
    verdicts: dict[int, str]  # unit -> in words
    done: dict[str, Any]  # what done.json says


class Atlas:
    """An atlas in its folder; see `layout` for the format.

    Everything is read when asked for, so an atlas can be looked at while it is being built.

    Args:
        path: the folder, `out=` of `ldam.atlas`.

    Attributes:
        path: as given.
        card: what atlas.json says.
        layers: name -> `LayerOfAtlas`, in the order of the forward pass.
        recipe: what pictures and numbers follow from.
        class_names: of the model's output; () if unknown.

    Raises:
        FileNotFoundError: there is no atlas.
        ValueError: it is damaged, or of a version that cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.card = folder.load_card(self.path)
        self.layers: dict[str, LayerOfAtlas] = {layer.name: layer for layer in self.card["layers"]}
        self.recipe: dict[str, Any] = self.card["recipe"]
        self.recipe_hash: str = self.card["recipe_hash"]
        self.class_names: tuple[str, ...] = tuple(self.card["class_names"])

    def layer(self, name: str) -> LayerOfAtlas:
        """A layer by name. Raises ValueError for one that the atlas does not have."""
        if name not in self.layers:
            near = difflib.get_close_matches(str(name), self.layers, n=3, cutoff=0.4)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are {', '.join(self.layers)}."
            raise ValueError(f"layer {name!r} is not in this atlas. {hint}")
        return self.layers[name]

    def block(self, layer: str, number: int) -> Block | None:
        """A block; None: it has not been rendered.

        Raises:
            ValueError: it is damaged, of another recipe or version, or there is no block with this number.
        """
        of = self.layer(layer)
        if not 0 <= number < of.blocks:
            raise ValueError(f"block must be from 0 to {of.blocks - 1} in layer {layer!r}; got {number!r}")
        done = folder.load_done(self.path, of, number, self.recipe_hash)
        if done is None:
            return None
        failures, verdicts = (
            {int(unit): str(words) for unit, words in done[key].items()} for key in ("failures", "verdicts")
        )
        return Block(of, number, of.units_of(number), failures, verdicts, done)

    def blocks(self, layer: str) -> Iterator[Block]:
        """The blocks that are there and whole; damaged ones are left out, and named by `status`."""
        for number in range(self.layer(layer).blocks):
            try:
                block = self.block(layer, number)
            except ValueError:
                continue
            if block is not None:
                yield block

    def block_of(self, layer: str, unit: int) -> Block | None:
        """The block of a unit; None: not rendered. Raises ValueError as `block`, or if there is no such unit."""
        of = self.layer(layer)
        if isinstance(unit, bool) or not isinstance(unit, (int, np.integer)) or not 0 <= unit < of.units:
            raise ValueError(f"unit must be from 0 to {of.units - 1} in layer {layer!r}; got {unit!r}")
        number = next(i for i in range(of.blocks) if unit in of.units_of(i))
        return self.block(layer, number)

    def numbers(self, layer: str) -> folder.Numbers:
        """All numbers of a layer, (units, …) each, as in `layout`.

        Units that have not been rendered have NaN, -1, and the verdict -1. {} if no block has been rendered.
        """
        of = self.layer(layer)
        found: folder.Numbers = {}
        for block in self.blocks(layer):
            try:
                numbers = self.numbers_of(block)
            except ValueError:
                continue
            for key, values in numbers.items():
                if key not in found:
                    missing = -1 if values.dtype.kind == "i" else np.nan
                    found[key] = np.full((of.units, *values.shape[1:]), missing, values.dtype)
                if found[key].shape[1:] == values.shape[1:]:
                    found[key][block.units.start : block.units.stop] = values
        return found

    def numbers_of(self, block: Block) -> folder.Numbers:
        """The numbers of a block, (units of the block, …) each. Raises ValueError if they are damaged."""
        return folder.load_numbers(self.path, block.layer, block.number, block.done)

    def sheet(self, block: Block, kind: str, number: int = 0) -> Image.Image:
        """A sheet of a block, RGB.

        Args:
            block: from `block`.
            kind: "samples", "average", "top" or "deconv"; the last two only where a survey was given.
            number: of the file, for kinds with several.

        Raises:
            ValueError: a kind or number that there is not, or a damaged file.
        """
        return sheets.decode(self.sheet_bytes(block, kind, number))

    def sheet_bytes(self, block: Block, kind: str, number: int = 0) -> bytes:
        """A sheet of a block as it lies on disk, WebP; arguments and errors as `sheet`."""
        of = self.sheets(block.layer.name, kind)
        if not 0 <= number < len(of.files):
            raise ValueError(f"number must be from 0 to {len(of.files) - 1} for {kind!r}; got {number!r}")
        return folder.load_file(self.path, block.layer, block.number, block.done, of.files[number])

    def sheets(self, layer: str, kind: str) -> Sheets:
        """How the tiles of a kind are laid out. Raises ValueError for a kind that the layer does not have."""
        of = self.layer(layer).sheets
        if kind not in of:
            raise ValueError(f"kind must be one of {', '.join(map(repr, of))}; got {kind!r}")
        return of[kind]

    def picture(self, layer: str, unit: int, kind: str = "average", tile: int = 0) -> Image.Image | None:
        """One tile of a unit, RGB; None: not rendered, or the unit failed.

        Raises:
            ValueError: as `sheet`; no such layer, unit or tile.
        """
        of, block = self.sheets(layer, kind), self.block_of(layer, unit)
        if not 0 <= tile < of.tiles:
            raise ValueError(f"tile must be from 0 to {of.tiles - 1} for {kind!r}; got {tile!r}")
        if block is None or int(unit) in block.failures:
            return None
        number, box = of.place(int(unit) - block.units.start, tile)
        return self.sheet(block, kind, number).crop(box)

    def status(self, *, verify: bool = False) -> Status:
        """What is done, what failed and why, and how long the rest will take; prints as a table.

        Args:
            verify: read every file and compare it with its hash, instead of its size alone.
        """
        return status_of(self.path, self.card, verify=verify)

    def export(
        self,
        out: str | os.PathLike[str],
        *,
        other: Atlas | str | os.PathLike[str] | None = None,
        names: Sequence[str] | None = None,
        title: str | None = None,
        top: bool = True,
    ) -> Path:
        """Write a page to browse this atlas with: a folder that any web server serves, without a kernel.

        `python -m http.server -d OUT` serves it on this machine. What is rendered so far is in it.

        Args:
            out: a new or empty folder, or an earlier export, which is replaced.
            other: another atlas with the same layers, such as of another checkpoint: shown beside this one, and units
                can be sorted by how much their pictures differ.
            names: of both; None: those of their folders.
            title: heading; None: the model's class name.
            top: whether pictures of the survey's images are copied. They may be under a licence that forbids to publish
                them; False: only their numbers and activations are.

        Returns:
            Path of the page, `index.html`.

        Raises:
            ValueError: the folder holds something else; names do not fit; the atlases have no layer in common.
            OSError: the folder cannot be written.
        """
        beside = other if other is None or isinstance(other, Atlas) else Atlas(other)
        return export_folder(pages_of(self, beside, names, title, top=top), out)

    def _repr_png_(self) -> bytes | None:
        """The averages of the first block that is there."""
        for layer in self.layers:
            for block in self.blocks(layer):
                buffer = io.BytesIO()
                with contextlib.suppress(ValueError):  # a damaged sheet
                    self.sheet(block, "average").save(buffer, "PNG")
                    return buffer.getvalue()
        return None

    def __repr__(self) -> str:
        return as_text(self._rows())

    def _repr_html_(self) -> str:
        return as_html(self._rows())

    def _rows(self) -> list[Row]:
        rows: list[Row] = [("layer", "units", "rendered", "good", "dead", "failed")]
        for name, layer in self.layers.items():
            verdict: npt.NDArray[np.int8] = self.numbers(name).get("verdict", np.empty(0, np.int8))
            count = {word: str(int((verdict == code).sum())) for code, word in enumerate(VERDICTS)}
            rendered = str(int((verdict >= 0).sum()))
            rows.append((name, str(layer.units), rendered, count["good"], count["dead"], count["failed"]))
        return rows
