"""Algorithm 2 between pictures: trains the discriminator while its samples are watched."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...adversary.rounds import TrainingError, mean_of
from ...adversary.trainer import Trainer
from ...objectives.discriminator import Form
from ...sampling.sampler import Sampler

TRACE_POINTS = 300
_ENOUGH = 50  # rounds; before them, a discriminator that cannot tell anything apart is not yet considered collapsed


class LiveTraining:
    """A chore for the loop: each call is one small unit of the training.

    Args:
        trainer: the training; its averaged network replaces the sampler's discriminator.
        sampler: keeps sampling meanwhile.
        ended: called on the loop's thread with the reason when the training has stopped by itself.
    """

    def __init__(self, trainer: Trainer, sampler: Sampler, ended: Callable[[Exception], None]) -> None:
        self.trainer, self._sampler, self._ended = trainer, sampler, ended
        old = sampler.discriminator
        weight = sampler.params.get("discriminator", 0.0)
        form: Form = "log" if old is None else old.form
        sampler.use_discriminator(trainer.discriminator(weight, form))

    def __call__(self) -> None:
        try:
            if self.trainer.work():
                self._sampler.discriminator_changed()
        except Exception as error:  # an error in the data set, or a collapse: sampling continues
            self._ended(error)

    def current(self, sampler: Sampler) -> bool:
        """Whether the sampler still uses the discriminator of this training."""
        return sampler.discriminator is not None and sampler.discriminator.net is self.trainer.net

    def collapse(self) -> TrainingError | None:
        """On stopping: why the discriminator must not be considered trained, or None."""
        trainer = self.trainer
        trouble = trainer.trouble() if len(trainer.rounds) >= _ENOUGH else ""
        if not trouble:
            return None
        return TrainingError(f"the discriminator collapsed and is not trained: {trouble}.")

    def gauges(self) -> dict[str, float] | None:
        """Recent means for a frame; None before the first round."""
        rounds = self.trainer.rounds
        if not rounds:
            return None
        mean = mean_of(rounds[-10:])  # a batch is small, so single rounds are noisy
        return {"round": self.trainer.round, **{name: getattr(mean, name) for name in _TOLD}}

    def trace(self) -> dict[str, list[Any]]:
        """The history of the training so far, thinned."""
        rounds = self.trainer.rounds
        every = max(1, math.ceil(len(rounds) / TRACE_POINTS))
        first = self.trainer.round - len(rounds) + 1
        return {
            "rounds": list(range(first, self.trainer.round + 1))[::every],
            "accuracy": [seen.accuracy for seen in rounds[::every]],
            "gap": [seen.gap for seen in rounds[::every]],
        }


_TOLD = ("accuracy", "gap", "real", "generated")
