"""Gradients through recordings: what is kept, what is tried again, and on a CUDA device the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.execution import Execution, capture
from ldam_widget.execution.capture import Capture

THERE = torch.cuda.is_available()  # before a fixture hides it from tests that are not marked


class Tape:
    """In place of a CUDA graph: what was recorded once is computed anew from the arguments that are copied in."""

    made: list[torch.Size]
    fault: Exception | None = None

    def __init__(self, function: Any, x: Tensor, seed: Tensor) -> None:
        if Tape.fault is not None:
            raise Tape.fault
        Tape.made.append(x.shape)
        self.function = function

    def replay(self, x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        output, grad = self.function(x.detach(), seed)
        return output + 1, grad  # so that it is seen which way was taken


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> None:
    if not THERE:
        monkeypatch.setattr(capture, "_Recording", Tape)
    monkeypatch.setattr(Tape, "made", [], raising=False)
    monkeypatch.setattr(Tape, "fault", None)
    monkeypatch.setattr(Execution, "_found", {})


def double(x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    return 2 * x, 2 * seed


on_cpu = pytest.mark.skipif(THERE, reason="the real thing is there")


@on_cpu
def test_one_recording_for_every_shape_and_not_many() -> None:
    through = Capture()
    for n in (3, 1, 3, 1, 3):
        output, grad = through(double, torch.ones(n, 2), torch.ones(n, 2))
        assert torch.equal(output, torch.full((n, 2), 3.0))
        assert torch.equal(grad, torch.full((n, 2), 2.0))
    assert [len(torch.empty(shape)) for shape in Tape.made] == [3, 1]
    for n in range(1, 9):
        through(double, torch.ones(n, 2), torch.ones(n, 2))
    assert len(through._recordings) <= 2


@on_cpu
def test_what_cannot_be_recorded_is_run_as_it_is() -> None:
    through, ones = Capture(), torch.ones(2, 2)
    Tape.fault = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(RuntimeError, match="capturing"):
        through(double, ones, ones, strict=True)
    assert not through.failed
    assert torch.equal(through(double, ones, ones)[0], 2 * ones)
    assert through.failed
    Tape.fault = None
    assert torch.equal(through(double, ones, ones)[0], 2 * ones), "it is not tried for ever"


@on_cpu
def test_memory_that_runs_out_is_told() -> None:
    through, ones = Capture(), torch.ones(2, 2)
    Tape.fault = torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        through(double, ones, ones)
    assert not through.failed, "smaller parts may fit"


@on_cpu
def test_a_graph_is_not_offered_without_a_device() -> None:
    demo = ldam.demo.mnist("final")
    s = ldam.Sampler(demo.model, execution="CUDA graph", **demo.settings)
    with pytest.raises(ValueError, match="does not fit"):
        s.step()


@on_cpu
def test_neurons_are_read_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer's output comes from the recording, and so does its gradient."""
    demo = ldam.demo.mnist("final")
    neurons = ldam.Sampler(demo.model, neurons=[3, 5], **demo.settings)._neurons
    x = torch.rand(2, 1, 28, 28)
    value, grad = neurons.evaluate(x)
    neurons.run_by(neurons._view, torch.contiguous_format, Capture())
    through, its_grad = neurons.evaluate(x)
    torch.testing.assert_close(through, value + 1)
    torch.testing.assert_close(its_grad, grad)


@pytest.mark.cuda
@pytest.mark.skipif(not THERE, reason="needs a CUDA device")
@pytest.mark.parametrize("kernel", [ldam.kernels.Algorithm1(normalize="none"), ldam.kernels.BAOAB()], ids=repr)
def test_chains_on_the_device_are_the_same(kernel: Any) -> None:
    demo = ldam.demo.mnist("final")

    def made(execution: str) -> ldam.Sampler:
        return ldam.Sampler(
            demo.model, neurons=range(10), kernel=kernel, temperature=0.0, execution=execution, device="cuda",
            **demo.settings,
        )  # fmt: skip

    plain, captured = made("plain"), made("CUDA graph")
    torch.testing.assert_close(captured.step(20).images, plain.step(20).images, rtol=1e-3, atol=1e-3)
    captured.set(l2=0.5)  # no recording is made anew
    captured.select("fc2", [1, 2, 3])
    captured.step(3)
    assert captured.execution == "CUDA graph"


@pytest.mark.cuda
@pytest.mark.skipif(not THERE, reason="needs a CUDA device")
def test_changed_weights_are_seen_by_the_recording() -> None:
    demo = ldam.demo.mnist("final")
    model = demo.model.cuda()
    s = ldam.Sampler(model, execution="CUDA graph", temperature=0.0, device="cuda", **demo.settings)
    s.step(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    s.step(1)
    expected = model(demo.settings["preprocess"](s.images.flatten(0, 1))).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-3, atol=1e-3)
