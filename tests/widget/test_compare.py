"""`Compare` without a browser: messages come in as the comm delivers them, and go out into a list."""

from __future__ import annotations

import copy
import gc
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import Compare
from ldam_widget.analysis.ranking import Ranking
from ldam_widget.kernels import BAOAB, Algorithm1
from ldam_widget.pictures import images
from ldam_widget.widget import side_by_side

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until
from .page import FakePage

NAMES = ["nil", "one", "two", "three", "four"]


def network(units: int = 5) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, units))


def built(seed: int = 1, units: int = 5) -> nn.Module:
    return with_fixed_weights(lambda: network(units), seed)


class Page(FakePage):
    """The page of a `Compare` of small networks."""

    def __init__(self, *models: nn.Module, **options: Any) -> None:
        self.models = dict(zip("abcdef", models or (built(1), built(2)), strict=False))
        settings: dict[str, Any] = {"input_shape": (1, 8, 8), "play": False, "kernel": BAOAB(0.3)}
        super().__init__(Compare(self.models, **settings | options))

    def frames(self) -> list[tuple[dict[str, Any], dict[str, npt.NDArray[np.uint8]]]]:
        """Contents and panes by name."""
        found = []
        for content, buffers in tuple(self.sent):
            if content["kind"] == "frame":
                panes = {
                    pane["name"]: np.frombuffer(data, np.uint8).reshape(pane["shape"])
                    for pane, data in zip(content["panes"], buffers, strict=False)  # earlier pictures' come after
                }
                found.append((content, panes))
        return found


@pytest.fixture
def open_page(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(*models: nn.Module, **options: Any) -> Page:
        pages.append(Page(*models, **options))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()
        json.dumps([content for content, _ in page.sent], allow_nan=False)
    # ipywidgets swallows what a message handler raises, and logs it
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


@pytest.fixture
def c(page: Page) -> Compare:
    return page.widget


# ---- pictures --------------------------------------------------------------------------------------------------------


def pane_names(page: Page) -> list[str]:
    return [pane["name"] for pane in page.of("frame")[-1]["panes"]]


@pytest.mark.parametrize("count", [2, 3])
def test_one_message_has_all_panes_in_their_order(open_page: Callable[..., Page], count: int) -> None:
    page = open_page(*[built(seed) for seed in range(count)], show="both", neurons=[0, 2, 4], chains=2)
    page.widget.step(7)
    page.settle()
    content, panes = page.frames()[-1]
    models = range(count)
    assert list(panes) == [
        *(f"sample:{k}" for k in models), *(f"average:{k}" for k in models), *(f"difference:{k}" for k in models[1:])
    ]  # fmt: skip
    assert all(pane.shape == (1, 3, 8, 8, 1) for pane in panes.values())
    assert [pane["model"] for pane in content["panes"]] == [*models, *models, *models[1:]]
    assert {pane.get("colors") for pane in content["panes"][: 2 * count]} == {None}
    for pane in content["panes"][2 * count :]:
        assert pane["colors"] == "signed"
        low, high = pane["range"]
        assert low == -high
    assert content["steps"] == page.widget.comparison.steps == 7
    assert (len(content["activations"]), len(content["activations"][0])) == (count, 3)
    assert np.shape(content["activation"]) == np.shape(content["burned_in"]) == (3, 2)
    assert content["panes"][0]["labels"] == ["a\nnow"]
    assert content["panes"][count]["labels"] == ["a\naverage"]


def test_pixels_are_those_of_the_samplers(open_page: Callable[..., Page]) -> None:
    """Grey levels and signed levels, decoded by the contract alone."""
    page = open_page(show="both", pixel_range=(0.0, 1.0), chains=2)
    page.widget.step(12)
    page.settle()
    content, panes = page.frames()[-1]
    described = {pane["name"]: pane for pane in content["panes"]}
    samplers = list(page.widget.samplers.values())
    averages = [s.average_images.mean(1)[:, 0].numpy() for s in samplers]
    for k, sampler in enumerate(samplers):
        for name, pixels in ((f"sample:{k}", sampler.images[:, 0, 0].numpy()), (f"average:{k}", averages[k])):
            low, high = described[name]["range"]
            np.testing.assert_allclose(panes[name][0, ..., 0] / 255 * (high - low) + low, pixels, atol=0.51 / 255)
    _, end = described["difference:1"]["range"]
    shown = (panes["difference:1"][0, ..., 0].astype(float) - 128) / 127 * end
    np.testing.assert_allclose(shown, np.clip(averages[1] - averages[0], -end, end), atol=0.51 * end / 127)
    values = [s.activation.mean(1).tolist() for s in samplers]
    assert content["activations"] == values


def test_equal_models_stream_no_difference(open_page: Callable[..., Page]) -> None:
    """While sliders move and pictures flow: every difference is level 128, and both models have every picture alike."""
    model = built()
    page = open_page(model, copy.deepcopy(model), show="both", kernel=Algorithm1(0.1))
    page.widget.play()
    for i in range(40):
        page.receive(kind="set", view="a", rev=i, params={"noise": 0.1 + 0.01 * i, "temperature": 1 + 0.1 * i})
        page.widget.step_size = 0.1 + 0.001 * i
        page.receive(kind="ack", view="a", seq=len(page.of("frame")), visible=True)
        time.sleep(0.005)
    wait_until(lambda: page.widget.sampler.steps > 60)
    page.widget.pause()
    page.settle()
    differences = 0
    for _content, panes in page.frames():
        assert np.array_equal(panes["sample:0"], panes["sample:1"])
        if "difference:1" in panes:
            differences += 1
            assert (panes["difference:1"] == 128).all()
            assert np.array_equal(panes["average:0"], panes["average:1"])
    assert differences >= 2
    assert len(page.frames()) > differences, "averages come less often than samples"
    assert not page.widget.difference.any()
    assert not page.widget.error


def test_parameters_change_between_pictures_of_all_models(open_page: Callable[..., Page]) -> None:
    """A slider that moves while the first model has been stepped and the second has not."""
    entered, go = threading.Event(), threading.Event()
    go.set()

    def slow(x: Tensor) -> Tensor:
        entered.set()
        go.wait(10)
        return x

    model = built()
    page = open_page(model, model, preprocess={"b": slow})
    entered.clear()
    go.clear()
    stepping = threading.Thread(target=lambda: page.widget.step(2))
    stepping.start()
    assert entered.wait(10)
    setting = threading.Thread(target=lambda: setattr(page.widget, "step_size", 0.9))
    setting.start()
    setting.join(0.1)
    assert page.widget.sampler.kernel.step_size == 0.3
    go.set()
    stepping.join()
    setting.join()
    assert page.widget.step_size == 0.9
    page.widget.step(4)
    assert not page.widget.difference.any()


def test_averages_and_differences_at_5_hz(page: Page, c: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    c.loop.playing = True  # of the thread, nothing: frames are asked for by hand
    c._stream.refresh()
    for i in range(60):
        now[0] = 1000 + i / 60
        c._stream.send(i, 0)
    c.loop.playing = False
    frames = [content for content, _ in page.frames()]
    assert len(frames) == 60
    assert sum(any(p["name"] == "difference:1" for p in frame["panes"]) for frame in frames) == 5
    assert all(frame["panes"][0]["name"] == "sample:0" for frame in frames)
    assert 2 <= sum("agreement" in frame for frame in frames) <= 4


SHOWN = {
    "samples": ["sample:0", "sample:1", "difference:1"],
    "averages": ["average:0", "average:1", "difference:1"],
    "both": ["sample:0", "sample:1", "average:0", "average:1", "difference:1"],
}


def test_what_is_shown(page: Page, c: Compare) -> None:
    assert c.show == "both"
    for rows, names in SHOWN.items():
        gen = page.gen
        c.show = rows
        page.settle()
        assert (c.show, pane_names(page)) == (rows, names)
        assert page.of("setup")[-1]["show"] == rows
        assert page.of("setup")[-1]["gen"] == page.of("frame")[-1]["gen"] == gen + 1
    for rows, names in SHOWN.items():
        page.receive(kind="show", what=rows)
        page.settle()
        assert (c.show, pane_names(page)) == (rows, names)
    page.receive(kind="show", what="weights")
    page.settle()
    assert "show must be one of 'samples', 'averages', 'both'" in page.of("error")[-1]["error"]["message"]
    for wrong in ("x", None, 3, ["both"]):
        with pytest.raises(ValueError, match="show must be one of"):
            c.show = wrong
    assert c.show == "both"


@pytest.mark.parametrize(("count", "expected"), [(2, "both"), (3, "samples")])
def test_default_rows(open_page: Callable[..., Page], count: int, expected: str) -> None:
    assert open_page(*[built(seed) for seed in range(count)]).widget.show == expected


def test_large_pictures_are_compressed_and_differences_never_lose(open_page: Callable[..., Page]) -> None:
    models = [with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(160 * 160, 5)), s) for s in (1, 2)]
    page = open_page(*models, input_shape=(1, 160, 160))
    page.widget.play()
    wait_until(lambda: page.of("frame"))
    page.widget.pause()
    page.settle()
    moving, still = page.of("frame")[0], page.of("frame")[-1]
    assert {p["encoding"] for p in moving["panes"]} == {"jpeg", "png"}
    assert {p["encoding"] for p in still["panes"]} == {"png"}
    assert all(p["encoding"] == "png" for p in moving["panes"] if p["name"].startswith("difference"))


# ---- setup -----------------------------------------------------------------------------------------------------------


def test_setup(open_page: Callable[..., Page]) -> None:
    page = open_page(built(1), built(2), class_names=NAMES, kernel=None)
    page.receive(kind="hello", view="a")
    page.settle()
    (setup,) = page.of("setup")
    c = page.widget
    assert setup["models"] == [{"name": "a", "note": ""}, {"name": "b", "note": ""}]
    assert set(setup["locks"]) == set(c.params) - {"steps_per_frame"}
    assert all(setup["locks"].values())
    assert (setup["show"], setup["scanning"]) == ("both", False)
    assert "discriminator" not in setup
    assert (setup["title"], setup["playing"], setup["layer"]) == ("a and b", False, "3")
    assert [n["name"] for n in setup["neurons"]] == NAMES
    assert setup["params"] == c.params
    assert setup["kernel"]["name"] == "BAOAB"
    assert c.sampler.scales is not None
    assert repr(c) == "Compare(a, b; layer 3, 5 neurons)"
    assert not page.of("changes")


def test_layers_that_differ_are_reported(open_page: Callable[..., Page]) -> None:
    other = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 9)))
    page = open_page(built(), other, neurons=[1])
    assert page.widget.layer == {"a": "3", "b": "1"}  # the last of each
    with pytest.raises(ValueError, match="model 'b': "):
        page.widget.layer = "2"
    page = open_page(built(), other, layer={"a": "3", "b": "1"}, neurons=[1])
    c = page.widget
    assert c.layer == {"a": "3", "b": "1"}
    page.receive(kind="hello", view="a")
    page.settle()
    assert [m["note"] for m in page.of("setup")[-1]["models"]] == ["3", "1"]
    c.layer = {"a": "1"}
    assert c.layer == "1"
    assert page.of("setup")[-1]["models"][0]["note"] == ""


def test_remarks_on_any_model_reach_the_panel(open_page: Callable[..., Page]) -> None:
    trained = with_fixed_weights(lambda: nn.Sequential(*network(), nn.Dropout())).train()
    with pytest.warns(ldam.LDAMWarning, match="training mode"):
        page = open_page(built(), trained)
    page.receive(kind="hello", view="a")
    page.settle()
    (note,) = page.of("setup")[-1]["notes"]
    assert note.startswith("b: model was in training mode")
    with pytest.warns(ldam.LDAMWarning, match="training mode"):
        both = open_page(trained, trained)
    both.receive(kind="hello", view="a")
    both.settle()
    assert both.of("setup")[-1]["notes"][0].startswith("model was in training mode")


def test_gauges_and_agreement_travel_with_frames(open_page: Callable[..., Page]) -> None:
    page = open_page(class_names=NAMES, neurons=["two", "four"], chains=2)
    c = page.widget
    c.step(10)
    page.settle()
    frame = page.of("frame")[-1]
    rows = frame["agreement"]
    a, b = (s.average_images.mean(1).flatten(1).numpy() for s in c.samplers.values())
    for n, (row, told) in enumerate(zip(rows, c.agreement(), strict=True)):
        assert (row["key"], row["label"], row["name"]) == (told.key, told.key, told.name)
        assert row["activations"] == list(told.activation)
        assert row["gap"] == pytest.approx(told.activation[1] - told.activation[0], abs=1e-5)
        assert row["correlation"] == pytest.approx(np.corrcoef(a[n], b[n])[0, 1], abs=1e-5)
        assert row["difference"] == pytest.approx(np.abs(a[n] - b[n]).mean(), rel=1e-5)
        assert row["difference"] == float(c.difference[n])
    assert [row["name"] for row in rows] == ["two", "four"]
    assert frame["temperature"]["asked"] == c.temperature
    assert "score" not in frame


# ---- one value for all, or one each ----------------------------------------------------------------------------------


def test_a_page_frees_and_locks(page: Page, c: Compare) -> None:
    c.step(3)
    page.settle()
    gen = page.gen
    images = c.sampler.images.clone()
    page.receive(kind="lock", name="step_size", locked=False)
    page.settle()
    setup = page.of("setup")[-1]
    assert setup["gen"] == gen  # the picture stays
    assert torch.equal(c.sampler.images, images)
    assert setup["locks"]["step_size"] is False
    names = [p["name"] for p in setup["parameters"]]
    assert names[:3] == ["step_size@0", "step_size@1", "temperature"]
    assert "step_size" not in {*names, *setup["params"], *c.params}
    assert [(p["of"], p["model"], p["label"]) for p in setup["parameters"][:2]] == [
        ("step_size", 0, "step size, a"), ("step_size", 1, "step size, b"),
    ]  # fmt: skip
    assert not {"of", "model"} & set(setup["parameters"][2])

    page.receive(kind="set", view="a", rev=4, params={"step_size@1": 0.5, "step_size@7": 1})
    state = page.of("state")[-1]
    assert (state["view"], state["rev"], state["params"]["step_size@1"]) == ("a", 4, 0.5)
    assert "step_size" not in state["params"]
    assert [s.kernel.step_size for s in c.samplers.values()] == [0.3, 0.5]
    assert getattr(c, "step_size@1") == 0.5

    page.receive(kind="lock", name="step_size", locked=True)
    page.settle()
    setup = page.of("setup")[-1]
    assert setup["locks"]["step_size"] is True
    assert [p["name"] for p in setup["parameters"]][:2] == ["step_size", "temperature"]
    assert setup["params"]["step_size"] == c.step_size == 0.3
    assert not page.of("error")
    with pytest.raises(AttributeError, match="unknown parameter 'step_size@1'"):
        setattr(c, "step_size@1", 0.2)


def test_python_frees_sets_and_locks(page: Page, c: Compare) -> None:
    c.free("temperature")
    assert c.freed == {"temperature"}
    setattr(c, "temperature@1", 3)
    c.set(**{"temperature@0": 2, "l2": 0.5})
    assert [s.params["temperature"] for s in c.samplers.values()] == [2, 3]
    c.set_for("b", l2=4, step_size=0.1)
    assert c.freed == {"temperature", "l2", "step_size"}
    assert (c.params["l2@0"], c.params["l2@1"], c.params["step_size@1"]) == (0.5, 4, 0.1)
    c.lock("l2")
    assert (c.l2, c.params["l2"]) == (0.5, 0.5)
    for name in ("steps_per_frame", "nothing", "l2@0"):
        for act in (c.free, c.lock):
            with pytest.raises(ValueError, match="cannot be"):
                act(name)
    with pytest.raises(ValueError, match="unknown model 'z'"):
        c.set_for("z", l2=1)
    before = c.params
    with pytest.raises(ValueError, match="step_size@1 must be"):
        c.set(**{"l2": 9, "step_size@1": 1e9})
    assert c.params == before
    c.step(3)


def test_a_plain_name_sets_all_models_and_the_page_is_told(page: Page, c: Compare) -> None:
    """Also when its last value was the same: what has other names has changed."""
    c.step_size = 0.3
    c.free("step_size")
    for value in (0.3, 0.3, 0.2, 0.2):
        setattr(c, "step_size@1", 0.7)
        assert page.of("state")[-1]["params"]["step_size@1"] == 0.7
        c.step_size = value
        assert [s.kernel.step_size for s in c.samplers.values()] == [value, value]
        told = page.of("state")[-1]["params"]
        assert (told["step_size@0"], told["step_size@1"]) == (value, value)
        assert (c.step_size, getattr(c, "step_size@1")) == (value, value)
    c.set(step_size=0.4)
    assert c.params["step_size@1"] == page.of("state")[-1]["params"]["step_size@1"] == 0.4
    seen: list[float] = []
    c.observe(lambda change: seen.append(change.new), names="step_size@0")
    setattr(c, "step_size@0", 0.6)
    assert seen == [0.6]


def test_a_freed_goal_reads_as_it_was_asked_for(open_page: Callable[..., Page]) -> None:
    c = open_page(dataset=torch.rand(64, 1, 8, 8), scale="frozen").widget
    c.goal = "p50"
    c.free("goal")
    assert c.goal == "p50"
    c.temperature = 1.0  # which takes the goal back
    assert c.goal is None


def test_another_kernel_when_freed(page: Page, c: Compare) -> None:
    c.set_for("b", friction=3, step_size=0.1)
    page.receive(kind="select", kernel="Algorithm 1")
    page.settle()
    assert c.kernel.name == "Algorithm 1"
    assert c.freed == {"step_size"}
    assert "friction@1" not in page.of("setup")[-1]["params"]
    assert not page.of("error")
    c.step(2)
    with pytest.raises(AttributeError, match="unknown parameter 'friction@1'"):
        _ = getattr(c, "friction@1")


def test_contrast_of_one_model_is_seen_while_paused(open_page: Callable[..., Page]) -> None:
    page = open_page(pixel_range=(0, 1), show="samples")
    c = page.widget

    def shown() -> list[int]:
        """The level of each model's sample, where it is one."""
        page.settle()
        panes = page.frames()[-1][1]
        return [int(pane.max()) if np.ptp(pane) == 0 else -1 for name, pane in panes.items() if name[:6] == "sample"]

    c.set_for("b", display_scale=0)  # 127.5 is rounded
    assert shown() == [-1, 128]
    c.free("display_base")
    page.receive(kind="set", view="a", rev=1, params={"display_base@1": 40})
    assert shown() == [-1, 40]
    c.display_scale = 0
    assert shown() == [128, 40]
    c.display_base = 50
    assert shown() == [50, 50]
    setattr(c, "display_scale@0", 1)
    assert shown() == [-1, 50]
    page.receive(kind="lock", name="display_scale", locked=True)
    assert shown() == [-1, -1]


HOSTILE: list[dict[str, Any]] = [
    {},
    {"kind": None},
    {"kind": "lock"},
    {"kind": "lock", "name": "step_size"},
    {"kind": "lock", "name": "step_size", "locked": "yes"},
    {"kind": "lock", "name": "step_size", "locked": 1},
    {"kind": "lock", "name": None, "locked": True},
    {"kind": "lock", "name": ["step_size"], "locked": True},
    {"kind": "lock", "name": "nothing", "locked": False},
    {"kind": "lock", "name": "steps_per_frame", "locked": False},
    {"kind": "lock", "name": "__class__", "locked": False},
    {"kind": "lock", "name": "x" * 10**6, "locked": True},
    {"kind": "show"},
    {"kind": "show", "what": None},
    {"kind": "show", "what": {"samples": 1}},
    {"kind": "show", "what": "samples\x00"},
    {"kind": "scrub", "index": 3},
    {"kind": "scrub", "index": float("nan")},
    {"kind": "do", "what": "follow"},
    {"kind": "do", "what": "train"},
    {"kind": "do", "what": "_rank"},
    {"kind": "do", "what": ["scan"]},
    {"kind": "do", "what": "stop_scan"},
    {"kind": "set", "view": "a", "rev": 1, "params": {"step_size@1": 0.5}},
    {"kind": "set", "view": "a", "rev": 1, "params": {"step_size@": 0.5, "@": 1, "@1": 2, "l2@1": 1, "_gen": 7}},
    {"kind": "set", "view": "a", "rev": 1, "params": {"l2": {"a": 1}}},
    {"kind": "set", "view": "a", "rev": 1, "params": {"l2": "1e9"}},
    {"kind": "set", "view": "a", "rev": 1, "params": {"show": "samples", "neurons": [1], "layer": "1"}},
    {"kind": "set", "view": "a", "rev": 1, "params": [["l2", 1]]},
    {"kind": "select", "layer": {"a": "1"}},
    {"kind": "select", "layer": "nowhere"},
    {"kind": "select", "neurons": ["99"]},
    {"kind": "select", "neurons": "0"},
    {"kind": "select", "wired_to": 10**9},
    {"kind": "select", "kernel": "of tomorrow"},
    {"kind": "units", "layer": "1", "query": "x" * 10**6, "offset": -5, "limit": 10**12},
]


def test_hostile_messages_change_nothing(page: Page, c: Compare) -> None:
    c.step(4)
    before = (c.params, c.freed, c.neurons, c.layer, c.show, c.kernel, c.sampler.images.clone())
    for content in HOSTILE:
        page.receive(**content)
    for content in ("lock", None, 3, ["kind", "lock"]):
        page.deliver(content)
    page.settle()
    after = (c.params, c.freed, c.neurons, c.layer, c.show, c.kernel, c.sampler.images.clone())
    assert after[:-1] == before[:-1]
    assert torch.equal(after[-1], before[-1])
    assert all(len(e["error"]["message"]) <= 2000 for e in page.of("error"))
    c.step(2)
    assert c.sampler.steps == 6
    assert not c.is_ranking


# ---- neurons ---------------------------------------------------------------------------------------------------------


def test_other_neurons_and_layers(page: Page, c: Compare) -> None:
    c.step(2)
    c.neurons = [3, "1"]
    assert (c.neurons, c.sampler.steps) == ([3, 1], 2)
    assert page.of("frame")[-1]["panes"][0]["shape"] == [1, 2, 8, 8, 1]
    page.receive(kind="select", neurons=["4", "3"])
    page.settle()
    assert [[n.key for n in s.neurons] for s in c.samplers.values()] == [["4", "3"]] * 2
    c.layer = "1"
    assert (c.layer, c.neurons) == ("1", [0, 1, 2, 3, 4, 5])
    assert page.of("setup")[-1]["gen"] == page.of("frame")[-1]["gen"]


def test_a_choice_that_fails_for_the_second_model(open_page: Callable[..., Page]) -> None:
    models = (built(units=9), built(2, units=5))
    page, undisturbed = open_page(*models, neurons=[0, 1]), open_page(*models, neurons=[0, 1])
    for each in (page, undisturbed):
        each.widget.step(5)
    said = len(page.sent)
    with pytest.raises(ValueError, match="model 'b': neuron 7 is out of range"):
        page.widget.neurons = [0, 7]
    page.settle()
    assert not [s for s, _ in page.sent[said:] if s["kind"] == "setup"]
    page.receive(kind="select", neurons=["0", "7"])
    page.settle()
    assert "model 'b': neuron 7" in page.of("error")[-1]["error"]["message"]
    assert page.widget.neurons == [0, 1]
    for each in (page, undisturbed):
        each.widget.step(6)
    for ours, theirs in zip(page.widget.samplers.values(), undisturbed.widget.samplers.values(), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.average_images, theirs.average_images)


# ---- the ranking of a layer ------------------------------------------------------------------------------------------


def planted(row: int, units: int = 21) -> tuple[nn.Module, nn.Module]:
    """The same network twice, but for one output."""
    one = built(units=units)
    other = copy.deepcopy(one)
    with torch.no_grad():
        other[3].weight[row].neg_()
    return one, other


def test_a_page_ranks_the_layer(open_page: Callable[..., Page]) -> None:
    page = open_page(*planted(18))
    c = page.widget
    c.step(2)
    page.receive(kind="do", what="scan")
    wait_until(lambda: page.of("changes") and not page.of("changes")[-1]["running"], 60)
    page.settle()
    told = page.of("changes")
    assert [(m["done"], m["total"], m["running"]) for m in told] == [(0, 21, True), (16, 21, True), (21, 21, False)]
    assert all((m["layer"], m["error"]) == ("3", "") for m in told)
    rows = told[-1]["rows"]
    assert rows[0]["key"] == "18"
    known = {"key", "label", "name", "difference", "change", "error", "noise", "correlation", "gap", "activations"}
    assert known == set(rows[0])
    assert rows[0]["change"] > rows[0]["noise"]
    assert rows[0]["difference"] > 0
    assert [row["difference"] for row in rows[1:]] == [0] * 20
    assert [row.key for row in c.ranking] == [row["key"] for row in rows]
    scanning = [s["scanning"] for s in page.of("state")]
    assert (scanning[0], scanning[-1]) == (True, False)
    assert c.sampler.steps == 2  # the pictures stand still meanwhile
    said = len(page.sent)
    page.receive(kind="hello", view="b")  # another view sees the list
    page.settle()
    assert "changes" in {content["kind"] for content, _ in page.sent[said:]}
    page.receive(kind="select", neurons=[rows[0]["key"], "0"])
    page.settle()
    assert c.neurons == [18, 0]


def test_python_ranks_the_layer(open_page: Callable[..., Page]) -> None:
    page = open_page(*planted(5))
    c = page.widget
    assert c.ranking == []
    c.play()
    found = c.most_changed(steps=10)
    assert (found[0].key, len(found)) == ("5", 21)
    assert found[0].difference > 0
    assert {row.difference for row in found[1:]} == {0.0}
    assert [row.within_noise for row in found] == [False] + [True] * 20
    assert c.ranking == found
    c.rank_layer()
    wait_until(lambda: not c.is_ranking, 60)
    assert c.ranking[0].key == "5"
    assert c.playing
    c.pause()


def test_python_ranks_while_the_page_does(open_page: Callable[..., Page]) -> None:
    """The page's ranking is stopped; the two must not share one."""
    page, quiet = open_page(*planted(5)), open_page(*planted(5))
    page.receive(kind="do", what="scan")
    found = page.widget.most_changed(steps=10)
    assert found == quiet.widget.most_changed(steps=10)
    assert page.widget.ranking == found
    assert not page.widget.is_ranking
    assert not page.of("changes")[-1]["running"]
    assert not page.of("error")


def test_an_interrupted_ranking_keeps_what_it_has(
    open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    c, work = open_page(*planted(5)).widget, Ranking.work

    def interrupted(ranking: Ranking) -> bool:
        if ranking.done:
            raise KeyboardInterrupt
        return work(ranking)

    monkeypatch.setattr(Ranking, "work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        c.most_changed(steps=4, chains=5, seeds=1)
    assert (len(c.ranking), c.ranking[0].key, c.is_ranking) == (16, "5", False)


def test_a_ranking_is_left_alone_by_what_the_user_does(open_page: Callable[..., Page]) -> None:
    page = open_page(*planted(18))
    quiet = open_page(*planted(18))
    for p in (page, quiet):
        p.receive(kind="do", what="scan")
        p.settle()
    page.receive(kind="select", layer="1")
    page.receive(kind="set", view="a", rev=1, params={"step_size": 0.05, "temperature": 7})
    page.receive(kind="select", kernel="ULA")
    for p in (page, quiet):
        wait_until(lambda p=p: p.of("changes") and not p.of("changes")[-1]["running"], 60)
    assert not page.of("error")
    assert page.widget.layer == "1"
    assert page.of("changes")[-1]["layer"] == "3"
    assert page.widget.ranking == quiet.widget.ranking


def test_a_second_press_leaves_a_ranking_alone(open_page: Callable[..., Page]) -> None:
    page = open_page(*planted(5, units=200))
    c = page.widget
    page.receive(kind="do", what="scan")
    wait_until(lambda: c.ranking, 60)
    first = {row.key for row in c.ranking}
    page.receive(kind="do", what="scan")
    page.settle()
    assert c.is_ranking
    assert first <= {row.key for row in c.ranking}
    c.stop_ranking()


def test_a_ranking_is_stopped(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(*planted(5, units=200))
    c = page.widget
    page.receive(kind="do", what="scan")
    wait_until(lambda: c.ranking, 60)
    page.receive(kind="do", what="stop_scan")
    page.settle()
    done = len(c.ranking)
    assert 0 < done < 200
    last = page.of("changes")[-1]
    assert (last["done"], last["total"], last["running"]) == (done, 200, False)
    assert not page.of("state")[-1]["scanning"]
    c.step(2)
    assert len(c.ranking) == done
    c.rank_layer()
    assert c.is_ranking
    c.stop_ranking()
    assert not c.is_ranking
    c.stop_ranking()


def test_a_fault_in_the_ranking_stops_the_ranking_alone(open_page: Callable[..., Page]) -> None:
    page = open_page(built(units=21), built(2, units=17), neurons=[0, 1])  # has no neuron 17
    c = page.widget
    c.play()
    page.receive(kind="do", what="scan")
    wait_until(lambda: c.error, 60)
    page.settle()
    assert "model 'b': neuron 17 is out of range" in page.of("error")[-1]["error"]["message"]
    assert not c.is_ranking
    assert not page.of("changes")[-1]["running"]
    assert page.of("changes")[-1]["done"] == 16
    assert c.playing
    steps = c.sampler.steps
    c.loop.pacer.wake(time.monotonic())
    wait_until(lambda: c.sampler.steps > steps)
    page.receive(kind="do", what="dismiss_error")
    assert c.error is None
    c.pause()


def test_closed_in_the_middle_of_a_ranking(open_page: Callable[..., Page]) -> None:
    page = open_page(*planted(5, units=200))
    page.widget.play()
    page.receive(kind="do", what="scan")
    wait_until(lambda: page.widget.ranking, 60)
    page.widget.close()
    assert not loop_threads()
    said = len(page.sent)
    page.receive(kind="do", what="scan")
    assert len(page.sent) == said
    for use in (page.widget.rank_layer, page.widget.stop_ranking, page.widget.most_changed):
        with pytest.raises(RuntimeError, match="closed"):
            use()


@pytest.mark.parametrize("fails", [False, True])
def test_closed_while_a_unit_of_the_ranking_takes_long(
    open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """No traceback from the thread (an unhandled one fails the test), and nothing is said any more."""

    def work(self: Ranking) -> bool:
        inside.set()
        go.wait(10)
        self.total = 0  # that was the last unit
        if fails:
            raise RuntimeError("boom")
        return True

    monkeypatch.setattr(Ranking, "work", work)
    inside, go = threading.Event(), threading.Event()
    page = open_page()
    page.receive(kind="do", what="scan")
    assert inside.wait(10)
    threads = loop_threads()
    page.widget.close()
    said = len(page.sent)
    go.set()
    for thread in threads:
        thread.join()
    assert len(page.sent) == said


# ---- pictures to keep ------------------------------------------------------------------------------------------------


def holds(page: Image.Image, tile: npt.NDArray[Any], factor: int) -> bool:
    """Does the page hold the tile (H, W, 3), every pixel of it `factor` pixels wide and high?"""
    picture = np.asarray(page.convert("RGB")).astype(int)
    big = tile.astype(int).repeat(factor, 0).repeat(factor, 1)
    height, width = big.shape[:2]
    corners = np.argwhere((picture == big[0, 0]).all(2))
    return any(np.array_equal(picture[y : y + height, x : x + width], big) for y, x in corners)


@pytest.fixture
def bounded(open_page: Callable[..., Page]) -> Compare:
    w: Compare = open_page(pixel_range=(0, 1), neurons=[0, 3], chains=2, class_names=NAMES).widget
    w.step(20)
    return w


def grey(image: Tensor) -> npt.NDArray[Any]:
    return np.floor(image.numpy() * 255 + 0.5).clip(0, 255).astype(np.uint8)[..., None].repeat(3, -1)


def test_snapshot(bounded: Compare, tmp_path: Path) -> None:
    bounded.save(tmp_path / "x.png")
    saved = Image.open(tmp_path / "x.png")
    assert np.array_equal(np.asarray(saved), np.asarray(bounded.snapshot()))
    for sampler in bounded.samplers.values():
        for neuron in range(2):
            assert holds(saved, grey(sampler.images[neuron, 0, 0]), 10)
            assert holds(saved, grey(sampler.average_images.mean(1)[neuron, 0]), 10)
    levels, _ = images.signed_levels(bounded.comparison.difference_images[0, :, 0].numpy()[..., None])
    for tile in images.signed_colours(levels):
        assert holds(saved, tile, 10)
    bounded.show = "samples"
    assert bounded.snapshot().height < saved.height


def test_a_snapshot_while_it_plays_is_of_one_moment(open_page: Callable[..., Page]) -> None:
    model = built()
    page = open_page(model, model, pixel_range=(0.0, 1.0))
    page.widget.play()
    for _ in range(10):
        rgb = np.asarray(page.widget.snapshot()).astype(int)
        assert abs(rgb[..., 0] - rgb[..., 2]).max() == 0  # white where nothing differs
    page.widget.pause()


def test_record(bounded: Compare, tmp_path: Path) -> None:
    bounded.record(0.5, tmp_path / "x.gif")
    gif = Image.open(tmp_path / "x.gif")
    assert gif.n_frames == 6
    assert bounded.sampler.steps == 20 + 6 * 2


def test_figure_and_downloads(open_page: Callable[..., Page]) -> None:
    page = open_page(title="before and after")
    page.widget.step(5)
    figure = page.widget.figure()
    assert figure.get_suptitle() == "before and after"
    assert len(figure.axes) == 3 * 5 + 1
    page.receive(kind="do", what="snapshot")
    page.receive(kind="do", what="record")
    page.settle()
    page.widget.step(2)
    page.receive(kind="do", what="stop_record")
    page.settle()
    downloads = [(content, buffers) for content, buffers in page.sent if content["kind"] == "download"]
    assert [content["filename"] for content, _ in downloads] == [
        "before-and-after-3-step-5.png", "before-and-after-3-step-7.gif"
    ]  # fmt: skip
    assert downloads[0][1][0].startswith(b"\x89PNG")
    assert downloads[1][1][0].startswith(b"GIF")


@pytest.mark.parametrize("shape", [(3, 8, 8), (16,), (6, 5)], ids=str)
def test_pictures_of_any_shape(open_page: Callable[..., Page], shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    models = [with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, 3)), seed) for seed in (1, 2)]
    page = open_page(*models, input_shape=shape)
    page.widget.step(4)
    page.settle()
    _, panes = page.frames()[-1]
    assert panes["difference:1"].shape == (*panes["sample:0"].shape[:-1], 1)
    assert panes["sample:0"].shape[-1] == (3 if len(shape) == 3 else 1)
    page.widget.snapshot()
    page.widget.figure()


# ---- the beginning and the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "options", "says"),
    [
        ({"a": built()}, {}, "two to 6"),
        ({str(i): built() for i in range(7)}, {}, "two to 6"),
        ([built(), built()], {}, "models must be a dict"),
        ({"": built(), "b": built()}, {}, "not empty"),
        ({"a": built(), "b": built()}, {"show": "x"}, "show must be one of 'samples', 'averages', 'both'; got 'x'"),
        ({"a": built(), "b": built()}, {"layer": {"c": "1"}}, "layer names 'c'"),
        ({"a": built(), "b": built()}, {"layer": {"b": "9"}}, "model 'b': unknown layer '9'"),
        ({"a": built(), "b": built()}, {"input_shape": (1, 8)}, "model 'a'"),
        ({"a": built(), "b": built()}, {"pixel_range": (1, 0)}, "pixel_range"),
        ({"a": built(), "b": built()}, {"shape": 3}, "model 'a': .*shape"),
    ],
)
def test_what_cannot_be_compared(models: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        Compare(models, **{"input_shape": (1, 8, 8), **options})


def test_input_shape_is_asked_for() -> None:
    with pytest.raises(TypeError, match="input_shape"):
        Compare({"a": built(), "b": built()})  # type: ignore[call-arg]


def test_compare_and_checkpoints(tmp_path: Path) -> None:
    short = ldam.compare({"a": built(1), "b": built(2)}, input_shape=(1, 8, 8), play=False)
    assert isinstance(short, Compare)
    files = []
    for epoch in (1, 2):
        (tmp_path / str(epoch)).mkdir()
        files.append(tmp_path / str(epoch) / "model.pt")
        torch.save(built(epoch).state_dict(), files[-1])
    stored = ldam.compare_checkpoints(network, *files, input_shape=(1, 8, 8), play=False)
    assert list(stored.samplers) == ["1/model", "2/model"]
    for w in (short, stored):
        w.neurons = [0, 3]
        w.kernel = BAOAB(0.1)
        w.temperature = 0.1
        w.step(3)
    for a, b in zip(short.samplers.values(), stored.samplers.values(), strict=True):
        assert torch.equal(a.images, b.images)
        short.close()
        stored.close()
    with pytest.raises(ValueError, match="at least two files"):
        ldam.compare_checkpoints(network, files[0], input_shape=(1, 8, 8))
    with pytest.raises(ValueError, match="given twice"):
        ldam.compare_checkpoints(network, files[0], files[0], input_shape=(1, 8, 8))
    assert side_by_side._short_names([Path("a/x.pt"), Path("a/y.pt")]) == ["x", "y"]
    assert side_by_side._short_names([Path("a/x.pt"), Path("a/x.bin")]) == ["a/x.pt", "a/x.bin"]


def test_plays_when_shown_and_rests_when_paused(open_page: Callable[..., Page]) -> None:
    page = open_page(play=True)
    assert page.widget.playing
    page.widget._repr_mimebundle_()
    wait_until(lambda: page.of("frame"))
    page.widget.pause()
    page.settle()
    assert page.of("frame")[-1]["steps"] == page.widget.sampler.steps
    assert len({s.steps for s in page.widget.samplers.values()}) == 1


FUSE: list[bool] = []


class Fused(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (float("nan") if FUSE else 1.0)


def test_a_model_that_fails_while_it_plays(open_page: Callable[..., Page]) -> None:
    page = open_page(built(), nn.Sequential(Fused(), *built(2)))
    c = page.widget
    c.play()
    wait_until(lambda: c.sampler.steps > 4)
    FUSE.append(True)
    try:
        wait_until(lambda: c.error)
    finally:
        FUSE.clear()
    assert c.error is not None
    assert c.error.startswith("model 'b': the activation of neuron")
    assert not c.playing
    c.step(3)
    assert len({s.steps for s in c.samplers.values()}) == 1
    c.play()
    assert c.error is None
    c.pause()


@pytest.mark.parametrize("ranked", [False, True, None], ids=["no ranking", "ranked", "ranking"])
def test_close_frees_everything(open_page: Callable[..., Page], ranked: bool | None) -> None:
    page = open_page(*planted(2, units=5 if ranked else 100))
    c = page.widget
    c.play()
    c.set_for("b", l2=1)
    page.receive(kind="do", what="record")
    if ranked is not False:
        page.receive(kind="do", what="scan")
        wait_until(lambda: c.ranking and (ranked is None or not c.is_ranking))
    wait_until(lambda: len(page.of("frame")) >= 2)
    gone = [weakref.ref(thing) for s in c.samplers.values() for thing in (s, s.view)]
    gone += [weakref.ref(c.comparison)] + [weakref.ref(model) for model in page.models.values()]
    if c._changes._ranking is not None:
        gone += [weakref.ref(c._changes._ranking), weakref.ref(c._changes._ranking._running)]
    c.close()
    assert not loop_threads()
    page.models.clear()
    gc.collect()
    assert not [r() for r in gone if r() is not None]  # though ipywidgets holds the widget itself
    c.close()
    assert repr(c) == "Compare(closed)"
    assert c.ranking == []
    for use in (lambda: c.sampler, lambda: c.freed, c.agreement, c.snapshot, c.figure, lambda: setattr(c, "l2", 1),
                lambda: c.free("l2"), lambda: setattr(c, "neurons", [1])):  # fmt: skip
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_models_come_back_untouched(open_page: Callable[..., Page]) -> None:
    models = [built(seed).train() for seed in (1, 2)]
    models[0][1].weight.requires_grad_(False)
    page = open_page(*models)
    page.widget.play()
    wait_until(lambda: page.widget.sampler.steps > 10)
    page.widget.most_changed(4)
    page.widget.close()
    for model, seed in zip(models, (1, 2), strict=True):
        assert all(module.training for module in model.modules())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        for ours, theirs in zip(model.parameters(), built(seed).parameters(), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.grad is None
    assert [p.requires_grad for model in models for p in model.parameters()] == [False] + [True] * 7
