"""Counts the modes of a neuron that its chains find, and how often they move between them."""

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
    modes: int  # distinct ones visited
    moves: float  # from one mode to another, per thousand steps of a chain
    share: list[float]  # of all looks, per mode, most visited first
    pictures: Tensor  # (modes, *image), in the same order: the first maximum of E seen in each mode
    visits: npt.NDArray[np.int64]  # (looks, chains): the mode, as an index into `share`


class Exploration(Table, list[Found]):
    """One `Found` per neuron; prints as a table."""

    def table(self) -> tuple[Row, list[Row]]:
        """One row per neuron."""
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
    """Run the chains and count the modes they visit.

    At every look, gradient ascent takes each sample to the nearest maximum of E (`Sampler.quenched`; the chains
    themselves are not moved), and maxima that point in the same direction count as one mode. Modes that were not
    visited are not counted, so the number is a lower bound; more chains, heat or a `Ladder` raise it. On a ladder the
    samples are those of the coldest rung, to which the hotter ones bring other modes: `Ladder.auto()` with enough rungs
    to reach a temperature at which chains wander freely (`diagnostics().ladder` counts their round trips).

    Args:
        sampler: advanced by looks × every steps, after what is left of its warm-up, which is not looked at.
        looks: ≥ 1.
        every: steps between looks, ≥ 1.
        pulse: heat before every look, at most `every` steps long.
        quench: steps of gradient ascent, ≥ 1.
        alike: cosine in (0, 1) above which two maxima are the same mode; for images of one pixel see `modes`.

    Raises:
        ValueError, TypeError: an argument of the wrong type or out of range.
        SamplingError: as `Sampler.step`.
    """
    looks, every, quench = checks.count("looks", looks), checks.count("every", every), checks.count("quench", quench)
    if not 0 < alike < 1:
        raise ValueError(f"alike must be a cosine in (0, 1); got {alike!r}")
    if pulse is not None and pulse.length > every:
        raise ValueError(f"pulse takes {pulse.length} steps, more than the {every} between looks; raise every=")
    middle = 0.0 if sampler.pixel_range is None else sum(sampler.pixel_range) / 2
    seen, samples = [], []
    while sampler.warming_up:
        sampler.step(10)
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
