"""Convolutions of small maps as products with banded matrices, together with the max pooling that follows.

A row of an output map depends on a few rows of the input: if those are adjacent in memory, all rows of all images are
one product with one banded matrix. It multiplies by zeros several times more often than by weights, but is still
faster for narrow maps: large products run at the processor's peak, im2col and oneDNN's loops over five columns at a
tenth of it. The columns of that matrix may be in any order: one that separates the values compared by max pooling
makes pooling vectorisable too, where torch's own works element by element.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..network.capture import Call, listen
from .convolutions import native_modules, refuse_second_derivatives
from .hooks import hooked
from .recordings import taken

_MOST_ENTRIES = 2**19  # of a matrix: larger ones do not stay in the processor's cache
_MOST_WASTE = 12  # largest ratio of map width to kernel width, which bounds products with zeros
_MOST_POOLED = 3  # largest side of a pooling window
_SIZES = 2  # batch sizes that buffers are kept for: a full part and the last one

# Functions that commute with the maximum, in value and gradient: they preserve order, or have zero gradient where they
# do not.
_MONOTONE = frozenset(
    [
        F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.hardtanh_, torch.tanh,
        torch.tanh_, Tensor.tanh, Tensor.tanh_, F.tanh, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_,
        F.sigmoid, F.softplus, F.softsign,
    ]
)  # fmt: skip


class Band(NamedTuple):
    """A convolution that can be computed as a product, and its input size."""

    name: str  # of the module, dotted
    height: int
    width: int
    pool: int  # window side of the max pooling that is the output's only consumer; 1: none
    in_rows: bool = False  # keep the output row by row: a permuted view, which not every network accepts


def bands(network: nn.Module, forward: Callable[[], object], keep: Collection[str]) -> list[Band]:
    """Convolutions of maps so small that products may be faster.

    The caller must compare results: operations that torch cannot see are not recorded.

    Args:
        network: in eval mode.
        forward: runs it once, as far as sampling needs.
        keep: dotted names of the layers that are read, whose outputs must not change.
    """
    names = {module: name for name, module in network.named_modules()}
    recorder, calls = _Recorder(), Counter[nn.Module]()
    sizes: dict[nn.Conv2d, tuple[int, int]] = {}

    def record(call: Call) -> None:
        module: Any = call.module
        inputs, output = call.inputs, call.output
        calls[module] += 1
        if isinstance(output, Tensor) and len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            sizes[module] = inputs[0].shape[2], inputs[0].shape[3]
            recorder.follow(output, module)

    candidates = [module for module in native_modules(network) if not hooked(module)]
    seen = any(hooked(module) for module in network.modules())  # a user's hook would receive the stand-in
    with recorder:
        listen({names[module]: module for module in candidates}, record, forward)
    found = [
        Band(names[module], *sizes[module], 1 if seen or names[module] in keep else recorder.pool_after(module))
        for module in candidates
        if calls[module] == 1 and module in sizes
    ]
    return [band for band in found if _is_narrow(network.get_submodule(band.name), band)]


class BandedConv2d(nn.Module):
    """Computes a convolution; with a `pool`, returns a `Pooled` instead.

    Args:
        conv: the convolution, whose weights fill the matrix.
        band: its input size and pooling.
    """

    def __init__(self, conv: Any, band: Band) -> None:
        super().__init__()
        self.conv, self.pool, self.in_rows = conv, band.pool, band.in_rows
        self.shape = conv.in_channels, band.height, band.width
        self.made = conv.out_channels, *(_out(conv, size, axis) // band.pool for axis, size in enumerate(band[1:3]))
        self._rooms: dict[int, _Room] = {}  # by batch size; removed while a pass is using it
        (c, _, width), (o, _, columns), pool = self.shape, self.made, band.pool
        # for every entry that holds a weight: its position, and which weight it is
        row, channel, tap, place, out, column = (
            axis.flatten()
            for axis in torch.meshgrid(
                *(torch.arange(n) for n in (conv.kernel_size[0], c, conv.kernel_size[1], pool, o, columns)),
                indexing="ij",
            )
        )
        source = (column * pool + place) * conv.stride[1] + tap - conv.padding[1]  # column of the input
        inside = (source >= 0) & (source < width)
        entry = (((row * c + channel) * width + source) * pool + place) * (o * columns) + out * columns + column
        weight = ((out * c + channel) * conv.kernel_size[0] + row) * conv.kernel_size[1] + tap
        self._entries, self._weights = entry[inside], weight[inside]
        self.inner = conv.kernel_size[0] * c * width
        self.matrix = conv.weight.new_zeros(self.inner + 1, pool * o * columns)  # the bias comes last
        self.turned = self.matrix[: self.inner].t().contiguous()  # products with it are faster than with a view
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Recompute the matrix from the convolution's weights."""
        self.matrix.view(-1)[self._entries] = self.conv.weight.detach().flatten()[self._weights]
        self.turned.copy_(self.matrix[: self.inner].t())
        if self.conv.bias is not None:
            self.matrix[self.inner].view(self.pool, self.made[0], -1).copy_(self.conv.bias.detach()[:, None])

    def forward(self, x: Tensor) -> Any:
        if x.shape[1:] != self.shape:  # not the expected input size
            return self.conv(x)
        return Pooled(x, self) if self.pool > 1 else _Product.apply(x, self)  # type: ignore[no-untyped-call]

    def pooled(self, x: Tensor) -> Tensor:
        windows: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        channels, tall, columns = self.made
        made = F.max_pool2d(windows, self.pool).permute(0, 2, 3, 1).view(-1, tall, channels, columns)
        made = made.permute(0, 2, 1, 3)
        return made if self.in_rows else made.contiguous()

    def empty(self, n: int) -> Tensor:
        """(n, channels, rows, columns), row by row in memory; not a view, since the next module may write into it."""
        channels, tall, columns = self.made
        row = channels * columns
        strides = tall * row, columns, row, 1
        made: Tensor = self.matrix.new_empty_strided((n, channels, tall, columns), strides)
        return made

    @contextlib.contextmanager
    def room(self, n: int) -> Iterator[_Room]:
        """Buffers for a pass of n images, exclusive to this thread."""
        mine = taken.get()
        room = (mine or {}).get((self, n)) or self._rooms.pop(n, None) or _Room(self, n)
        yield room
        if mine is not None:  # a recording owns it
            mine[self, n] = room
            return
        if len(self._rooms) >= _SIZES:
            self._rooms.clear()
        self._rooms[n] = room


class _Room:
    """Buffers for n images, reused between passes; padding zeros are never overwritten."""

    def __init__(self, conv: BandedConv2d, n: int) -> None:
        (c, height, width), taken, taps = conv.shape, conv.made[1] * conv.pool, conv.conv.kernel_size[0]
        above, stride = conv.conv.padding[0], conv.conv.stride[0]
        tall, row = height + 2 * above, c * width
        new = conv.matrix.new_zeros
        padded = new(n, tall, c, width)
        self.inside = padded[:, above : above + height].permute(0, 2, 1, 3)
        # a row of the output depends on adjacent rows of the input
        self.overlapping = padded.as_strided((n, taken, taps * row), (tall * row, stride * row, 1))
        self.product = new(n * taken, conv.inner + 1)
        self.product[:, conv.inner] = 1  # for the bias
        self.windows = self.product.view(n, taken, -1)[:, :, : conv.inner]
        # backward: every tap's rows at their proper height; the gradient is the sum over taps
        self.apart = new(n, taps, tall, c, width)
        steps = taps * tall * row, stride * row, (tall + 1) * row, width, 1
        self.diagonal = self.apart.as_strided((n, taken, taps, c, width), steps)
        self.rows = slice(above, above + height)


class _Product(torch.autograd.Function):
    """A convolution; if its output is pooled, (n, output channels · pooled columns, output rows, pool).

    Every pooled column of every channel becomes a separate channel, in the layout that pools fastest.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: BandedConv2d) -> Tensor:
        n = x.shape[0]
        with conv.room(n) as room:
            room.inside.copy_(x)
            room.windows.copy_(room.overlapping)
            if conv.pool == 1:
                made = conv.empty(n)
                torch.mm(room.product, conv.matrix, out=made.permute(0, 2, 1, 3).view(-1, conv.matrix.shape[1]))
            else:
                made = torch.mm(room.product, conv.matrix)
        ctx.conv, ctx.n = conv, n
        if conv.pool == 1:
            return made if conv.in_rows else made.contiguous()
        return made.view(n, -1, conv.pool, made.shape[1] // conv.pool).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        refuse_second_derivatives()
        conv = ctx.conv
        rows_first = (0, 2, 1, 3) if conv.pool == 1 else (0, 2, 3, 1)
        grad = grads[0].permute(rows_first).reshape(-1, conv.matrix.shape[1])
        with conv.room(ctx.n) as room:
            room.diagonal.copy_(torch.mm(grad, conv.turned).view(room.diagonal.shape))
            rows = room.apart.sum(1)
        return rows[:, room.rows].permute(0, 2, 1, 3), None


class Pooled:
    """A lazy stand-in for a convolution's output: computed and pooled in one go when max pooling is requested.

    Functions applied in between are deferred until after pooling, when there is less data; `bands` has ensured that
    they commute. Anything else raises TypeError.

    Args:
        x: the convolution's input.
        conv: the convolution.
    """

    def __init__(self, x: Tensor, conv: BandedConv2d) -> None:
        self.x, self.conv, self.version = x, conv, x._version
        self.functions: list[Callable[[Tensor], Tensor]] = []

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        pooled = args[0] if args else None
        if isinstance(pooled, cls):
            if func in _MONOTONE:
                rest = args[1:]  # excludes `pooled`, to avoid a reference cycle
                pooled.functions.append(lambda tensor: func(tensor, *rest, **kwargs))
                return pooled  # the previous value has no other consumer
            untouched = pooled.x._version == pooled.version
            if untouched and _window(func, args, kwargs) == pooled.conv.pool:
                return pooled.computed()
        raise TypeError(f"the forward pass calls {func!r}, which it did not when traced: give execution='plain'")

    def computed(self) -> Tensor:
        made = self.conv.pooled(self.x)
        for function in self.functions:
            made = function(made)
        return made

    def __getattr__(self, name: str) -> Any:
        """Methods such as `x.relu()`."""
        method = getattr(Tensor, name)
        if not callable(method):
            raise TypeError(f"the forward pass asks for {name!r}, which it did not when traced: give execution='plain'")
        return lambda *args, **kwargs: self.__torch_function__(method, (), (self, *args), kwargs)

    def __bool__(self) -> bool:
        raise TypeError(
            "the forward pass branches on the value of a tensor, which it did not when traced: give execution='plain'"
        )


def _is_narrow(conv: Any, band: Band) -> bool:
    rows, columns = conv.kernel_size
    entries = rows * conv.in_channels * band.width * conv.out_channels * _out(conv, band.width, 1)
    narrow: bool = entries <= _MOST_ENTRIES and band.width <= _MOST_WASTE * columns and conv.padding[0] < band.height
    return narrow


def _out(conv: Any, size: int, axis: int) -> int:
    made: int = (size + 2 * conv.padding[axis] - conv.kernel_size[axis]) // conv.stride[axis] + 1
    return made


class _Chain:
    """A convolution's output and what is computed from it."""

    def __init__(self, tensor: Tensor) -> None:
        self.latest = tensor
        self.pool = 1
        self.ended = False  # by pooling or another operation


class _Recorder(TorchFunctionMode):
    """Finds convolutions whose only consumer is a max pooling, with at most monotone functions in between."""

    def __init__(self) -> None:
        super().__init__()
        self._chains: dict[nn.Module, _Chain] = {}
        self._tensors: dict[int, tuple[Tensor, _Chain]] = {}  # kept alive, so that ids are not reused

    def follow(self, tensor: Tensor, maker: nn.Module) -> None:
        chain = self._chains[maker] = _Chain(tensor)
        self._tensors[id(tensor)] = tensor, chain

    def pool_after(self, maker: nn.Module) -> int:
        return self._chains[maker].pool

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        for tensor in _tensors((args, list(kwargs.values()))):
            if id(tensor) not in self._tensors:
                continue
            chain = self._tensors[id(tensor)][1]
            first = not chain.ended and tensor is chain.latest and bool(args) and tensor is args[0]
            # inside a custom autograd function gradients are off, so its operations cannot be trusted
            first = first and torch.is_grad_enabled() and tensor.requires_grad
            if first and func in _MONOTONE and isinstance(result, Tensor):
                chain.latest = result
                self._tensors[id(result)] = result, chain
            else:
                chain.pool = _window(func, args, kwargs) if first else 1
                chain.ended = True
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _window(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Window side of a non-overlapping max pooling; 1: any other operation."""
    if func not in (F.max_pool2d, torch.max_pool2d):
        return 1
    return _side(*args, **kwargs)


def _side(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> int:  # fmt: skip
    kernel, steps, pad, spread = (_pair(value) for value in (kernel_size, stride or kernel_size, padding, dilation))
    plain = kernel == steps and pad == (0, 0) and spread == (1, 1) and not ceil_mode and not return_indices
    square: int = kernel[0] if kernel[0] == kernel[1] <= _MOST_POOLED else 1
    return square if plain else 1


def _pair(value: Any) -> tuple[int, int]:
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    return (numbers[0], numbers[-1])
