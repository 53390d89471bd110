"""Vector-Jacobian products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def vjp(outputs: Sequence[Tensor], x: Tensor, seeds: Sequence[Tensor]) -> Tensor:
    """`torch.autograd.grad(outputs, x, seeds)[0]`, without what surrounds it.

    Given seeds, `torch.autograd.grad` imports torch's symbolic shapes, and with them sympy: half a second at the first
    gradient. It is also a function that a `TorchFunctionMode` may override, and runs with the mode off, where
    checkpointed parts that rerun forward need it on.

    Args:
        outputs: at least one, each dependent on `x`.
        x: of any shape; so is the result.
        seeds: one for each output, of its shape.

    Raises:
        RuntimeError: a seed of another shape, or an output that does not depend on `x`.
    """
    for output, seed in zip(outputs, seeds, strict=True):
        if output.shape != seed.shape:  # autograd would sum it to the output's shape
            raise RuntimeError(f"an output has shape {tuple(output.shape)}, and its seed {tuple(seed.shape)}")
    engine = torch.autograd.Variable._execution_engine
    grad: Tensor = engine.run_backward(tuple(outputs), tuple(seeds), False, False, (x,), False, accumulate_grad=False)[
        0
    ]
    return grad
