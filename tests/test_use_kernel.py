"""Changing kernels: each one's settings are remembered, and T is converted where its unit changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.core.target import NEURON
from ldam_widget.kernels import BAOAB, GHMC, Algorithm1

from .conftest import UNSCALED


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 3)).eval()


def sampler(**more: Any) -> ldam.Sampler:
    settings = {"input_shape": (1, 28, 28), "pixel_range": (0, 1), "execution": "plain", **UNSCALED}
    return ldam.Sampler(network(), **settings | more)


def widget(**more: Any) -> ldam.LDAM:
    return ldam.LDAM(network(), **{"input_shape": (1, 28, 28), "pixel_range": (0, 1), "play": False} | more)


def test_a_kernel_comes_back_as_it_was() -> None:
    s = sampler(kernel=BAOAB(step_size=0.3, friction=0.7))
    s.set(step_size=0.2, friction=1.5)
    s.use_kernel("GHMC")
    s.set(friction=0.4)
    s.use_kernel("BAOAB")
    assert s.kernel == BAOAB(step_size=0.2, friction=1.5)
    assert (s.params["step_size"], s.params["friction"]) == (0.2, 1.5)
    s.use_kernel("GHMC")
    assert s.kernel == GHMC(friction=0.4)


def test_a_kernel_that_was_never_used_suits_the_picture() -> None:
    w = widget()
    own = w.kernel
    w.use_kernel("GHMC")
    w.use_kernel("Algorithm 1")
    w.use_kernel("BAOAB")
    assert w.kernel == own
    other = widget(kernel=Algorithm1())
    other.use_kernel("BAOAB")
    assert other.kernel == own
    with pytest.raises(ValueError, match=r"unknown kernel 'Euler'; there are: .*BAOAB"):
        other.use_kernel("Euler")


def test_the_temperature_goes_with_its_unit() -> None:
    """T of pixels with frozen scales is a hundredth of what Algorithm 1, which normalises by itself, means by it."""
    w = widget()
    cool = w.temperature
    assert cool == pytest.approx(0.1 / 28, rel=0.05)
    w.use_kernel("Algorithm 1")
    assert w.temperature == 1.0
    w.temperature = 2.0
    w.use_kernel("BAOAB")
    assert w.temperature == cool
    w.kernel = Algorithm1(normalize="none")
    assert w.temperature == pytest.approx(cool * float(w.sampler.state.evaluation.grads[NEURON][0].norm()), rel=0.2)
    begun = widget(kernel=Algorithm1())
    begun.use_kernel("BAOAB")
    assert begun.temperature == cool


def test_without_scales_the_law_stays() -> None:
    s = sampler(kernel=BAOAB(step_size=0.1), scale="frozen", neurons=[0], temperature=0.02, warm_up=10)
    s.step(20)
    assert s.scales is not None
    (scale,) = s.scales["neuron"]
    s.use_kernel(BAOAB(step_size=0.1), scale="none")
    assert s.params["temperature"] == pytest.approx(0.02 * scale)
    s.use_kernel(BAOAB(step_size=0.1), scale="frozen")
    s.step(20)
    assert s.scales is not None
    assert s.params["temperature"] * s.scales["neuron"][0] == pytest.approx(0.02 * scale, rel=1e-3)


def test_the_temperature_stays_where_its_unit_does() -> None:
    s = sampler(kernel=BAOAB(step_size=0.1), temperature=0.3)
    for kernel in ("GHMC", "MALA", "BAOAB"):
        s.use_kernel(kernel)
        assert s.params["temperature"] == 0.3


def test_a_name_never_means_a_kernel_of_the_user_s() -> None:
    class Own(BAOAB):
        """Keeps the name of what it derives from."""

    s = sampler(kernel=Own(step_size=0.4))
    s.use_kernel("BAOAB")
    assert type(s.kernel) is BAOAB
    s.use_kernel(Own(step_size=0.4))
    s.use_kernel("GHMC")
    s.use_kernel("BAOAB")
    assert type(s.kernel) is BAOAB
