"""Algorithm 2 unattended: train a discriminator to the end, save it, resume after an interruption."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from ..objectives.discriminator_net import DiscriminatorNet
from .budget import Budget
from .recipe import Recipe
from .rounds import TrainingError
from .trainer import Trainer


def train_discriminator(
    model: nn.Module,
    dataset: Any,
    *,
    rounds: int | None = None,
    minutes: float | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
    recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
    **settings: Any,
) -> DiscriminatorNet:
    """Train a discriminator against the sampler (paper, Algorithm 2; see `Recipe` for our additions).

    How long it takes is printed once the first rounds have been timed ("about 12 minutes for 3,000 rounds on cpu"). No
    setting of a recipe depends on the number of rounds, so a training may end at any of them, and go on later.

    Args:
        model: the classifier.
        dataset: real images: a map-style `torch.utils.data.Dataset`, tensor or array; see `RealImages`. There is a
            warning if they are not what the classifier can have been trained on: constant, in another unit, not
            normalised as it expects.
        rounds: total rounds of Algorithm 2, those before a `resume` included; None: as many as fit into `minutes`, or
            2,000 without these.
        minutes: of wall time, preparations included; None: no limit. With both, what is reached first ends it. No
            round begins that would not end in time; there is a warning if few rounds fit.
        out: file (safetensors) for the discriminator and its settings; None saves nothing. During training,
            ``<out>.training`` beside it holds everything needed to resume.
        resume: continue from ``<out>.training``, if it exists.
        save_every: seconds between saves of that file.
        progress: show a progress bar, and print the forecast.
        recipe: all settings of the training.
        settings: `net`, `layer`, `neurons`, `input_shape`, `pixel_range`, `preprocess`, `device` and `execution`, as
            for `Trainer`.

    Returns:
        The discriminator, in eval mode: ``Discriminator(net, 0.5)``; ``net.card["rounds"]`` were run.

    Raises:
        TrainingError: it collapsed, or its loss is not finite; `out` is then not written.
        TypeError, ValueError: bad data or settings.
    """
    budget = Budget(rounds, minutes)
    if resume and out is None:
        raise ValueError("resume=True needs out=, the file of the training to resume")
    path = None if out is None else Path(out)
    kept = None if path is None else path.with_name(path.name + ".training")
    if path is not None:  # fail now rather than after an hour
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"out={str(path)!r} cannot be written: give a file in a folder that you can write to")
    trainer = Trainer(model, dataset, recipe=recipe, **settings)
    if kept is not None and resume and kept.exists():
        trainer.resume(kept)
    try:
        _run(trainer, budget, kept, save_every, progress)
    finally:  # an interrupted training resumes from here
        if kept is not None:
            trainer.save(kept)
    trouble = trainer.trouble()
    if trouble:
        where = "" if kept is None else f" The training so far is in {kept}."
        raise TrainingError(f"the discriminator collapsed and does not count as trained: {trouble}.{where}")
    if path is not None:
        trainer.save(path, resumable=False)
    net = trainer.net.eval()
    net.card = trainer.card()
    return net


def _run(trainer: Trainer, budget: Budget, kept: Path | None, save_every: float, progress: bool) -> None:
    """Train within the budget, saving to `kept` now and then."""
    due, told, device = time.monotonic() + save_every, False, trainer.device.type
    with tqdm(total=budget.rounds, initial=trainer.round, unit="round", disable=not progress) as bar:
        while not budget.over(trainer.round):
            budget.begin()
            seen = trainer.train_round()
            budget.ended()
            if budget.measured and not told:
                told = True
                if progress:
                    bar.write(budget.forecast(trainer.round, device), file=sys.stderr)
                if shortage := budget.shortage(trainer.round, trainer.recipe.batch):
                    trainer.notes.tell(shortage)
            bar.total = budget.total(trainer.round)
            bar.update()
            bar.set_postfix(real=f"{seen.real:.2f}", generated=f"{seen.generated:.2f}", refresh=False)
            if kept is not None and time.monotonic() >= due:
                trainer.save(kept)
                due = time.monotonic() + save_every
