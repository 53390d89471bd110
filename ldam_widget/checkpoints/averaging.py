"""Average the weights of several models."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_swa_avg_fn, update_bn

from ..core.notes import LDAMWarning
from ..network.view import choose_device, unwrap
from .copying import check_has_memory, copied, own_model
from .fitting import shape_text
from .loading import load_checkpoint
from .matching import Shape, shape_of
from .values import check_numbers


def average_checkpoints(
    sources: Iterable[nn.Module | str | os.PathLike[str]],
    model_or_factory: nn.Module | Callable[[], nn.Module] | None = None,
    *,
    loader: Iterable[Any] | None = None,
    decay: float | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """A model whose weights are the mean of several, in eval mode: Izmailov et al. 2018 (arXiv:1803.05407).

    Floating-point weights and buffers are averaged, in their own dtype; integer buffers come from the last source. The
    given models are not changed, and the generators of the CPU and of the model's device keep their state.

    Args:
        sources: two or more models or paths (see `load_checkpoint`) whose weights agree in name, shape and order.
        model_or_factory: the model to load the files into; only for paths.
        loader: batches for recomputing batch-norm statistics, in training mode as in
            `torch.optim.swa_utils.update_bn`: inputs (N, …), or tuples starting with them.
        decay: in (0, 1): an exponential moving average in the given order, decay · average + (1 - decay) · next,
            starting with the first. None: the plain mean.
        device: of the result; None: that of the first source.

    Raises:
        TypeError, ValueError: an invalid argument, sources of different architectures, a non-finite weight, an empty
            `loader`.
        FileNotFoundError, IsADirectoryError, CheckpointError, ValueError: see `load_checkpoint`.
    """
    given = _check_sources(sources, model_or_factory)
    if decay is not None and not (isinstance(decay, float) and 0 < decay < 1):
        raise ValueError(f"decay={decay!r} must lie between 0 and 1, for instance 0.9; None gives the plain mean")
    if loader is not None and (isinstance(loader, Tensor) or not isinstance(loader, Iterable)):
        raise TypeError(f"loader must yield batches, for instance a DataLoader or [batch]; got {type(loader).__name__}")
    base = None if model_or_factory is None else own_model(model_or_factory)
    models = _models(given, base)
    first = next(models)
    where = next(first.parameters(), torch.empty(0)).device if device is None else choose_device(first, device)
    average = AveragedModel(copied(first).to(where), avg_fn=_averaging(decay), use_buffers=True)
    average.update_parameters(first)
    for model in models:
        average.update_parameters(model)
    _refresh_batch_norm(average.module, loader, where)
    _check_finite("the average", average.module)
    return average.module.eval()


def _check_sources(sources: object, model_or_factory: object) -> list[nn.Module | str | os.PathLike[str]]:
    single = isinstance(sources, (str, os.PathLike, nn.Module))  # strings and Sequentials are iterable too
    if single or not isinstance(sources, Iterable):
        raise TypeError(f"sources must be a list of models or paths; got {sources!r:.80}")
    given = list(sources)
    if len(given) < 2:
        raise ValueError(f"sources must have at least two members; got {len(given)}")
    for index, source in enumerate(given):
        if not isinstance(source, (str, os.PathLike, nn.Module)):
            raise TypeError(f"sources[{index}] must be a torch.nn.Module or a path; got {source!r:.80}")
    paths = [source for source in given if not isinstance(source, nn.Module)]
    if paths and model_or_factory is None:
        raise ValueError(f"model_or_factory must be given, to load {paths[0]}")
    if model_or_factory is not None and not paths:
        raise ValueError("model_or_factory is for paths, and sources has models only; leave it out")
    return given


def _models(sources: Sequence[nn.Module | str | os.PathLike[str]], base: nn.Module | None) -> Iterator[nn.Module]:
    """Yield the models one at a time, so that only one file is in memory; each is checked against the first."""
    layout: list[tuple[str, Shape]] = []
    for index, source in enumerate(sources):
        loaded = source if isinstance(source, nn.Module) else load_checkpoint(cast(nn.Module, base), source)
        model = unwrap(loaded)
        check_has_memory(model)
        _check_finite(f"sources[{index}]", model)
        own: list[tuple[str, Shape]] = [(name, shape_of(tensor)) for name, tensor in _tensors(model)]
        layout = layout or own
        if own != layout:
            raise ValueError(f"sources[{index}] and sources[0] are not of one architecture: {_difference(own, layout)}")
        yield model


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers in AveragedModel's order."""
    return [*model.named_parameters(), *model.named_buffers()]


def _difference(own: list[tuple[str, Shape]], first: list[tuple[str, Shape]]) -> str:
    """The first weight in which two models differ."""
    at = next((i for i, (a, b) in enumerate(zip(own, first, strict=False)) if a != b), min(len(own), len(first)))
    here, there = (f"{all_[at][0]} {shape_text(all_[at][1])}" if at < len(all_) else "nothing" for all_ in (own, first))
    return f"their weight {at} is {here} and {there}"


def _averaging(decay: float | None) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    mean: Callable[[Tensor, Tensor, Tensor | int], Tensor]
    mean = get_swa_avg_fn() if decay is None else get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        # counters and index tables have no meaningful mean, and would lose digits in float32
        return mean(average, current, count) if average.is_floating_point() or average.is_complex() else current

    return update


def _refresh_batch_norm(model: nn.Module, loader: Iterable[Any] | None, device: torch.device) -> None:
    norms = [module for module in model.modules()
             if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]  # fmt: skip
    if loader is None:
        if norms:
            warnings.warn(
                f"the statistics of {len(norms)} batch-norm layer{'s' if len(norms) > 1 else ''} were averaged like "
                "weights and may be off; loader=batches of training images measures them again",
                LDAMWarning,
                stacklevel=3,
            )
        return
    if not norms:
        warnings.warn("loader was not used: the model has no batch norm with statistics", LDAMWarning, stacklevel=3)
        return
    # in training mode dropout draws from the generators, and a DataLoader from the CPU's
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        update_bn(loader, model, device)
    if not any(int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None):
        raise ValueError("loader yielded no batch, or was already exhausted; give a DataLoader or a list of batches")


def _check_finite(what: str, model: nn.Module) -> None:
    for name, tensor in _tensors(model):
        check_numbers(f"{what}: weight {name!r}", tensor.detach())
