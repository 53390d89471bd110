"""How an atlas lies on disk.

    atlas/atlas.json                        what was asked, and the layers
    atlas/<layer folder>/00017/             a block: units 64·17 … 64·17 + 63 of the layer
        samples.webp                        sheets of tiles: a tile for each chain of a unit
        average.webp                        one tile for each unit
        top-0.webp, top-1.webp, …           crops of the real images that drive it most (where a survey was given)
        deconv-0.webp, …                    what of these crops makes it large
        numbers.safetensors
        done.json                           names, sizes and hashes of the other files; failures in words
    atlas/<layer folder>/00017.failed.json  a block that could not be rendered, and why: {"recipe", "why"}
    atlas/<layer folder>/.00017.….HOST.PID/ a block that is being written; renamed once it is whole

A block appears at a stroke, by renaming its folder, so it is whole or it is not there. The same recipe gives the same
bytes in every file, except where machines or versions of libraries round differently.

atlas.json
    format          "ldam-atlas-1"
    recipe          all that pictures and numbers follow from; see `recipe.UnitRecipe`
    recipe_hash     of it; blocks carry the same
    model           {"name": class, "weights": hash}
    answers         mean output of every layer, and of a judge, for a fixed image: shows another code or preprocessing
    input_shape     of one image
    class_names     of the units of the model's output; [] if unknown
    survey          {"images": how many, "k": top images a unit}, or null
    versions        of ldam_widget, torch, pillow
    layers          a list of
        name        as in `ldam.layers`
        folder      below the atlas
        units       how many
        map         positions of a unit: [height, width] of a channel's map; [] for one number
        sheets      kind -> {"tile": [height, width], "tiles": for each unit, "files": names, in order}

Sheets
    A sheet holds at most 256 tiles. If a kind has more, its tiles are shared out evenly: with 9 tiles a unit and three
    files, the first file has tiles 0 to 2 of each unit, and so on. Eight units stand side by side, each with its tiles
    of that file from left to right; units of a block follow row by row. Hence the tile t of unit u (both counted from
    the first in the file) has its upper left corner at
        x = (u % 8 · each + t) · width,  y = (u // 8) · height,  each = ⌈tiles / files⌉ (of the last file: the rest).
    The last block of a layer may have fewer units, and fewer rows; its width is the same. Units without a picture have
    grey tiles (level 128). Tiles of up to 48 pixels are lossless, others of quality 85.

numbers.safetensors, for U units of the block, C chains, k top images
    activation          float32 (U, C)  of the unit, for the final sample of each chain
    average_activation  float32 (U,)    for the average
    largest             float32 (U, C)  as `activation`, the largest on the unit's map: what surveys count
    percentile          float32 (U,)    of the mean of `largest`, among the images of the survey; NaN without one
    temperature         float32 (U,)
    r_hat, ess          float32 (U,)    of the activation; NaN: too few pictures
    verdict             int8    (U,)    an index of `VERDICTS`
    recognised          int32   (U,)    the class of the average, by the model itself or a judge; -1: none
    confidence          float32 (U,)    the probability of that class; NaN: none
    top_value           float32 (U, k)  with a survey only; NaN where there is no image
    top_image           int32   (U, k)  number of the image; -1: none
    top_place           int32   (U, k)  flat place on the map
Numbers of a unit that failed are NaN, -1, and the verdict "failed".

done.json
    format, recipe (its hash), layer, block, first (unit), units
    failures            unit, as text -> why it has no picture
    verdicts            unit, as text -> the verdict in words
    files               name -> [bytes, first 16 digits of its SHA-256]
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

FORMAT = "ldam-atlas-1"
CARD, DONE, NUMBERS = "atlas.json", "done.json", "numbers.safetensors"
BLOCK = 64  # units
ACROSS = 8  # units side by side in a sheet
MOST_TILES = 256  # in a sheet
BLANK = 128  # grey level of tiles without a picture
VERDICTS = ("good", "wait", "warn", "dead", "failed")
KINDS = ("samples", "average", "top", "deconv")


class Sheets(NamedTuple):
    """How the tiles of one kind are laid out."""

    kind: str  # one of KINDS
    tile: tuple[int, int]  # height and width
    tiles: int  # for each unit

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the sheets of a block."""
        count = math.ceil(self.tiles * BLOCK / MOST_TILES)
        numbered = count > 1 or self.kind in ("top", "deconv")
        return tuple(f"{self.kind}-{i}.webp" if numbered else f"{self.kind}.webp" for i in range(count))

    @property
    def each(self) -> int:
        """Tiles of a unit in a file; in the last one, there may be fewer."""
        return math.ceil(self.tiles / len(self.files))

    def in_file(self, number: int) -> range:
        """The tiles of a unit that the file with this number has."""
        return range(number * self.each, min((number + 1) * self.each, self.tiles))

    def place(self, unit: int, tile: int) -> tuple[int, tuple[int, int, int, int]]:
        """Number of the file, and box (left, top, right, bottom) in it, of a tile of a unit of the block."""
        number, within = divmod(tile, self.each)
        height, width = self.tile
        row, column = divmod(unit, ACROSS)
        left, top = (column * len(self.in_file(number)) + within) * width, row * height
        return number, (left, top, left + width, top + height)

    def card(self) -> dict[str, Any]:
        """As in atlas.json."""
        return {"tile": list(self.tile), "tiles": self.tiles, "files": list(self.files)}


class LayerOfAtlas(NamedTuple):
    """A layer, as atlas.json describes it."""

    name: str
    folder: str
    units: int
    map: tuple[int, ...]
    sheets: dict[str, Sheets]

    @property
    def blocks(self) -> int:
        """How many blocks it has."""
        return math.ceil(self.units / BLOCK)

    def units_of(self, block: int) -> range:
        """The units of a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.units))

    def card(self) -> dict[str, Any]:
        """As in atlas.json."""
        sheets = {kind: each.card() for kind, each in self.sheets.items()}
        return {
            "name": self.name, "folder": self.folder, "units": self.units, "map": list(self.map), "sheets": sheets,
        }  # fmt: skip

    @classmethod
    def read(cls, card: dict[str, Any]) -> LayerOfAtlas:
        """The inverse of `card`. Raises KeyError, TypeError or ValueError for something else."""
        unknown = sorted(set(card["sheets"]) - set(KINDS))
        if unknown:  # files are named after them
            raise ValueError(f"kind of pictures {unknown[0]!r}")
        sheets = {
            kind: Sheets(kind, (int(each["tile"][0]), int(each["tile"][1])), int(each["tiles"]))
            for kind, each in card["sheets"].items()
        }
        layer = cls(str(card["name"]), str(card["folder"]), int(card["units"]), tuple(card["map"]), sheets)
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", layer.folder):
            raise ValueError(f"folder {layer.folder!r}")
        return layer


def folders_of(names: list[str]) -> dict[str, str]:
    """A folder for each layer; names that differ only in letters that folders cannot have get different ones."""
    found: dict[str, str] = {}
    taken = {CARD, "index.html", "index.sqlite"}  # not layers
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:100].rstrip(".") or "_"
        if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain, re.IGNORECASE):  # no file of Windows can be
            plain = f"_{plain}"
        folder, number = plain, 1
        while folder.lower() in taken:  # some file systems ignore case
            number += 1
            folder = f"{plain}_{number}"
        taken.add(folder.lower())
        found[name] = folder
    return found


def block_name(block: int) -> str:
    """The folder of a block."""
    return f"{block:05}"
