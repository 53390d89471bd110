"""The state in which chains start."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.noise import ChainNoise
from ..core.target import NEURON, Kernel, State, Target, per_image
from ..objectives.neuron import Neurons
from .faults import require_finite, tell_dead
from .settings import Settings
from .starts import places

_START_AGAIN = 5  # attempts with other noise for a chain whose gradient is exactly zero


def first_state(
    settings: Settings,
    neurons: Neurons,
    noise: ChainNoise,
    kept: Tensor | None = None,
    z: Tensor | None = None,
) -> State:
    """Initial state of the chains; those with zero gradient are retried with other noise.

    Args:
        settings, neurons, noise: of the chains.
        kept: (chain · rung,) bool, the chains that start from z (chain · rung, *image); None: no chain does.
        z: required with `kept`.

    Raises:
        SamplingError: an activation is not finite.
    """
    kernel: Kernel = settings.kernel
    target = settings.without_findings().target(neurons)
    attempt = 0 if kept is None else 1  # each attempt has its own random numbers in every stream
    start = _start(settings, noise.start(attempt), target)
    state = kernel.init(start if kept is None or z is None else torch.where(per_image(kept, z), z, start), target)
    dead = _no_gradient(state) if kept is None else _no_gradient(state) & ~kept
    fixed_start = isinstance(settings.start, Tensor) or settings.start == "grey"
    others = 0 if fixed_start else _START_AGAIN
    while bool(dead.any()) and attempt < others:  # a ReLU that is off everywhere may be on for another start
        attempt += 1
        other = _start(settings, noise.start(attempt), target)
        state = kernel.init(torch.where(per_image(dead, state.x), other, state.x), target)
        dead = dead & _no_gradient(state)
    require_finite(state, neurons, target, settings)
    if bool(dead.any()):
        tell_dead(dead, neurons, settings, others)
    return state


def _start(settings: Settings, numbers: Tensor, target: Target) -> Tensor:
    """Start positions z, (chain · rung, *image), from standard normal numbers."""
    fixed, kernel, start = settings.fixed, settings.kernel, settings.start
    if not isinstance(start, str) or start != "noise":
        return places(start, numbers, settings.coordinates, fixed.pixel_range, fixed.rungs, fixed.dataset)
    if hasattr(kernel, "start"):
        own: Tensor = kernel.start(numbers, target)
        return own
    return settings.coordinates.start(numbers, settings.params.get("prior_scale", 1.0))


def _no_gradient(state: State) -> Tensor:
    """Chains (chain,) whose neuron gradient is exactly zero."""
    return ~state.evaluation.grads[NEURON].flatten(1).any(1)
