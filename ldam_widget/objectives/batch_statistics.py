"""Batch statistics: features of the picture like those that the network's batch norms have seen in training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.parameters import Parameter
from ..core.target import BindContext
from ..network.capture import STOP, Call, listen
from ..network.trace import Preprocess, run
from ..network.view import device_of


class BatchStatistics:
    """R(x) = −Σ_l (‖μ_l(x) − μ̂_l‖ + ‖σ²_l(x) − σ̂²_l‖), over all batch norms l that a forward pass of the model runs.

    μ̂, σ̂² are the mean and variance of every channel that the batch norm keeps from training; μ(x), σ²(x) those of
    its input for this picture, over the positions. (The paper takes them over a batch of pictures. Of one picture
    alone, no chain depends on another, but even a real picture is not 0: its own colours are not those of all.) A batch
    norm with a single position has no variance, and its mean alone counts.

    Where gradients are normalised, as with frozen scales, the weight is relative to that of the neuron. It does not
    hold unbounded pixels.

    Cost: a forward and a backward pass up to the last batch norm. Source: Yin et al., Dreaming to Distill (CVPR 2020),
    Eq. 4.

    Args:
        weight: λ ≥ 0, the live parameter `batch_statistics`.

    Raises:
        ValueError: weight out of range; when given to a sampler, a model whose forward pass runs no batch norm, or one
            without running statistics, or on another batch than that of the pictures.
    """

    name: ClassVar[str] = "batch_statistics"
    learned: ClassVar[bool] = False
    reads_model: ClassVar[bool] = True
    parameter: ClassVar[Parameter] = Parameter(
        "batch_statistics", 1e-4, 1e2, 0.0, "Weight λ: features with the mean and variance of those seen in training.",
        group="image prior", log=True, zero=True,
    )  # fmt: skip

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = self.parameter.check(weight)
        self._read: _Features | None = None

    def __repr__(self) -> str:
        return f"BatchStatistics({self.weight:g})"

    def bound(self, context: BindContext) -> BatchStatistics:
        """This term bound to a sampler's model and images. Raises ValueError: see the class."""
        if context.model is None:
            raise ValueError("BatchStatistics reads the batch norms of the sampler's model, and there is none")
        term = copy.copy(self)
        term._read = _Features(context.model, context.input_shape, context.preprocess)
        return term

    @torch.inference_mode(False)
    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> R (chain,) and its gradient, like x. RuntimeError outside of a sampler."""
        if self._read is None:
            raise RuntimeError("BatchStatistics belongs among the regularizers of a sampler, whose model it reads")
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            value = -self._read(leaf)
            (grad,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), grad


class _Features:
    """x (chain, *image) -> the distance from the statistics of all batch norms, (chain,).

    Args:
        view: the sampler's private view of the model.
        shape: of one image.
        preprocess: pixels -> input of the model.
    """

    def __init__(self, view: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None) -> None:
        self._view, self._shape, self._preprocess = view, shape, preprocess
        self._norms: Mapping[str, nn.Module] = {
            name: module for name, module in view.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
        }
        self._calls = -1  # in a forward pass; not yet known
        own = torch.Generator(device_of(view)).manual_seed(0)  # leaves the user's random numbers alone
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.rand(2, *shape, generator=own, device=device_of(view)).requires_grad_(True)
            seen = self._distances(x)
            if not seen:
                raise ValueError(
                    "BatchStatistics needs a model with batch norms; this one runs none (they may be folded into its "
                    "convolutions)"
                )
            self._calls = len(seen)
            if torch.autograd.grad(torch.stack(seen).sum(), x, allow_unused=True)[0] is None:
                raise ValueError("BatchStatistics: no gradient reaches the image from the model's batch norms")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack(self._distances(x)).sum(0)

    def _distances(self, x: Tensor) -> list[Tensor]:
        seen: list[Tensor] = []

        def hear(call: Call) -> object:
            seen.append(_distance(call, len(x)))
            return STOP if len(seen) == self._calls else None

        # a clone, since the model may write into its input
        listen(self._norms, hear, lambda: run(self._view, x.clone(), self._preprocess, self._shape))
        return seen


def _distance(call: Call, images: int) -> Tensor:
    """Of one call of a batch norm, (images,)."""
    norm: Any = call.module
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            f"BatchStatistics: batch norm {call.address.module!r} keeps no running statistics "
            "(track_running_stats=False), so there is nothing to match"
        )
    features = call.inputs[0].float()
    if len(features) != images:
        raise ValueError(
            f"BatchStatistics: batch norm {call.address.module!r} sees a batch of {len(features)} for {images} "
            "pictures, so the statistics of one picture are not known"
        )
    positions = features.flatten(2) if features.ndim > 2 else features[:, :, None]
    variance, mean = torch.var_mean(positions, 2, correction=0)
    distance = _length(mean - norm.running_mean.float())
    if positions.shape[2] > 1:
        distance = distance + _length(variance - norm.running_var.float())
    return distance


def _length(difference: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return length
