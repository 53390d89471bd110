"""A term evaluated on randomly transformed pictures: f̄(x) = E_τ f(τx)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.target import Term
from ..core.vjp import vjp
from ..parametrizations import Transforms


@dataclass(frozen=True)
class Transformed:
    """The mean of a term over random transforms of the picture; without random numbers, the term itself.

    Args:
        term: a deterministic term.
        transforms: the family of transforms.
        draws: how many transforms to average over.
    """

    term: Term
    transforms: Transforms
    draws: int = 1

    @property
    def numbers(self) -> int:
        return self.draws * self.transforms.numbers

    def evaluate(self, x: Tensor, numbers: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (chain, *image), numbers (chain, `numbers`) -> mean (chain,) and its gradient with respect to x."""
        if numbers is None:
            return self.term.evaluate(x)
        value, grad = torch.zeros(len(x), device=x.device), torch.zeros_like(x)
        for change in numbers.view(len(x), self.draws, -1).unbind(1):
            with torch.enable_grad():
                free = x.detach().requires_grad_(True)
                seen = self.transforms.apply(free, change)
            own, slope = self.term.evaluate(seen.detach())
            back = vjp([seen], free, [slope])
            value, grad = value + own, grad + back
        return value / self.draws, grad / self.draws
