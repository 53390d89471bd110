"""Ranks a layer's neurons by how much they differ between models, in units small enough to run between pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..diagnostics.agreement import Agreement, AgreementTable
from ..sampling import checks
from ..sampling.averages import EMA
from ..sampling.comparison import Comparison

_TOGETHER = 16  # neurons per batch: small enough to show progress, large enough to be efficient
_UNIT = 4  # steps per unit of work
_WARM_UP = 50  # steps; chains amplify rounding, so a long run would show differences between equal functions


class Ranking:
    """Samples every neuron of a layer in all models for a while, from the same start with the same noise.

    Args:
        comparison: provides models, layers and parameters as they are now; it is not affected.
        steps: ≥ 1, for every neuron, after the warm-up if there is one.

    Raises:
        ValueError, TypeError: steps is not a positive integer; as `Comparison`.
    """

    def __init__(self, comparison: Comparison, steps: int = 100) -> None:
        self.layer = comparison.lead.layer
        self.total = comparison.lead.units
        self.done: list[Agreement] = []
        self._steps = self._left = checks.count("steps", steps)
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
        self.done += self._running.agreement()
        self._begun = False
        return True

    def run(self) -> AgreementTable:
        """Rank all neurons; the most changed first. Raises as `work`."""
        while not self.finished:
            self.work()
        return by_difference(self.done)

    def _batch(self, like: Comparison) -> Comparison:
        """The next neurons, with models and parameters of `like`."""
        first = len(self.done)
        return like.fresh(
            [str(unit) for unit in range(first, min(first + _TOGETHER, self.total))],
            steps_per_frame=1,
            chains=1,
            average=EMA(0.98),
            ladder=None,
            warm_up=_WARM_UP,
        )


def rank(comparison: Comparison, steps: int = 100) -> AgreementTable:
    """All neurons of the layer, the most changed first. Raises as `Sampler`."""
    return Ranking(comparison, steps).run()


def by_difference(rows: Iterable[Agreement]) -> AgreementTable:
    """Largest difference of the averages first, NaN last."""
    return AgreementTable(sorted(rows, key=lambda row: (math.isnan(row.difference), -row.difference)))
