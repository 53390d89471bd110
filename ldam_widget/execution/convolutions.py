"""Convolutions by matrix products (im2col), which beat oneDNN for few input channels or small batches.

oneDNN's gradient with respect to an input of one or three channels is five times slower than its forward pass: it is
optimised for many channels. These classes run the ATen routines that torch uses without oneDNN, per module and without
the process-wide switch `torch.backends.mkldnn`, which would affect other threads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

THIN = 4  # input channels: grey and colour pictures


class NativeConv2d(nn.Conv2d):
    """Both passes by matrix products."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made: Tensor = torch.ops.aten.thnn_conv2d(input, weight, self.kernel_size, bias, self.stride, self.padding)
        return made


class NativeBackwardConv2d(nn.Conv2d):
    """The usual forward pass; the gradient with respect to the input by matrix products."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made: Tensor = _NativeBackward.apply(input, weight, bias, self)  # type: ignore[no-untyped-call]
        return made


class _NativeBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, module: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.module = module
        return F.conv2d(x, weight, bias, module.stride, module.padding)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        refuse_second_derivatives()
        x, weight = ctx.saved_tensors
        module = ctx.module
        # weights are frozen, so only the input gradient is needed
        grad, _, _ = torch.ops.aten._slow_conv2d_backward(
            grads[0], x, weight, module.kernel_size, module.stride, module.padding, (True, False, False)
        )
        return grad, None, None, None


def refuse_second_derivatives() -> None:
    """Call in a custom backward pass that has no derivative, so that a second derivative is not silently lost.

    Raises:
        RuntimeError: second derivatives are requested (`create_graph`).
    """
    if torch.is_grad_enabled():
        raise RuntimeError("this way of computing a convolution has no second derivative: give execution='plain'")


def native_modules(network: nn.Module) -> list[nn.Conv2d]:
    """The plain 2-D convolutions that the routines above support."""
    return [
        module
        for module in network.modules()
        if type(module) is nn.Conv2d
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    ]
