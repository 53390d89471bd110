"""What notebooks keep of widgets other than plain panels, which tests/browser/test_saved.py has: the newest picture."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ldam_widget as ldam
from ldam_widget.widget.parts import saved

from ..atlas.synthetic import synthetic_atlas
from .conftest import wait_until
from .page import FakePage
from .test_layer_page import network, photographs

SHAPE = (3, 12, 12)


class Kept:
    """Stands for the cell's output: what it shows now."""

    def __init__(self) -> None:
        self.bundles: list[dict[str, str]] = []

    def __call__(self, bundle: dict[str, str], display_id: str, *, update: bool) -> bool:
        if update or not self.bundles:
            self.bundles.append(bundle)
        return True

    @property
    def text(self) -> str:
        return self.bundles[-1]["text/plain"]

    @property
    def picture(self) -> np.ndarray | None:
        png = self.bundles[-1].get("image/png")
        return None if png is None else np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))

    def coloured(self, color: tuple[int, int, int]) -> int:
        """Number of pixels of a colour."""
        assert self.picture is not None
        return int((self.picture == color).all(-1).sum())


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, hurried: None) -> Kept:
    kept = Kept()
    monkeypatch.setattr(saved, "publish", kept)
    return kept


def show(widget: Any, hides: bool = True) -> FakePage:
    """As a cell shows it, and a page."""
    page = FakePage(widget)
    widget._repr_mimebundle_()
    page.receive(kind="hello", view="a", hides=hides)
    return page


def test_a_map_with_its_colours_and_selection(kept: Kept) -> None:
    points = np.random.default_rng(0).normal(size=(30, 2))
    scatter = ldam.Scatter(points, labels=["a"] * 15 + ["b"] * 15)
    try:
        show(scatter)
        wait_until(lambda: kept.picture is not None)
        both = [kept.coloured(color) for color in ((0x3F, 0x90, 0xDA), (0xFF, 0xA9, 0x0E))]  # the page's first two
        assert min(both) > 15
        assert kept.text == "Scatter(30 points, 0 selected)"
        scatter.selection = np.arange(15)
        wait_until(lambda: kept.text == "Scatter(30 points, 15 selected)")
        assert kept.coloured((0x3F, 0x90, 0xDA)) > 15
        assert kept.coloured((0xFF, 0xA9, 0x0E)) <= 10 * 10  # its disc in the legend alone
    finally:
        scatter.close()


def test_a_map_of_numbers_and_one_of_a_single_point(kept: Kept) -> None:
    for points, values in (
        (np.random.default_rng(0).normal(size=(9, 2)), np.linspace(0, 1, 9)),
        (np.zeros((1, 2)), None),
    ):
        scatter = ldam.Scatter(points, color=values)
        try:
            show(scatter)
            wait_until(lambda: kept.picture is not None)
        finally:
            scatter.close()
        kept.bundles.clear()


@pytest.mark.slow
def test_the_toolbox_with_its_picture_and_channels(kept: Kept) -> None:
    images = torch.stack([torch.full(SHAPE, 0.25), torch.full(SHAPE, 0.75)])
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=images, title="net")
    try:
        page = show(toolbox)
        wait_until(lambda: page.of("frame"))
        wait_until(lambda: kept.picture is not None)
        side = 160 // 12 * 12
        assert kept.coloured((64, 64, 64)) >= side**2
        toolbox.next()
        page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)
        wait_until(lambda: kept.coloured((191, 191, 191)) >= side**2)
        assert kept.coloured((64, 64, 64)) < side**2
    finally:
        toolbox.close()


def test_no_picture_of_the_camera_is_kept(kept: Kept) -> None:
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=torch.full((1, *SHAPE), 0.5))
    try:
        page = show(toolbox)
        wait_until(lambda: kept.picture is not None)
        photograph = io.BytesIO()
        Image.new("RGB", (12, 12), (200, 10, 30)).save(photograph, "PNG")
        page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)
        page.receive(kind="source", what="camera")
        wait_until(lambda: toolbox.source == "camera")
        content = {"kind": "picture", "name": "", "camera": True, "number": 1}
        toolbox._handle_msg(
            {
                "content": {"data": {"method": "custom", "content": content}},
                "buffers": [memoryview(photograph.getvalue())],
            }
        )
        wait_until(lambda: toolbox.image is not None and float(toolbox.image[0, 0, 0]) > 0.7)
        toolbox.layer = "0"
        wait_until(lambda: kept.picture is None)
        assert not any(kept.bundles[-1].get(kind, "").count("base64") for kind in ("text/html", "image/png"))
    finally:
        toolbox.close()


@pytest.mark.slow
def test_an_atlas_with_the_layer_or_unit_that_is_shown(kept: Kept, tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", {"conv": 70, "fc": 10}), title="net")
    try:
        page = FakePage(view)
        view._repr_mimebundle_()
        assert "data:image/png" in kept.bundles[-1]["text/html"]  # before any page has shown it
        page.receive(kind="hello", view="a", hides=True)
        wait_until(lambda: kept.picture is not None)
        first = kept.picture
        page.receive(kind="chosen", layer="fc", unit=None)
        wait_until(lambda: kept.picture is not None and kept.picture.shape != first.shape)
        of_layer = kept.picture
        page.receive(kind="chosen", layer="fc", unit=3)
        wait_until(lambda: kept.picture is not None and kept.picture.shape != of_layer.shape)
        page.receive(kind="chosen", layer="fc", unit=99)  # there is none: words alone
        wait_until(lambda: kept.picture is not None and kept.picture.shape[0] < 60)
    finally:
        view.close()


@pytest.mark.slow
def test_a_layer_page_with_top_images_before_a_unit_is_open_then_its_samples(kept: Kept) -> None:
    survey = ldam.survey(network(), photographs(), ["0", "3"], progress=False)
    page = ldam.LayerPage(network(), "0", survey=survey, title="net")
    try:
        show(page)
        wait_until(lambda: kept.picture is not None)
        sheet = kept.picture
        page.pause()
        page.unit = 1
        page.step(2)
        wait_until(lambda: kept.picture is not None and kept.picture.shape != sheet.shape)
        assert np.array_equal(kept.picture, np.asarray(page._still().convert("RGB")))
    finally:
        page.close()


def test_where_the_page_does_not_hide_it_nothing_is_shown_beside_the_widget(kept: Kept) -> None:
    scatter = ldam.Scatter(np.eye(2))
    try:
        show(scatter, hides=False)
        wait_until(lambda: kept.bundles[-1] == {"text/plain": ""})
        scatter.selection = [0]
        scatter._call(lambda: None)
        assert kept.bundles[-1] == {"text/plain": ""}
    finally:
        scatter.close()


def test_the_line_says_what_to_do_with_this_widget(kept: Kept) -> None:
    scatter = ldam.Scatter(np.eye(2))
    try:
        scatter._repr_mimebundle_()
        assert 's.save("map.png")' in kept.text
        assert "export_html" not in kept.text
    finally:
        scatter.close()
