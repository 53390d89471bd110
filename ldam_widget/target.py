"""The density that is sampled: p(x) ∝ exp(E(x) / T), E = f_α + Σ λ_i R_i (paper, Eq. 2 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import Tensor

from .types import Evaluation, Term

NEURON = "neuron"  # name of f_α among the terms; its weight is 1


@dataclass(frozen=True)
class Target:
    """Terms, their weights and the temperature; a slider replaces the target, never the evaluations.

    Attributes:
        terms: name -> term; `NEURON` is f_α, the others are regularisers.
        weights: name -> λ; a term of weight 0 is not evaluated, but for the neuron, whose activation is shown anyway.
            A tensor (), whose number is not looked at, is not 0.
        temperature: T ≥ 0, in units of the activation; a tensor (chain,) gives every chain its own.
        bounds: (lo, hi) of a pixel, None for unbounded.
        energy_needed: False lets terms that can give their gradient alone do so; `energy` is then not available.
        learned: names of the terms that are networks; only these are mixed convexly or RMS-normalised by `Algorithm1`.
        scales: name -> s > 0, (chain,): the density is that of f/s_f + Σ λ_i R_i/s_i. Empty: no scales.
    """

    terms: Mapping[str, Term]
    weights: Mapping[str, float | Tensor]
    temperature: float | Tensor = 1.0
    bounds: tuple[float, float] | None = None
    learned: frozenset[str] = frozenset({NEURON})
    energy_needed: bool = True
    scales: Mapping[str, Tensor] = field(default_factory=dict)

    def uses(self, name: str) -> bool:
        """Does a term count?"""
        return not is_zero(self.weights[name])

    def coefficient(self, name: str) -> float | Tensor:
        """What a term is multiplied by in E: its weight over its scale, a number or (chain,)."""
        weight = self.weights[name]
        return weight / self.scales[name] if name in self.scales else weight

    def evaluate(self, x: Tensor) -> Evaluation:
        """Unweighted value (chain,) and gradient (like x) of every term of non-zero weight."""
        return self.complete(Evaluation({}, {}), x)

    def complete(self, evaluation: Evaluation, x: Tensor) -> Evaluation:
        """Add the terms that had weight 0 when x was evaluated; the same object if there are none."""
        wanted = [name for name in self.terms if self.uses(name) or name == NEURON]
        missing = [name for name in wanted if name not in evaluation.grads]
        if not missing:
            return evaluation
        values, grads = dict(evaluation.values), dict(evaluation.grads)
        for name in missing:
            term = self.terms[name]
            gradient = None if self.energy_needed else getattr(term, "gradient", None)
            if gradient is None:
                values[name], grads[name] = term.evaluate(x)
            else:
                grads[name] = gradient(x)
        return Evaluation(values, grads)

    def pull(self, name: str, evaluation: Evaluation) -> Tensor | None:
        """Length, (chain,), that a term's own normalisation gives its gradient; None: 1 wherever it is."""
        own = getattr(self.terms[name], "pull", None)
        return None if own is None else own(evaluation.values[name])

    def energy(self, evaluation: Evaluation) -> Tensor:
        """E(x), (chain,) float64: differences of energies decide on acceptance and must not be rounded."""
        energy = torch.zeros_like(evaluation.values[NEURON], dtype=torch.float64)
        for name, value in evaluation.values.items():
            if self.uses(name):
                energy = energy + self.coefficient(name) * value.double()
        return energy

    def drift(self, evaluation: Evaluation) -> Tensor:
        """∇E(x), like x."""
        total: Tensor | None = None
        for name, grad in evaluation.grads.items():
            if not self.uses(name):  # times 0 would make NaN of an infinite gradient
                continue
            factor = per_image(self.coefficient(name), grad)
            weighted = grad if isinstance(factor, (int, float)) and factor == 1 else factor * grad
            total = weighted if total is None else total + weighted
        return torch.zeros_like(evaluation.grads[NEURON]) if total is None else total


def weight_of(kernel: Any, name: str, target: Target) -> float | Tensor:
    """What a kernel multiplies a term's gradient by: λ, unless it has a way of its own."""
    own = getattr(kernel, "weight_of", None)
    weight: float | Tensor = target.weights[name] if own is None else own(name, target)
    return weight


def is_zero(number: float | Tensor) -> bool:
    """Is it 0, and nothing that is known only where tensors live?"""
    return not isinstance(number, Tensor) and number == 0


@overload
def per_image(value: Tensor, x: Tensor) -> Tensor: ...
@overload
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor: ...
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor:
    """A number, or one number a chain (chain,) with axes added so that it multiplies images x (chain, *image)."""
    if not isinstance(value, Tensor):
        return value
    # a temperature in double precision must not make doubles of the images
    return (value.to(x.dtype) if value.is_floating_point() else value).view(-1, *(1,) * (x.ndim - 1))
