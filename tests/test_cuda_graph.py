"""Forward and backward pass as one CUDA graph. `test_recordings.py` has what all recordings have in common."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, ULA, Algorithm1
from ldam_widget.pictures.images import on_host

THERE = torch.cuda.is_available()  # before a fixture hides it from tests that are not marked


def cuda(test: Any) -> Any:
    return pytest.mark.cuda(pytest.mark.skipif(not THERE, reason="needs a CUDA device")(test))


def lenet(**given: Any) -> ldam.Sampler:
    demo = ldam.demo.mnist("final")
    return ldam.Sampler(demo.model, **demo.settings | {"neurons": range(3), "chains": 2, "warm_up": 6} | given)


@pytest.mark.skipif(THERE, reason="the real thing is there")
def test_a_graph_is_not_offered_without_a_device() -> None:
    s = lenet(execution="CUDA graph")
    with pytest.raises(ValueError, match="cannot run this network"):
        s.step()


@cuda
@pytest.mark.parametrize("kernel", [Algorithm1(), BAOAB(0.1), ULA(0.01), GHMC(0.1)], ids=lambda kernel: kernel.name)
def test_chains_on_the_device_are_the_same(kernel: Any) -> None:
    settings = {"device": "cuda", "kernel": kernel, "scale": "none", "regularizers": [ldam.L2(0.1)]}
    plain, mine = lenet(**settings, execution="plain"), lenet(**settings, execution="CUDA graph")
    for share in (1.0, 0.7, 0.5):
        for s in (plain, mine):
            s.set(temperature=share, l2=0.1 * share)
            s.step(8)
        torch.testing.assert_close(mine.images, plain.images, rtol=1e-3, atol=1e-3)
    assert mine.execution == "CUDA graph"
    assert "failed" not in mine.execution_report


@cuda
def test_expressions_on_the_device_are_the_same() -> None:
    asked = ["3 - 0.5*conv2:2@3,3", "-5", "7 -> fc2:3", ldam.cosine(torch.arange(84.0), layer="fc2")]
    settings = {"device": "cuda", "kernel": BAOAB(0.1), "scale": "none", "neurons": asked}
    plain, mine = lenet(**settings, execution="plain"), lenet(**settings, execution="CUDA graph")
    for t in (0.0, 0.3, 1.0):
        for s in (plain, mine):
            s.set(interpolation=t)
            s.step(8)
        torch.testing.assert_close(mine.images, plain.images, rtol=1e-3, atol=1e-3)
    assert mine.execution == "CUDA graph"
    assert "failed" not in mine.execution_report


@cuda
def test_changed_weights_are_seen_on_the_device() -> None:
    demo = ldam.demo.mnist("epoch1")
    model = demo.model.cuda()
    settings = demo.settings | {"kernel": Algorithm1(), "temperature": 0.0}
    s = ldam.Sampler(model, execution="CUDA graph", device="cuda", **settings)
    s.step(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    s.step(1)
    expected = model(demo.settings["preprocess"](s.images.flatten(0, 1))).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-3, atol=1e-3)


@cuda
def test_pictures_come_through_pinned_memory() -> None:
    on_gpu = torch.rand(3, 4, device="cuda")
    (copied,) = on_host(on_gpu)
    assert copied.is_pinned()
    torch.testing.assert_close(copied, on_gpu.cpu())
