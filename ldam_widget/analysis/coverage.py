"""What chains on a map reach, where they gather, and whether they stay there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.tables import Record, Row, Table
from ..diagnostics import walking

_SHOWN = 3  # modes in a table


class Mode(NamedTuple):
    """A place on the map where chains of a neuron gather."""

    label: str  # class of most of the real images nearest to the samples
    image: int  # the real image that is most often the nearest: an index
    share: float  # of the neuron's samples
    solid: float  # share of these samples that are as close to real images as these are to each other
    position: tuple[float, float]  # median of these samples


@dataclass(frozen=True, eq=False)
class NeuronCoverage(Record):
    """The walk of one neuron's chains. All but names, image and position are shares, 0…1."""

    model: str  # of a comparison; "" for a single sampler
    neuron: str  # its label
    home: str  # the class of most of the real images nearest to its samples
    solid: float  # share of its samples that are as close to real images as these are to each other
    covered: float  # share of the home class's real images near which a chain has been, while solid
    stays: float  # how often a chain is near where it was at another moment: 1 is locked in a mode
    meets: float  # how often two chains are near each other; NaN for a single chain
    by_chance: float  # how often two real images of the home class are near each other
    modes: list[Mode]  # connected places, the most visited first


class Coverage(Table, list[NeuronCoverage]):
    """One `NeuronCoverage` for each neuron; prints as a table.

    Chains are locked in modes where `stays` is far above `by_chance`; whether all are in the same mode tells `meets`.
    """

    def table(self) -> tuple[Row, list[Row]]:
        """One row for each neuron."""
        several = len({found.model for found in self}) > 1
        head = ("neuron", "home", "solid", "covered", "stays", "meets", "by chance", "modes: class and nearest image")
        rows = []
        for found in self:
            shares = (found.solid, found.covered, found.stays, found.meets, found.by_chance)
            modes = ", ".join(f"{m.label} #{m.image} {m.share:.0%}" for m in found.modes[:_SHOWN])
            more = f" and {len(found.modes) - _SHOWN} more" if len(found.modes) > _SHOWN else ""
            row = (found.neuron, found.home, *map(_share, shares), modes + more)
            rows.append((found.model, *row) if several else row)
        return (("model", *head) if several else head), rows

    def to_list(self) -> list[dict[str, Any]]:
        """As plain data."""
        return [found.to_dict() | {"modes": [mode._asdict() for mode in found.modes]} for found in self]


class Tracks(NamedTuple):
    """The last updates of some chains: positions (updates, chains, 2) with NaN where there is none, whether solid, and
    the nearest real image (updates, chains)."""

    positions: npt.NDArray[np.float32]
    solid: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> Tracks:
        """No updates of no chains."""
        return cls(np.empty((0, 0, 2), np.float32), np.empty((0, 0), bool), np.empty((0, 0), np.int64))

    def forgotten(self) -> Tracks:
        """No updates of the same chains."""
        return Tracks(self.positions[:0], self.solid[:0], self.nearest[:0])

    def of(self, chains: npt.NDArray[np.int64] | Sequence[int]) -> Tracks:
        """Of these chains; −1 is a new one."""
        column = np.asarray(chains, np.int64)
        new = np.full((len(self.positions), len(column), 2), np.nan, np.float32)
        found = Tracks(new, np.zeros(new.shape[:2], bool), np.full(new.shape[:2], -1))
        known = column >= 0
        found.positions[:, known] = self.positions[:, column[known]]
        found.solid[:, known] = self.solid[:, column[known]]
        found.nearest[:, known] = self.nearest[:, column[known]]
        return found

    def then(self, positions: Any, solid: Any, nearest: Any, most: int) -> Tracks:
        """With another update; the last `most` of them."""
        return Tracks(
            np.concatenate([self.positions, positions[None]])[-most:],
            np.concatenate([self.solid, solid[None]])[-most:],
            np.concatenate([self.nearest, nearest[None]])[-most:],
        )


def modes(tracks: Tracks, classes: npt.NDArray[np.int64], names: Sequence[str], radius: float) -> list[Mode]:
    """Places of the chains' samples, see `walking.places`; `classes` (n,) are those of the real images."""
    positions, solid, nearest = tracks.positions.reshape(-1, 2), tracks.solid.ravel(), tracks.nearest.ravel()
    place = walking.places(positions, radius)
    found = []
    for number in range(place.max(initial=-1) + 1):
        own = place == number
        x, y = np.median(positions[own], 0).tolist()
        found.append(
            Mode(
                label=names[_most(classes[nearest[own]])],
                image=_most(nearest[own]),
                share=float(own.sum() / (place >= 0).sum()),
                solid=float(solid[own].mean()),
                position=(x, y),
            )
        )
    return found


def coverage(
    model: str, neuron: str, tracks: Tracks, points: Any, classes: npt.NDArray[np.int64], names: Sequence[str],
    visited: npt.NDArray[np.bool_], radius: float,
) -> NeuronCoverage:  # fmt: skip
    """Of one neuron, at least one of whose chains has a position."""
    known = np.isfinite(tracks.positions).all(2)
    home = _most(classes[tracks.nearest[known]])
    own = classes == home
    staying = [walking.stays(trail, radius) for trail in tracks.positions.swapaxes(0, 1)]
    staying = [share for share in staying if share == share]
    return NeuronCoverage(
        model=model,
        neuron=neuron,
        home=names[home],
        solid=float(tracks.solid[known].mean()),
        covered=float(visited[own].mean()),
        stays=float(np.mean(staying)) if staying else float("nan"),
        meets=walking.meets(tracks.positions, radius),
        by_chance=walking.by_chance(points[own], radius),
        modes=modes(tracks, classes, names, radius),
    )


def _most(values: npt.NDArray[np.int64]) -> int:
    """The most frequent; of several, the smallest."""
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()])


def _share(value: float) -> str:
    return "–" if value != value else f"{value:.0%}" if value >= 0.1 or value == 0 else f"{value:.1%}"
