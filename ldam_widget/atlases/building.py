"""`ldam.atlas`: renders every unit of a network into a folder."""

from __future__ import annotations

import contextlib
import operator
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from tqdm.auto import tqdm

from ..core.notes import LDAMWarning, Notes
from ..core.target import Kernel
from ..engines import Outcome, UnsendableError, in_processes, in_turn
from ..network.trace import Preprocess, check_shape
from ..parametrizations import Natural, Transforms
from ..sampling import checks
from ..surveys import Survey
from . import folder
from .describing import described
from .layout import LayerOfAtlas
from .measuring import Judge, Measured
from .planning import settled, tasks_of
from .reading import Atlas
from .recipe import checked
from .sampling import try_settings
from .working import BlockWorker, Factory, Job, Receipt, Task, model_of

_LEAST_PICTURE = 16  # pixels per side from which on people look for something in a picture


@torch.inference_mode(False)
def atlas(
    model: nn.Module | Factory,
    layers: str | Iterable[str] = "all",
    *,
    input_shape: Sequence[int],
    out: str | os.PathLike[str],
    steps: int = 200,
    chains: int = 4,
    seed: int = 0,
    survey: Survey | str | os.PathLike[str] | None = None,
    judge: nn.Module | Judge | None = None,
    engine: Any = "processes",
    workers: int | None = None,
    threads: int = 1,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    kernel: Kernel | None = None,
    prior: Natural | Literal["auto", "pixels"] | None = "auto",
    transforms: Transforms | Literal["auto"] | None = "auto",
    temperature: float | None = None,
    goal: float | None = None,
    warm_up: int | None = None,
    preprocess: Preprocess | None = None,
    pixel_range: tuple[float, float] | None = None,
    class_names: Sequence[str] = (),
    at: Literal["center", "mean"] = "center",
    batch: int | None = None,
    execution: str = "plain",
    tile: int = 112,
    device: str | None = None,
    progress: bool = True,
) -> Atlas:
    """Render every unit of the layers of a network: samples, their average, and numbers, into a folder.

    The folder is valid at any moment: units are written in blocks of 64, each at a stroke. Interrupt it, kill it, or
    run it twice at a time, on one machine or several: the same call goes on, and ends with the same bytes, as long as
    machines and libraries are alike. What fails (a unit with NaN, a block without memory) is told, and the rest goes
    on; see `Atlas.status`. Format: `ldam_widget.atlases.layout`.

    Args:
        model: any `nn.Module`, left unchanged; or a function without arguments that makes it, once in each worker.
        layers: "all", or names as in `ldam.layers`.
        input_shape: of one image, e.g. (3, 224, 224).
        out: the folder; made if needed.
        steps: of each chain after its warm-up, whose pictures do not count.
        chains: for each unit.
        seed: ≥ 0. Each unit has random numbers of its own, from seed, layer and unit.
        survey: of real images (see `ldam.survey`), or its folder: adds percentiles and top images, and, unless it is a
            folder, crops of these.
        judge: names the class of an average: a module or function, pictures (n, *input_shape) -> scores (n, classes).
            None: the model itself, if it returns such scores.
        engine: "processes" (in a script, call under ``if __name__ == "__main__":``), "serial" (in this process), or a
            `distributed.Client`, whose workers must see `out` under the same path. The bytes do not depend on it.
            Models that cannot be sent to processes, such as those whose class is defined in a notebook, are rendered
            serially, with a note.
        workers: processes; None: as many as there are CPUs for, or one for each GPU.
        threads: CPU threads of a worker.
        part: (i, n): only every n-th block, from the i-th on; for array jobs that share a folder.
        overwrite: replace an atlas of another recipe, block by block.
        kernel, prior, transforms, temperature, goal, warm_up, preprocess, pixel_range, at, device: as for `Sampler`. A
            goal is a number, the same for all units.
        class_names: of the model's classes; those of an atlas that is there are replaced.
        batch: images in a forward pass; None: by their size. Part of the recipe, as rounding depends on it.
        execution: how the network is run, as for `Sampler`; not "auto".
        tile: longest side of a picture in the atlas, in pixels; larger ones are made smaller.
        progress: show a progress bar.

    Returns:
        The atlas; see `Atlas`.

    Raises:
        ValueError, TypeError: a bad argument; a folder with something else in it, such as an atlas of another recipe.
        OSError: the folder cannot be written, or the disk is full; what is done stays, and the same call goes on.
        EngineError: no worker can run.
    """
    notes, where = Notes(), Path(out)
    shape = check_shape(input_shape)
    recipe = checked(
        input_shape=shape, steps=steps, chains=chains, seed=seed, kernel=kernel, prior=prior, transforms=transforms,
        temperature=temperature, goal=goal, warm_up=warm_up, preprocess=preprocess, pixel_range=pixel_range, at=at,
        batch=batch, threads=threads, execution=execution, tile=tile,
    )  # fmt: skip
    if prior == "auto" and recipe.prior is None and len(shape) == 3 and min(shape[1:]) >= _LEAST_PICTURE:
        notes.tell(
            "pictures are of plain pixels, in which few units can be read: give prior=ldam.Natural.of(images) with "
            "images like those of the training, or prior=None if pixels are what you want"
        )
    number, parts = _part(part)
    run = _engine(engine, workers, recipe.threads, device)
    found = survey if survey is None or isinstance(survey, Survey) else Survey.load(survey)
    network = model_of(model)
    chosen = layers if isinstance(layers, str) else list(layers)
    measured = Measured(network, recipe, chosen, judge, device, notes)
    try_settings(network, next(iter(measured.layers)), recipe, device)
    names = checks.class_names(class_names) or ()
    _tell_of_other_classes(names, measured, notes)
    card = settled(where, described(network, measured, recipe, found, names), overwrite)
    del measured
    tasks = tasks_of(where, card, overwrite, notes)[number::parts]
    job = Job(
        model, str(where.resolve()), card["recipe_hash"], recipe, None if found is None else found.carried(), judge,
        device,
    )  # fmt: skip
    build(run, job, tasks, card["layers"], notes, progress=progress)
    return Atlas(where)


def _tell_of_other_classes(names: Sequence[str], measured: Measured, notes: Notes) -> None:
    counts = measured.classes() if names else set()
    if counts and len(names) not in counts:
        found = " and ".join(str(count) for count in sorted(counts))
        notes.tell(f"class_names has {len(names)} names for {found} scores: names may be those of other classes")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


Run = Callable[[Job, Sequence[Task]], Generator[Outcome, None, None]]


def build(
    run: Run, job: Job, tasks: Sequence[Task | None], layers: Sequence[LayerOfAtlas], notes: Notes, *, progress: bool
) -> None:
    """Run tasks, show how they go, and tell what has failed.

    Args:
        run: an engine.
        job: what the tasks have in common.
        tasks: one for each block; None: it is done.
        layers: of the atlas.
        notes: receives what has failed.
        progress: show a progress bar.

    Raises:
        OSError: nothing more can be written.
        EngineError: no worker can run.
    """
    left = [task for task in tasks if task is not None]
    if not left:
        return
    units = {layer.name: layer for layer in layers}
    count = sum(len(units[task.layer].units_of(task.block)) for task in left)
    failed: list[str] = []
    bad = 0
    with contextlib.ExitStack() as ending:
        for layer in layers:
            ending.callback(folder.clean, Path(job.out) / layer.folder)
        outcomes = ending.enter_context(contextlib.closing(run(job, left)))
        bar = ending.enter_context(tqdm(total=count, unit="unit", disable=not progress))
        for task, result, lost in outcomes:
            receipt = Receipt(0, 0.0, {}, lost) if lost else result
            bad += len(receipt.failures)
            bar.update(receipt.units)
            if receipt.error:
                failed.append(f"block {task.block} of layer {task.layer}: {receipt.error}")
            if bad or failed:
                bar.set_postfix_str(f"failed: {_counted(bad, 'unit')}, {_counted(len(failed), 'block')}")
            if lost:
                folder.write_failure(Path(job.out), units[task.layer], task.block, job.recipe_hash, lost)
            if receipt.stops:
                raise OSError(f"{job.out} {receipt.error}; what is done stays, and the same call goes on")
    if bad:
        notes.tell(f"{_counted(bad, 'unit')} failed and no picture was made; status() says why")
    if failed:
        more = f"; {len(failed) - 3} more" if len(failed) > 3 else ""
        notes.tell(f"{_counted(len(failed), 'block')} failed: {'; '.join(failed[:3])}{more}; the same call tries again")


def _engine(engine: Any, workers: int | None, threads: int, device: str | None) -> Run:
    """How tasks are run. Raises ValueError or TypeError for an unknown engine."""
    count = None if workers is None else checks.count("workers", workers)
    if engine == "serial":
        return lambda job, tasks: in_turn(BlockWorker, job, tasks)
    if engine == "processes":
        return lambda job, tasks: _processes(job, tasks, count, threads, device)
    if isinstance(engine, str):
        raise ValueError(f'engine must be "processes", "serial" or a distributed.Client; got {engine!r}')
    if any(kind.__name__ == "Client" and kind.__module__.startswith("distributed") for kind in type(engine).__mro__):
        from ..engines.cluster import on_cluster  # needs the extra `cluster`

        return lambda job, tasks: on_cluster(BlockWorker, job, tasks, engine)
    raise TypeError(f'engine must be "processes", "serial" or a distributed.Client; got {type(engine).__name__}')


def _processes(
    job: Job, tasks: Sequence[Task], workers: int | None, threads: int, device: str | None
) -> Generator[Outcome, None, None]:
    """In processes; in this one if the model cannot be sent to others, as the bytes are the same."""
    devices = torch.cuda.device_count() if device in (None, "cuda") and torch.cuda.is_available() else 0
    on_cpu = torch.device(device or "cpu").type == "cpu"
    count = workers or devices or (max(1, _cpus() // threads) if on_cpu else 1)
    try:
        yield from in_processes(BlockWorker, job, tasks, count, threads=threads, devices=devices)
    except UnsendableError as error:
        warnings.warn(
            f"the model cannot be sent to other processes ({error}), so one process renders all; define it in a file, "
            "or give a function that makes it",
            LDAMWarning,
            stacklevel=2,
        )
        yield from in_turn(BlockWorker, job, tasks)


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _part(part: Any) -> tuple[int, int]:
    try:
        number, parts = (operator.index(each) for each in part)
    except (TypeError, ValueError):
        number = parts = -1
    if not 0 <= number < parts:
        raise ValueError(f"part must be (i, n), every n-th block from the i-th on, such as (0, 4); got {part!r}")
    return number, parts
