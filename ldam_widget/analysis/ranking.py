"""Ranks a layer's neurons by how much they differ between models, in units small enough to run between pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..diagnostics.agreement import Agreement, AgreementTable, agreement_of
from ..diagnostics.change import change_of
from ..sampling import checks
from ..sampling.averages import EMA
from ..sampling.comparison import Comparison

_TOGETHER = 16  # neurons per batch: small enough to show progress, large enough to be efficient
_UNIT = 4  # steps per unit of work
_WARM_UP = 50  # steps; chains amplify rounding, so a long run would show differences between equal functions
CHAINS, SEEDS = 4, 2
_FEWEST = 5  # chains in all; with fewer, `change_of` has too few sign flips to say what chance gives in 95 %


class Ranking:
    """Samples every neuron of a layer in all models for a while, from the same starts with the same noise.

    Every neuron is sampled by `chains` · `seeds` independent chains, and costs as many times `steps` steps in every
    model. The chains say how large a change chance alone would give; see `change_of`.

    Args:
        comparison: provides models, layers and parameters as they are now; it is not affected.
        steps: ≥ 1, of every chain, after the warm-up if there is one.
        chains: ≥ 1, at once, with one warm-up.
        seeds: ≥ 1, runs with other random numbers and a warm-up of their own. chains · seeds must be at least 5.

    Raises:
        ValueError, TypeError: not positive integers; too few chains; as `Comparison`.
    """

    def __init__(self, comparison: Comparison, steps: int = 100, *, chains: int = CHAINS, seeds: int = SEEDS) -> None:
        self.layer = comparison.lead.layer
        self.total = comparison.lead.units
        self.done: list[Agreement] = []
        self._steps = self._left = checks.count("steps", steps)
        self._chains, self._seeds = checks.count("chains", chains), checks.count("seeds", seeds)
        if (together := self._chains * self._seeds) < _FEWEST:
            raise ValueError(
                f"chains · seeds must be at least {_FEWEST}, or chance cannot be told from a change; got {together}"
            )
        self._first_seed = comparison.lead.seed * self._seeds  # other seeds of a comparison share no run
        self._runs: list[tuple[Tensor, Tensor]] = []  # averages and activations of the batch, one per finished seed
        self._running = self._batch(comparison)  # now, so that later changes do not affect this ranking
        self._begun = True

    @property
    def finished(self) -> bool:
        return len(self.done) >= self.total

    def work(self) -> bool:
        """Do one unit. Returns True when another batch of neurons is finished. Raises as `Sampler`."""
        if self.finished:
            return False
        if not self._begun:
            self._running, self._left, self._begun = self._batch(self._running), self._steps, True
            return False
        warming = any(sampler.warming_up for sampler in self._running.samplers)
        steps = _UNIT if warming else min(_UNIT, self._left)
        self._running.step(steps)
        if not warming:
            self._left -= steps
        if self._left > 0:
            return False
        averages = torch.stack([sampler.average_images.cpu() for sampler in self._running.samplers])
        self._runs.append((averages, self._running.activation))
        self._begun = False
        if len(self._runs) < self._seeds:
            return False
        self.done += self._rows()
        self._runs = []
        return True

    def run(self, progress: bool = False) -> AgreementTable:
        """Rank all neurons; the most changed first. Raises as `work`.

        Args:
            progress: show a progress bar.
        """
        with tqdm(total=self.total, unit="neuron", disable=not progress) as bar:
            while not self.finished:
                if self.work():
                    bar.update(len(self.done) - bar.n)
        return by_change(self.done)

    def _batch(self, like: Comparison) -> Comparison:
        """The next run: the next neurons or the next seed, with models and parameters of `like`."""
        first = len(self.done)
        return like.fresh(
            [str(unit) for unit in range(first, min(first + _TOGETHER, self.total))],
            steps_per_frame=1,
            chains=self._chains,
            seed=self._first_seed + len(self._runs),
            average=EMA(0.98),
            ladder=None,
            warm_up=_WARM_UP,
        )

    def _rows(self) -> list[Agreement]:
        averages = torch.cat([images for images, _ in self._runs], 2)  # (models, N, chains, *image)
        activations = torch.cat([values for _, values in self._runs], 2).mean(2)
        rows = agreement_of(self._running.labels, averages.mean(2), activations)
        changes = [change_of(averages[0, n], averages[1:, n]) for n in range(len(rows))]
        return [
            row._replace(change=change.size, error=change.error, noise=change.noise)
            for row, change in zip(rows, changes, strict=True)
        ]


def rank(comparison: Comparison, steps: int = 100, *, chains: int = CHAINS, seeds: int = SEEDS) -> AgreementTable:
    """All neurons of the layer, the most changed first. Arguments and errors as for `Ranking`."""
    return Ranking(comparison, steps, chains=chains, seeds=seeds).run()


def by_change(rows: Iterable[Agreement]) -> AgreementTable:
    """Largest change first, those within the noise after all others, NaN last."""
    return AgreementTable(sorted(rows, key=lambda row: (math.isnan(row.change), row.within_noise, -row.change)))
