"""R-hat, effective sample size and autocorrelation time of the activation."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Draws = npt.NDArray[np.float32]
Steps = npt.NDArray[np.int64]


class History:
    """The activation of every chain over time, in bounded memory.

    When full, every second draw is dropped and the spacing doubles: draws stay equally spaced, as the estimators
    require, and cover the whole run.
    """

    def __init__(self, capacity: int = 2000) -> None:
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        self.spacing = 1  # pictures between two kept draws
        self._seen = 0
        # Draws, their steps, and their count; replaced as a whole, since another thread may be reading.
        self._kept: tuple[Draws, Steps, int] = (np.empty((0, 0, 0), np.float32), np.empty(0, np.int64), 0)

    def add(self, draw: Draws | Callable[[], Draws], step: int) -> None:
        """Add one draw (N, C), taken at `step`; a callable is evaluated only if the draw is kept."""
        if self._seen % self.spacing == 0:
            value = draw() if callable(draw) else draw
            draws, steps, count = self._kept
            if count == 0:
                draws, steps = _room((self.capacity, *value.shape), np.float32), _room((self.capacity,), np.int64)
            draws[count], steps[count] = value, step
            self._kept = draws, steps, count + 1
            if count + 1 >= self.capacity:
                self._thin_out()
        self._seen += 1

    def _thin_out(self) -> None:
        draws, steps, count = self._kept
        left = (count + 1) // 2
        fewer_draws, fewer_steps = _room(draws.shape, np.float32), _room(steps.shape, np.int64)
        fewer_draws[:left], fewer_steps[:left] = draws[:count:2], steps[:count:2]
        self._kept = fewer_draws, fewer_steps, left
        self.spacing *= 2

    def steps(self) -> Steps:
        """Step number of every kept draw, (draws,)."""
        _, steps, count = self._kept
        kept: Steps = steps[:count].copy()
        return kept

    def draws(self) -> Draws:
        """All kept draws, (draws, N, C)."""
        draws, _, count = self._kept
        kept: Draws = draws[:count].copy()
        return kept


def _room(shape: tuple[int, ...], dtype: type[np.generic]) -> Any:
    """An array in its own memory mapping: a long-lived block among short-lived ones would keep the allocator from
    returning memory. A forked process has its own copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(1, size), access=mmap.ACCESS_COPY), dtype, math.prod(shape)).reshape(shape)


def mixing(draws: npt.ArrayLike) -> dict[str, Array]:
    """Effective sample size, split rank R-hat and autocorrelation time, per neuron.

    Args:
        draws: (draws, N, C) of one scalar, burn-in removed.

    Returns:
        `ess` (bulk), `r_hat` (rank-normalised, split; Vehtari et al. 2021), `autocorrelation_time` in draws, each (N,).
        R-hat of a single chain compares its parts. NaN with fewer than 8 draws, where every chain is constant, and
        where a draw is not finite.
    """
    values = np.asarray(draws, dtype=np.float64)
    count, neurons, chains = values.shape
    nan = np.full(neurons, np.nan)
    if count < 8:
        return {"ess": nan, "r_hat": nan.copy(), "autocorrelation_time": nan.copy()}
    from arviz_stats.base import array_stats  # takes two seconds to import

    with np.errstate(all="ignore"):
        ess = np.atleast_1d(array_stats.ess(values, chain_axis=2, draw_axis=0))
        r_hat = np.atleast_1d(array_stats.rhat(_two_or_more(values), chain_axis=2, draw_axis=0))
    known = np.isfinite(values).all((0, 2)) & (values != values[0]).any((0, 2))
    ess, r_hat = np.where(known, ess, np.nan), np.where(known, r_hat, np.nan)
    return {"ess": ess, "r_hat": r_hat, "autocorrelation_time": count * chains / ess}


def _two_or_more(values: Array) -> Array:
    """Split a single chain into its halves: (draws, N, 1) -> (draws // 2, N, 2)."""
    if values.shape[2] > 1:
        return values
    half = len(values) // 2
    return np.concatenate([values[:half], values[half : 2 * half]], axis=2)
