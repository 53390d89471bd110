"""Frame messages: pictures as panes of tiles, one buffer each, with the accompanying numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..pictures import images
from ..pictures.display import PLAIN, Display
from ..sampling.frame import Frame
from .protocol import Message, plain

RAW_LIMIT = 100_000  # bytes per pane; larger ones are compressed where that is faster, see `link`
MOST_RAW = 1_000_000  # bytes per pane; larger ones are always compressed

Pane = tuple[dict[str, Any], bytes]


class Quality(NamedTuple):
    """How panes are encoded."""

    lossless: bool
    raw: int = RAW_LIMIT  # bytes up to which a pane is not compressed


def frame(
    picture: Frame,
    pixel_range: images.Range | None,
    rows: int,
    display: Display = PLAIN,
    *,
    with_average: bool,
    quality: Quality,
) -> Message:
    """Sample tiles, `rows` of them per neuron, and optionally the average."""
    tiles = images.panes(picture, picture.images.ndim - 2, pixel_range, rows, display)
    samples, average = images.row_names(picture, len(tiles.sample), display)
    panes = [pane("sample", tiles.samples, tiles.shown, samples, quality)]
    if with_average:
        panes.append(pane("average", tiles.averages, tiles.shown, [average], quality))
    return _message(panes, picture)


def comparison_frame(
    names: Sequence[str],
    pictures: Sequence[Frame],
    differences: Tensor,
    pixel_range: images.Range | None,
    display: Display = PLAIN,
    *,
    show: str,
    with_average: bool,
    quality: Quality,
) -> Message:
    """One message for all models, so that their pictures stay in step: one row per model, and differences of averages.

    Args:
        differences: of the averages from the first model's, (models − 1, N, *image).
    """
    axes = pictures[0].images.ndim - 2
    tiles = images.panes_alike(pictures, axes, pixel_range, display)
    remarks = display.remarks(tuple(pictures[0].images.shape[2:]))
    now, average = ("\n".join([kind, *remarks]) for kind in ("now", "average"))
    panes = []
    if show != "averages":
        panes += [
            pane(f"sample:{k}", tile.samples, tile.shown, [f"{name}\n{now}"], quality, model=k)
            for k, (name, tile) in enumerate(zip(names, tiles, strict=True))
        ]
    if with_average:
        if show != "samples":
            panes += [
                pane(f"average:{k}", tile.averages, tile.shown, [f"{name}\n{average}"], quality, model=k)
                for k, (name, tile) in enumerate(zip(names, tiles, strict=True))
            ]
        levels, end = images.signed_levels(images.cropped(images.as_pictures(differences, axes, display), display))
        exact = Quality(lossless=True, raw=quality.raw)
        for k, row in enumerate(levels, start=1):
            label = "difference\nof averages" if len(levels) == 1 else f"{names[k]}\nminus {names[0]}"
            difference = images.Tiles(row[None], None, tiles[0].samples.corners)
            panes.append(pane(f"difference:{k}", difference, (-end, end), [label], exact, model=k, colors="signed"))
    content, buffers = _message(panes, pictures[0])
    activations = [picture.activation.mean(1).tolist() for picture in pictures]
    return content | {"activations": [[plain(v) for v in row] for row in activations]}, buffers


def is_light(content: Mapping[str, Any]) -> bool:
    """Whether all pictures of a frame message are small enough to be sent uncompressed."""
    return all(math.prod(pane["shape"]) <= RAW_LIMIT for pane in content["panes"])


def with_earlier(newest: Message, earlier: Iterable[Message]) -> Message:
    """A frame message that includes the pictures before it, oldest first; their buffers follow its own."""
    content, buffers = newest
    before = list(earlier)
    if not before:
        return newest
    content = {**content, "earlier": [old for old, _ in before]}
    return content, [*buffers, *(data for _, its in before for data in its)]


def _message(panes: Sequence[Pane], picture: Frame) -> Message:
    content = {
        "kind": "frame",
        "steps": picture.steps,
        "panes": [described for described, _ in panes],
        "activation": [[plain(v) for v in row] for row in picture.activation.tolist()],
        "burned_in": picture.burned_in.tolist(),
    }
    return content, [data for _, data in panes]


def pane(
    name: str, tiles: images.Tiles, shown: images.Range, labels: Sequence[str], quality: Quality, **more: Any
) -> Pane:
    """Description and pixels of tiles."""
    levels = tiles.levels
    encoding = "raw" if levels.nbytes <= quality.raw else "png" if quality.lossless else "jpeg"
    # bytes, not a view: the session does not copy, and a reused buffer would arrive with later pixels
    data = levels.tobytes() if encoding == "raw" else images.encode(images.mosaic(levels), encoding)
    described = {
        "name": name,
        "encoding": encoding,
        "shape": list(levels.shape),
        "range": [plain(end) for end in shown],  # null if the pixels have diverged to infinity
        "labels": list(labels),
        **more,
    }
    if tiles.ranges is not None:
        described["ranges"] = [[[plain(end) for end in own] for own in row] for row in tiles.ranges]
    if tiles.corners is not None:
        described["corners"] = [list(corner) for corner in tiles.corners]
    return described, data
