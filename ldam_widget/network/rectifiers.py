"""Rectifiers with another backward pass: one mode that finds them in any spelling, and the rules it can follow.

A rule keeps every value and replaces the derivative of the rectifiers alone: a leak (`leaky`), guided backpropagation
(Springenberg et al. 2015, arXiv 1412.6806) or the backward pass of a deconvolution network (Zeiler & Fergus 2014,
arXiv 1311.2901). Hooks on modules, as other tools use, miss `F.relu` and silently return the plain gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Bounds(NamedTuple):
    """The range in which a rectifier's true derivative is 1, from 0 to `high`."""

    high: float = math.inf
    closed: bool = False  # includes the ends

    def passes(self, x: Tensor) -> Tensor:
        """Where the derivative is 1."""
        return (x >= 0) & (x <= self.high) if self.closed else (x > 0) & (x < self.high)


class Rule(Protocol):
    """What a rectifier does to a gradient on its way back."""

    def kept(self, x: Tensor, bounds: Bounds) -> Tensor | None:
        """What is to be known of the input later; None: nothing. Called before `x` may be changed in place."""
        ...

    def back(self, grad: Tensor, kept: Tensor | None) -> Tensor:
        """The gradient at the output -> at the input."""
        ...


class Guided:
    """Passes a gradient where the input is active and the gradient positive."""

    def kept(self, x: Tensor, bounds: Bounds) -> Tensor:
        return bounds.passes(x)

    def back(self, grad: Tensor, kept: Tensor | None) -> Tensor:
        assert kept is not None
        return torch.where(kept, grad.clamp(min=0), 0)


class Deconvolution:
    """Passes a gradient where it is positive, whatever the input."""

    def kept(self, x: Tensor, bounds: Bounds) -> None:
        return None

    def back(self, grad: Tensor, kept: Tensor | None) -> Tensor:
        return grad.clamp(min=0)


class Rectifiers(TorchFunctionMode):
    """Inside the context, rectifiers follow a rule in the backward pass.

    Rectifiers are relu, relu6, hardtanh, threshold, clamp, clamp_min and clip with lower bound 0, in all forms:
    modules, functions, methods, in place or not. Values are bitwise unchanged. Computations inside a single C++ call
    (`nn.RNN(nonlinearity="relu")`) or inside TorchScript are not affected.

    Args:
        rule: theirs.

    Attributes:
        met: how many calls of a rectifier have followed the rule.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.met = 0

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
        self.met += 1
        return _Rectify.apply(x, self.rule, bounds, lambda t: func(t, *args[1:], **others))  # type: ignore[no-untyped-call]


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Rule, bounds: Bounds, plain: Callable[[Tensor], Tensor]) -> Tensor:
        kept = rule.kept(x, bounds)  # before x is possibly changed in place
        y = plain(x)
        if y is x:
            ctx.mark_dirty(x)
        ctx.rule = rule
        ctx.save_for_backward(*([] if kept is None else [kept]))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        kept = next(iter(ctx.saved_tensors), None)
        return ctx.rule.back(grads[0], kept), None, None, None


def _relu(inplace: bool = False) -> Bounds:
    return Bounds()


def _relu6(inplace: bool = False) -> Bounds:
    return Bounds(6)


def _hardtanh(min_val: float = -1, max_val: float = 1, inplace: bool = False) -> Bounds | None:
    return Bounds(max_val) if _is_zero(min_val) else None


def _threshold(threshold: float, value: float, inplace: bool = False) -> Bounds | None:
    return Bounds() if _is_zero(threshold) and _is_zero(value) else None


def _clamp(min: Any = None, max: Any = None) -> Bounds | None:
    high = math.inf if max is None else max
    return Bounds(high, closed=True) if _is_zero(min) and isinstance(high, (int, float)) else None


def _is_zero(number: Any) -> bool:
    return isinstance(number, (int, float)) and number == 0


_RECTIFIERS: dict[Any, Callable[..., Bounds | None]] = {
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
