"""What is left to do in a folder, and whether it may be done there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.notes import Notes
from . import folder
from .layout import CARD, LayerOfAtlas
from .recipe import difference, same_answers
from .working import Task


def settled(atlas: Path, card: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Begin an atlas in a folder, or go on with the one that is there; the card that holds.

    Class names are no part of the recipe: names that are given replace those of the atlas.

    Args:
        atlas: the folder.
        card: of `describing.described`.
        overwrite: put the card in place of one of another recipe.

    Raises:
        ValueError: the folder holds something else.
        OSError: it cannot be written.
    """
    if (atlas / CARD).exists():
        there = folder.load_card(atlas)
        different = _difference(there, card)
        if different is None:
            folder.probe(atlas)
            if card["class_names"] in ([], there["class_names"]):
                return there
            there["class_names"] = card["class_names"]
            _write(atlas, there)
            return there
        if not overwrite:
            raise ValueError(
                f"out={str(atlas)!r} holds an atlas with {different}; name another folder, or give overwrite=True"
            )
    elif atlas.exists() and not atlas.is_dir():
        raise ValueError(f"out={str(atlas)!r} is a file; name a folder")
    elif atlas.is_dir() and any(not other.name.startswith(".") for other in atlas.iterdir()):
        raise ValueError(f"out={str(atlas)!r} holds other files and no atlas; name an empty or a new folder")
    atlas.mkdir(parents=True, exist_ok=True)
    folder.clean(atlas)
    _write(atlas, card)
    there = folder.load_card(atlas)
    if _difference(there, card) is not None:
        raise ValueError(f"out={str(atlas)!r}: another atlas has just been begun there; name another folder")
    return there


def _write(atlas: Path, card: dict[str, Any]) -> None:
    plain = card | {"layers": [layer.card() for layer in card["layers"]]}
    folder.write_file(atlas / CARD, folder.dump(plain))


def tasks_of(atlas: Path, card: dict[str, Any], overwrite: bool, notes: Notes) -> list[Task | None]:
    """One for each block, in order; None: it is done.

    Raises:
        ValueError: a block was rendered by another recipe, and is not to be overwritten.
    """
    found: list[Task | None] = []
    for layer in card["layers"]:
        folder.clean(atlas / layer.folder)
        for block in range(layer.blocks):
            try:
                done = folder.load_done(atlas, layer, block, card["recipe_hash"])
            except folder.OtherRecipeError as error:
                if not overwrite:
                    raise ValueError(f"{error}; give overwrite=True to replace it") from error
                found.append(Task(layer.name, block, replace=True))
            except ValueError as error:
                notes.tell(f"{error}: it is rendered again")
                found.append(Task(layer.name, block, replace=True))
            else:
                found.append(Task(layer.name, block) if done is None else None)
    return found


def _difference(there: dict[str, Any], card: dict[str, Any]) -> str | None:
    """In what respect a folder's atlas is another one, in words."""
    different = difference(there["recipe"], json.loads(json.dumps(card["recipe"])))
    if different is not None:
        return different
    layers: list[LayerOfAtlas] = card["layers"]
    if there["layers"] != layers:
        return f"other layers ({', '.join(layer.name for layer in there['layers'])})"
    if not same_answers(there["answers"], card["answers"]):
        return "a model that answers differently: other code, or another preprocess="
    return None
