"""Messages without a kernel: whatever arrives is survived, whatever goes out is strict JSON and the right pixels."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from ldam_widget import L2, Sampler
from ldam_widget.kernels import Algorithm1
from ldam_widget.sampling.frame import Frame
from ldam_widget.widget import wire

PARAMS = {"average": 100.0, "display_scale": 1.0, "display_base": 127.5}


def strict(content: Any) -> Any:
    return json.loads(json.dumps(content, allow_nan=False))


# ---- from the front end --------------------------------------------------------------------------------------------

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**53, 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=3,
)
FIELDS = ["view", "seq", "visible", "rev", "params", "what", "layer", "neurons", "query", "offset", "limit"]
KINDS = st.sampled_from(["hello", "bye", "ack", "set", "do", "select", "units"])
NEARLY = st.fixed_dictionaries({"kind": KINDS}, optional=dict.fromkeys(FIELDS, NUMBERS | JSON))


@settings(deadline=None, max_examples=300)
@given(JSON | NEARLY)
def test_parse_survives_anything(content: Any) -> None:
    message = wire.parse(content)
    if isinstance(message, wire.Ack):
        assert type(message.seq) is int
    elif isinstance(message, wire.Set):
        assert type(message.rev) is int
        assert all(type(name) is str for name in message.params)
    elif isinstance(message, wire.Select):
        assert message.neurons is None or all(type(key) is str for key in message.neurons)
    elif isinstance(message, wire.Units):
        assert message.offset >= 0
        assert 1 <= message.limit <= 500
    elif isinstance(message, wire.Do):
        assert message.what in wire.ACTIONS


def test_parse_understands_the_front_end() -> None:
    """The words of js/src/protocol.ts."""
    parse = wire.parse
    assert parse({"kind": "hello", "view": "a"}) == wire.Hello("a")
    assert parse({"kind": "hello"}) == wire.Hello("")
    assert parse({"kind": "bye", "view": "a"}) == wire.Bye("a")
    assert parse({"kind": "ack", "view": "a", "seq": 7, "visible": False}) == wire.Ack(7, False, "a")
    assert parse({"kind": "ack", "seq": 7, "visible": True}) == wire.Ack(7, True, "")
    assert parse({"kind": "set", "view": "a", "rev": 3, "params": {"l2": 1}}) == wire.Set("a", 3, {"l2": 1})
    assert parse({"kind": "do", "what": "reset_average"}) == wire.Do("reset_average")
    assert parse({"kind": "select", "layer": "fc"}) == wire.Select("fc", None)
    assert parse({"kind": "select", "neurons": ["1", "2@3,4"]}) == wire.Select(None, ["1", "2@3,4"])
    units = {"kind": "units", "layer": "fc", "query": "ca", "offset": 50, "limit": 20}
    assert parse(units) == wire.Units("fc", "ca", 50, 20)


@pytest.mark.parametrize("neurons", ["abc", [1], [None], {"a": 1}, 5])
def test_neurons_are_a_list_of_keys(neurons: Any) -> None:
    assert wire.parse({"kind": "select", "neurons": neurons}) is None


# ---- frames --------------------------------------------------------------------------------------------------------

SHAPES = st.sampled_from([(1, 8, 8), (3, 6, 4), (2, 5, 3), (7, 9), (16,), (10,), (1, 80, 90)])


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Any, Frame, int]:
    """What `frame` asks of a sampler, a picture, and how many of its chains are shown."""
    shape, neurons, chains = draw(SHAPES), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    torch.manual_seed(draw(st.integers(0, 999)))
    images, averages = (torch.randn(neurons, chains, *shape) * 10.0 ** draw(st.integers(-44, 6)) for _ in range(2))
    bounds = draw(st.none() | st.sampled_from([(0.0, 1.0), (-2.0, 2.0), (0.0, 255.0)]))
    burned = torch.zeros(neurons, chains, dtype=torch.bool)
    frame = Frame(images, averages, torch.randn(neurons, chains), burned, draw(st.integers(0, 10**9)), PARAMS)
    sampler = SimpleNamespace(input_shape=shape, pixel_range=bounds, chains=chains, burn_in_step=None)
    return sampler, frame, draw(st.integers(1, chains))


@settings(deadline=None, max_examples=150)
@given(pictures(), st.booleans(), st.booleans())
def test_frames(picture: tuple[Any, Frame, int], with_average: bool, lossless: bool) -> None:
    sampler, frame, rows = picture
    content, buffers = wire.frame(
        sampler, frame, rows, with_average=with_average, lossless=lossless, gen=1, seq=5, stats={}
    )
    assert strict(content) == json.loads(json.dumps(content))
    assert (content["kind"], content["seq"], content["gen"], content["steps"]) == ("frame", 5, 1, frame.steps)
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
    sampler = SimpleNamespace(input_shape=(1, 300, 400), pixel_range=(0.0, 1.0), chains=1, burn_in_step=None)
    content, buffers = wire.frame(sampler, frame, 1, with_average=True, lossless=False, raw=raw)
    assert [pane["encoding"] for pane in content["panes"]] == [encoding] * 2
    assert (len(buffers[0]) == 120_000) == (encoding == "raw")
    assert not wire.is_light(content), "not so light that several could travel at once"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3e38])
def test_frames_of_exploded_chains_are_json(value: float, bounds: tuple[float, float] | None) -> None:
    """Pixels may run off while a saturated network's activation stays finite."""
    images = torch.zeros(1, 1, 1, 8, 8)
    images[..., :4] = value
    frame = Frame(images, images, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, PARAMS)
    sampler = SimpleNamespace(input_shape=(1, 8, 8), pixel_range=bounds, chains=1, burn_in_step=None)
    content, _ = wire.frame(sampler, frame, 1, with_average=True, lossless=True, stats={})
    strict(content)


def grey(n: int, chains: int, side: int) -> tuple[Any, Frame, npt.NDArray[Any]]:
    """Smooth tiles, no two alike, and the levels that they must have."""
    y, x = np.mgrid[:side, :side] / side
    tiles = np.array([[0.5 + 0.45 * np.sin(3 * x + c + 2 * y * i) for c in range(chains)] for i in range(n)])
    images = torch.from_numpy(tiles[:, :, None].astype(np.float32))  # (n, chains, 1, side, side)
    frame = Frame(images, images.flip(0), torch.zeros(n, chains), torch.zeros(n, chains).bool(), 3, PARAMS)
    sampler = SimpleNamespace(input_shape=(1, side, side), pixel_range=(0.0, 1.0), chains=chains, burn_in_step=3)
    return sampler, frame, tiles * 255


def test_raw_tiles() -> None:
    sampler, frame, levels = grey(n=3, chains=2, side=8)
    content, buffers = wire.frame(sampler, frame, 2, with_average=True, lossless=False)
    sample = np.frombuffer(buffers[0], np.uint8).reshape(content["panes"][0]["shape"])
    average = np.frombuffer(buffers[1], np.uint8).reshape(content["panes"][1]["shape"])
    for neuron in range(3):
        for chain in range(2):
            assert np.abs(sample[chain, neuron, ..., 0] - levels[neuron, chain]).max() <= 0.51
        assert np.abs(average[0, neuron, ..., 0] - levels[2 - neuron].mean(0)).max() <= 0.51
    assert content["panes"][0]["range"] == [0, 1]
    assert content["burn_in_step"] == 3


@pytest.mark.parametrize(("lossless", "worst"), [(True, 0.51), (False, 8)])
def test_compressed_tiles(lossless: bool, worst: float) -> None:
    sampler, frame, levels = grey(n=4, chains=2, side=128)
    content, (buffer,) = wire.frame(sampler, frame, 2, with_average=False, lossless=lossless)
    assert content["panes"][0]["encoding"] == ("png" if lossless else "jpeg")
    assert len(buffer) < 4 * 2 * 128 * 128 / 2
    picture = np.asarray(Image.open(io.BytesIO(buffer)), dtype=float)
    for neuron in range(4):
        for chain in range(2):
            tile = picture[chain * 128 : chain * 128 + 128, neuron * 128 : neuron * 128 + 128]
            assert np.abs(tile - levels[neuron, chain]).max() <= worst


def test_earlier_pictures_travel_with_the_newest() -> None:
    def message(number: int) -> wire.Message:
        return {"steps": number, "panes": [{"shape": [1, 1, 28, 28, 1]}]}, [bytes([number])]

    newest = message(3)
    assert wire.with_earlier(newest, []) == newest
    content, buffers = wire.with_earlier(newest, [message(1), message(2)])
    assert ([old["steps"] for old in content["earlier"]], content["steps"]) == ([1, 2], 3)
    assert buffers == [b"\x03", b"\x01", b"\x02"]
    assert "earlier" not in newest[0]
    assert wire.is_light(content)
    assert not wire.is_light({"panes": [{"shape": [1, 1, 28, 28, 1]}, {"shape": [1, 10, 224, 224, 3]}]})


def test_colour() -> None:
    images = torch.zeros(1, 1, 3, 4, 5)
    images[0, 0, 0] = 1  # red
    frame = Frame(images, images, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, PARAMS)
    sampler = SimpleNamespace(input_shape=(3, 4, 5), pixel_range=(0.0, 1.0), chains=1, burn_in_step=None)
    content, (buffer,) = wire.frame(sampler, frame, 1, with_average=False, lossless=False)
    assert content["panes"][0]["shape"] == [1, 1, 4, 5, 3]
    assert buffer == bytes([255, 0, 0]) * 20


def test_the_range_of_a_pane_inverts_its_levels() -> None:
    """What the page shows as a pixel's value is its value, whatever contrast and brightness."""
    values = torch.linspace(-1, 1, 64).reshape(1, 1, 1, 8, 8)
    for scale, base in [(1.0, 127.5), (0.3, 100.0), (0.5, 180.0)]:
        params = PARAMS | {"display_scale": scale, "display_base": base}
        frame = Frame(values, values, torch.zeros(1, 1), torch.zeros(1, 1).bool(), 0, params)
        sampler = SimpleNamespace(input_shape=(1, 8, 8), pixel_range=(-1.0, 1.0), chains=1, burn_in_step=None)
        content, (buffer,) = wire.frame(sampler, frame, 1, with_average=False, lossless=False)
        low, high = content["panes"][0]["range"]
        levels = np.frombuffer(buffer, np.uint8)
        inside = (levels > 0) & (levels < 255)
        shown = low + levels / 255 * (high - low)
        assert inside.sum() > 40
        assert np.abs(shown - values.flatten().numpy())[inside].max() <= 0.51 * (high - low) / 255


# ---- the rest ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sampler() -> Sampler:
    names = ["cat", "catfish", '<img src=x onerror="alert(1)">', "ünïcödé \ud83d", "dog"]
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)).eval()
    settings = {"kernel": Algorithm1(), "class_names": names, "regularizers": [L2(0.1)], "chains": 2}
    return Sampler(model, input_shape=(1, 4, 4), **settings)


def test_setup_is_json(sampler: Sampler) -> None:
    before = strict(wire.setup(sampler, sampler.parameters, sampler.params, ["Algorithm 1"], gen=0))
    assert before["trace"] == {"steps": [], "activation": []}
    sampler.step(1500)
    setup = wire.setup(sampler, sampler.parameters, sampler.params, ["Algorithm 1"], gen=1, title="t", error=None)
    setup = strict(setup)
    assert [layer["name"] for layer in setup["layers"]] == ["0", "1", "2", "3"]
    assert setup["layers"][-1]["shape"] == [5]
    assert [unit["name"] for unit in setup["neurons"]][:2] == ["cat", "catfish"]
    assert {p["name"] for p in setup["parameters"]} == set(setup["params"])
    assert all(p["low"] < p["high"] and p["label"] and p["help"] for p in setup["parameters"])
    steps, activation = setup["trace"]["steps"], setup["trace"]["activation"]
    assert 100 <= len(steps) == len(activation) <= 300
    assert all(len(row) == 5 for row in activation)


def test_units(sampler: Sampler) -> None:
    def keys(query: str, offset: int = 0, limit: int = 50) -> list[str]:
        page = strict(wire.units(sampler, wire.Units("3", query, offset, limit)))
        return [unit["key"] for unit in page["units"]]

    assert keys("") == ["0", "1", "2", "3", "4"]
    assert keys("CAT") == ["0", "1"]
    assert keys("4") == ["4"]
    assert keys("", offset=3, limit=1) == ["3"]
    assert keys("nothing") == []
    assert wire.units(sampler, wire.Units("3", "", 3, 1))["total"] == 5


def test_faults_are_told_in_words() -> None:
    class HomemadeError(Exception):
        pass

    assert wire.fault(RuntimeError("boom"))["message"] == "RuntimeError: boom"
    assert wire.fault(ValueError("l2 must be positive"))["message"] == "l2 must be positive"
    assert wire.fault(HomemadeError())["message"] == "HomemadeError: HomemadeError"
    assert len(wire.fault(ValueError("x" * 10_000))["message"]) <= 2000
    assert all(wire.fault(KeyError("x")).values())


def test_stats_are_json() -> None:
    assert wire.stats({"a": math.nan, "b": math.inf, "c": 2}) == {"a": None, "b": None, "c": 2.0}
