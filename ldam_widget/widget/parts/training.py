"""The discriminator: its state, and its training between pictures."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ...adversary.recipe import Recipe
from ...adversary.trainer import Trainer
from ...objectives.discriminator_net import DiscriminatorNet
from ..protocol import plain
from .live_training import LiveTraining
from .part import Action, Host, Part

_EMPTY: dict[str, list[Any]] = {"rounds": [], "accuracy": [], "gap": []}


class Training(Part):
    """Trains a discriminator against the sampler as a chore of the loop.

    Args:
        host: the panel.
        dataset: real images for training, see `RealImages`; None: none yet.
    """

    def __init__(self, host: Host, dataset: Any) -> None:
        super().__init__(host)
        self._dataset = dataset
        self._live: LiveTraining | None = None  # the current or last training

    @property
    def running(self) -> bool:
        """Whether the discriminator is being trained."""
        return self._live is not None and self.host.loop.chore is self._live

    @property
    def trainer(self) -> Trainer | None:
        """The current or last training."""
        return None if self._live is None else self._live.trainer

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def start(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        """Start or resume; see `LDAM.train_discriminator`."""
        if self.running:
            raise RuntimeError("the discriminator is being trained; stop_training() first")
        data = self._dataset if dataset is None else dataset
        if data is None:
            raise ValueError("there are no real images to learn from: train_discriminator(images) or LDAM(…, dataset=)")
        sampler, last = self.host.sampler, self._live
        if recipe is None:
            recipe = Recipe() if last is None else last.trainer.recipe
        same = last is not None and last.current(sampler) and dataset is None and last.trainer.recipe == recipe
        if last is not None and same:
            trainer = last.trainer  # where it left off, including its pool
        else:
            net = None if sampler.discriminator is None else sampler.discriminator.net
            trainer = Trainer.for_sampler(
                sampler, data, recipe, copy.deepcopy(net) if isinstance(net, DiscriminatorNet) else None
            )
            sampler.notes.extend(note for note in trainer.notes if note not in sampler.notes)  # the panel shows these
        self._dataset = data
        self._live = LiveTraining(trainer, sampler, self._on_end)
        self.host.redeclare()
        self.host.loop.chore = self._live
        self.host.post_setup()

    def stop(self) -> Exception | None:
        """Stop; returns an error if the discriminator must not be considered trained."""
        if not self.running or self._live is None:
            return None
        self.host.loop.chore = None
        self.host.post_state()
        return self._live.collapse()

    def leave_neurons_out(self, out: bool) -> None:
        """Set whether the chains follow the discriminator alone."""
        self.host.sampler.discriminator_only = out
        self.host.post_state()
        self.host.refresh()

    def _stop_or_raise(self) -> None:
        error = self.stop()
        if error is not None:
            raise error

    def _on_end(self, error: Exception) -> None:
        self.host.loop.chore = None
        self.host.report(error)
        self.host.post_state()

    # ---- the page --------------------------------------------------------------------------------------------------

    def setup(self) -> dict[str, Any]:
        return {"training_trace": _EMPTY if self._live is None else self._live.trace()}

    def state(self) -> dict[str, Any]:
        sampler = self.host.sampler
        term = sampler.discriminator
        if term is None:
            return {"discriminator": None}
        why = "" if self._dataset is not None else "give the widget real images to learn from: LDAM(…, dataset=images)"
        return {
            "discriminator": {
                "only": sampler.discriminator_only,
                "training": self.running,
                "trainable": not why,
                "why": why,
                "form": term.form,
            }
        }

    def gauges(self) -> dict[str, Any]:
        """Recent rounds, and D of the current samples, [neuron][chain], which costs a pass of D if its weight is 0."""
        score = self.host.sampler.discriminator_score
        return {
            "training": self._live.gauges() if self._live is not None and self.running else None,
            "score": None if score is None else [[plain(value) for value in row] for row in score],
        }

    def actions(self) -> Mapping[str, Action]:
        return {
            "train": self.start,
            "stop_train": self._stop_or_raise,
            "discriminator_only": lambda: self.leave_neurons_out(True),
            "with_neurons": lambda: self.leave_neurons_out(False),
        }
