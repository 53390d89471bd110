"""Pages of recorded runs: the messages they hold. How they play is tested in a real browser."""

from __future__ import annotations

import base64
import json
import math
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from ldam_widget import LDAM, Compare, watch
from ldam_widget.kernels import Algorithm1
from ldam_widget.widget import player
from ldam_widget.widget.parts import recorder
from ldam_widget.widget.parts.recorder import Recorder

from ..conftest import with_fixed_weights
from .test_protocol import faults

SETTINGS: dict[str, Any] = {"input_shape": (1, 8, 8), "play": False, "kernel": Algorithm1(), "steps_per_frame": 3}


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 5))


@pytest.fixture
def w() -> Iterator[LDAM]:
    widget = LDAM(with_fixed_weights(network), neurons=[0, 3], **SETTINGS)
    yield widget
    widget.close()


def recording(path: Path) -> tuple[list[tuple[dict[str, Any], list[bytes]]], float]:
    """Messages with their buffers, and the milliseconds between frames."""
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="recording">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    held = json.loads(found[1])
    messages = [(each["content"], [base64.b64decode(data) for data in each["buffers"]]) for each in held["messages"]]
    assert not [fault for content, _ in messages for fault in faults(content, "FromKernel")]
    return messages, held["period"]


def test_a_page_holds_pictures_averages_trace_and_parameters(w: LDAM, tmp_path: Path) -> None:
    w.step(9)
    w.export_html(tmp_path / "x.html", seconds=1)
    messages, period = recording(tmp_path / "x.html")
    assert period == pytest.approx(1000 / 12)
    setup, first = messages[0][0], messages[1][0]
    assert setup["kind"] == "setup"
    assert setup["params"]["step_size"] == w.step_size
    assert setup["trace"]["steps"][-1] <= 12
    frames = [(content, buffers) for content, buffers in messages if content["kind"] == "frame"]
    assert [content["steps"] for content, _ in frames] == [9 + 3 * k for k in range(1, 13)]
    assert first["gen"] == setup["gen"]
    content, buffers = frames[-1]
    panes = {pane["name"]: (pane, data) for pane, data in zip(content["panes"], buffers, strict=True)}
    assert set(panes) == {"sample", "average"}
    pane, data = panes["average"]
    levels = np.frombuffer(data, np.uint8).reshape(pane["shape"])[0, :, :, :, 0]
    low, high = pane["range"]
    expected = (w.sampler.average_images.numpy().reshape(levels.shape) - low) / (high - low) * 255
    np.testing.assert_allclose(levels, expected.clip(0, 255), atol=1)


def test_a_change_while_recording_is_played_too(w: LDAM, tmp_path: Path) -> None:
    frames = 0

    def change() -> None:
        nonlocal frames
        frames += 1
        if frames == 4:
            w.sampler.set(step_size=0.01)
        if frames == 8:
            w.sampler.select(None, [1, 2, 4])
            w.loop.submit(w.begin_anew)

    w.loop.observers.append(change)
    w.export_html(tmp_path / "x.html", seconds=2)
    messages, _ = recording(tmp_path / "x.html")
    states = [content["params"]["step_size"] for content, _ in messages if content["kind"] == "state"]
    assert 0.01 in states
    setups = [content for content, _ in messages if content["kind"] == "setup"]
    assert [[unit["key"] for unit in setup["neurons"]] for setup in setups] == [["0", "3"], ["1", "2", "4"]]
    assert setups[1]["gen"] > setups[0]["gen"]


def test_a_short_pause_does_not_hasten_the_rest(w: LDAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films: list[Recorder[Any]] = []

    class Pausing(Recorder[Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            films.append(self)

        def __call__(self) -> None:
            super().__call__()
            if len(self.pages) == 2:
                w.loop.playing = False
            if len(self.pages) == 4:
                w.play()

    monkeypatch.setattr(player, "Recorder", Pausing)
    w.play()
    w.export_html(tmp_path / "x.html", seconds=1)
    w.pause()
    assert len(films[0].pages) == 12
    assert films[0].paced


def test_pictures_that_were_not_paced_delay_none_of_the_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(recorder, "time", types.SimpleNamespace(monotonic=lambda: now))
    film = Recorder(lambda: None, 99)
    film.paced = False
    for _ in range(10):
        film()
    film.paced = True
    for _ in range(5):
        now += 0.0834
        film()
        film()
    assert len(film.pages) == 15


def test_names_stay_data(tmp_path: Path) -> None:
    evil = '</script><script>alert("x")</script><!--'
    w = LDAM(with_fixed_weights(network), neurons=[0], class_names=[evil, *"abcd"], title=evil, **SETTINGS)
    try:
        w.export_html(tmp_path / "x.html", seconds=0.2)
    finally:
        w.close()
    messages, _ = recording(tmp_path / "x.html")
    assert messages[0][0]["title"] == evil
    assert messages[0][0]["neurons"][0]["name"] == evil
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "alert" not in page.replace("\\u003cscript>alert", "").replace("&lt;script&gt;alert", "")
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing is fetched"


def test_comparisons_and_models_in_training(tmp_path: Path) -> None:
    models = {name: with_fixed_weights(network, seed) for seed, name in enumerate("ab")}
    c = Compare(models, **SETTINGS)
    w = watch(with_fixed_weights(network), display=False, **SETTINGS)
    try:
        c.export_html(tmp_path / "c.html", seconds=0.5)
        w.export_html(tmp_path / "w.html", seconds=0.5)
    finally:
        c.close()
        w.close()
    compared, watched = (recording(tmp_path / f"{name}.html")[0] for name in "cw")
    names = [[pane["name"] for pane in content["panes"]] for content, _ in compared if content["kind"] == "frame"]
    assert names == 6 * [["sample:0", "sample:1", "average:0", "average:1", "difference:1"]]
    assert watched[0][0]["watch"]["kept"]


@pytest.mark.parametrize("seconds", [0, -1, 61, math.nan, "3", None])
def test_lengths_that_cannot_be(w: LDAM, seconds: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seconds must be above 0 and at most 60"):
        w.export_html(tmp_path / "x.html", seconds=seconds)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_told_before_the_recording(w: LDAM, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        w.export_html(tmp_path / "nowhere" / "x.html")
    assert w.sampler.steps == 0


def test_a_closed_widget(w: LDAM, tmp_path: Path) -> None:
    w.close()
    with pytest.raises(RuntimeError, match="closed"):
        w.export_html(tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError("the model's own"), KeyboardInterrupt("by the user")])
def test_a_recording_that_fails_leaves_files_as_they_were(w: LDAM, tmp_path: Path, error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    w.sampler.view.register_forward_pre_hook(fail)
    (tmp_path / "old.html").write_text("the last recording")
    for name in ("old.html", "new.html"):
        with pytest.raises(BaseException, match=str(error)):
            w.export_html(tmp_path / name, seconds=0.5)
    assert [file.name for file in tmp_path.iterdir()] == ["old.html"]
    assert (tmp_path / "old.html").read_text() == "the last recording"
