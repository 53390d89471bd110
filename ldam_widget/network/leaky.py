"""A leaky backward pass: rectifiers keep their values but pass part of the gradient where they are inactive.

A chain that starts where all of a neuron's rectifiers are inactive has no gradient and moves only by noise. The leak
gives it a direction, but the result is no longer the gradient of the activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Bounds(NamedTuple):
    """The range in which the true gradient is 1, from 0 to `high`."""

    high: float = math.inf
    closed: bool = False  # includes the ends


def check_leaky(leaky: Any) -> float:
    """Raises ValueError unless 0 ≤ leaky < 1."""
    if isinstance(leaky, bool) or not isinstance(leaky, (int, float)) or not 0 <= leaky < 1:
        raise ValueError(f"leaky is a slope from 0 (the true gradient) to less than 1, e.g. 0.1; got {leaky!r}")
    return float(leaky)


class Leaky(TorchFunctionMode):
    """Inside the context, inactive rectifiers have the derivative `slope` instead of 0.

    Rectifiers are relu, relu6, hardtanh, threshold, clamp, clamp_min and clip with lower bound 0, in all forms:
    modules, functions, methods, in place or not. Values are bitwise unchanged. Computations inside a single C++ call
    (`nn.RNN(nonlinearity="relu")`) or inside TorchScript are not affected.

    Args:
        slope: 0 < slope < 1.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        read = _RECTIFIERS.get(func)
        x = args[0] if args else kwargs.get("input")
        live = isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()
        if read is None or not live or "out" in kwargs:
            return func(*args, **kwargs)
        others = {name: value for name, value in kwargs.items() if name != "input"}
        bounds = read(*args[1:], **others)
        if bounds is None:
            return func(*args, **kwargs)
        return _Rectify.apply(x, self.slope, bounds, lambda t: func(t, *args[1:], **others))  # type: ignore[no-untyped-call]


def backward(outputs: tuple[Tensor, ...], x: Tensor, seeds: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`torch.autograd.grad(outputs, x, seeds)` with the leak active, for checkpointed parts that rerun forward.

    `torch.autograd.grad` itself is a function that a mode may override, and runs with the mode off.
    """
    engine = torch.autograd.Variable._execution_engine
    return engine.run_backward(outputs, seeds, False, False, (x,), False, accumulate_grad=False)


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, bounds: _Bounds, plain: Callable[[Tensor], Tensor]) -> Tensor:
        passes = (x >= 0) & (x <= bounds.high) if bounds.closed else (x > 0) & (x < bounds.high)
        factor = passes.to(x.dtype).masked_fill_((x <= 0) & ~passes, slope)  # before x is possibly changed in place
        y = plain(x)
        if y is x:
            ctx.mark_dirty(x)
        ctx.save_for_backward(factor)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None, None, None


def _relu(inplace: bool = False) -> _Bounds:
    return _Bounds()


def _relu6(inplace: bool = False) -> _Bounds:
    return _Bounds(6)


def _hardtanh(min_val: float = -1, max_val: float = 1, inplace: bool = False) -> _Bounds | None:
    return _Bounds(max_val) if _is_zero(min_val) else None


def _threshold(threshold: float, value: float, inplace: bool = False) -> _Bounds | None:
    return _Bounds() if _is_zero(threshold) and _is_zero(value) else None


def _clamp(min: Any = None, max: Any = None) -> _Bounds | None:
    high = math.inf if max is None else max
    return _Bounds(high, closed=True) if _is_zero(min) and isinstance(high, (int, float)) else None


def _is_zero(number: Any) -> bool:
    return isinstance(number, (int, float)) and number == 0


_RECTIFIERS: dict[Any, Callable[..., _Bounds | None]] = {
    **dict.fromkeys([F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_], _relu),
    F.relu6: _relu6,
    **dict.fromkeys([F.hardtanh, F.hardtanh_], _hardtanh),  # what nn.ReLU6 calls
    **dict.fromkeys([F.threshold, torch.threshold, torch.threshold_], _threshold),
    **dict.fromkeys(
        [torch.clamp, torch.clamp_, torch.clip, torch.clip_, Tensor.clamp, Tensor.clamp_, Tensor.clip, Tensor.clip_],
        _clamp,
    ),
    **dict.fromkeys([torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_], _clamp),
}
