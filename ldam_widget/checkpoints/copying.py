"""Copy the user's model before filling it, so that the original is unchanged."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def own_model(model_or_factory: object) -> nn.Module:
    """A copy of a model, or the result of a callable without arguments; the CPU generator keeps its state."""
    if isinstance(model_or_factory, nn.Module):
        return copied(model_or_factory)
    model: object = None
    if callable(model_or_factory):
        with torch.random.fork_rng(devices=[]):  # its initial weights will be replaced
            model = model_or_factory()
    if not isinstance(model, nn.Module):
        got = f"{model_or_factory!r:.80}" + (f", which made {model!r:.80}" if callable(model_or_factory) else "")
        raise TypeError(f"model_or_factory must be a torch.nn.Module or a callable that makes one; got {got}")
    return model


def copied(model: _Module) -> _Module:
    """A deep copy; also handles models with plain tensors as attributes."""
    # tensors that are plain attributes, such as a pruned weight, belong to a graph that deepcopy refuses to copy
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor)
    }
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise TypeError(
            f"{type(model).__name__} cannot be copied with copy.deepcopy: {error!r}. Keep locks, open files and "
            "generators out of its attributes, or give a callable that makes the model"
        ) from error


def check_has_memory(module: nn.Module) -> None:
    """Raise ValueError if a weight has no shape yet (lazy modules) or no data (meta device)."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(f"model weight {name!r} has no shape yet; pass a batch through the lazy model first")
        if tensor.is_meta:
            raise ValueError(
                f"model weight {name!r} is on the meta device; create the model on a real device, such as 'cpu'"
            )
