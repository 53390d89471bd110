"""An interrupt at any place of our code leaves nothing locked, lost or half done."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB
from ldam_widget.live.loop import Loop

from ..conftest import UNSCALED
from .interrupts import from_another_thread, interrupted_everywhere

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="needs the tables of exception handlers")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()


SETTINGS = {"input_shape": (1, 4, 4), "pixel_range": (0, 1), "execution": "plain", **UNSCALED}


@pytest.fixture
def sampler() -> ldam.Sampler:
    s = ldam.Sampler(network(), kernel=BAOAB(step_size=0.05), **SETTINGS)
    s.step(1)
    return s


def test_parameters_that_are_set(sampler: ldam.Sampler) -> None:
    values = iter(range(2, 10**6))
    places = set()
    for place in interrupted_everywhere(lambda: sampler.set(temperature=float(next(values)))):
        places.add(place)
        from_another_thread(lambda: sampler.step(1))
        assert sampler.target.temperature == sampler.params["temperature"], place
    assert len(places) > 10
    assert sampler.target.temperature == sampler.params["temperature"] == next(values) - 1


def test_a_step(sampler: ldam.Sampler) -> None:
    places = set()
    for place in interrupted_everywhere(lambda: sampler.step(1)):
        places.add(place)
        before = sampler.steps
        from_another_thread(lambda: sampler.step(1))
        assert sampler.steps == before + 1, place
    assert len(places) > 30


def test_neurons_that_are_chosen(sampler: ldam.Sampler) -> None:
    for place in interrupted_everywhere(lambda: sampler.select(neurons=[2, 1]), stride=7):
        from_another_thread(lambda: sampler.step(1))
        assert len(sampler.neurons) == len(sampler.frame().images), place
        from_another_thread(lambda: sampler.select(neurons=[0, 1, 2]))


def test_two_models_in_step() -> None:
    comparison = ldam.Comparison({"a": network(), "b": network()}, kernel=BAOAB(step_size=0.05), **SETTINGS)
    values = iter(range(2, 10**6))
    for place in interrupted_everywhere(lambda: comparison.set(temperature=float(next(values)))):
        from_another_thread(lambda: comparison.step(1))
        a, b = (sampler.target.temperature for sampler in comparison.samplers)
        assert a == b == comparison.params["temperature"], place


@pytest.fixture
def loop(sampler: ldam.Sampler) -> Iterator[Loop]:
    loop = Loop(sampler, publish=lambda seq: 0, on_fault=lambda error: None)
    yield loop
    loop.close()


@pytest.mark.parametrize("what", ["play", "hurry", "show", "release", "acknowledge", "pause", "call"])
def test_what_a_loop_is_told(loop: Loop, what: str) -> None:
    act = {
        "acknowledge": lambda: loop.acknowledge(1, visible=True),
        "call": lambda: loop.call(lambda: None),
    }.get(what, lambda: getattr(loop, what)())
    for place in interrupted_everywhere(act):
        steps = loop.sampler.steps
        from_another_thread(lambda: loop.call(lambda: loop.advance(1)))
        assert loop.sampler.steps > steps, place
        from_another_thread(loop.play)
        from_another_thread(lambda: loop.call(lambda: None))


def test_a_loop_that_begins(sampler: ldam.Sampler) -> None:
    loops: list[Loop] = []

    def begin() -> None:
        loops.append(Loop(sampler, publish=lambda seq: 0, on_fault=lambda error: None))
        loops[-1].play()

    for _ in interrupted_everywhere(begin):
        if loops:
            from_another_thread(lambda: loops[-1].call(lambda: None))
            loops.pop().close()
    loops[-1].close()


@pytest.fixture
def widget() -> Iterator[ldam.LDAM]:
    w = ldam.LDAM(network(), kernel=BAOAB(step_size=0.05), play=False, **SETTINGS)
    w.step(1)
    yield w
    w.close()


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "set", "rev": 1, "params": {"temperature": 3.0}},
        {"kind": "hello"},
        {"kind": "do", "what": "play"},
        {"kind": "do", "what": "pause"},
        {"kind": "do", "what": "restart"},
        {"kind": "select", "neurons": [0, 1]},
    ],
    ids=lambda content: content["kind"] + content.get("what", ""),
)
def test_a_message_that_is_handled(widget: ldam.LDAM, content: dict[str, object]) -> None:
    """The last of several is handled whatever happened to those before."""
    sent: list[dict[str, object]] = []
    widget.send = lambda content, buffers=None: sent.append(content)  # type: ignore[method-assign]
    handle = lambda content: widget._handle_custom_msg({"view": "v", **content}, [])  # noqa: E731  (of ipywidgets)
    for k, place in enumerate(interrupted_everywhere(lambda: handle(content))):
        sent.clear()
        from_another_thread(lambda k=k: handle({"kind": "set", "rev": k, "params": {"temperature": 2.0 + k}}))
        assert widget.temperature == widget.sampler.params["temperature"] == 2.0 + k, place
        assert [c["params"]["temperature"] for c in sent if c["kind"] == "state"][-1] == 2.0 + k, place
        from_another_thread(lambda: widget.step(1))
        widget.temperature = 1.5
        assert [c["params"]["temperature"] for c in sent if c["kind"] == "state"][-1] == 1.5, place
