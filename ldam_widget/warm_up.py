"""The first steps of a run: step sizes are found and gradient scales measured, then both are frozen.

A density may not change while it is sampled, nor a step size that Metropolis' rule relies on. Both are therefore
settled in a warm-up whose pictures count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .target import Target
from .types import Evaluation, Info, State


@dataclass(frozen=True)
class WarmUp:
    """A warm-up in progress; every step gives the next one.

    Attributes:
        length: steps in all.
        per_neuron: chains (and replicas) of a neuron in the batch.
        adapts: whether the kernel finds its step size.
        measures: whether gradient scales are measured.
    """

    length: int
    per_neuron: int
    adapts: bool
    measures: bool
    count: int = 0
    norms: Mapping[str, tuple[Tensor, int]] = field(
        default_factory=dict
    )  # term -> sum (N,) over the second half, count

    @property
    def left(self) -> int:
        """Steps to go."""
        return self.length - self.count

    def after(self, kernel: Any, target: Target, state: State, info: Info) -> tuple[WarmUp, State]:
        """The warm-up and the state after one more step."""
        count = self.count + 1
        if self.adapts:
            state = kernel.adapt(state, info, count)
        norms = self.norms
        if self.measures and 2 * count > self.length:
            # each with its own count: a slider may bring a term in, or take one out, on the way
            for name, norm in first_norms(target, state.evaluation, self.per_neuron).items():
                total, seen = norms.get(name, (torch.zeros_like(norm), 0))
                norms = {**norms, name: (total + norm, seen + 1)}
        return replace(self, count=count, norms=norms), state

    def scales(self, target: Target, state: State) -> dict[str, Tensor]:
        """What was measured: the mean gradient norm of every term, (chain,), equal for all chains of a neuron."""
        norms = {name: total / seen for name, (total, seen) in self.norms.items()}
        return as_scales({**present_norms(target, state, self.per_neuron), **norms}, self.per_neuron)


def present_norms(target: Target, state: State, per_neuron: int) -> dict[str, Tensor]:
    """Gradient norms (N,) of all terms where the chains stand, of those with weight 0, too."""
    everything = replace(target, weights=dict.fromkeys(target.weights, 1.0), scales={})
    return first_norms(target, everything.complete(state.evaluation, state.x), per_neuron)


def first_norms(target: Target, evaluation: Evaluation, per_neuron: int) -> dict[str, Tensor]:
    """Norm of each term's gradient, (N,), of the first chain of every neuron; by its own normalisation, if it has one.

    Of the first alone, so that a chain's law does not depend on how many others there are.
    """
    norms = {}
    for name, grad in evaluation.grads.items():
        norm = torch.linalg.vector_norm(grad[::per_neuron].flatten(1), dim=1)
        pull = target.pull(name, evaluation)
        norms[name] = norm if pull is None else norm / pull[::per_neuron].clamp_min(1e-6)
    return norms


def as_scales(norms: Mapping[str, Tensor], per_neuron: int) -> dict[str, Tensor]:
    """Norms (N,) as divisors (chain,); a gradient that vanishes or is not finite is left as it is."""
    usable = {name: torch.where((norm > 1e-12) & norm.isfinite(), norm, 1.0) for name, norm in norms.items()}
    return {name: norm.repeat_interleave(per_neuron) for name, norm in usable.items()}
