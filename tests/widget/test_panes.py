"""Frame messages: strict JSON and the right pixels."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ldam_widget.sampling.frame import Frame
from ldam_widget.widget import panes
from ldam_widget.widget.panes import Quality
from ldam_widget.widget.protocol import Message

PARAMS = {"average": 100.0, "display_scale": 1.0, "display_base": 127.5}


def strict(content: Any) -> Any:
    return json.loads(json.dumps(content, allow_nan=False))


SHAPES = st.sampled_from([(1, 8, 8), (3, 6, 4), (2, 5, 3), (7, 9), (16,), (10,), (1, 80, 90)])


Bounds = tuple[float, float] | None


def encoded(
    picture: Frame,
    bounds: Bounds,
    rows: int = 1,
    *,
    with_average: bool = False,
    lossless: bool = False,
    raw: int = 10**5,
) -> Message:
    return panes.frame(picture, bounds, rows, with_average=with_average, quality=Quality(lossless, raw))


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Frame, Bounds, int]:
    """A picture, the range of its pixels, and how many of its chains are shown."""
    shape, neurons, chains = draw(SHAPES), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 999)))
    images, averages = (torch.randn(neurons, chains, *shape) * 10.0 ** draw(st.integers(-44, 6)) for _ in range(2))
    bounds = draw(st.none() | st.sampled_from([(0.0, 1.0), (-2.0, 2.0), (0.0, 255.0)]))
    burned = torch.zeros(neurons, chains, dtype=torch.bool)
    frame = Frame(images, averages, torch.randn(neurons, chains), burned, draw(st.integers(0, 10**9)), PARAMS)
    return frame, bounds, draw(st.integers(1, chains))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(pictures(), st.booleans(), st.booleans())
def test_frames(picture: tuple[Frame, Bounds, int], with_average: bool, lossless: bool) -> None:
    frame, bounds, rows = picture
    content, buffers = encoded(frame, bounds, rows, with_average=with_average, lossless=lossless)
    assert strict(content) == json.loads(json.dumps(content))
    assert (content["kind"], content["steps"]) == ("frame", frame.steps)
    assert [pane["name"] for pane in content["panes"]] == ["sample", "average"][: 1 + with_average]
    assert len(buffers) == len(content["panes"])
    neurons = frame.images.shape[0]
    for pane, buffer, count in zip(content["panes"], buffers, (rows, 1), strict=False):
        assert type(buffer) is bytes
        assert pane["shape"][:2] == [count, neurons]
        assert len(pane["labels"]) == count
        size = math.prod(pane["shape"])
        if size <= 100_000:
            assert pane["encoding"] == "raw"
            assert len(buffer) == size
        else:
            assert pane["encoding"] == ("png" if lossless else "jpeg")
            _, _, height, width, _ = pane["shape"]
            assert Image.open(io.BytesIO(buffer)).size == (neurons * width, count * height)


@pytest.mark.parametrize(("raw", "encoding"), [(120_000, "raw"), (119_999, "jpeg")])
def test_where_it_is_quicker_large_pictures_go_as_they_are(raw: int, encoding: str) -> None:
    images = torch.rand(1, 1, 1, 300, 400)
    frame = Frame(images, images, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, PARAMS)
    content, buffers = encoded(frame, (0, 1), with_average=True, raw=raw)
    assert [pane["encoding"] for pane in content["panes"]] == [encoding] * 2
    assert (len(buffers[0]) == 120_000) == (encoding == "raw")
    assert not panes.is_light(content), "not so light that several could travel at once"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3e38])
def test_frames_of_exploded_chains_are_json(value: float, bounds: tuple[float, float] | None) -> None:
    """Pixels may run off while a saturated network's activation stays finite."""
    images = torch.zeros(1, 1, 1, 8, 8)
    images[..., :4] = value
    frame = Frame(images, images, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, PARAMS)
    content, _ = encoded(frame, bounds, with_average=True, lossless=True)
    strict(content)


def grey(n: int, chains: int, side: int) -> tuple[Frame, npt.NDArray[Any]]:
    """Smooth tiles, no two alike, and the levels that they must have."""
    y, x = np.mgrid[:side, :side] / side
    tiles = np.array([[0.5 + 0.45 * np.sin(3 * x + c + 2 * y * i) for c in range(chains)] for i in range(n)])
    images = torch.from_numpy(tiles[:, :, None].astype(np.float32))  # (n, chains, 1, side, side)
    frame = Frame(images, images.flip(0), torch.zeros(n, chains), torch.zeros(n, chains).bool(), 3, PARAMS)
    return frame, tiles * 255


def test_raw_tiles() -> None:
    frame, levels = grey(n=3, chains=2, side=8)
    content, buffers = encoded(frame, (0, 1), 2, with_average=True)
    sample = np.frombuffer(buffers[0], np.uint8).reshape(content["panes"][0]["shape"])
    average = np.frombuffer(buffers[1], np.uint8).reshape(content["panes"][1]["shape"])
    for neuron in range(3):
        for chain in range(2):
            assert np.abs(sample[chain, neuron, ..., 0] - levels[neuron, chain]).max() <= 0.51
        assert np.abs(average[0, neuron, ..., 0] - levels[2 - neuron].mean(0)).max() <= 0.51
    assert content["panes"][0]["range"] == [0, 1]


@pytest.mark.parametrize(("lossless", "worst"), [(True, 0.51), (False, 8)])
def test_compressed_tiles(lossless: bool, worst: float) -> None:
    frame, levels = grey(n=4, chains=2, side=128)
    content, (buffer,) = encoded(frame, (0, 1), 2, lossless=lossless)
    assert content["panes"][0]["encoding"] == ("png" if lossless else "jpeg")
    assert len(buffer) < 4 * 2 * 128 * 128 / 2
    picture = np.asarray(Image.open(io.BytesIO(buffer)), dtype=float)
    for neuron in range(4):
        for chain in range(2):
            tile = picture[chain * 128 : chain * 128 + 128, neuron * 128 : neuron * 128 + 128]
            assert np.abs(tile - levels[neuron, chain]).max() <= worst


def test_earlier_pictures_travel_with_the_newest() -> None:
    def message(number: int) -> Message:
        return {"steps": number, "panes": [{"shape": [1, 1, 28, 28, 1]}]}, [bytes([number])]

    newest = message(3)
    assert panes.with_earlier(newest, []) == newest
    content, buffers = panes.with_earlier(newest, [message(1), message(2)])
    assert ([old["steps"] for old in content["earlier"]], content["steps"]) == ([1, 2], 3)
    assert buffers == [b"\x03", b"\x01", b"\x02"]
    assert "earlier" not in newest[0]
    assert panes.is_light(content)
    assert not panes.is_light({"panes": [{"shape": [1, 1, 28, 28, 1]}, {"shape": [1, 10, 224, 224, 3]}]})


def test_colour() -> None:
    images = torch.zeros(1, 1, 3, 4, 5)
    images[0, 0, 0] = 1  # red
    frame = Frame(images, images, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, PARAMS)
    content, (buffer,) = encoded(frame, (0, 1))
    assert content["panes"][0]["shape"] == [1, 1, 4, 5, 3]
    assert buffer == bytes([255, 0, 0]) * 20


def test_the_range_of_a_pane_inverts_its_levels() -> None:
    """What the page shows as a pixel's value is its value, whatever contrast and brightness."""
    values = torch.linspace(-1, 1, 64).reshape(1, 1, 1, 8, 8)
    for scale, base in [(1.0, 127.5), (0.3, 100.0), (0.5, 180.0)]:
        params = PARAMS | {"display_scale": scale, "display_base": base}
        frame = Frame(values, values, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, params)
        content, (buffer,) = encoded(frame, (-1, 1))
        low, high = content["panes"][0]["range"]
        levels = np.frombuffer(buffer, np.uint8)
        inside = (levels > 0) & (levels < 255)
        shown = low + levels / 255 * (high - low)
        assert inside.sum() > 40
        assert np.abs(shown - values.flatten().numpy())[inside].max() <= 0.51 * (high - low) / 255
