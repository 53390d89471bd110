"""What to believe of a neuron's pictures: figures, and the doubts that they give rise to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.tables import Record, Row, Table, number
from .results import Verdict

# Chosen from honest networks alone: about twice the largest, or half the smallest, figure of any of their neurons
# (benchmarks/RESULTS.md, "What to believe"). Honest activations come from silent units to at most 0.1 %.
OVERSHOOT = 5.5  # times the strongest real image
SILENT = 0.2  # share of the activation
GAP = 2.5  # standard deviations of the activation of real images
DEPARTURE = 0.7  # of the pictures from noise from those from real images, in plain pixels
RECOGNISED = 0.5  # share of the averages
READABLE = 0.4  # departure from the pictures of shuffled weights from which on plain pixels should be recognised
PREFERENCE = 1.0  # standard deviations of the activation of real images, over the pictures of shuffled weights


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronBelief(Record):
    """What speaks for and against the pictures of one neuron. NaN or None: not known, see `missing`."""

    label: str
    activation: float  # mean over the current samples
    percentile: float  # of real images that are weaker, 0…100
    overshoot: float  # activation / strongest real image; NaN if that is not positive
    recognised: float | None  # share of the averages that the judge recognises, 0…1
    recognised_samples: float | None  # the same for single samples
    recognised_as: str  # what in the judge corresponds to the neuron, or why nothing does
    silent: float  # largest share of the activation, over layers, that units silent on real images carry, 0…1
    silent_in: str  # the module that reads those units; "" if no layer lies before the neuron
    starts: dict[str, float]  # mean activation of chains started from "noise", "grey" and "data"
    gap: float  # between "noise" and "data", in standard deviations of the activation of real images
    departure: float  # of the pictures started from noise from those started from data, see `departure`
    shuffled: float  # departure of the pictures from those of the network with shuffled weights
    preference: float  # for its pictures over those of the shuffled network, in the same standard deviations
    doubts: tuple[str, ...]  # what is suspicious; empty if nothing is
    missing: tuple[str, ...]  # what is not known, and what would be needed

    @property
    def text(self) -> str:
        """The doubts in one line, or that there are none."""
        return "; ".join(self.doubts) if self.doubts else "nothing suspicious"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Belief(Table, Record):
    """What to believe of the pictures of a sampler; prints as a table, and is a mapping of its fields."""

    neurons: list[NeuronBelief]
    images: int  # real images that were used
    steps: int  # of the chains from other starts, after their warm-up
    verdict: Verdict  # on all neurons
    missing: tuple[str, ...]  # what is not known of any neuron, and what would be needed

    def table(self) -> tuple[Row, list[Row]]:
        """One row per neuron."""
        head = (
            "neuron", "rank among real images", "recognised", "by silent units", "from noise, grey, data",
            "departure", "from shuffled weights", "doubts",
        )  # fmt: skip
        return head, [_row(each) for each in self.neurons]

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *(f"not known: {what}" for what in self.missing)])


def departure(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """How far two groups of pictures lie apart: squared distance of their means, over the spread within a group.

    The squared distance is estimated without bias, so it scatters around 0, and may be negative, for groups from one
    distribution. The spread is the mean squared distance between two pictures of the wider group.

    Args:
        a, b: (n, …) and (m, …), n and m ≥ 2, pictures of equal shape.
    """
    x, y = (np.asarray(each, dtype=np.float64).reshape(len(np.asarray(each)), -1) for each in (a, b))
    between = float(((x[:, None] - y[None]) ** 2).sum(2).mean())
    within = [float(((g[:, None] - g[None]) ** 2).sum(2).sum()) / (len(g) * (len(g) - 1)) for g in (x, y)]
    distance, spread = between - sum(within) / 2, max(within)
    return distance / spread if spread > 0 else (math.inf if distance > 0 else 0.0)


def doubts(found: NeuronBelief, *, natural: bool) -> tuple[str, ...]:
    """The doubts that the figures of a neuron give rise to.

    Args:
        found: its figures.
        natural: whether the samples have a natural prior. With one, chains of honest networks, too, settle in
            different modes; without one, their pictures are mostly noise to any other network.
    """
    said = []
    if found.overshoot > OVERSHOOT:
        said.append(f"{found.overshoot:.1f} × as active as on the strongest real image")
    readable = natural or found.shuffled > READABLE
    if found.recognised is not None and readable and found.recognised < RECOGNISED:
        said.append(f"the judge recognises {found.recognised:.0%} of the averages ({found.recognised_as})")
    if found.silent > SILENT:
        said.append(f"{found.silent:.0%} of the activation comes from units that real images never use")
    if found.gap > GAP:
        activation = " and ".join(number(found.starts[start]) for start in ("noise", "data"))
        said.append(f"chains from noise and from real images end at activations of {activation}")
    if not natural and found.departure > DEPARTURE:
        said.append(f"chains from noise and from real images end in different pictures ({found.departure:.1f})")
    if found.preference < PREFERENCE:
        said.append("the pictures of the network with shuffled weights excite the neuron as much")
    return tuple(said)


def overall(neurons: list[NeuronBelief], missing: tuple[str, ...]) -> Verdict:
    """The verdict on all neurons, in one line."""
    doubtful = [each for each in neurons if each.doubts]
    if doubtful:
        first = doubtful[0]
        which = f"{len(doubtful)} of {len(neurons)} neurons: " if len(neurons) > 1 else ""
        return Verdict("warn", f"doubtful: {which}{first.label}: {first.doubts[0]}")
    if missing:
        return Verdict("wait", f"nothing suspicious so far; not known: {missing[0]}")
    return Verdict("good", "nothing suspicious")


def _row(found: NeuronBelief) -> Row:
    rank = f"p{found.percentile:.0f}" if found.percentile < 100 else f"{number(found.overshoot)} × max"
    recognised = found.recognised_as if found.recognised is None else f"{found.recognised:.0%}: {found.recognised_as}"
    return (
        found.label, "–" if math.isnan(found.percentile) else rank, recognised or "–",
        "–" if math.isnan(found.silent) else f"{found.silent:.0%}",
        ", ".join(number(found.starts.get(start)) for start in ("noise", "grey", "data")),
        number(found.departure), number(found.shuffled), found.text,
    )  # fmt: skip
