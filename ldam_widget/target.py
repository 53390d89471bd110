"""The density that is sampled: p(x) ∝ exp(E(x) / T), E = f_α + Σ λ_i R_i (paper, Eq. 2 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .types import Evaluation, Term

NEURON = "neuron"  # name of f_α among the terms; its weight is 1


@dataclass(frozen=True)
class Target:
    """Terms, their weights and the temperature; a slider replaces the target, never the evaluations.

    Attributes:
        terms: name -> term; `NEURON` is f_α, the others are regularisers.
        weights: name -> λ; a term of weight 0 is not evaluated.
        temperature: T ≥ 0, in units of the activation.
        bounds: (lo, hi) of a pixel, None for unbounded.
        energy_needed: False lets terms that can give their gradient alone do so; `energy` is then not available.
        learned: names of the terms that are networks; only these are mixed convexly or RMS-normalised by `Algorithm1`.
    """

    terms: Mapping[str, Term]
    weights: Mapping[str, float]
    temperature: float = 1.0
    bounds: tuple[float, float] | None = None
    learned: frozenset[str] = frozenset({NEURON})
    energy_needed: bool = True

    def evaluate(self, x: Tensor) -> Evaluation:
        """Unweighted value (chain,) and gradient (like x) of every term of non-zero weight."""
        return self.complete(Evaluation({}, {}), x)

    def complete(self, evaluation: Evaluation, x: Tensor) -> Evaluation:
        """Add the terms that had weight 0 when x was evaluated; the same object if there are none."""
        missing = [name for name in self.terms if self.weights[name] != 0 and name not in evaluation.grads]
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

    def energy(self, evaluation: Evaluation) -> Tensor:
        """E(x), (chain,) float64: differences of energies decide on acceptance and must not be rounded."""
        parts = [self.weights[name] * value.double() for name, value in evaluation.values.items()]
        return torch.stack(parts).sum(0)

    def drift(self, evaluation: Evaluation) -> Tensor:
        """∇E(x), like x."""
        total: Tensor | None = None
        for name, grad in evaluation.grads.items():
            weighted = grad if self.weights[name] == 1 else self.weights[name] * grad
            total = weighted if total is None else total + weighted
        assert total is not None, "a target has at least the neuron term"
        return total
