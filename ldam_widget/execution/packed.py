"""Convolutions with weights prepacked for oneDNN, whose gradients are computed as convolutions too.

oneDNN reorders weights before every pass; for small maps and small batches, as in a sampler, that takes as long as the
convolution. Its gradient routines are also slower than its convolutions, especially towards one or three channels.
With a stride of 1 the gradient with respect to the input is a convolution with the flipped weights; with a stride of s
it is s · s of them, one per pixel phase, computed as a single convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolutions import THIN, native_modules, refuse_second_derivatives
from .hooks import hooked


def packable(network: nn.Module) -> list[str]:
    """Dotted names of the convolutions that can be replaced by a `PackedConv2d`."""
    if not (torch._C._has_mkldnn and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")):
        return []
    modules = {
        module for module in native_modules(network) if module.weight.dtype == torch.float32 and _is_right(module)
    }
    return [name for name, module in network.named_modules() if module in modules and not hooked(module)]


def _is_right(module: nn.Conv2d) -> bool:
    """False where oneDNN (in torch 2.13) gives wrong results: one input channel with unequal strides."""
    return module.in_channels > 1 or module.stride[0] == module.stride[1]


class PackedConv2d(nn.Module):
    """Computes a convolution, (n, in, rows, columns) -> (n, out, rows, columns), channels last in memory.

    Args:
        conv: the convolution whose weights are packed.
    """

    def __init__(self, conv: Any) -> None:
        super().__init__()
        self.conv = conv
        self._there = _Packed(lambda: conv.weight.detach(), conv.stride)
        self._back: _Packed | None = None
        # with a stride, weights are padded to whole strides: with many channels, oneDNN's own gradient is faster
        if conv.stride == (1, 1) or (conv.stride[0] == conv.stride[1] and conv.in_channels <= THIN):
            self._axes = [_Axis(*axis) for axis in zip(conv.kernel_size, conv.stride, conv.padding, strict=True)]
            self._back = _Packed(functools.partial(_turned, conv, self._axes), (1, 1))

    @torch.no_grad()
    def update(self) -> None:
        """Repack the convolution's weights, in place."""
        for packed in (self._there, self._back):
            if packed is not None:
                packed.update()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = _Convolution.apply(x, self)  # type: ignore[no-untyped-call]
        return made

    def convolved(self, x: Tensor) -> Tensor:
        """The output."""
        return self._there.convolve(x, self.conv.bias, self.conv.padding)

    def gradient(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient with respect to the input x, from that with respect to the output."""
        if self._back is None:
            c, only_input = self.conv, (True, False, False)
            own: Tensor = torch.ops.aten.convolution_backward(
                grad, x, c.weight, None, c.stride, c.padding, (1, 1), False, (0, 0), 1, only_input
            )[0]
            return own
        (rows, columns), (height, width), stride = self._axes, x.shape[2:], self.conv.stride[0]
        padding = rows.padding(grad.shape[2], height), columns.padding(grad.shape[3], width)
        made = self._back.convolve(grad, None, padding)
        top, left = padding[0] + rows.first, padding[1] + columns.first
        made = made[:, :, top : top - (-height // stride), left : left - (-width // stride)]
        return made if stride == 1 else F.pixel_shuffle(made, stride)[:, :, :height, :width]


def _turned(conv: Any, axes: list[_Axis]) -> Tensor:
    """Weights (out, in, …) -> flipped, by phase: (in · phases, out, …)."""
    rows, columns = axes
    weight = F.pad(conv.weight.detach(), (*columns.zeros, *rows.zeros))
    o, c = weight.shape[:2]
    apart = weight.reshape(o, c, rows.taps, rows.stride, columns.taps, columns.stride)
    return apart.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)


class _Axis:
    """One axis of a gradient: pixel s·i + a takes the gradient at i + d times tap a + padding - s·d."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        self.stride = stride
        self.first = -((kernel - 1 - padding) // stride)  # d
        self.last = (stride - 1 + padding) // stride
        self.taps = self.last - self.first + 1
        before = stride * self.last - padding
        self.zeros = before, stride * self.taps - kernel - before  # padding of the taps to whole strides

    def padding(self, made: int, size: int) -> int:
        """Padding on either side of a gradient of length `made`, for an input of length `size`."""
        return max(0, -self.first, self.last + -(-size // self.stride) - made)


class _Packed:
    """Weights in oneDNN's layout, chosen for the shape of the first input."""

    def __init__(self, source: Callable[[], Tensor], stride: tuple[int, ...]) -> None:
        self._source, self._stride = source, stride
        self._weight: Tensor | None = None

    def convolve(self, x: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
        if self._weight is None:
            self._first = padding, tuple(x.shape)
            self._weight = self._pack()
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, bias, padding, self._stride, (1, 1), 1, "none", [], ""
        )
        return made

    def update(self) -> None:
        """Repack in place, since recordings refer to the memory."""
        if self._weight is not None:
            self._weight.copy_(self._pack())

    def _pack(self) -> Tensor:
        (padding, size), weight = self._first, self._source().contiguous().to_mkldnn()
        pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # its stub lacks the size
        packed: Tensor = pack(weight, padding, self._stride, (1, 1), 1, size)
        return packed


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: PackedConv2d) -> Tensor:
        ctx.conv = conv
        ctx.save_for_backward(x)
        return conv.convolved(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        refuse_second_derivatives()
        return ctx.conv.gradient(grads[0], *ctx.saved_tensors), None
