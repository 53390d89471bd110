"""Algorithm 2 between the pictures: the discriminator is trained while its samples are watched."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...adversary.rounds import TrainingError, mean_of
from ...adversary.trainer import Trainer
from ...objectives.discriminator import Form
from ...sampling.sampler import Sampler

TRACE_POINTS = 300
_ENOUGH = 50  # rounds before which a discriminator that tells nothing apart is merely young


class LiveTraining:
    """A chore for the loop: each call is one small unit of the training.

    Args:
        trainer: what is trained; its averaged network replaces the sampler's discriminator.
        sampler: whose pictures go on meanwhile.
        ended: called on the loop's thread when the training has stopped by itself, with the reason.
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
        except Exception as error:  # a fault of the data set's, or a collapse: the picture goes on
            self._ended(error)

    def current(self, sampler: Sampler) -> bool:
        """Does the sampler still use the discriminator of this training?"""
        return sampler.discriminator is not None and sampler.discriminator.net is self.trainer.net

    def collapse(self) -> TrainingError | None:
        """Why the discriminator must not be called trained, on stopping."""
        trainer = self.trainer
        trouble = trainer.trouble() if len(trainer.rounds) >= _ENOUGH else ""
        if not trouble:
            return None
        return TrainingError(f"the discriminator collapsed and is not trained: {trouble}.")

    def gauges(self) -> dict[str, float] | None:
        """The last round, for a frame; None before the first."""
        rounds = self.trainer.rounds
        if not rounds:
            return None
        mean = mean_of(rounds[-10:])  # a batch is small: single rounds jump about
        return {"round": self.trainer.round, **{name: getattr(mean, name) for name in _TOLD}}

    def trace(self) -> dict[str, list[Any]]:
        """The course of the training so far, thinned."""
        rounds = self.trainer.rounds
        every = max(1, math.ceil(len(rounds) / TRACE_POINTS))
        first = self.trainer.round - len(rounds) + 1
        return {
            "rounds": list(range(first, self.trainer.round + 1))[::every],
            "accuracy": [seen.accuracy for seen in rounds[::every]],
            "gap": [seen.gap for seen in rounds[::every]],
        }


_TOLD = ("accuracy", "gap", "real", "generated")
