"""`ldam survey`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..surveys import Survey, survey

_SETTINGS = ("input_shape", "preprocess", "pixel_range")  # of a network, that matter here


def run_survey(
    network: nn.Module,
    images: Path,
    out: Path,
    settings: dict[str, Any],
    *,
    layers: str,
    part: str | None,
    **options: Any,
) -> str:
    """Survey a folder of pictures; returns what was found, in words."""
    found = survey(
        network,
        images,
        layers if layers == "all" else [name.strip() for name in layers.split(",")],
        out=out,
        part=(0, 1) if part is None else part_of(part),
        **{name: settings[name] for name in _SETTINGS if name in settings},
        **options,
    )
    return _told(found, out)


def merge_surveys(parts: Sequence[Path], out: Path) -> str:
    """Join surveys of parts; returns what they have found, in words."""
    return _told(Survey.merge(parts, out), out)


def part_of(text: str) -> tuple[int, int]:
    """ "1/4" -> (0, 4)."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise ValueError(f"--part {text}: write i/n, the i-th of n parts, from 1/4 to 4/4 for four")
    return int(number) - 1, int(parts)


def _told(found: Survey, out: Path) -> str:
    skipped = f", {len(found.skipped)} of them skipped" if found.skipped else ""
    return f"{found}\n{out}: {found.images:,} of {found.card['images']:,} images{skipped}"
