"""A widget that finds out how far its pictures can be believed, beside sampling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from ldam_widget import LDAM, Sampler

from ..conftest import with_fixed_weights

SHAPE = (1, 6, 6)
OPTIONS: dict[str, Any] = {
    "input_shape": SHAPE, "pixel_range": (0, 1), "warm_up": 4, "execution": "plain", "neurons": [0, 1], "chains": 2,
}  # fmt: skip
IMAGES = torch.rand(100, *SHAPE, generator=torch.Generator().manual_seed(3))


def network() -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.ReLU(), nn.Linear(9, 4)))


class Watched:
    """A widget, and the states that it sent."""

    def __init__(self, **options: Any) -> None:
        self.w = LDAM(network(), play=False, **(OPTIONS | options))
        self.sent: list[dict[str, Any]] = []
        self.w.send = lambda content, buffers=None: self.sent.append(content)

    def receive(self, content: dict[str, Any]) -> None:
        self.w._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})

    def line(self) -> dict[str, Any]:
        """The newest belief that the page was told."""
        return next((m["belief"] for m in reversed(tuple(self.sent)) if m.get("belief")), {})

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not done():
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def made() -> Iterator[Callable[..., Watched]]:
    all_made: list[Watched] = []

    def make(**options: Any) -> Watched:
        all_made.append(Watched(**options))
        return all_made[-1]

    yield make
    for each in all_made:
        each.w.close()


def test_it_is_that_of_a_sampler_and_leaves_the_chains_alone(made: Callable[..., Watched]) -> None:
    one, alone = made(), Sampler(network(), **OPTIONS)
    one.w.step(30)
    alone.step(30)
    found = one.w.belief(IMAGES, steps=6)
    assert found.to_dict()["verdict"] == alone.belief(IMAGES, steps=6).to_dict()["verdict"]
    for a, b in zip(found.neurons, alone.belief(IMAGES, steps=6).neurons, strict=True):
        assert a.to_dict() == b.to_dict()
    one.w.step(10)
    alone.step(10)
    assert torch.equal(one.w.sampler.images, alone.images)
    assert one.line()["running"] is False
    assert one.line()["text"] == f"belief at step 30: {found.verdict.text}"
    assert [each["label"] for each in one.line()["neurons"]] == ["0", "1"]


def test_it_samples_on_meanwhile(made: Callable[..., Watched]) -> None:
    one = made()
    one.receive({"kind": "hello", "view": "a"})
    one.w.play()
    one.until(lambda: one.w.sampler.steps > 0)
    before = one.w.sampler.steps
    one.w.belief(IMAGES, steps=60)
    assert one.w.sampler.steps > before
    assert one.w.playing


def test_with_a_dataset_it_looks_by_itself_once_burned_in(made: Callable[..., Watched]) -> None:
    one = made(dataset=IMAGES, prior=None)
    one.w.play()
    one.receive({"kind": "hello", "view": "a"})

    def settled() -> bool:
        frames = [m["seq"] for m in tuple(one.sent) if m["kind"] == "frame"]
        if frames:
            one.receive({"kind": "ack", "view": "a", "seq": frames[-1], "visible": True})
        return bool(one.line().get("neurons")) and not one.line()["running"]

    one.until(settled)
    assert len(one.line()["neurons"]) == 2
    one.w.neurons = [2]
    assert one.line()["neurons"] == [], "it goes with the neurons it was of"


def test_without_images_the_line_says_what_is_needed(made: Callable[..., Watched]) -> None:
    one = made()
    one.receive({"kind": "hello", "view": "a"})
    one.until(one.line)
    assert "dataset=" in one.line()["text"]
    assert "not known" in one.w.belief(steps=2).verdict.text


@pytest.mark.parametrize("how", ["stop", "neurons", "close"])
def test_a_check_that_is_cut_short_ends_with_a_reason(made: Callable[..., Watched], how: str) -> None:
    one = made()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            one.w.belief(IMAGES, steps=10**6)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    one.until(lambda: one.line().get("running"))
    if how == "stop":
        one.receive({"kind": "do", "what": "stop_belief"})
    elif how == "neurons":
        one.w.neurons = [2]
    else:
        one.w.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "stopped" in str(errors[0])


def test_a_press_that_arrives_during_a_check_leaves_it_alone(made: Callable[..., Watched]) -> None:
    one = made(dataset=IMAGES, prior=None)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(one.w.belief(steps=300).images))
    thread.start()
    one.until(lambda: one.line().get("running"))
    one.receive({"kind": "do", "what": "belief"})
    one.w.step(1)  # by now the press has been handled
    assert not found, "the check is still in progress"
    thread.join(60)
    assert found == [100]


def test_arguments_are_checked_and_training_goes_first(made: Callable[..., Watched]) -> None:
    one = made(dataset=IMAGES, prior=None)
    with pytest.raises(ValueError, match="steps must be at least 2"):
        one.w.belief(steps=1)
    with pytest.raises(TypeError, match="judge must be"):
        one.w.belief(judge=3)
    one.w.train_discriminator()
    with pytest.raises(RuntimeError, match="being trained"):
        one.w.belief()
    one.w._call(one.w._training.stop)
    assert one.w.belief(steps=2).images == 100
