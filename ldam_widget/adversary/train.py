"""Algorithm 2 unattended: train a discriminator to the end, save it, resume after an interruption."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from ..objectives.discriminator_net import DiscriminatorNet
from .recipe import Recipe
from .rounds import TrainingError
from .trainer import Trainer


def train_discriminator(
    model: nn.Module,
    dataset: Any,
    *,
    rounds: int = 2000,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
    recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
    **settings: Any,
) -> DiscriminatorNet:
    """Train a discriminator against the sampler (paper, Algorithm 2; see `Recipe` for our additions).

    Args:
        model: the classifier.
        dataset: real images: a map-style `torch.utils.data.Dataset`, tensor or array; see `RealImages`.
        rounds: total rounds of Algorithm 2.
        out: file (safetensors) for the discriminator and its settings; None saves nothing. During training,
            ``<out>.training`` beside it holds everything needed to resume.
        resume: continue from ``<out>.training``, if it exists.
        save_every: seconds between saves of that file.
        progress: show a progress bar.
        recipe: all settings of the training.
        settings: `net`, `layer`, `neurons`, `input_shape`, `pixel_range`, `preprocess` and `device`, as for `Trainer`.

    Returns:
        The discriminator, in eval mode: ``Discriminator(net, 0.5)``.

    Raises:
        TrainingError: it collapsed, or its loss is not finite; `out` is then not written.
        TypeError, ValueError: bad data or settings.
    """
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"rounds must be an integer ≥ 1; got {rounds!r}")
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
    due = time.monotonic() + save_every
    try:
        with tqdm(total=rounds, initial=trainer.round, unit="round", disable=not progress) as bar:
            while trainer.round < rounds:
                seen = trainer.train_round()
                bar.update()
                bar.set_postfix(real=f"{seen.real:.2f}", generated=f"{seen.generated:.2f}", refresh=False)
                if kept is not None and time.monotonic() >= due:
                    trainer.save(kept)
                    due = time.monotonic() + save_every
    finally:  # an interrupted training resumes from here
        if kept is not None:
            trainer.save(kept)
    trouble = trainer.trouble()
    if trouble:
        where = "" if kept is None else f" The training so far is in {kept}."
        raise TrainingError(f"the discriminator collapsed and does not count as trained: {trouble}.{where}")
    if path is not None:
        trainer.save(path, resumable=False)
    net = trainer.net
    return net.eval()
