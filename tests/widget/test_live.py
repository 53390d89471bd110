"""`LDAM` without a kernel: messages come in as the comm delivers them, and go out into a list."""

from __future__ import annotations

import gc
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import numpy.typing as npt
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

from ldam_widget import L2, LDAM, PolynomialDecay, SamplingError
from ldam_widget.core.parameters import Parameter
from ldam_widget.kernels import BAOAB, GHMC, MALA, Algorithm1
from ldam_widget.sampling.defaults import default_temperature
from ldam_widget.widget.parts import verdicts

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until
from .page import FakePage

Pixels = npt.NDArray[Any]


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 5))


class Page(FakePage):
    """The page of an `LDAM` of a small network."""

    def __init__(self, **options: Any) -> None:
        self.model = options.pop("model", None) or with_fixed_weights(network)
        super().__init__(
            LDAM(self.model, **{"input_shape": (1, 8, 8), "play": False, "kernel": Algorithm1()} | options)
        )


@pytest.fixture
def open_page(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(**options: Any) -> Page:
        pages.append(Page(**options))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()
    # ipywidgets swallows what a message handler raises, and logs it
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


@pytest.fixture
def w(page: Page) -> LDAM:
    return page.widget


# ---- parameters ----------------------------------------------------------------------------------------------------


def test_an_attribute_reaches_sampler_and_page(page: Page, w: LDAM) -> None:
    w.l2 = 0.5
    assert w.l2 == w.params["l2"] == w.sampler.params["l2"] == 0.5
    assert [state["params"]["l2"] for state in page.of("state")] == [0.5]
    w.display_scale = 2
    assert w.sampler.frame().params["display_scale"] == 2


def test_a_slider_reaches_attribute_and_sampler(page: Page, w: LDAM) -> None:
    page.receive(kind="set", view="a", rev=3, params={"temperature": 2, "noise": 0.5, "of a later version": 1})
    assert (w.temperature, w.noise) == (2, 0.5)
    assert w.sampler.kernel.noise == 0.5
    (state,) = page.of("state")  # one answer for all
    assert (state["view"], state["rev"], state["params"]["temperature"]) == ("a", 3, 2)
    assert not page.of("error")


def test_a_parameter_is_linked_to_a_slider_of_the_users(page: Page, w: LDAM) -> None:
    slider = ipywidgets.FloatSlider(min=0, max=10)
    link = traitlets.link((w, "l2"), (slider, "value"))
    w.l2 = 1
    assert slider.value == 1
    slider.value = 2
    assert w.sampler.params["l2"] == w.l2 == 2
    page.receive(kind="set", view="a", rev=1, params={"l2": 3})
    assert slider.value == 3
    link.unlink()
    slider.value = 4
    assert w.l2 == 3


def test_what_an_editor_sees(w: LDAM) -> None:
    assert type(w) is LDAM
    assert {"step_size", "temperature", "l2", "display_base"} <= set(dir(w))
    assert {"temperature", "l2"} <= set(w.trait_names())
    assert "T" in w.traits()["temperature"].help


def test_observers_can_be_told_at_the_end(page: Page, w: LDAM) -> None:
    told: list[tuple[str, Any]] = []
    w.observe(lambda change: told.append((change.name, change.new)), ["l2", "steps_per_frame"])
    with w.hold_trait_notifications():
        w.l2, w.steps_per_frame = 0.5, 3
        w.l2 = 0.25
        assert (w.l2, told) == (0.25, [])
    assert told == [("l2", 0.25), ("steps_per_frame", 3)]
    assert page.of("state")[-1]["params"]["l2"] == 0.25
    assert w.has_trait("l2")
    assert not w.has_trait("friction")
    w.set_trait("l2", 2.0)
    assert w.sampler.params["l2"] == 2.0
    with pytest.raises(traitlets.TraitError, match="friction"):
        w.set_trait("friction", 1.0)


def test_both_directions_can_be_observed(page: Page, w: LDAM) -> None:
    seen: list[tuple[float, float]] = []
    w.observe(lambda change: seen.append((change.old, change.new)), names="l2")
    w.l2 = 1
    page.receive(kind="set", view="a", rev=1, params={"l2": 2})
    page.receive(kind="set", view="a", rev=2, params={"l2": 2})
    assert seen == [(0, 1), (1, 2)]


@pytest.mark.parametrize(("name", "hint"), [("stepsize", "step_size"), ("neuron", "neurons"), ("xyz", "")])
def test_unknown_attributes(page: Page, w: LDAM, name: str, hint: str) -> None:
    for error in (AttributeError, ValueError):
        with pytest.raises(error, match=rf"unknown parameter '{name}'.*{hint}.*known are:.*step_size.*display_base"):
            setattr(w, name, 1)
    with pytest.raises(ValueError, match="unknown parameter"):
        w.set(l2=1, **{name: 1})
    assert w.l2 == 0
    assert not hasattr(w, name)
    assert not page.sent


@pytest.mark.parametrize("value", [-1, 1e9, float("nan"), float("inf"), "0.1", None, True, [1], np.ones(2)])
def test_out_of_range_leaves_everything_as_before(page: Page, w: LDAM, value: Any) -> None:
    before, kernel = w.params, w.sampler.kernel
    with pytest.raises((ValueError, TypeError), match=r"step_size must be .*between 0.0001 and 1000"):
        w.step_size = value
    with pytest.raises((ValueError, TypeError), match="step_size"):
        w.set(l2=1, step_size=value)
    assert w.params == w.sampler.params == before
    assert w.step_size == before["step_size"]
    assert w.sampler.kernel is kernel
    assert not page.sent

    page.receive(kind="set", view="a", rev=1, params={"step_size": value, "l2": 1})  # of a page: a banner, and the rest
    assert page.of("error")[0]["error"]["message"].removeprefix("TypeError: ").startswith("step_size must be")
    assert w.params == before | {"l2": 1}
    w.l2 = 2
    assert page.of("state")[-1]["params"] == before | {"l2": 2}


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["positive", "negative"])
def test_integers_too_long_for_a_float(page: Page, w: LDAM, value: int) -> None:
    page.receive(kind="set", view="a", rev=1, params={"step_size": value})
    assert page.of("error")
    w.l2 = 1
    assert page.of("state")[-1]["params"]["l2"] == 1


def test_a_decaying_step_size(page: Page, w: LDAM) -> None:
    w.step_size = decay = PolynomialDecay(0.1, b=1, mu=0.5)
    assert w.step_size == 0.1
    w.step(8)
    assert w.params["step_size"] == pytest.approx(0.1 / 3)
    w.set(l2=1)  # others leave it alone
    assert w.sampler.kernel.step_size == decay
    w.step_size = w.step_size  # a number that the attribute already has still ends the decay
    assert w.sampler.kernel.step_size == w.params["step_size"]
    assert isinstance(w.sampler.kernel.step_size, float)


def test_sliders_and_attributes_at_once(page: Page, w: LDAM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads set different parameters: none of them may be lost."""

    def slow_replace(kernel: Any, **changes: Any) -> Any:
        time.sleep(0.001)
        return replace(kernel, **changes)

    monkeypatch.setattr("ldam_widget.sampling.sampler.replace", slow_replace)
    values = [0.01 * (i % 7 + 1) for i in range(60)]

    def slide() -> None:
        for i, value in enumerate(values):
            page.receive(kind="set", view="a", rev=i, params={"noise": value})

    thread = threading.Thread(target=slide)
    thread.start()
    for value in values:
        w.step_size = value
        time.sleep(0.002)
        assert w.sampler.kernel.step_size == value
    thread.join()
    assert w.noise == w.sampler.kernel.noise == values[-1]


# ---- neurons -------------------------------------------------------------------------------------------------------


def test_other_neurons_and_layers(page: Page, w: LDAM) -> None:
    w.step(2)
    w.neurons = [3, "1"]
    assert w.neurons == [3, 1]
    assert w.sampler.steps == 2, "both were there, and go on"
    (setup,) = page.of("setup")
    frame = page.of("frame")[-1]
    assert setup["gen"] == frame["gen"] > 0
    assert frame["panes"][0]["shape"] == [1, 2, 8, 8, 1]
    w.layer = "1"
    assert (w.layer, w.neurons) == ("1", [0, 1, 2, 3, 4, 5])
    assert page.of("setup")[-1]["layer"] == "1"
    assert page.of("setup")[-1]["gen"] > setup["gen"]


@pytest.mark.parametrize("change", [{"neurons": [0, 99]}, {"neurons": []}, {"neurons": ["nobody"]}, {"layer": "fc9"}])
def test_neurons_that_are_not_there(page: Page, w: LDAM, change: dict[str, Any]) -> None:
    w.step(2)
    page.settle()
    before = w.sampler.images.clone()
    said = len(page.sent)
    with pytest.raises(ValueError, match=r"neuron|layer"):
        setattr(w, *next(iter(change.items())))
    assert len(page.sent) == said
    page.receive(kind="select", **{k: [str(n) for n in v] if k == "neurons" else v for k, v in change.items()})
    page.settle()
    assert page.of("error")[-1]["error"]["message"]
    assert w.neurons == [0, 1, 2, 3, 4]
    assert torch.equal(w.sampler.images, before)
    w.step(2)


def test_of_choices_in_quick_succession_the_newest_counts(page: Page, w: LDAM) -> None:
    """A user who removes neurons one by one need not wait for every one of them."""
    w.step(2)
    page.settle()
    gen, busy = page.gen, threading.Event()
    w.loop.submit(lambda: busy.wait(10))
    for left in (4, 3, 2):
        page.receive(kind="select", layer=None, neurons=[str(n) for n in range(left)])
    page.receive(kind="select", layer=None, neurons=None)  # chooses nothing
    page.receive(kind="select", layer=None, neurons=["1", "3"])
    busy.set()
    page.settle()
    assert w.neurons == [1, 3]
    assert [setup["gen"] for setup in page.of("setup")] == [gen + 1]
    # another layer is never passed over: what comes after it may be meant for it
    busy.clear()
    w.loop.submit(lambda: busy.wait(10))
    page.receive(kind="select", layer="1", neurons=None)
    page.receive(kind="select", layer=None, neurons=["2"])
    busy.set()
    page.settle()
    assert (w.layer, w.neurons) == ("1", [2])


# ---- running -------------------------------------------------------------------------------------------------------


def test_step_pause_restart(page: Page, w: LDAM) -> None:
    w.step(5)
    assert w.sampler.steps == 5
    first = w.sampler.images.clone()
    w.restart()
    assert w.sampler.steps == 0
    w.step(5)
    assert torch.equal(w.sampler.images, first)
    w.restart(seed=7)
    w.step(5)
    assert not torch.equal(w.sampler.images, first)
    page.receive(kind="do", what="step")
    page.settle()
    assert w.sampler.steps == 7
    assert page.of("frame")[-1]["steps"] == 7
    page.receive(kind="do", what="restart")
    page.settle()
    assert w.sampler.steps == 0


def test_a_pause_sends_one_picture(page: Page, w: LDAM) -> None:
    w.play()
    wait_until(lambda: page.of("frame"))
    w.loop.call(page.sent.clear)  # what was made before
    w.pause()
    page.settle()
    still = [frame for frame in page.of("frame") if frame["steps"] == w.sampler.steps]
    assert len(still) <= 2  # as it played, and once without loss
    page.sent.clear()
    w.pause()
    page.settle()
    assert len(page.of("frame")) == 1


def test_plays_when_shown(open_page: Callable[..., Page]) -> None:
    page = open_page(play=True)
    assert page.widget.playing
    time.sleep(0.1)
    assert not loop_threads()
    page.widget._repr_mimebundle_()
    wait_until(lambda: page.of("frame"))
    assert len(loop_threads()) == 1
    page.widget.pause()
    steps = page.widget.sampler.steps
    page.settle()
    assert page.of("frame")[-1]["steps"] == steps
    assert not page.of("state")[-1]["playing"]


def test_large_pictures_are_exact_when_paused(open_page: Callable[..., Page]) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(160 * 160, 5)))
    page = open_page(model=model, input_shape=(1, 160, 160))
    page.widget.play()
    wait_until(lambda: page.of("frame"))
    page.widget.pause()
    page.settle()
    encodings = [frame["panes"][0]["encoding"] for frame in page.of("frame")]
    assert encodings[0] == "jpeg"
    assert encodings[-1] == "png"


def test_does_not_play_when_told_not_to(page: Page, w: LDAM) -> None:
    w._repr_mimebundle_()
    page.receive(kind="hello", view="a")
    page.settle()
    assert [page.of("setup")[0]["playing"], len(page.of("frame")), w.sampler.steps] == [False, 1, 0]


def test_reset_average(page: Page, w: LDAM) -> None:
    w.step(40)
    w.reset_average()
    assert torch.equal(w.sampler.average_images, w.sampler.images)
    assert w.sampler.steps == 40


def test_a_step_that_fails_raises_in_python(open_page: Callable[..., Page]) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        if fuse:
            raise RuntimeError("boom")
        return x

    fuse = False
    page = open_page(preprocess=fail)
    fuse = True
    with pytest.raises(Exception, match="boom"):
        page.widget.step()
    page.receive(kind="do", what="step")
    page.settle()
    assert "boom" in page.of("error")[-1]["error"]["message"]
    assert "boom" in str(page.widget.error)
    page.receive(kind="do", what="dismiss_error")
    assert page.widget.error is None
    assert page.of("error")[-1]["error"] is None


def test_a_run_that_explodes_says_what_to_do(open_page: Callable[..., Page]) -> None:
    page = open_page(kernel=Algorithm1(step_size=1000, normalize="none"), regularizers=[L2(100)])
    w = page.widget
    with pytest.raises(SamplingError, match="step_size"):
        w.step(10_000)
    w.play()
    wait_until(lambda: w.error)
    assert not w.playing
    assert "step_size" in str(w.error)
    wait_until(lambda: page.of("state") and not page.of("state")[-1]["playing"])


def test_a_run_that_fails_at_once_is_reported(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        if fuse:
            raise RuntimeError("boom")
        return x

    fuse = False
    page = open_page(preprocess=fail)
    w, fuse = page.widget, True
    play = w.loop.play

    def play_and_fail() -> None:
        play()
        wait_until(lambda: page.of("error"))
        page.settle()

    monkeypatch.setattr(w.loop, "play", play_and_fail)
    w.play()
    wait_until(lambda: not w.playing)
    assert "boom" in str(w.error)
    assert "boom" in page.of("error")[-1]["error"]["message"]


# ---- pictures ------------------------------------------------------------------------------------------------------


def expected_levels(images: torch.Tensor) -> Pixels:
    """Of pixels in [0, 1]."""
    return np.floor(images.numpy() * 255 + 0.5).clip(0, 255).astype(np.uint8)


def holds(page: Image.Image, tile: Pixels, factor: int, off: int = 0) -> bool:
    """Does the page hold the tile, every pixel of it `factor` pixels wide and high and `off` levels off at most?"""
    picture = np.asarray(page.convert("L")).astype(int)
    side = tile.shape[0] * factor
    centres = slice(factor // 2, side, factor)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side))[:, :, centres, centres]
    big = np.kron(tile, np.ones((factor, factor)))
    places = np.argwhere((abs(windows - tile) <= off).all((2, 3)))  # where the centres fit
    return any((abs(picture[y : y + side, x : x + side] - big) <= off).all() for y, x in places)


@pytest.fixture
def bounded(open_page: Callable[..., Page]) -> LDAM:
    w = open_page(pixel_range=(0, 1), neurons=[0, 3], chains=2, class_names=["nil", "i", "ii", "iii", "iv"]).widget
    w.step(20)
    return w


def test_snapshot(bounded: LDAM, tmp_path: Path) -> None:
    bounded.save(tmp_path / "x.png")
    saved = Image.open(tmp_path / "x.png")
    assert np.array_equal(np.asarray(saved), np.asarray(bounded.snapshot()))
    sampler = bounded.sampler
    for neuron in range(2):
        for chain in range(2):
            assert holds(saved, expected_levels(sampler.images[neuron, chain, 0]), factor=10)
        assert holds(saved, expected_levels(sampler.average_images.mean(1)[neuron, 0]), factor=10)
    bounded.step(2)
    assert not holds(saved, expected_levels(sampler.images[0, 0, 0]), factor=10)


def test_figure(bounded: LDAM, tmp_path: Path) -> None:
    figure = bounded.figure()
    pictures = [np.asarray(axis.images[0].get_array()) for axis in figure.axes]
    images, averages = bounded.sampler.images[:, :, 0], bounded.sampler.average_images.mean(1)[:, 0]
    wanted = [images[0, 0], images[1, 0], images[0, 1], images[1, 1], averages[0], averages[1]]
    for picture, image in zip(pictures, wanted, strict=True):
        assert np.array_equal(picture, expected_levels(image))
    activation = bounded.sampler.activation.mean(1)
    for axis, name, value in zip(figure.axes, ["0 nil", "3 iii"], activation, strict=False):
        assert axis.get_title() == f"{name}\n{float(value):.3g}"
    caption = " ".join(figure._supxlabel.get_text().split())  # it is wrapped to the width of the figure
    assert caption.startswith("step 20; ")
    for name, value in bounded.sampler.params.items():
        assert f"{name.replace('_', ' ')} {value:.4g}" in caption
    figure.savefig(tmp_path / "x.pdf")


def test_record_a_paused_widget(bounded: LDAM, tmp_path: Path) -> None:
    bounded.steps_per_frame = 3
    bounded.record(0.5, tmp_path / "x.gif")
    assert bounded.sampler.steps == 20 + 6 * 3
    assert not bounded.playing
    gif = Image.open(tmp_path / "x.gif")
    assert gif.n_frames == 6
    assert gif.info["duration"] == pytest.approx(1000 / 12, abs=5)
    gif.seek(5)
    # a film has smaller tiles (56 pixels: 8 × 7) and 32 greys, half a grey (4.2 levels) off at most
    assert holds(gif, expected_levels(bounded.sampler.images[1, 1, 0]), factor=7, off=5)


def test_record_a_playing_widget(bounded: LDAM, tmp_path: Path) -> None:
    bounded.play()
    begin = time.monotonic()
    bounded.record(1, tmp_path / "x.gif")
    assert 0.8 < time.monotonic() - begin < 5
    assert bounded.playing
    assert Image.open(tmp_path / "x.gif").n_frames == 12


@pytest.mark.usefixtures("hurried")
def test_record_wakes_a_resting_widget(bounded: LDAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bounded.play()
    wait_until(lambda: not loop_threads())
    monkeypatch.setattr("ldam_widget.live.loop.LINGER", 60)
    bounded.record(0.5, tmp_path / "x.gif")
    assert Image.open(tmp_path / "x.gif").n_frames == 6


@pytest.mark.parametrize("seconds", [0, -1, 61, float("nan")])
def test_record_of_no_length(bounded: LDAM, tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        bounded.record(seconds, tmp_path / "x.gif")


# ---- the end -------------------------------------------------------------------------------------------------------


def test_a_widget_without_references_is_collected() -> None:
    """A cell that is run again leaves nothing behind, once the page has put its picture away."""
    page = Page(play=True)
    page.widget._repr_mimebundle_()
    page.receive(kind="hello", view="a")
    page.settle()
    chains, widget, model_id = weakref.ref(page.widget.sampler), weakref.ref(page.widget), page.widget.model_id
    comm = page.widget.comm
    del page
    gc.collect()
    assert widget() is not None, "it is on show"
    bye = {"content": {"data": {"method": "custom", "content": {"kind": "bye", "view": "a"}}}, "buffers": []}
    comm.handle_msg(bye)
    LDAM(network(), input_shape=(1, 8, 8), play=False).close()  # the cell is run again
    assert widget() is None
    assert chains() is None
    assert model_id not in ipywidgets.Widget.get_manager_state()["state"]
    assert not loop_threads()


def test_a_widget_lives_while_a_silent_view_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that is paused, or hidden, says nothing for hours."""
    page = Page()
    page.widget._repr_mimebundle_()
    widget, comm = weakref.ref(page.widget), page.widget.comm
    page.receive(kind="hello", view="a")
    page.settle()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    page.receive(kind="hello", view="b")
    page.receive(kind="bye", view="b")
    monkeypatch.undo()
    page.settle()
    del page
    gc.collect()
    assert widget() is not None, "view a shows it"
    bye = {"content": {"data": {"method": "custom", "content": {"kind": "bye", "view": "a"}}}, "buffers": []}
    comm.handle_msg(bye)
    gc.collect()
    assert widget() is None


def test_a_widget_with_a_reference_lives_without_a_view(page: Page, w: LDAM) -> None:
    w._repr_mimebundle_()
    page.receive(kind="hello", view="a")
    page.receive(kind="bye", view="a")
    gc.collect()
    page.receive(kind="set", view="b", rev=1, params={"l2": 3})
    assert w.l2 == 3
    assert w.model_id in ipywidgets.Widget.get_manager_state()["state"]
    box = ipywidgets.HBox([w])
    assert box.get_state()["children"] == [f"IPY_MODEL_{w.model_id}"]
    box.set_state({"children": [f"IPY_MODEL_{w.model_id}"]})  # as from a page
    assert box.children[0].model_id == w.model_id


def test_close_ends_the_thread_and_frees_the_model(page: Page, w: LDAM) -> None:
    w.play()
    wait_until(lambda: len(page.of("frame")) >= 2)
    page.receive(kind="do", what="record")
    w.step(2)
    view = weakref.ref(w.sampler.view)
    chains = weakref.ref(w.sampler)
    w.close()
    assert not loop_threads()
    gc.collect()
    assert view() is None
    assert chains() is None
    said = len(page.sent)
    w.close()
    page.receive(kind="hello", view="b")
    assert len(page.sent) == said
    for use in (lambda: w.sampler, w.play, w.step, lambda: setattr(w, "l2", 1), lambda: setattr(w, "neurons", [1])):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert "closed" in repr(w)


def test_closed_in_the_middle_of_a_step(open_page: Callable[..., Page]) -> None:
    """No traceback from the thread (an unhandled one fails the test), and nothing is said any more."""

    def slow(x: torch.Tensor) -> torch.Tensor:
        inside.set()
        go.wait(10)
        return x

    inside, go = threading.Event(), threading.Event()
    go.set()
    page = open_page(preprocess=slow)
    go.clear()
    inside.clear()
    page.widget.play()
    inside.wait(10)
    page.widget.close()
    said = len(page.sent)
    go.set()
    for thread in loop_threads():
        thread.join()
    assert len(page.sent) == said


def test_the_model_comes_back_untouched(page: Page, w: LDAM) -> None:
    fresh = with_fixed_weights(network).train()
    page.model.train()
    w.play()
    wait_until(lambda: w.sampler.steps > 20)
    w.close()
    assert all(module.training for module in page.model.modules())
    for (name, ours), theirs in zip(page.model.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.grad is None
        assert ours.requires_grad


def global_state() -> dict[str, Any]:
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return {
        "threads": torch.get_num_threads(),
        "threads of a new thread": new[0],
        "interop threads": torch.get_num_interop_threads(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "benchmark": torch.backends.cudnn.benchmark,
        "mkldnn": torch.backends.mkldnn.enabled,
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python generator": random.getstate(),
    }


def test_the_process_is_left_alone(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # so that one would be a change
    inside: set[int] = set()
    try:
        before = global_state()
        page = open_page(preprocess=lambda x: (inside.add(torch.get_num_threads()), x)[1])
        inside.clear()
        page.widget.play()
        wait_until(lambda: page.widget.sampler.steps > 20)
        playing = global_state()
        page.widget.close()
        assert playing == before
        assert global_state() == before
        assert inside == {1}  # the loop itself leaves the processors to others
    finally:
        torch.set_num_threads(threads)


# ---- kernels ---------------------------------------------------------------------------------------------------------


def test_the_default_samples_a_density_with_frozen_scales(open_page: Callable[..., Page]) -> None:
    page = open_page(kernel=None, pixel_range=(0, 1))
    w = page.widget
    assert isinstance(w.kernel, BAOAB)
    assert w.sampler.scales is not None
    assert w.temperature == pytest.approx(0.1 / 8, rel=0.05)  # 0.1 of the range over the side of the picture
    page.receive(kind="hello", view="a")
    page.settle()
    kernel = page.of("setup")[-1]["kernel"]
    assert (kernel["name"], kernel["calibrated"]) == ("BAOAB", True)
    assert {"Algorithm 1", "BAOAB", "GHMC", "MALA", "ULA"} < set(kernel["choices"])


def test_another_kernel_brings_its_own_parameters(page: Page, w: LDAM) -> None:
    w.set(noise=0.3, temperature=0.7, l2=0.2)
    before = w.sampler.images
    w.kernel = BAOAB(0.3, 2.0)
    assert torch.equal(w.sampler.images, before), "the chains go on from where they are"
    assert (w.step_size, w.friction, w.l2) == (0.3, 2.0, 0.2)
    assert w.temperature == default_temperature(8, 1), "Algorithm 1 means something else by it"
    assert "noise" not in w.params
    assert "noise" not in [p["name"] for p in page.of("setup")[-1]["parameters"]]
    with pytest.raises(AttributeError, match=r"unknown parameter 'noise'.*friction"):
        _ = w.noise
    with pytest.raises(AttributeError, match="unknown parameter 'noise'"):
        w.noise = 1
    w.step(3)
    w.kernel = Algorithm1()
    assert w.noise == 0.1, "a kernel's own parameters are its own"
    w.noise = 0.2
    assert w.sampler.kernel.noise == 0.2
    w.step(3)


def test_parameters_can_be_read_while_another_kernel_comes(w: LDAM, monkeypatch: pytest.MonkeyPatch) -> None:
    w.kernel = GHMC(friction=0.5)
    replaced, read, failed = Parameter._replace, [], []

    def look() -> None:
        try:
            read.append(w.params)
        except Exception as error:
            failed.append(error)

    def replace_while_another_thread_reads(declared: Parameter, **fields: Any) -> Parameter:
        looking = threading.Thread(target=look)
        looking.start()
        looking.join(10)
        return replaced(declared, **fields)

    monkeypatch.setattr(Parameter, "_replace", replace_while_another_thread_reads)
    w.kernel = MALA(step_size=0.1)
    assert not failed
    assert read[0]["friction"] == 0.5
    assert "friction" not in w.params


def test_a_step_size_that_is_being_found_is_shown_until_it_is_set(open_page: Callable[..., Page]) -> None:
    w = open_page(kernel=MALA()).widget
    assert w.step_size == pytest.approx(0.02)
    w.step(150)
    assert w.step_size != pytest.approx(0.02)
    assert w.sampler.kernel.step_size is None
    w.step_size = 0.05
    w.step(5)
    assert w.step_size == 0.05


def test_the_page_chooses_a_kernel_heats_and_measures(open_page: Callable[..., Page]) -> None:
    page = open_page(kernel=None, warm_up=6)
    w = page.widget
    w.step(10)
    assert not w.sampler.warming_up
    page.receive(kind="do", what="measure_scales")
    page.receive(kind="do", what="heat")
    page.settle()
    assert w.sampler.warming_up
    w.step(60)
    page.settle()
    assert w.heat > 10
    assert page.of("frame")[-1]["heat"] > 10
    w.heat = 2
    assert not w.sampler.heating
    page.receive(kind="select", kernel="GHMC")
    page.settle()
    assert w.kernel.name == "GHMC"
    page.receive(kind="select", kernel="of tomorrow")
    page.settle()
    assert "of tomorrow" in w.error
    assert "GHMC" in w.error
    w.close()


def test_gauges_travel_with_frames(open_page: Callable[..., Page]) -> None:
    page = open_page(kernel=GHMC(0.05), chains=2, regularizers=[L2(1.0)], scale="none")
    page.widget.step(80)
    page.settle()
    frame = page.of("frame")[-1]
    assert frame["temperature"]["asked"] == page.widget.temperature
    assert len(frame["temperature"]["measured"]) == len(frame["acceptance"]) == len(page.widget.neurons)
    assert all(0 <= share <= 1 for share in frame["acceptance"])
    assert frame["heat"] == 1


def test_a_verdict_reaches_the_page(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "PERIOD", 0.0)
    page = open_page(kernel=BAOAB(0.3), chains=2, regularizers=[L2(1.0)])
    page.widget.restart()
    for _ in range(100):
        page.widget.step(20)
        if page.of("diagnosis") and page.of("diagnosis")[-1]["level"] != "wait":
            break
        time.sleep(0.05)
    verdict = page.of("diagnosis")[-1]
    assert verdict["level"] in {"good", "warn"}
    assert [line["label"] for line in verdict["neurons"]] == [n.label for n in page.widget.sampler.neurons]


def test_a_verdict_is_due_when_burn_in_ends(open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the panel shows "burning in" next to the step at which burn-in ended."""
    monkeypatch.setattr(verdicts, "PERIOD", 3600.0)
    page = open_page(kernel=BAOAB(0.3), chains=2, regularizers=[L2(1.0)])
    page.widget.step(20)
    assert not page.of("diagnosis")
    for _ in range(200):
        page.widget.step(20)
        if page.widget.sampler.burn_in_step is not None:
            break
    wait_until(lambda: page.of("diagnosis"))
    page.widget.step(1)
    wait_until(lambda: page.of("diagnosis")[-1]["text"] != "burning in")


def test_strongest_inputs_of_a_class(open_page: Callable[..., Page]) -> None:
    page = open_page(class_names=list("abcde"), model=with_fixed_weights(network))
    page.receive(kind="hello", view="a")
    page.settle()
    assert page.of("setup")[-1]["wiring"]["classes"] == tuple("abcde")
    page.receive(kind="select", wired_to=3)
    page.settle()
    weight = page.model[3].weight.detach()[3]
    assert page.widget.neurons == weight.argsort(descending=True).tolist()
    strongest = page.widget.sampler.neurons[0]
    assert strongest.name.startswith("abcde"[int(page.model[3].weight.detach()[:, strongest.unit].argmax())])


def test_several_parameters_are_set_all_or_none(open_page: Callable[..., Page]) -> None:
    """Also if only the kernel finds out that one of them is invalid."""
    w = open_page(kernel=BAOAB(0.1)).widget
    before = w.params
    with pytest.raises((TypeError, ValueError)):
        w.set(temperature=5, step_size=PolynomialDecay(0.1))
    assert w.params == before
    w.set(temperature=5, l2=0.3)
    assert (w.temperature, w.l2, w.sampler.params["temperature"], w.sampler.params["l2"]) == (5, 0.3, 5, 0.3)


def test_a_subclass_has_attributes_of_its_own() -> None:
    class Mine(LDAM):
        def __init__(self, model: nn.Module) -> None:
            super().__init__(model, input_shape=(1, 8, 8), play=False)
            self.mine = 1

    w = Mine(with_fixed_weights(network))
    w.mine += 1
    w.temperature = 0.5
    assert (w.mine, w.sampler.params["temperature"]) == (2, 0.5)
    w.close()
