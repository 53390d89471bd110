"""Writing and checking the files of an atlas; see `layout` for what they are."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from . import sheets
from .layout import CARD, DONE, FORMAT, NUMBERS, LayerOfAtlas, block_name

Numbers = dict[str, npt.NDArray[Any]]
_KEYS = {"format", "recipe", "layer", "block", "first", "units", "failures", "verdicts", "files"}  # of done.json
_OF_CARD = {"recipe_hash": str, "recipe": dict, "answers": list, "class_names": list, "versions": dict, "model": dict}
_OF_SYSTEM = {"Thumbs.db", "desktop.ini"}  # and hidden files, such as .DS_Store: made by whoever looks at a folder


class Rendered(NamedTuple):
    """All that is known of the units of a block."""

    pictures: Mapping[str, npt.NDArray[np.uint8]]  # kind -> (units, tiles, height, width, 1 or 3)
    numbers: Numbers
    failures: dict[int, str]  # unit of the layer -> why it has no picture
    verdicts: dict[int, str]  # unit of the layer -> in words


def dump(content: Any) -> bytes:
    """JSON, the same bytes for the same content."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_file(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, whenever the process or the machine stops."""
    fresh = path.with_name(f".{path.name}.{_writer()}")
    _write(fresh, content)
    os.replace(fresh, path)
    _sync(path.parent)


def probe(atlas: Path) -> None:
    """Raise OSError if the folder cannot be written."""
    fresh = atlas / f".probe.{_writer()}"
    try:
        _write(fresh, b"")
    finally:
        fresh.unlink(missing_ok=True)


def write_block(
    atlas: Path, layer: LayerOfAtlas, block: int, recipe: str, rendered: Rendered, *, replace: bool = False
) -> None:
    """Write a block into an atlas at a stroke. One that is there, of another builder, stays unless `replace`.

    Args:
        atlas: folder with an atlas.json.
        layer: the layer.
        block: its number.
        recipe: hash of the recipe.
        rendered: its content.
        replace: put it in place of the one that is there.
    """
    units = layer.units_of(block)
    files = {NUMBERS: save(rendered.numbers)}
    for kind, tiles in rendered.pictures.items():
        files |= sheets.encode(tiles, layer.sheets[kind])
    done = {
        "format": FORMAT, "recipe": recipe, "layer": layer.name, "block": block,
        "first": units.start, "units": len(units),
        "failures": {str(unit): why for unit, why in sorted(rendered.failures.items())},
        "verdicts": {str(unit): words for unit, words in sorted(rendered.verdicts.items())},
        "files": {name: [len(content), _digest(content)] for name, content in sorted(files.items())},
    }  # fmt: skip
    home = atlas / layer.folder
    home.mkdir(exist_ok=True)
    clean(home)
    draft = home / f".{block_name(block)}.{_writer()}"
    try:
        draft.mkdir()
        for name, content in files.items():
            _write(draft / name, content)
        _write(draft / DONE, dump(done))
        _sync(draft)
        _put(draft, home / block_name(block), replace)
        _sync(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    (home / f"{block_name(block)}.failed.json").unlink(missing_ok=True)


def write_failure(atlas: Path, layer: LayerOfAtlas, block: int, recipe: str, why: str) -> None:
    """Note why a block could not be rendered."""
    home = atlas / layer.folder
    home.mkdir(exist_ok=True)
    write_file(home / f"{block_name(block)}.failed.json", dump({"recipe": recipe, "why": why}))


def read_failure(atlas: Path, layer: LayerOfAtlas, block: int, recipe: str) -> str | None:
    """Why a block could not be rendered last time; None: nothing is noted."""
    try:
        noted = json.loads((atlas / layer.folder / f"{block_name(block)}.failed.json").read_text(encoding="utf-8"))
        return str(noted["why"]) if noted["recipe"] == recipe else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_card(atlas: Path) -> dict[str, Any]:
    """What `atlas.json` says. Raises FileNotFoundError, or ValueError for something else."""
    path = atlas / CARD
    if not path.is_file():
        raise FileNotFoundError(f"there is no atlas in {atlas}: it has no {CARD}")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe an atlas that this version can read ({FORMAT})")
    try:
        layers = [LayerOfAtlas.read(each) for each in card["layers"]]
        for key, kind in _OF_CARD.items():
            if not isinstance(card[key], kind):
                raise TypeError(f"{key} is {card[key]!r}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return card | {"layers": layers}


class OtherRecipeError(ValueError):
    """A block was rendered by another recipe."""


def load_done(atlas: Path, layer: LayerOfAtlas, block: int, recipe: str) -> dict[str, Any] | None:
    """What a block says of itself; None: it is not there.

    Raises:
        OtherRecipeError: it was rendered by another recipe, or by another version.
        ValueError: it is damaged, e.g. truncated, or no block at all; the message names it.
    """
    home = atlas / layer.folder / block_name(block)
    if not home.exists():
        return None
    if not home.is_dir():
        raise ValueError(f"{home} is a file, not a block")
    path = home / DONE
    try:
        done = json.loads(path.read_text(encoding="utf-8"))
        known = done.keys() >= _KEYS and all(isinstance(done[key], dict) for key in ("failures", "verdicts", "files"))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{home} is damaged: {DONE} is missing or unreadable ({error})") from error
    if not known or done["format"] != FORMAT:
        raise OtherRecipeError(f"{home} was written by another version ({done.get('format', 'unknown')!s})")
    if done["recipe"] != recipe:
        raise OtherRecipeError(f"{home} was rendered by another recipe ({done['recipe']}; this atlas is {recipe})")
    units = layer.units_of(block)
    if (done["layer"], done["block"], done["first"], done["units"]) != (layer.name, block, units.start, len(units)):
        raise ValueError(f"{home} is block {done['block']} of layer {done['layer']!r}: it has been moved")
    wanted = {NUMBERS, *(name for each in layer.sheets.values() for name in each.files)}
    missing = sorted(wanted - done["files"].keys())
    if missing:
        raise ValueError(f"{home} is damaged: it has no {missing[0]}")
    foreign = sorted(done["files"].keys() - wanted)
    if foreign:
        raise ValueError(f"{home} is damaged: {DONE} names another file, {foreign[0]}")
    for name, noted in done["files"].items():
        try:
            found = (home / name).stat().st_size
        except OSError as error:
            raise ValueError(f"{home} is damaged: {name} is missing") from error
        if not isinstance(noted, list) or len(noted) != 2 or found != noted[0]:
            raise ValueError(f"{home} is damaged: {name} has {found:,} bytes; noted are {noted!r}")
    foreign = sorted(name for name in _names_in(home) if name not in {DONE, *wanted})
    if foreign:
        raise ValueError(f"{home} holds a foreign file, {foreign[0]}")
    whole: dict[str, Any] = done
    return whole


def load_file(atlas: Path, layer: LayerOfAtlas, block: int, done: dict[str, Any], name: str) -> bytes:
    """A file of a block. Raises ValueError if it is not as it was written."""
    path = atlas / layer.folder / block_name(block) / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if [len(content), _digest(content)] != done["files"][name]:
        raise ValueError(f"{path} is damaged: it is not what was written")
    return content


def load_numbers(atlas: Path, layer: LayerOfAtlas, block: int, done: dict[str, Any]) -> Numbers:
    """The numbers of a block. Raises ValueError if they are damaged."""
    try:
        return dict(load(load_file(atlas, layer, block, done, NUMBERS)))
    except SafetensorError as error:
        raise ValueError(f"{atlas / layer.folder / block_name(block) / NUMBERS} is damaged: {error}") from error


def foreign_files(atlas: Path, layers: list[LayerOfAtlas]) -> list[str]:
    """What lies in the folder and does not belong to the atlas; drafts and hidden files are left out."""
    folders = {layer.folder: layer for layer in layers}
    known = {CARD, "index.html", "index.sqlite"}
    found = []
    for path in sorted(atlas.iterdir()):
        if path.name.startswith(".") or path.name in known:
            continue
        if path.name not in folders or not path.is_dir():
            found.append(path.name)
            continue
        blocks = folders[path.name].blocks
        for inner in sorted(path.iterdir()):
            name = re.fullmatch(r"(\d{5,})(\.failed\.json)?", inner.name)
            if not inner.name.startswith(".") and (name is None or int(name[1]) >= blocks):
                found.append(f"{path.name}/{inner.name}")
    return found


def _names_in(home: Path) -> list[str]:
    """What lies in the folder of a block; ValueError if it is gone."""
    try:
        return [name for name in os.listdir(home) if not name.startswith(".") and name not in _OF_SYSTEM]
    except OSError as error:
        raise ValueError(f"{home} cannot be read: {error}") from error


def clean(home: Path) -> None:
    """Remove what killed builders of this machine have left in the folder of a layer, or of the atlas."""
    host = re.escape(_host())
    for other in home.glob(".*"):
        mine = re.fullmatch(rf"\..*\.{host}\.(\d+)", other.name)
        if mine and not _alive(int(mine[1])):
            shutil.rmtree(other, ignore_errors=True) if other.is_dir() else other.unlink(missing_ok=True)


def _put(draft: Path, home: Path, replace: bool) -> None:
    """Rename the draft of a block to its place."""
    old = home.with_name(f".{home.name}-old.{_writer()}")
    if replace:
        with contextlib.suppress(FileNotFoundError):  # of another builder, who is replacing it as well
            home.rename(old)
    try:
        draft.rename(home)
    except OSError:
        if not (home / DONE).exists():
            raise  # otherwise another builder was faster, with the same bytes
    finally:
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _writer() -> str:
    """Part of the names of what is not whole: no two are the same, also of threads, and of containers of one host."""
    return f"{uuid.uuid4().hex[:8]}.{_host()}.{os.getpid()}"


def _alive(process: int) -> bool:
    if process == os.getpid():
        return True
    if os.name != "posix":
        return True  # cannot be asked without risk
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renamings in a folder durable; not every system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
