"""What is seen of one picture, as a frame message with one buffer per pane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ....pictures.images import encode
from ....toolbox.explorer import Shown
from ....toolbox.probe import Class
from ....toolbox.tiles import ChannelTiles, Levels
from ...protocol import Message, plain

RAW_LIMIT = 64_000  # bytes of a photograph; larger ones are sent as JPEG

Pane = tuple[dict[str, Any], bytes]


def message(shown: Shown) -> Message:
    """The frame message; the sender adds what it knows of the connection."""
    panes = [
        _picture("picture", shown.picture),
        _tiles("tiles", shown.tiles),
        _tiles("unit", shown.enlarged),
        *([] if shown.backward is None else [_picture("backward", shown.backward)]),
    ]
    content = {
        "kind": "frame",
        "panes": [described for described, _ in panes],
        "layer": shown.choice.layer,
        "unit": list(shown.choice.unit),
        "show": shown.choice.show,
        "value": plain(shown.value),
        "scale": plain(shown.tiles.scale),
        "classes": _plain(shown.classes),
        "other_classes": _plain(shown.other_classes),
        "remark": shown.remark,
    }
    return content, [data for _, data in panes]


def _plain(classes: Iterable[Class]) -> list[dict[str, Any]]:
    return [{"number": each.number, "name": each.name[:200], "probability": each.probability} for each in classes]


def _tiles(name: str, made: ChannelTiles) -> Pane:
    return _pane(name, made.levels[..., None], "raw", signed=made.signed)


def _picture(name: str, picture: Tensor) -> Pane:
    """Of other than one or three channels, the first three are shown, or the first."""
    bands = 3 if len(picture) >= 3 else 1
    levels: Levels = (picture[:bands] * 255).round().byte().permute(1, 2, 0).numpy()[None]
    return _pane(name, levels, "raw" if levels.nbytes <= RAW_LIMIT else "jpeg", signed=False)


def _pane(name: str, levels: Levels, encoding: str, *, signed: bool) -> Pane:
    data = levels.tobytes() if encoding == "raw" else encode(levels[0], encoding)
    return {"name": name, "encoding": encoding, "shape": list(levels.shape), "signed": signed}, data
