"""Chains of a widget on a map of real images, and two maps with one selection."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from torch import nn

import ldam_widget as ldam
from ldam_widget import LDAM, Compare, Scatter

from ..conftest import with_fixed_weights
from .page import FakePage

DEFS = json.loads((Path(__file__).parents[2] / "js/src/scatter/protocol.schema.json").read_text("utf-8"))["$defs"]
SHAPE = (1, 4, 4)
PIXELS: dict[str, Any] = {"input_shape": SHAPE, "pixel_range": (0.0, 1.0), "prior": None, "play": False}


def net(seed: int = 1) -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 4)), seed)


class Images:
    def __init__(self) -> None:
        own = torch.Generator().manual_seed(0)
        self.labels = torch.arange(90) % 3
        kinds = torch.rand(3, *SHAPE, generator=own)
        self.images = (kinds[self.labels] + 0.1 * torch.randn(90, *SHAPE, generator=own)).clamp(0, 1)
        self.map = ldam.embed(self.images, model=net(), layer="1", perplexity=8, steps=60, progress=False)


@pytest.fixture(scope="module")
def real() -> Images:
    return Images()


@pytest.fixture
def made() -> Iterator[list[Any]]:
    widgets: list[Any] = []
    yield widgets
    for widget in widgets:
        widget.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def on_the_map(s: Scatter, page: FakePage) -> np.ndarray:
    """(m, 4) of the newest frame with chains: x, y, neuron, solid."""
    chains = [(c, b) for c, b in page.sent if c["kind"] == "frame" and c["chains"] is not None]
    return np.frombuffer(chains[-1][1][-1] if chains else b"", "<f4").reshape(-1, 4)


def seen_colours(page: FakePage) -> list[int]:
    found: list[int] = [c["chains"]["colours"] for c in page.of("frame") if c["chains"] and c["chains"]["count"]][-1]
    return found


@pytest.mark.parametrize("named", [{}, {"class_names": ["zero", "one", "two", "three"]}])
def test_a_chain_has_the_colour_of_its_class(real: Images, made: list[Any], named: dict[str, Any]) -> None:
    w = LDAM(net(), neurons=[2, 0, 3], **PIXELS, **named)
    s = Scatter(real.map, labels=real.labels, follow=w, **named)
    made += [s, w]
    page = FakePage(s)
    page.receive(kind="hello", view="a")
    until(lambda: page.of("frame"))
    page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)
    until(lambda: any(c["chains"] and c["chains"]["count"] for c in page.of("frame")))
    assert seen_colours(page) == [2, 0, 5]


@pytest.mark.slow
def test_chains_are_placed_after_each_picture_and_a_click_enlarges_one(real: Images, made: list[Any]) -> None:
    w = LDAM(net(), neurons=[3, 1], chains=2, class_names=["a", "b", "c", "d"], **PIXELS)
    s = Scatter(real.map, images=real.images, labels=real.labels, class_names=["x", "y", "z"], follow=w)
    made += [s, w]
    page, panel = FakePage(s), FakePage(w)
    page.receive(kind="hello", view="a")
    panel.receive(kind="hello", view="b")
    w.step(20)
    features = net()[1](w.sampler.images.flatten(0, 1).flatten(1)).detach()
    expected = real.map.place(features).neighbours[:, 0]
    until(lambda: len(s.walk.trails) and np.array_equal(s.walk.nearest, expected))
    page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)
    until(lambda: len(on_the_map(s, page)) == 4 and np.allclose(on_the_map(s, page)[:, :2], s.walk.positions))
    rows = on_the_map(s, page)
    np.testing.assert_array_equal(rows[:, 2], [0, 0, 1, 1])
    np.testing.assert_array_equal(rows[:, 3], s.walk.solid)
    (frame,) = {tuple(c["chains"]["neurons"]) for c in page.of("frame") if c["chains"] and c["chains"]["count"]}
    assert frame == ("3 d", "1 b")
    assert seen_colours(page) == [3, 4], "after the classes of the points"
    page.receive(kind="chain", index=3)
    until(lambda: panel.of("enlarge"))
    assert panel.last("enlarge") == {"kind": "enlarge", "neuron": "1", "chain": 1, "model": 0}
    until(lambda: page.of("coverage"))
    schema = {"$ref": "#/$defs/Coverage", "$defs": DEFS}
    assert not list(Draft202012Validator(schema).iter_errors(page.last("coverage")))
    head, first = page.last("coverage")["head"], page.last("coverage")["rows"][0]
    assert dict(zip(head, first, strict=True))["neuron"] == "3 d"
    assert {row.home for row in s.coverage()} <= {"x", "y", "z"}
    s.clear_trails()
    until(lambda: 0 < len(s.walk.trails) < 3)
    page.sent.clear()
    page.receive(kind="hello", view="c")
    until(lambda: page.of("coverage"))  # a new page has the table, too


@pytest.mark.slow
def test_trails_begin_anew_with_other_neurons(real: Images, made: list[Any]) -> None:
    w = Compare({"one": net(), "other": net(2)}, neurons=[0, 1], **PIXELS)
    s = Scatter(real.map, follow=w)
    made += [s, w]
    page = FakePage(s)
    page.receive(kind="hello", view="a")
    seen = lambda: [c["chains"] for c in page.of("frame") if c["chains"] is not None]  # noqa: E731
    acknowledge = lambda: page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)  # noqa: E731
    until(lambda: page.of("frame"))
    acknowledge()
    until(lambda: seen() and seen()[-1]["count"] == 4)
    assert seen()[-1]["neurons"] == ["one: 0", "one: 1", "other: 0", "other: 1"]
    for _ in range(2):
        before = len(s.walk.trails)
        w.step(5)
        until(lambda: len(s.walk.trails) > before)  # noqa: B023
        acknowledge()
    until(lambda: not seen()[-1]["fresh"])
    w.neurons = [2]
    until(lambda: seen()[-1]["count"] == 2)
    assert seen()[-1]["fresh"]


def test_a_restart_that_many_steps_follow_begins_trails_anew(real: Images, made: list[Any]) -> None:
    w = LDAM(net(), neurons=[0, 1], **PIXELS)
    s = Scatter(real.map, follow=w)
    made += [s, w]
    w.step(3)
    until(lambda: len(s.walk.trails))
    following = s._need_chains()
    with following._turn:  # as if the walk were slow
        w.restart(seed=9)
        w.step(30)
        before = len(s.walk.trails)
    until(lambda: len(s.walk.trails) > before)
    assert np.isnan(s.walk.trails[:before]).all()


def test_what_cannot_be_followed(real: Images, made: list[Any]) -> None:
    w = LDAM(net(), neurons=[0], **PIXELS)
    made.append(w)
    with pytest.raises(TypeError, match="follow must be a widget that samples"):
        Scatter(real.map, follow=w.sampler)  # type: ignore[arg-type]
    with pytest.warns(ldam.LDAMWarning, match="chains are not shown"):
        loaded = Scatter(real.map.points, images=real.images, follow=w)
    made.append(loaded)
    page = FakePage(loaded)
    page.receive(kind="hello", view="a")
    until(lambda: page.of("setup"))
    assert "chains are not shown" in page.last("setup")["notes"][0]
    with pytest.raises(RuntimeError, match="no chains are shown"):
        _ = loaded.walk


def test_a_widget_of_other_images_is_told_in_the_banner(real: Images, made: list[Any]) -> None:
    w = LDAM(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), input_shape=(1, 3, 3), prior=None, play=False)
    s = Scatter(real.map, follow=w)
    made += [s, w]
    until(lambda: s.error is not None)
    assert "images of the map have shape (1, 4, 4); got (1, 3, 3)" in str(s.error)


def test_the_walk_goes_on_after_a_fault_of_the_sampler(real: Images, made: list[Any]) -> None:
    faults: list[str] = []

    def unreliable(images: torch.Tensor) -> torch.Tensor:
        if faults:
            raise RuntimeError(faults[0])
        return images

    w = LDAM(net(), neurons=[0, 1], preprocess=unreliable, **PIXELS)
    s = Scatter(real.map, follow=w)
    made += [s, w]
    w.step(3)
    until(lambda: len(s.walk.trails))
    faults.append("the GPU is gone")
    w.play()
    until(lambda: w.error is not None)
    faults.clear()
    before = len(s.walk.trails)
    w.play()
    until(lambda: len(s.walk.trails) > before)
    w.pause()
    w.step(1)
    latest = net().get_submodule("1")(w.sampler.images.flatten(0, 1).flatten(1)).detach()
    until(lambda: np.array_equal(s.walk.nearest, real.map.place(latest).neighbours[:, 0]))
    assert s.error is None


@pytest.mark.slow
def test_the_walk_goes_on_after_a_fault_of_the_placing(made: list[Any], real: Images) -> None:
    faults: list[str] = []
    e = ldam.embed(real.images, model=net(), layer="1", perplexity=8, steps=20, progress=False)
    features = e.features_of
    assert features is not None

    def unreliable(images: torch.Tensor) -> Any:
        if faults:
            raise RuntimeError(faults[0])
        return features(images)

    e.features_of = unreliable
    w = LDAM(net(), neurons=[0, 1], **PIXELS)
    s = Scatter(e, follow=w)
    made += [s, w]
    page = FakePage(s)
    page.receive(kind="hello", view="a")
    w.step(3)
    until(lambda: len(s.walk.trails) and s.walk.walkers)
    placed = s.walk.positions
    faults.append("out of memory")
    w.restart(seed=9)
    until(lambda: s.error is not None)
    assert "out of memory" in str(s.error)
    page.receive(kind="do", what="dismiss_error")
    until(lambda: s.error is None)
    told = len(page.of("error"))
    w.step(1)
    w.step(1)
    time.sleep(0.3)
    assert len(page.of("error")) == told, "told once"
    np.testing.assert_array_equal(s.walk.positions, placed)
    faults.clear()
    before = len(s.walk.trails)
    w.step(1)
    until(lambda: len(s.walk.trails) > before)
    assert np.isnan(s.walk.trails[:before]).all(), "restarted while nothing was placed"
    faults.append("again")
    w.step(1)
    until(lambda: s.error is not None)
    faults.clear()
    w.step(1)
    until(lambda: s.error is None)


@pytest.mark.slow
def test_neither_keeps_the_other_alive_and_either_may_be_closed_first(real: Images) -> None:
    w = LDAM(net(), neurons=[0], **PIXELS)

    def follow() -> weakref.ref[Any]:
        s = Scatter(real.map, follow=w)
        until(lambda: len(s.walk.trails))
        s.close()
        return weakref.ref(s.walk)

    walk = follow()
    w.step(3)
    until(lambda: (gc.collect(), walk() is None)[1])
    again = Scatter(real.map, follow=w)
    w.step(3)
    until(lambda: len(again.walk.trails))
    w.close()
    assert len(again.coverage()) == 1
    assert again.error is None
    again.close()


def test_linked_maps_share_the_selection(real: Images, made: list[Any]) -> None:
    other = ldam.embed(
        real.images, model=net(2), layer="1", perplexity=8, steps=60, start=real.map.points, progress=False
    )
    a, b, third = Scatter(real.map), Scatter(other), Scatter(other)
    made += [a, b, third]
    a.selection = [1, 2]
    a.link(b)
    assert b.selection.tolist() == [1, 2]
    heard: list[list[int]] = []
    a.observe(lambda change: heard.append(change["new"].tolist()), "selection")
    b.selection = [5]
    assert a.selection.tolist() == [5]
    page = FakePage(b)
    a.selection = [7, 8, 9]
    assert b.selection.tolist() == [7, 8, 9]
    assert page.last("selected")["count"] == 3
    assert heard == [[5], [7, 8, 9]], "no echo"
    assert third.selection.tolist() == []
    with pytest.raises(TypeError, match="link takes other Scatter widgets; got Embedding"):
        a.link(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be linked to itself"):
        a.link(a)
    fewer = Scatter(real.map.points[:9])
    made.append(fewer)
    with pytest.raises(ValueError, match="need the same points; got 90 and 9"):
        a.link(fewer)
