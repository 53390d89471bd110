"""Vector-Jacobian products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def vjp(outputs: Sequence[Tensor], x: Tensor, seeds: Sequence[Tensor]) -> Tensor:
    """`torch.autograd.grad(outputs, x, seeds)[0]`, bit for bit, without loading sympy.

    Seeds given to `torch.autograd.grad` make it import torch's symbolic shapes, and with them sympy: half a second at
    the first gradient.

    Args:
        outputs: at least one, which depends on `x`.
        seeds: one for each output, of its shape.
    """
    with torch.enable_grad():
        first, *rest = [(output * seed).sum() for output, seed in zip(outputs, seeds, strict=True)]
        total = sum(rest, first)
    return torch.autograd.grad(total, x)[0]
