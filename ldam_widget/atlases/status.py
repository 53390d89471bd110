"""How far an atlas has come, from its folder alone."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.tables import Row, Table
from . import folder
from .layout import DONE, LayerOfAtlas, block_name

_RECENT = 20  # blocks that the time left is estimated from
_PAUSE = 20.0  # gaps longer than so many median gaps are pauses between builds


@dataclass(frozen=True, eq=False, repr=False)
class Status(Table):
    """How far an atlas has come; prints as a table."""

    layers: dict[str, tuple[int, int]]  # blocks done, blocks
    units: tuple[int, int]  # rendered (failed ones included), all
    failures: dict[str, str]  # "layer:unit" -> why it has no picture; "layer block 3" -> why the block is missing
    problems: tuple[str, ...]  # damaged blocks, blocks of another recipe, foreign files
    seconds_left: float | None  # at the pace of the last blocks; None: unknown
    bytes: int  # of the blocks that are done

    @property
    def complete(self) -> bool:
        """Whether every block is done."""
        return all(done == blocks for done, blocks in self.layers.values())

    def table(self) -> tuple[Row, list[Row]]:
        """One row per layer."""
        return ("layer", "blocks done", "of"), [
            (name, str(done), str(blocks)) for name, (done, blocks) in self.layers.items()
        ]

    @property
    def words(self) -> str:
        """All of it in a few lines."""
        done, units = self.units
        head = f"{done:,} of {units:,} units rendered, {self.bytes / 1e6:,.1f} MB"
        if self.complete:
            head += "; complete"
        elif self.seconds_left is not None:
            head += f"; about {spoken(self.seconds_left)} left at the pace of the last blocks"
        lines = [head, *(f"failed: {where}: {why}" for where, why in list(self.failures.items())[:20])]
        if len(self.failures) > 20:
            lines.append(f"failed: {len(self.failures) - 20:,} more")
        return "\n".join([*lines, *(f"problem: {words}" for words in self.problems[:20])])

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self.words}"


def status_of(atlas: Path, card: dict[str, Any], *, verify: bool = False) -> Status:
    """Read the folder.

    Args:
        atlas: the folder.
        card: of `folder.load_card`.
        verify: compare every file with its hash.
    """
    recipe: str = card["recipe_hash"]
    layers: list[LayerOfAtlas] = card["layers"]
    counts: dict[str, tuple[int, int]] = {}
    failures: dict[str, str] = {}
    problems: list[str] = []
    times: list[float] = []
    units = size = 0
    for layer in layers:
        whole = 0
        for block in range(layer.blocks):
            try:
                done = folder.load_done(atlas, layer, block, recipe)
                if done is not None and verify:
                    for name in done["files"]:
                        folder.load_file(atlas, layer, block, done, name)
            except ValueError as error:
                problems.append(str(error))
                continue
            if done is None:
                why = folder.read_failure(atlas, layer, block, recipe)
                if why is not None:
                    failures[f"{layer.name} block {block}"] = why
                continue
            whole += 1
            units += done["units"]
            size += sum(length for length, _ in done["files"].values())
            failures |= {f"{layer.name}:{unit}": why for unit, why in done["failures"].items()}
            with contextlib.suppress(OSError):  # it is being replaced
                times.append((atlas / layer.folder / block_name(block) / DONE).stat().st_mtime)
        counts[layer.name] = whole, layer.blocks
    problems += [f"{name} is a foreign file" for name in folder.foreign_files(atlas, layers)]
    total = sum(layer.units for layer in layers)
    left = sum(blocks - whole for whole, blocks in counts.values())
    return Status(counts, (units, total), failures, tuple(problems), _seconds(times, left), size)


def _seconds(times: list[float], left: int) -> float | None:
    """Time for the blocks that are left, at the pace of the last ones; pauses between builds do not count."""
    recent = sorted(times)[-_RECENT:]
    gaps = [b - a for a, b in itertools.pairwise(recent)]
    if not left or not gaps:
        return 0.0 if not left else None
    usual = statistics.median(gaps)
    counted = [gap for gap in gaps if gap <= _PAUSE * max(usual, 1.0)]
    running = time.time() - recent[-1] <= _PAUSE * max(usual, 1.0)
    return left * statistics.mean(counted) if counted and (running or len(gaps) > 1) else None


def spoken(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h", "2.1 days"."""
    for unit, size in (("days", 86400.0), ("h", 3600.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(1, round(seconds))} s"
