"""Detects when a chain has forgotten its start."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType

import torch
from torch import Tensor


@dataclass(frozen=True)
class BurnIn:
    """The paper's rule made precise: the activation has passed a threshold and is stable.

    A chain has burned in once the mean activation of its last `window` pictures reaches `threshold` and differs from
    the mean of the preceding `window` pictures by at most `tolerance` standard deviations (within the windows). For a
    linear trend this statistic is √12 ≈ 3.5, whatever the slope; for a stationary chain with autocorrelation time τ it
    is about √(2τ/window). A burned-in chain stays so until the sampler restarts or changes its target.

    Args:
        window: pictures, ≥ 2.
        threshold: activation to reach; None requires only stability, as a chain may start above its stationary law.
        tolerance: > 0, in standard deviations.

    Raises:
        TypeError, ValueError: an argument is not a number or is out of range.
    """

    window: int = 50
    threshold: float | None = None
    tolerance: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.window, int) or self.window < 2:
            raise ValueError(f"burn_in window must be an integer ≥ 2; got {self.window!r}")
        if not isinstance(self.tolerance, (int, float)) or not isinstance(self.threshold, (int, float, NoneType)):
            raise TypeError(f"burn_in tolerance must be a number, and threshold a number or None; got {self}")
        if not self.tolerance > 0:
            raise ValueError(f"burn_in tolerance must be > 0; got {self.tolerance!r}")
        if self.threshold is not None and math.isnan(self.threshold):
            raise ValueError("burn_in threshold must be a number or None; got nan")

    def start(self, activation: Tensor) -> BurnInMeter:
        """Start monitoring chains, given their activation (N, C) at x0."""
        return BurnInMeter(self, activation)


class BurnInMeter:
    """Monitors the activation of every chain until all have burned in, then costs nothing."""

    def __init__(self, rule: BurnIn, activation: Tensor) -> None:
        self.rule = rule
        self.done = torch.zeros_like(activation, dtype=torch.bool)  # (N, C); replaced, never modified in place
        self.step: int | None = None  # at which the last chain burned in
        self._threshold = -math.inf if rule.threshold is None else rule.threshold
        self._recent = activation.new_zeros((2 * rule.window, *activation.shape))
        self._seen = 0
        self._begun = torch.zeros(len(activation), dtype=torch.long, device=activation.device)  # (N,), in `_seen`

    def regrouped(self, places: Sequence[int | None]) -> BurnInMeter:
        """A meter for some of these neurons and for new ones; this meter is unchanged.

        Args:
            places: the index of each neuron among the present ones; None for a new neuron.
        """
        other = copy.copy(self)
        rows = torch.tensor([-1 if place is None else place for place in places], device=self.done.device)
        new, rows = rows < 0, rows.clamp_min(0)
        other.done = self.done[rows] & ~new[:, None]
        other._recent = self._recent[:, rows]
        other._begun = torch.where(new, self._seen, self._begun[rows])
        if bool(new.any()):
            other.step = None
        return other

    def add(self, activation: Tensor, step: int, waiting: Tensor | None = None) -> None:
        """Add the next picture's activation (N, C), taken at `step`; neurons in `waiting` (N,) start after it."""
        if self.step is not None:
            return
        if waiting is not None:
            self._begun = torch.where(waiting, self._seen + 1, self._begun)
        window = self.rule.window
        self._recent[self._seen % (2 * window)] = activation
        self._seen += 1
        if self._seen < 2 * window or self._seen % max(1, window // 10):
            return  # a tenth of a window changes little, and the check costs as much as a small network's step
        # the order within a window does not matter, only which window a row belongs to
        order = torch.arange(self._seen, self._seen + 2 * window) % (2 * window)
        before, after = self._recent[order[:window]], self._recent[order[window:]]
        spread = ((before.var(0) + after.var(0)) / 2).sqrt()
        stable = (after.mean(0) - before.mean(0)).abs() <= self.rule.tolerance * spread
        ready = (self._seen - self._begun >= 2 * window)[:, None]
        self.done = self.done | (ready & stable & (after.mean(0) >= self._threshold))
        if bool(self.done.all()):
            self.step = step
