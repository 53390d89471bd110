"""One worker of a build: it renders blocks, writes them, and returns receipts."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..core.notes import QuietNotes
from ..network.memory import give_back, is_out_of_memory
from ..surveys.results import SurveyParts
from . import folder
from .measuring import Judge, Measured
from .recipe import UnitRecipe, same_answers
from .rendering import Renderer
from .sampling import MemoryShortError

Factory = Callable[[], nn.Module]
_STOPS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}  # would stop every other block, too


class Task(NamedTuple):
    """A block to be rendered."""

    layer: str
    block: int
    replace: bool = False  # one that is there is damaged, or of another recipe


class Receipt(NamedTuple):
    """What a worker says of a block."""

    units: int
    seconds: float
    failures: dict[int, str]  # unit -> why it has no picture
    error: str = ""  # why the block was not written
    stops: bool = False  # no other block can be written, either


@dataclass(frozen=True)
class Job:
    """What all workers of a build have in common.

    Attributes:
        model: the model, or a function that makes it.
        out: folder with an atlas.json.
        recipe_hash: of the atlas, which the blocks carry.
        recipe: how units are rendered.
        survey: of real images; None: there is none.
        judge: recognises classes; None: the model.
        device: where to run; None: CUDA if available.
    """

    model: nn.Module | Factory
    out: str
    recipe_hash: str
    recipe: UnitRecipe
    survey: SurveyParts | None
    judge: nn.Module | Judge | None
    device: str | None


def model_of(model: nn.Module | Factory) -> nn.Module:
    """The model. Raises TypeError if it is neither a module nor makes one."""
    found: Any = model
    if not isinstance(model, nn.Module) and callable(model):
        found = model()
    if not isinstance(found, nn.Module):
        made = "" if found is model else f" from {model!r}"
        raise TypeError(f"model must be an nn.Module, or a function that makes one; got {found!r}{made}")
    return found


class BlockWorker:
    """Renders blocks of a job.

    Raises:
        ValueError: the model that was made here is another one.
    """

    def __init__(self, job: Job) -> None:
        self._out = Path(job.out)
        card = folder.load_card(self._out)
        self._recipe_hash = job.recipe_hash
        self._layers = {layer.name: layer for layer in card["layers"]}
        model = model_of(job.model)
        measured = Measured(model, job.recipe, list(self._layers), job.judge, job.device, QuietNotes())
        if measured.hash() != card["recipe"]["model"] or not same_answers(measured.answers(), card["answers"]):
            raise ValueError(
                "the model of a worker has other weights or answers than the atlas is of: a function that makes the "
                "model must make the same one each time"
            )
        survey = None if job.survey is None else job.survey.survey(measured.view, measured.preprocess)
        self._renderer = Renderer(model, measured, job.recipe, survey, job.device)

    def __call__(self, task: Task) -> Receipt:
        """Render and write a block; it is never left in halves, and its errors are told in the receipt."""
        began, layer = time.monotonic(), self._layers[task.layer]
        count = len(layer.units_of(task.block))
        try:
            done = None if task.replace else self._done(task)
            if done is None:
                rendered = self._renderer.render(layer, task.block)
                folder.write_block(
                    self._out, layer, task.block, self._recipe_hash, rendered, replace=task.replace
                )  # fmt: skip
                failures = rendered.failures
            else:  # by another builder, or by this one before its receipt was lost
                failures = {int(unit): why for unit, why in done["failures"].items()}
            return Receipt(count, time.monotonic() - began, failures)
        except Exception as error:
            return self._failed(task, error, time.monotonic() - began)
        finally:
            give_back()

    def _done(self, task: Task) -> dict[str, Any] | None:
        try:
            return folder.load_done(self._out, self._layers[task.layer], task.block, self._recipe_hash)
        except ValueError:
            return None

    def _failed(self, task: Task, error: Exception, seconds: float) -> Receipt:
        short = isinstance(error, MemoryShortError) or is_out_of_memory(error)
        if isinstance(error, OSError):
            why = f"cannot be written: {error.strerror or error}"
        elif short:
            why = str(error) if isinstance(error, MemoryShortError) else f"not enough memory ({error})"
        else:
            why = f"{type(error).__name__}: {error}"
        stops = isinstance(error, OSError) and error.errno in _STOPS
        if not stops:
            try:
                folder.write_failure(self._out, self._layers[task.layer], task.block, self._recipe_hash, why)
            except OSError:
                stops = True
        return Receipt(0, seconds, {}, why, stops)
