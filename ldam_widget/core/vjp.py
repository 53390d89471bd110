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

    Raises:
        RuntimeError: another shape.
    """
    with torch.enable_grad():
        weights = [seed.clone() if seed.is_inference() else seed for seed in seeds]  # to be saved for backward
        for output, seed in zip(outputs, seeds, strict=True):
            if output.shape != seed.shape:  # it would be broadcast
                raise RuntimeError(f"an output has shape {tuple(output.shape)}, and its seed {tuple(seed.shape)}")
        first, *rest = [(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)]
        total = sum(rest, first)
    return torch.autograd.grad(total, x)[0]
