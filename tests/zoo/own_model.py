"""The user's own model: how it is made and called, what it returns, and whether it was touched."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Network(NamedTuple):
    """A network of the zoo.

    Attributes:
        name: as its package calls it.
        build: makes it, with random weights.
        shape: of one image.
        inputs: as for `Sampler`.
        refused: a pattern that the error must match, if it cannot be sampled.
        quick: part of `make test`; the others are only part of `make zoo`.
        headless: what it returns has no units, so that another layer is sampled, with a note.
        chance: it draws random numbers, which a note must say; its activations cannot be compared.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    inputs: Any = None
    refused: str = ""
    quick: bool = False
    headless: bool = False
    chance: bool = False


def made(network: Network, seed: int = 0) -> nn.Module:
    """The network in training mode, as most come, with weights that let every part have its say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network.build().train()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            _enliven(name, tensor)
        _calibrate(model, network)
    return model


@torch.no_grad()
def _calibrate(model: nn.Module, network: Network) -> None:
    """Let batch norms keep the statistics of some noise: without, the signal dies out in a deep network."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with contextlib.suppress(ValueError):  # a map of one pixel has no statistics
        called(model, network, torch.rand(32 if network.shape[-1] <= 64 else 8, *network.shape))
    for norm in norms:
        norm.momentum = 0.1
        norm.running_var.clamp_(min=0.1 * float(norm.running_var.mean()))  # constant channels would explode
    model.train()


@torch.no_grad()
def _enliven(name: str, tensor: Tensor) -> None:
    """Constants, as norms and layer scales begin with, become numbers: a path that is scaled by 1e-6 shows nothing."""
    if not tensor.is_floating_point() or not tensor.numel() or tensor.numel() == 1:
        return
    if name.endswith("weight") and tensor.ndim > 1 and float(tensor.std()) > 0:  # many begin too small for a signal
        tensor *= max(1.0, (tensor.numel() / len(tensor)) ** -0.5 / float(tensor.std()))
    first = float(tensor.flatten()[0])
    if tensor.is_sparse or not bool((tensor == first).all()) or abs(first) == float("inf"):
        return
    if name.endswith(("running_mean", "bias")):
        tensor.normal_(0, 0.1)
    elif first == 0:
        tensor.normal_(0, 0.05)
    elif isinstance(tensor, nn.Parameter) or name.endswith("running_var"):
        tensor.uniform_(0.5, 1.5)


def called(model: nn.Module, network: Network, x: Tensor) -> Any:
    """What the user's model returns for a batch, as its user calls it."""
    if network.inputs is None:
        return model(x)
    if isinstance(network.inputs, Mapping):
        rows = {k: v.expand(len(x), *v.shape[1:]) if isinstance(v, Tensor) else v for k, v in network.inputs.items()}
        return model(x, **rows)
    given = network.inputs(x)
    return model(*given) if isinstance(given, tuple) else model(given)


def main(returned: Any) -> Tensor:
    """Logits among other outputs, or the first tensor."""
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping):
        for key in ("logits", "out"):
            if isinstance(returned.get(key), Tensor):
                return returned[key]
        returned = list(returned.values())
    return next(main(each) for each in returned if each is not None and not isinstance(each, (int, float, str)))


def readings(output: Tensor, units: int, unit: int) -> list[Tensor]:
    """The unit at the centre of the map, for every axis that may hold the units; `output` is that of one image.

    Where no axis, or another than the first, is that of the images, the first may be one of frames or windows.
    """
    found = []
    for axis in range(output.ndim):
        if output.shape[axis] == units:
            rest = output.movedim(axis, 0)[unit]
            maps = [rest.squeeze(rest.shape.index(1))] if 1 in rest.shape else []
            maps += [rest] if axis > 0 and output.shape[0] > 1 else []
            found += [each[tuple(n // 2 for n in each.shape)] for each in maps]
    return found


def copied(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return {key: copied(value) for key, value in output.items()}
    return [copied(each) for each in output] if isinstance(output, (tuple, list)) else output


def touched(model: nn.Module) -> dict[str, Any]:
    """Everything of a model that sampling might change."""
    seen: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        seen[name] = (tensor.detach().clone(), id(tensor), tensor._version, tensor.requires_grad, tensor.grad is None)
    for name, module in model.named_modules():
        seen[f"{name}: flags"] = (module.training, sorted(vars(module)))
        hooks = [len(value) for key, value in sorted(vars(module).items()) if key.endswith("hooks")]
        seen[f"{name}: hooks"] = hooks
    return seen


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and a and isinstance(a[0], Tensor):
        same_bits = a[0].shape == b[0].shape and bool(((a[0] == b[0]) | (a[0] != a[0])).all())
        return same_bits and a[1:] == b[1:]
    return bool(a == b)


def world() -> list[Any]:
    """The user's random numbers."""
    return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]  # noqa: NPY002
