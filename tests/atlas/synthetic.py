"""Small atlases with made-up pictures and numbers, written as real ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ldam_widget.atlases import Atlas, folder
from ldam_widget.atlases.layout import CARD, FORMAT, VERDICTS, LayerOfAtlas, Sheets, folders_of

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DEAD, FAILED = VERDICTS.index("dead"), VERDICTS.index("failed")


def card_of(
    layers: dict[str, int], *, tile: int = 16, chains: int = 4, top: int = 9, recipe: str = "0123456789abcdef"
) -> dict[str, object]:
    """atlas.json of made-up layers, name -> units; top=0: without a survey."""
    kinds = {"samples": chains, "average": 1} | ({"top": top, "deconv": top} if top else {})
    sheets = {kind: Sheets(kind, (tile, tile), count) for kind, count in kinds.items()}
    folders = folders_of(list(layers))
    listed = [LayerOfAtlas(name, folders[name], units, (4, 4), sheets).card() for name, units in layers.items()]
    return {
        "format": FORMAT, "recipe": {"version": 1, "chains": chains, "steps": 200, "seed": 0}, "recipe_hash": recipe,
        "model": {"name": "MadeUp", "weights": "0" * 32}, "answers": [1.0] * len(layers),
        "input_shape": [3, tile, tile],
        "class_names": list(CLASSES), "survey": {"images": 1000, "k": top} if top else None,
        "versions": {"ldam_widget": "0", "torch": "0", "pillow": "0"}, "layers": listed,
    }  # fmt: skip


def synthetic_atlas(
    path: Path, layers: dict[str, int], *, tile: int = 16, chains: int = 4, top: int = 9, seed: int = 0, blocks: int = 0
) -> Atlas:
    """An atlas of made-up layers, name -> units.

    Unit 5 of every layer is dead, unit 7 failed. Colours change from unit to unit, and a bright pixel column tells the
    tile: column t for tile t. `seed`: of another checkpoint. `blocks`: write only so many of each layer; 0: all.
    """
    path.mkdir(parents=True, exist_ok=True)
    folder.write_file(path / CARD, folder.dump(card_of(layers, tile=tile, chains=chains, top=top)))
    atlas = Atlas(path)
    for layer in atlas.layers.values():
        for block in range(min(layer.blocks, blocks or layer.blocks)):
            made = rendered(layer, block, chains, top, seed)
            folder.write_block(path, layer, block, atlas.recipe_hash, made)
    return atlas


def rendered(layer: LayerOfAtlas, block: int, chains: int, top: int, seed: int = 0) -> folder.Rendered:
    """The made-up content of a block."""
    units = layer.units_of(block)
    count = len(units)
    draws = np.random.default_rng([seed, block, layer.units])
    numbers: folder.Numbers = {
        "activation": draws.normal(5, 2, (count, chains)).astype(np.float32),
        "average_activation": draws.normal(6, 2, count).astype(np.float32),
        "percentile": draws.uniform(50, 100, count).astype(np.float32),
        "temperature": np.full(count, 0.01, np.float32),
        "r_hat": draws.uniform(1, 1.3, count).astype(np.float32),
        "ess": draws.uniform(10, 400, count).astype(np.float32),
        "verdict": draws.integers(0, 3, count).astype(np.int8),
        "recognised": draws.integers(0, len(CLASSES), count).astype(np.int32),
        "confidence": draws.uniform(0.1, 1, count).astype(np.float32),
    }
    numbers["largest"] = numbers["activation"] + np.float32(1)
    if top:
        numbers["top_value"] = -np.sort(-draws.normal(8, 2, (count, top)), 1).astype(np.float32)
        numbers["top_image"] = draws.integers(0, 1000, (count, top)).astype(np.int32)
        numbers["top_place"] = draws.integers(0, 16, (count, top)).astype(np.int32)
    pictures = {}
    for kind, sheets in layer.sheets.items():
        height, width = sheets.tile
        tiles = np.empty((count, sheets.tiles, height, width, 3), np.uint8)
        tiles[:] = draws.integers(0, 200, (count, 1, 1, 1, 3))
        for tile in range(sheets.tiles):
            tiles[:, tile, :, tile % width] = 255
        pictures[kind] = tiles
    failures, verdicts = {}, {unit: VERDICTS[numbers["verdict"][i]] for i, unit in enumerate(units)}
    for unit, code, words in ((5, DEAD, "the unit is dead"), (7, FAILED, "the activation became nan at step 12")):
        if unit in units:
            numbers["verdict"][unit - units.start] = code
            verdicts[unit] = words
    if 7 in units:
        failures[7] = verdicts.pop(7)
        row = 7 - units.start
        for key, values in numbers.items():
            if key != "verdict":
                values[row] = -1 if values.dtype.kind == "i" else np.nan
        for tiles in pictures.values():
            tiles[row] = 128
    return folder.Rendered(pictures, numbers, failures, verdicts)
