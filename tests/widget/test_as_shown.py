"""Snapshots, films and figures show what the page shows: the same rows in the same order, with the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import traitlets
from PIL import Image

from ldam_widget.widget.parts import recorder

from .conftest import wait_until
from .test_live import Page


@pytest.fixture
def open_page() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(**options: Any) -> Page:
        pages.append(Page(**{"pixel_range": (0, 1), "neurons": [0, 3], "chains": 3} | options))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()


def rows_sent(page: Page) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Label and tiles (columns, H, W) of each row that the page has, samples first, as it draws them."""
    page.receive(kind="hello", view="a")
    page.settle()
    content, buffers = next(sent for sent in reversed(page.sent) if sent[0]["kind"] == "frame")
    assert [pane["name"] for pane in content["panes"]] == ["sample", "average"]
    return [
        (label, tiles[..., 0])
        for pane, data in zip(content["panes"], buffers, strict=True)
        for label, tiles in zip(pane["labels"], np.frombuffer(data, np.uint8).reshape(pane["shape"]), strict=True)
    ]


def tops(picture: Image.Image, tiles: np.ndarray[Any, Any], factor: int) -> set[int]:
    """Where in the picture a row of tiles begins, counted from above."""
    grey = np.asarray(picture.convert("L"))
    wanted = tiles[0].repeat(factor, 0).repeat(factor, 1)
    windows = np.lib.stride_tricks.sliding_window_view(grey, wanted.shape)
    return {int(y) for y in np.argwhere((windows == wanted).all((2, 3)))[:, 0]}


@pytest.mark.parametrize("shown", [1, 2, 3])
def test_a_snapshot_has_the_rows_of_the_page(open_page: Callable[..., Page], shown: int) -> None:
    page = open_page()
    page.widget.chains_shown = shown
    page.widget.step(20)
    rows = rows_sent(page)
    assert len(rows) == shown + 1
    picture = page.widget.snapshot()
    places = [tops(picture, tiles, 10) for _, tiles in rows]
    assert all(len(place) == 1 for place in places)
    order = [place.pop() for place in places]
    assert order == sorted(order)
    assert len(set(np.diff(order))) <= 1  # one below the other, with nothing between them


def test_a_figure_has_the_rows_and_the_words_of_the_page(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.widget.set(chains_shown=2, average=1)
    page.widget.step(20)
    rows = rows_sent(page)
    assert [label for label, _ in rows] == ["sample\nchain 1 of 3", "sample\nchain 2 of 3", "average\n1 frame × 3"]
    figure = page.widget.figure()
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == [label for label, _ in rows]
    for axis, tile in zip(figure.axes, [tile for _, tiles in rows for tile in tiles], strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), tile)
    means = page.widget.sampler.activation.mean(1).tolist()  # over all chains, as on the page
    assert [axis.get_title().split("\n")[1] for axis in figure.axes[:2]] == [f"{value:.3g}" for value in means]


def test_a_recording_of_nothing_says_so(open_page: Callable[..., Page]) -> None:
    page = open_page()
    for what in ("record", "stop_record"):
        page.receive(kind="do", what=what)
        page.settle()
    assert not page.of("download")
    fault = page.of("error")[-1]["error"]
    assert "nothing was recorded" in fault["message"]
    assert "play" in fault["hint"]


def test_a_recording_ends_by_itself_when_it_is_full(
    open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LONGEST", 0.25)
    page = open_page()
    page.receive(kind="do", what="record")
    page.settle()
    assert page.of("state")[-1]["recording"]
    page.widget.play()
    wait_until(lambda: page.of("download"))
    assert page.of("download")[0]["mime"] == "image/gif"
    wait_until(lambda: not page.of("state")[-1]["recording"])
    assert page.widget.playing


def test_settings_are_plain_data_and_follow(open_page: Callable[..., Page]) -> None:
    page = open_page(neurons=[0, "3"])
    w = page.widget
    assert w.get_state("settings") == {"settings": w.settings}
    assert w.settings == {"layer": w.layer, "neurons": w.neurons, "params": w.params}
    assert json.loads(json.dumps(w.settings, allow_nan=False)) == w.settings
    w.temperature = 0.5
    w.neurons = [1]
    assert (w.settings["params"]["temperature"], w.settings["neurons"]) == (0.5, [1])
    w.set_state({"settings": {"layer": "another"}})  # as marimo's page saves it
    assert w.settings["layer"] == w.layer
    with pytest.raises(traitlets.TraitError, match="read-only"):
        w.settings = {}
    w.close()
    assert w.settings == {}
