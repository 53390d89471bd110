"""How many modes does a neuron have, as far as its chains find them, and how often do they move between them?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.tables import Row, Table
from ..diagnostics.modes import modes, moves
from ..sampling import checks
from ..sampling.heat import HeatPulse
from ..sampling.sampler import Sampler


class Found(NamedTuple):
    """The modes of one neuron."""

    label: str  # of the neuron
    modes: int  # distinct ones that were visited
    moves: float  # of a chain from one mode to another, a thousand steps
    share: list[float]  # of all looks, each mode, most visited first
    pictures: Tensor  # (modes, *image), in the same order: the maximum of E that was first seen of each
    visits: npt.NDArray[np.int64]  # (looks, chains): which mode, by its place in `share`


class Exploration(Table, list[Found]):
    """A `Found` a neuron; prints as a table."""

    def table(self) -> tuple[Row, list[Row]]:
        """A row a neuron."""
        head = ("neuron", "modes", "moves/1000 steps", "shares")
        shares = [" ".join(f"{s:.0%}" for s in f.share[:6]) + (" …" if f.modes > 6 else "") for f in self]
        return head, [(f.label, str(f.modes), f"{f.moves:.2g}", s) for f, s in zip(self, shares, strict=True)]


def explore(
    sampler: Sampler,
    looks: int = 20,
    every: int = 200,
    *,
    pulse: HeatPulse | None = None,
    quench: int = 150,
    alike: float = 0.9,
) -> Exploration:
    """Run the chains on and count the modes they visit.

    At every look each sample is taken uphill to the nearest maximum of E (`Sampler.quenched`; the chains themselves
    stay where they are), and maxima that point the same way are one mode. Modes that nobody visited are not counted,
    so the number is a lower bound; more chains, heat or a `Ladder` raise it.

    Args:
        sampler: is advanced by looks × every steps.
        looks: ≥ 1.
        every: steps between looks, ≥ 1.
        pulse: heat before every look, as long as `every` at most.
        quench: gradients of the way uphill, ≥ 1.
        alike: cosine in (0, 1) from which two maxima are the same mode; for images of one pixel see `modes`.

    Raises:
        ValueError, TypeError: an argument of another kind or out of range.
        SamplingError: as `Sampler.step`.
    """
    looks, every, quench = checks.count("looks", looks), checks.count("every", every), checks.count("quench", quench)
    if not 0 < alike < 1:
        raise ValueError(f"alike must be a cosine in (0, 1); got {alike!r}")
    if pulse is not None and pulse.length > every:
        raise ValueError(f"pulse takes {pulse.length} steps, more than the {every} between looks; raise every=")
    middle = 0.0 if sampler.pixel_range is None else sum(sampler.pixel_range) / 2
    seen, samples = [], []
    for _ in range(looks):
        if pulse is not None:
            sampler.heat_pulse(pulse)
        sampler.step(every)
        samples.append(sampler.images.cpu())
        seen.append(sampler.quenched(quench).cpu())
    pictures = torch.stack(seen)  # (looks, N, C, *image)
    steps = max(1, looks - 1) * every * sampler.chains
    found = Exploration()
    for n, neuron in enumerate(sampler.neurons):
        own = pictures[:, n].flatten(0, 1)  # (looks · C, *image)
        spread = float(torch.stack(samples)[:, n].std(correction=0))
        labels = modes((own - middle).flatten(1).numpy(), alike, spread)
        count = np.bincount(labels)
        order = np.argsort(-count, kind="stable")
        visits = np.argsort(order)[labels].reshape(looks, sampler.chains)
        first = [int(np.flatnonzero(labels == group)[0]) for group in order]
        found.append(
            Found(
                neuron.label,
                len(count),
                moves(visits) / steps * 1000,
                (count[order] / count.sum()).tolist(),
                own[first],
                visits,
            )
        )
    return found
