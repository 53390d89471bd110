"""A survey on disk: `survey.json`, and beside it a folder with a file for each layer.

That folder is named after the images in it. A new state is written beside the old one, `survey.json` is
replaced at a stroke, and the old one is removed: whenever a run is killed, one whole state remains.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .tally import Tally

FORMAT = "ldam-survey-1"
INDEX = "survey.json"


def save(folder: Path, card: dict[str, Any], tallies: Mapping[str, Tally]) -> None:
    """Replace the state in a folder.

    Args:
        folder: made if needed; a survey in it has the same settings.
        card: JSON-safe; `state` and `files` are added.
        tallies: by layer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    through = json.dumps([card["looked_at"], card["done"]]).encode()
    images = sum(end - first for first, end in card["done"])
    name = f"state-{images}-{hashlib.sha256(through).hexdigest()[:8]}"
    files = {layer: f"{i:03}-{re.sub(r'[^A-Za-z0-9_.-]', '_', layer)[:100]}.safetensors"
             for i, layer in enumerate(tallies)}  # fmt: skip
    index = folder / INDEX
    old = json.loads(index.read_text(encoding="utf-8")).get("state") if index.exists() else None
    if old == name:
        return  # nothing has happened since
    draft = folder / f".{name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for layer, tally in tallies.items():
        tensors = {key: tensor.contiguous() for key, tensor in tally.tensors().items()}
        save_file(tensors, draft / files[layer])
    shutil.rmtree(folder / name, ignore_errors=True)  # of a run that was killed before it replaced the index
    draft.rename(folder / name)
    fresh = folder / f".{INDEX}.part"
    fresh.write_text(json.dumps(card | {"state": name, "files": files}, indent=1), encoding="utf-8")
    os.replace(fresh, index)
    clean(folder, name)


def clean(folder: Path, name: str) -> None:
    """Remove what killed runs have left."""
    for other in folder.glob("state-*"):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    for other in folder.glob(".*.part"):
        shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink(missing_ok=True)


def exists(folder: Path) -> bool:
    """Whether a survey has been saved there. Raises ValueError for a folder with something else in it."""
    if (folder / INDEX).exists():
        return True
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out={str(folder)!r} is a file; name a folder")
    if folder.is_dir() and any(not other.name.endswith(".part") and not other.name.startswith("state-")
                               for other in folder.iterdir()):  # fmt: skip
        raise ValueError(f"out={str(folder)!r} holds other files and no survey; name an empty or a new folder")
    return False


def load_card(folder: Path) -> dict[str, Any]:
    """What `survey.json` says. Raises FileNotFoundError, or ValueError for something else."""
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(f"there is no survey in {folder}: it has no {INDEX}")
    try:
        card = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{index} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"{index} does not describe a survey that this version can read ({FORMAT})")
    return card


def load_tallies(folder: Path, card: dict[str, Any]) -> dict[str, Tally]:
    """The layers. Raises ValueError if a file is missing or damaged."""
    found = {}
    for layer, name in card["files"].items():
        path = folder / card["state"] / name
        try:
            found[layer] = Tally.of(load_file(path))
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ValueError(f"{path} is missing or damaged ({error}): make the survey again") from error
    return found
