"""Averages against weighted means in numpy, also when the averaging time changes on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.kernels import Algorithm1

PICTURES = np.random.default_rng(2).normal(size=(60, 3, 4))


def ema(pictures: np.ndarray, times: list[float]) -> np.ndarray:
    """Σ w_k x_k / Σ w_k, where every later picture multiplied w_k by the 1 − 1/time of its moment."""
    weights = np.ones(len(pictures))
    for later, time in enumerate(times):
        weights[:later] *= 1 - 1 / time
    return np.tensordot(weights / weights.sum(), pictures, 1)


def window(pictures: np.ndarray, times: list[float]) -> np.ndarray:
    """Mean of the last ⌈time⌉ pictures that no shorter window has let go."""
    kept: list[np.ndarray] = []
    for picture, time in zip(pictures, times, strict=True):
        kept = [*kept, picture][-int(np.ceil(time)) :]
    return np.mean(kept, axis=0)


KINDS: dict[str, tuple[ldam.EMA | ldam.Window, Callable[..., np.ndarray]]] = {
    "EMA": (ldam.EMA(0.9), ema),
    "Window": (ldam.Window(10), window),
}
SCHEDULES = {
    "constant": [10.0] * 60,
    "longer": [10.0] * 25 + [40.0] * 35,
    "shorter": [10.0] * 25 + [3.0] * 35,
    "none at all": [10.0] * 25 + [1.0] * 35,
    "back and forth": [10.0, 2.5, 100.0, 1.0] * 15,
}


@pytest.mark.parametrize("times", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize(("average", "expected"), KINDS.values(), ids=KINDS.keys())
def test_weighted_mean(average: Any, expected: Callable[..., np.ndarray], times: list[float]) -> None:
    """From the first picture on: no bias towards the start, and no settling in."""
    accumulator = average.start()
    assert accumulator.mean is None
    for count, (picture, time) in enumerate(zip(PICTURES, times, strict=True), start=1):
        if time != average.time or count > 1:
            accumulator.set_time(time)
        accumulator.add(torch.from_numpy(picture))
        np.testing.assert_allclose(accumulator.mean, expected(PICTURES[:count], times[:count]), atol=1e-12)


@pytest.mark.parametrize(("average", "expected"), KINDS.values(), ids=KINDS.keys())
def test_weighted_mean_through_the_sampler(average: Any, expected: Callable[..., np.ndarray]) -> None:
    s = ldam.Sampler(
        nn.Linear(6, 2), input_shape=(6,), kernel=Algorithm1(noise=1.0), average=average, steps_per_frame=3, chains=2
    )
    pictures, times = [], []
    for time in [10.0] * 20 + [25.0] * 20 + [4.0] * 20:
        s.set(average=time)
        frame = s.step(3)
        pictures.append(frame.images.double().numpy())
        times.append(time)
        np.testing.assert_allclose(frame.average_images, expected(np.stack(pictures), times), atol=1e-5)


def test_a_mean_once_read_does_not_change() -> None:
    for average, _ in KINDS.values():
        accumulator = average.start()
        accumulator.add(torch.zeros(2))
        mean = accumulator.mean
        accumulator.add(torch.ones(2))
        assert mean.tolist() == [0, 0]
        assert accumulator.mean is not mean


@pytest.mark.slow
def test_a_window_does_not_drift() -> None:
    """Adding and taking away 20,000 times; in float32 the sum would be off by about 1e-3 of a large picture."""
    accumulator = ldam.Window(2).start()
    accumulator.add(torch.full((1,), 1e6))
    for k in range(20_000):
        accumulator.add(torch.full((1,), 0.1 * (k % 7)))
    last = [torch.full((1,), 0.1 * (k % 7)) for k in (19_998, 19_999)]
    torch.testing.assert_close(accumulator.mean, (last[0] + last[1]) / 2)


@pytest.mark.parametrize(("decay", "time"), [(0.0, 1), (0.9, 10), (0.99, 100), (0.995, 200), (1 - 1 / 518, 518)])
def test_times_are_those_of_the_original_slider(decay: float, time: float) -> None:
    assert ldam.EMA(decay).time == time


def test_no_averaging() -> None:
    for average in (ldam.EMA(0), ldam.Window(1)):
        accumulator = average.start()
        for k in range(5):
            accumulator.add(torch.full((2,), float(k)))
            assert accumulator.mean.tolist() == [k, k]
