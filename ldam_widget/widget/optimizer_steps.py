"""Counts the steps of an optimiser, also of one that wraps others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# Where wrappers keep the optimiser they wrap: Accelerate, Lookahead, apex, SAM, ZeroRedundancyOptimizer, Lightning.
_INSIDE = ("optimizer", "base_optimizer", "optim", "_optimizer", "inner_optimizer", "base")
_DEPTH = 5


class StepCounter:
    """Calls `on_step` once after each step, from `start` to `stop`.

    An optimiser and all that it wraps are observed through PyTorch's own hooks. A step of the wrapper counts once, when
    it is over; a step that a wrapper's other methods make (SAM's `second_step`) counts as that of the optimiser inside.
    Steps that a gradient scaler skips do not happen, and are not counted. Nothing is replaced in the optimiser.

    Args:
        optimizer: a `torch.optim.Optimizer`, or an object that wraps one.
        on_step: must not raise.

    Raises:
        TypeError: no optimiser is found whose steps can be observed.
    """

    def __init__(self, optimizer: object, on_step: Callable[[], None]) -> None:
        self._layers = [layer for layer in _layers(optimizer) if _observable(layer)]
        if not self._layers:
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer or wrap one; got {optimizer!r:.80}. For any other, leave "
                "it out and call update() after each of its steps"
            )
        self._on_step = on_step
        self._inside: list[int] = []  # layers whose step is in progress, outermost first
        self._handles: list[Any] = []

    def start(self) -> None:
        """Begin to count; at most once until `stop`."""
        if self._handles:
            return
        self._inside = []
        for index, layer in enumerate(self._layers):
            self._handles += [
                layer.register_step_pre_hook(lambda *_, i=index: self._begin(i)),
                layer.register_step_post_hook(lambda *_, i=index: self._end(i)),
            ]

    def stop(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin(self, layer: int) -> None:
        # a step that failed has no end: what it left is dropped when that layer steps again
        self._inside = [outer for outer in self._inside if outer < layer] + [layer]

    def _end(self, layer: int) -> None:
        self._inside = [outer for outer in self._inside if outer < layer]
        if not self._inside:
            self._on_step()


def observable(optimizer: object) -> bool:
    """Whether `StepCounter` can count the steps of this."""
    return any(_observable(layer) for layer in _layers(optimizer))


def _layers(optimizer: object) -> list[Any]:
    """An optimiser and those that it wraps, outermost first."""
    found: list[Any] = []
    while optimizer is not None and len(found) < _DEPTH and not any(optimizer is other for other in found):
        found.append(optimizer)
        held = [vars(optimizer).get(name) for name in _INSIDE] if hasattr(optimizer, "__dict__") else []
        optimizer = next((inside for inside in held if callable(getattr(inside, "step", None))), None)
    return found


def _observable(optimizer: object) -> bool:
    """Whether PyTorch calls hooks in an optimiser's `step`: a subclass may skip its constructor, which sees to it."""
    return (
        isinstance(optimizer, torch.optim.Optimizer)
        and isinstance(vars(optimizer).get("_optimizer_step_post_hooks"), dict)
        and getattr(type(optimizer).step, "hooked", False) is True
    )
