"""What the browser of an atlas reads: an index, a table for each layer, and sheets. `js/src/atlas/protocol.schema.json`
declares them; the same for a widget and for an exported folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import folder
from .layout import ACROSS, BLOCK, VERDICTS, LayerOfAtlas
from .likeness import SIDE, Floats, change, nearest, thumbnails
from .status import Status

FORMAT = "ldam-atlas-page-1"
OF_IMAGES = ("top", "deconv")  # kinds that show the user's images
_SIMILAR = 12  # units listed for each
_MEANS = {"activation": "activation"}  # numbers of each chain -> column of their mean
_PLAIN = ("average_activation", "percentile", "r_hat", "ess", "temperature")
_TOLD = 20  # problems listed


class Readable(Protocol):
    """What is read of an `Atlas`."""

    path: Path
    card: dict[str, Any]
    layers: dict[str, LayerOfAtlas]
    recipe: dict[str, Any]
    class_names: tuple[str, ...]

    def blocks(self, layer: str) -> Iterator[Any]: ...

    def numbers(self, layer: str) -> folder.Numbers: ...

    def sheet(self, block: Any, kind: str, number: int = 0) -> Image.Image: ...

    def status(self) -> Status: ...


class Pages(NamedTuple):
    """One atlas, or two of the same layers side by side.

    Attributes:
        atlases: name -> atlas.
        title: heading of the page.
        top: whether pictures of the user's images are shown.
        left_out: (atlas, layer, block) of blocks that are damaged, though their sizes are right.
    """

    atlases: dict[str, Readable]
    title: str
    top: bool = True
    left_out: Collection[tuple[str, str, int]] = ()

    def overview(self) -> dict[str, Any]:
        """What there is."""
        several = len(self.atlases) > 1
        listed = [
            {
                "name": name if several else "",
                "folder": str(i),
                "about": _about(atlas),
                "layers": [self._layer(name, layer) for layer in atlas.layers.values()],
            }
            for i, (name, atlas) in enumerate(self.atlases.items())
        ]
        return {"kind": "index", "format": FORMAT, "title": self.title, "atlases": listed}

    def table(self, name: str, layer: str) -> dict[str, Any]:
        """All numbers of a layer of one of the atlases."""
        atlas = self.atlases[name]
        of, numbers = atlas.layers[layer], self._numbers(name, layer)
        verdict = numbers.get("verdict", np.full(of.units, -1, np.int8))
        pictures, failures, verdicts = self._looked_at(name, layer)
        columns = {column: numbers[key].mean(1) for key, column in _MEANS.items() if key in numbers}
        columns |= {key: numbers[key] for key in _PLAIN if key in numbers}
        for other in self.atlases.keys() - {name}:
            columns["change"] = self._change(pictures, other, layer)
        return {
            "kind": "table",
            "names": self._names(atlas, layer),
            "states": [_state(code) for code in verdict.tolist()],
            "failures": {str(unit): why for unit, why in sorted(failures.items())},
            "columns": [
                {"name": column, "values": [_short(value) for value in values.tolist()]}
                for column, values in columns.items()
                if np.isfinite(values).any()
            ],
            "words": [
                *_words("verdict", [verdicts.get(unit, "") for unit in range(of.units)]),
                *_words("recognised as", _recognised(atlas.class_names, numbers)),
            ],
            "similar": nearest(pictures, _SIMILAR),
            "top_values": _rows(numbers, "top_value"),
            "top_images": _rows(numbers, "top_image"),
        }

    def kinds(self, layer: LayerOfAtlas) -> list[str]:
        """Kinds of pictures that are shown."""
        return [kind for kind in layer.sheets if self.top or kind not in OF_IMAGES]

    def blocks(self, name: str, layer: str) -> Iterator[Any]:
        """The blocks that are whole."""
        for block in self.atlases[name].blocks(layer):
            if (name, layer, block.number) not in self.left_out:
                yield block

    def _layer(self, name: str, layer: LayerOfAtlas) -> dict[str, Any]:
        verdict = self._numbers(name, layer.name).get("verdict", np.empty(0, np.int8))
        counts = {word: int((verdict == code).sum()) for code, word in enumerate(VERDICTS)}
        sheets = []
        for kind in self.kinds(layer):
            of = layer.sheets[kind]
            sheets.append({
                "kind": kind, "tiles": of.tiles, "files": list(of.files), "across": ACROSS,
                "width": of.tile[1], "height": of.tile[0],
            })  # fmt: skip
        return {
            "name": layer.name, "folder": layer.folder, "units": layer.units, "rendered": int((verdict >= 0).sum()),
            "dead": counts["dead"], "failed": counts["failed"], "block": BLOCK, "sheets": sheets,
        }  # fmt: skip

    def _numbers(self, name: str, layer: str) -> folder.Numbers:
        numbers = self.atlases[name].numbers(layer)
        for of, where, block in self.left_out:
            if (of, where) == (name, layer):
                units = self.atlases[name].layers[layer].units_of(block)
                for values in numbers.values():
                    values[units.start : units.stop] = -1 if values.dtype.kind == "i" else np.nan
        return numbers

    def _looked_at(self, name: str, layer: str) -> tuple[Floats, dict[int, str], dict[int, str]]:
        """Thumbnails of the averages, NaN where there is none; why units failed; verdicts in words."""
        atlas = self.atlases[name]
        of = atlas.layers[layer]
        pictures = np.full((of.units, 3 * SIDE**2), np.nan, np.float32)
        failures: dict[int, str] = {}
        verdicts: dict[int, str] = {}
        missing = set(range(of.blocks))
        for block in self.blocks(name, layer):
            missing.discard(block.number)
            failures |= block.failures
            verdicts |= block.verdicts
            try:
                sheet = atlas.sheet(block, "average")
            except ValueError:
                continue  # told where it is shown
            pictures[block.units.start : block.units.stop] = thumbnails(sheet, len(block.units))
            pictures[[unit for unit in block.failures if unit in block.units]] = np.nan
        for number in missing:
            why = folder.read_failure(atlas.path, of, number, atlas.card["recipe_hash"])
            if (name, layer, number) in self.left_out:
                why = "its block is damaged; build the atlas again"
            if why is not None:
                failures |= dict.fromkeys(of.units_of(number), why)
        return pictures, failures, verdicts

    def _change(self, pictures: Floats, other: str, layer: str) -> Floats:
        found: Floats = np.full(len(pictures), np.nan, np.float32)
        if layer in self.atlases[other].layers:
            others = self._looked_at(other, layer)[0]
            both = min(len(pictures), len(others))
            found[:both] = change(pictures[:both], others[:both])
        return found

    def _names(self, atlas: Readable, layer: str) -> list[str]:
        """Classes are the units of the last layer, where their numbers agree."""
        last = next(reversed(atlas.layers))
        return list(atlas.class_names) if layer == last and atlas.layers[last].units == len(atlas.class_names) else []


def pages_of(
    atlas: Readable, other: Readable | None, names: Sequence[str] | None, title: str | None, *, top: bool = True
) -> Pages:
    """Checks what is to be shown.

    Args:
        atlas, other: one or two.
        names: of both; None: those of their folders.
        title: heading; None: the model's name.
        top: show pictures of the user's images.

    Raises:
        ValueError: names do not fit, or the atlases have no layer in common.
    """
    several = [atlas] if other is None else [atlas, other]
    if names is None:
        names = _folders([each.path for each in several])
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(names) != len(several) or len(set(names)) != len(names):
        raise ValueError(f"names must be {len(several)} different texts, one for each atlas; got {list(names)!r}")
    if other is not None and not atlas.layers.keys() & other.layers.keys():
        raise ValueError(f"the atlases {atlas.path} and {other.path} have no layer in common")
    heading = str(atlas.card["model"]["name"]) if title is None else str(title)
    return Pages(dict(zip(names, several, strict=True)), heading, top)


def _folders(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    full = [Path(os.path.abspath(path)).parts for path in paths]
    for length in range(1, max(map(len, full)) + 1):
        names = ["/".join(parts[-length:]) for parts in full]
        if len(set(names)) == len(names):
            return names
    return ["first", "second"]  # twice the same atlas


def _about(atlas: Readable) -> list[str]:
    """How it was made, and what is missing."""
    card, status = atlas.card, atlas.status()
    recipe = ", ".join(f"{key} {value}" for key, value in atlas.recipe.items() if isinstance(value, str | int | float))
    survey = card.get("survey")
    lines = [
        f"model {card['model']['name']}",
        recipe,
        "" if survey is None else f"top images and percentiles among {survey['images']:,} images",
        f"made with {', '.join(f'{name} {version}' for name, version in card['versions'].items())}",
        *status.words.splitlines()[:1],
        *status.problems[:_TOLD],
    ]
    return [line for line in lines if line]


def _state(code: int) -> str:
    return VERDICTS[code] if 0 <= code < len(VERDICTS) else "missing"


def _short(value: float) -> float | None:
    """Five digits are as many as anybody reads."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def _rows(numbers: Mapping[str, npt.NDArray[Any]], key: str) -> list[list[Any]]:
    """Values of the top images, without the places that none has taken."""
    if key not in numbers:
        return []
    whole = numbers[key].dtype.kind == "i"
    return [
        [value if whole else _short(value) for value in row if (value >= 0 if whole else np.isfinite(value))]
        for row in numbers[key].tolist()
    ]


def _words(name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """A column of few different texts; none if all are empty."""
    different = sorted(set(texts) - {""})
    if not different:
        return []
    number = {text: i for i, text in enumerate(different)}
    return [{"name": name, "texts": different, "which": [number.get(text, -1) for text in texts]}]


def _recognised(classes: Sequence[str], numbers: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    if "recognised" not in numbers:
        return []
    sure = numbers.get("confidence", np.full(len(numbers["recognised"]), np.nan)).tolist()
    found = []
    for number, confidence in zip(numbers["recognised"].tolist(), sure, strict=True):
        name = classes[number] if 0 <= number < len(classes) else f"class {number}"
        doubt = f", {confidence:.0%} sure" if np.isfinite(confidence) else ""
        found.append("" if number < 0 else f"{name}{doubt}")
    return found
