"""The toolbox's widget without a browser: its messages, its pictures, its Python face, and what closing leaves."""

from __future__ import annotations

import gc
import io
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from PIL import Image
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from torch import Tensor, nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until

SOURCES = Path(__file__).parents[2] / "js/src"
DEFS = json.loads((SOURCES / "toolbox/protocol.schema.json").read_text("utf-8"))["$defs"]
OF_PANELS = Resource(json.loads((SOURCES / "protocol.schema.json").read_text("utf-8")), DRAFT202012)
REGISTRY: Registry[Any] = Registry().with_resource("../protocol.schema.json", OF_PANELS)
SHAPE = (3, 12, 12)


def network(seed: int = 1) -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(256, 3)), seed
    ).eval()


def photographs(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def file(color: tuple[int, int, int], size: tuple[int, int] = (12, 12), kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


class View:
    """A page with one view, which acknowledges every frame unless it is `slow`."""

    def __init__(self, widget: ldam.Toolbox, slow: bool = False) -> None:
        self.widget, self.slow = widget, slow
        self.said: list[tuple[dict[str, Any], list[bytes]]] = []
        self.rev = 0
        widget.send = self._hear
        self.tell({"kind": "hello", "view": "a"})

    def _hear(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        direction = Draft202012Validator({"$ref": "#/$defs/FromKernel", "$defs": DEFS}, registry=REGISTRY)
        plain = json.loads(json.dumps(content, allow_nan=False))
        faults = [error.message for error in direction.iter_errors(plain)]
        self.said.append((plain if not faults else {"kind": f"invalid: {faults}"}, list(buffers or [])))
        if content["kind"] == "frame" and not self.slow:
            self.tell({"kind": "ack", "view": "a", "seq": content["seq"], "visible": True})

    def tell(self, content: Any, *buffers: bytes, checked: bool = True) -> None:
        if checked:
            Draft202012Validator({"$ref": "#/$defs/ToKernel", "$defs": DEFS}).validate(content)
        data = [memoryview(each) for each in buffers]
        self.widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": data})

    def change(self, **choice: Any) -> None:
        self.rev += 1
        self.tell({"kind": "change", "view": "a", "rev": self.rev, "choice": choice})

    def send(self, data: bytes, *, camera: bool = False, number: int = 1, name: str = "x.png") -> None:
        self.tell({"kind": "picture", "name": name, "camera": camera, "number": number}, data)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for content, _ in tuple(self.said) if content["kind"] == kind]

    def newest(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The last frame, and its panes by name."""
        content, buffers = [each for each in tuple(self.said) if each[0]["kind"] == "frame"][-1]
        panes = zip(content["panes"], buffers, strict=True)
        return content, {
            pane["name"]: np.frombuffer(data, np.uint8).reshape(pane["shape"])
            for pane, data in panes
            if pane["encoding"] == "raw"
        }

    def until(self, condition: Callable[[], object]) -> None:
        wait_until(condition)

    def settle(self) -> None:
        for _ in range(3):
            self.widget._loop.call(lambda: None)
        assert not [content for content, _ in self.said if content["kind"].startswith("invalid")]


@pytest.fixture
def toolbox() -> Iterator[ldam.Toolbox]:
    widget = ldam.Toolbox(network(), input_shape=SHAPE, images=photographs(), labels=["a", "<b>", "c"], title="net")
    yield widget
    widget.close()


@pytest.fixture
def view(toolbox: ldam.Toolbox) -> View:
    view = View(toolbox)
    view.until(lambda: view.of("frame"))
    view.settle()
    return view


def test_what_a_view_is_greeted_with(view: View) -> None:
    (setup,) = view.of("setup")
    assert [layer["name"] for layer in setup["layers"]] == ["0", "1", "2", "3", "4"]
    assert setup["picture"] == {"source": "images", "sources": ["images"], "index": 0, "count": 4, "name": "0"}
    assert setup["shown"] == ["activations", "backward"]
    content, panes = view.newest()
    expected = (photographs()[0].permute(1, 2, 0) * 255).round().byte()
    assert (panes["picture"][0] == expected.numpy()).all()
    assert panes["tiles"].shape == (6, 10, 10, 1)
    assert {each["name"] for each in content["classes"]} == {"a", "<b>", "c"}


def test_a_page_chooses_everything(view: View, toolbox: ldam.Toolbox) -> None:
    view.change(layer="2", unit=[3, 1, 2], rule="deconv", view="norm", boost=0.5, gamma=0.7, fit="stretch")
    view.until(lambda: view.newest()[0]["layer"] == "2")
    assert (toolbox.layer, toolbox.unit, toolbox.rule, toolbox.view) == ("2", (3, 1, 2), "deconv", "norm")
    assert (toolbox.boost, toolbox.gamma, toolbox.fit) == (0.5, 0.7, "stretch")
    state = view.of("state")[-1]
    assert (state["view"], state["rev"]) == ("a", 1)
    content, panes = view.newest()
    assert content["unit"] == [3, 1, 2]
    assert panes["backward"].shape == (1, 12, 12, 1)
    expected = ldam.views.norm(ldam.backward(network(), photographs()[:1], "2", (3, 1, 2), rule="deconv"))[0, 0]
    assert np.abs(panes["backward"][0, ..., 0] - (expected * 255).round().numpy()).max() <= 1
    view.change(pinned=True)
    view.until(lambda: toolbox.pinned == ("2", (3, 1, 2)))
    view.change(layer="0", show="backward")
    view.until(lambda: view.newest()[0]["show"] == "backward")
    view.tell({"kind": "do", "what": "next"})
    view.until(lambda: toolbox.index == 1)
    view.tell({"kind": "do", "what": "previous"})
    view.tell({"kind": "do", "what": "previous"})
    view.until(lambda: toolbox.index == 3)
    view.change(pinned=False, show="activations")
    view.until(lambda: toolbox.pinned is None)
    view.settle()


def test_a_refused_change_is_told_and_undone(view: View, toolbox: ldam.Toolbox) -> None:
    view.change(layer="of tomorrow")
    view.until(lambda: view.of("error"))
    assert "unknown layer 'of tomorrow'" in view.of("error")[-1]["error"]["message"]
    assert view.of("state")[-1]["rev"] == 1
    assert view.of("state")[-1]["choice"]["layer"] == "0"
    view.tell({"kind": "do", "what": "dismiss_error"})
    view.until(lambda: toolbox.error is None)
    view.settle()


def test_python_chooses_and_the_page_follows(view: View, toolbox: ldam.Toolbox) -> None:
    toolbox.layer, toolbox.unit, toolbox.rule = "2", 1, "guided"
    toolbox.index = -1
    view.until(lambda: view.newest()[0]["name"] == "3" and view.newest()[0]["unit"] == [1])
    assert view.of("state")[-1]["choice"]["rule"] == "guided"
    torch.testing.assert_close(toolbox.image, photographs()[3])
    expected = ldam.backward(network(), photographs()[3:], "2", 1, rule="guided")[0]
    torch.testing.assert_close(toolbox.gradient, expected)
    assert toolbox.classes[0].probability == pytest.approx(network()(photographs()[3:]).softmax(1).max().item())
    toolbox.rule = None
    assert toolbox.rule == "off"
    with pytest.raises(ValueError, match="the backward view is off"):
        _ = toolbox.gradient
    with pytest.raises(ValueError, match="unit 9 is out of range"):
        toolbox.unit = 9
    with pytest.raises(IndexError, match="the source 'images' holds 4 pictures"):
        toolbox.index = 4
    with pytest.raises(TypeError, match="index must be the number of a picture; got 'first'"):
        toolbox.index = "first"  # type: ignore[assignment]
    toolbox.gamma = np.float32(0.5)
    assert toolbox.gamma == 0.5
    with pytest.raises(ValueError, match="source must be one of 'images', 'files', 'camera'; got 'tape'"):
        toolbox.source = "tape"
    with pytest.raises(AttributeError, match="Toolbox has no attribute 'layr'"):
        toolbox.layr = "2"
    view.settle()


def test_pictures_given_in_python(view: View, toolbox: ldam.Toolbox, tmp_path: Path) -> None:
    given = photographs(9)[8]
    toolbox.image = given
    view.until(lambda: view.newest()[0]["name"] == "given in Python")
    torch.testing.assert_close(toolbox.image, given)
    toolbox.image = np.full((12, 12, 3), 51, np.uint8)
    assert toolbox.image.unique().tolist() == pytest.approx([0.2])
    toolbox.image = Image.new("RGB", (40, 20), (255, 0, 0))
    assert toolbox.image[:, 0, 0].tolist() == [1, 0, 0]
    (tmp_path / "green.png").write_bytes(file((0, 255, 0)))
    toolbox.image = tmp_path / "green.png"
    assert toolbox.image[:, 0, 0].tolist() == [0, 1, 0]
    for wrong in (torch.zeros(3, 5, 5), tmp_path / "none.png"):
        with pytest.raises(ValueError, match=r"shape|no such file"):
            toolbox.image = wrong
    with pytest.raises(TypeError, match="image must be a tensor, an array, a PIL image or a file; got int"):
        toolbox.image = 3
    assert toolbox.image[:, 0, 0].tolist() == [0, 1, 0]
    toolbox.next()
    torch.testing.assert_close(toolbox.image, photographs()[1])


def test_files_from_the_page(view: View, toolbox: ldam.Toolbox) -> None:
    view.send(file((255, 0, 0)), name="red.png")
    view.send(file((0, 0, 255), (24, 12), "jpeg"), name="blue.jpg")
    view.until(lambda: view.newest()[0]["name"] == "blue.jpg")
    assert view.of("state")[-1]["picture"] == {
        "source": "files", "sources": ["images", "files"], "index": 1, "count": 2, "name": "blue.jpg",
    }  # fmt: skip
    view.send(b"some text", name="notes.png")
    view.until(lambda: toolbox.error)
    assert toolbox.error == "notes.png: not a picture that Pillow can read"
    assert toolbox.image[2, 0, 0] > 0.95
    view.tell({"kind": "do", "what": "previous"})
    view.until(lambda: view.newest()[0]["name"] == "red.png")
    assert toolbox.error is None
    view.tell({"kind": "source", "what": "images"})
    view.until(lambda: toolbox.source == "images" and view.newest()[0]["name"] == "0")
    view.settle()


def test_crop_and_stretch(view: View, toolbox: ldam.Toolbox) -> None:
    half = Image.new("RGB", (48, 12), (0, 0, 0))
    half.paste((255, 255, 255), (0, 0, 12, 12))  # the left quarter
    buffer = io.BytesIO()
    half.save(buffer, "png")
    view.send(buffer.getvalue())
    view.until(lambda: toolbox.source == "files")
    assert float(toolbox.image.max()) == 0
    toolbox.fit = "stretch"
    assert float(toolbox.image[:, :, 0].min()) > 0.9
    assert float(toolbox.image[:, :, -1].max()) < 0.1


def test_the_newest_of_the_camera_wins_and_is_held(view: View, toolbox: ldam.Toolbox) -> None:
    view.send(file((9, 9, 9)), camera=True, number=1)  # nobody has chosen the camera
    view.settle()
    assert toolbox.source == "images"
    view.tell({"kind": "source", "what": "camera"})
    view.until(lambda: toolbox.source == "camera")
    busy, go_on = threading.Event(), threading.Event()
    toolbox._loop.submit(lambda: (busy.set(), go_on.wait(10)))
    busy.wait(10)
    seen = len(view.of("frame"))
    for number in range(2, 12):  # while the network is busy
        view.send(file((20 * number, 0, 0)), camera=True, number=number)
    go_on.set()
    view.until(lambda: view.newest()[0]["answers"] == 11)
    assert len(view.of("frame")) == seen + 1
    assert float(toolbox.image[0, 0, 0]) == pytest.approx(220 / 255)
    toolbox.freeze()
    view.send(file((0, 255, 0)), camera=True, number=12)
    toolbox.layer = "2"  # what is held can be looked at
    view.until(lambda: view.newest()[0]["layer"] == "2")
    assert view.newest()[0]["answers"] == 11
    assert float(toolbox.image[0, 0, 0]) == pytest.approx(220 / 255)
    toolbox.freeze(False)
    view.send(file((0, 255, 0)), camera=True, number=13)
    view.until(lambda: view.newest()[0]["answers"] == 13)
    for number in range(14, 20):
        view.send(b"\xff\xd8 not a picture", camera=True, number=number)
        view.settle()
    assert len([each for each in view.of("error") if each["error"]]) == 1  # said once
    view.settle()


def test_a_slow_page_gets_two_pictures_and_then_the_newest(
    toolbox: ldam.Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(toolbox._loop.pacer), "KEEP_ALIVE", 1e9)
    view = View(toolbox, slow=True)
    view.until(lambda: view.of("frame"))
    for i in range(20):
        toolbox.boost = i / 20
        view.settle()
    assert len(view.of("frame")) == 2
    view.tell({"kind": "ack", "view": "a", "seq": 2, "visible": True})
    view.until(lambda: len(view.of("frame")) == 3)
    view.settle()
    assert len(view.of("frame")) == 3
    last = view.newest()[1]["tiles"]
    view.slow = False
    view.tell({"kind": "ack", "view": "a", "seq": 3, "visible": True})
    toolbox.boost = 0.95  # as it is
    view.until(lambda: len(view.of("frame")) == 4)
    assert (view.newest()[1]["tiles"] == last).all()


def test_nobody_looks(toolbox: ldam.Toolbox) -> None:
    toolbox.layer = "2"
    time.sleep(0.05)
    assert toolbox.stats["frames_per_second"] == 0
    view = View(toolbox)
    view.until(lambda: view.of("frame"))
    assert view.newest()[0]["layer"] == "2"


@pytest.mark.filterwarnings("ignore:.* is skipped")
def test_a_folder_with_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    (tmp_path / "b.png").write_bytes(file((0, 0, 255)))
    (tmp_path / "c.jpg").write_bytes(file((255, 0, 0), (30, 30), "jpeg")[:200])
    (tmp_path / "d.jpg").write_bytes(file((255, 0, 0), (30, 30), "jpeg"))
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=tmp_path)
    view = View(toolbox)
    view.until(lambda: toolbox.error)
    assert toolbox.error is not None
    assert toolbox.error.startswith("a.png: not a picture")
    toolbox.next()
    view.until(lambda: view.of("frame") and view.newest()[0]["name"] == "b.png")
    toolbox.next()
    assert toolbox.index == 3  # c.jpg cannot be read
    view.settle()
    toolbox.close()


def test_networks_of_other_pictures_than_files() -> None:
    toolbox = ldam.Toolbox(nn.Conv2d(5, 3, 3), input_shape=(5, 8, 8), images=torch.rand(2, 5, 8, 8))
    view = View(toolbox)
    view.until(lambda: view.of("frame"))
    assert view.of("setup")[0]["takes_files"] is False
    assert view.newest()[1]["picture"].shape == (1, 8, 8, 3)
    view.send(file((1, 2, 3)))
    view.settle()
    assert toolbox.source == "images"
    with pytest.raises(ValueError, match="source must be one of 'images'; got 'camera'"):
        toolbox.source = "camera"
    toolbox.close()


def test_no_picture_yet() -> None:
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE)
    view = View(toolbox)
    view.until(lambda: view.of("setup"))
    view.settle()
    assert not view.of("frame")
    assert toolbox.image is None
    with pytest.raises(ValueError, match="there is no picture yet"):
        _ = toolbox.classes
    view.send(file((1, 2, 3)))
    view.until(lambda: view.of("frame"))
    toolbox.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (12,)}, r"input_shape must be \(channels, height, width\)"),
        ({"pixel_range": (1, 0)}, "pixel_range must be"),
        ({"images": torch.zeros(2, 3, 5, 5)}, "dataset holds images of shape"),
        ({"images": "no/such/folder"}, "there is no folder"),
        ({"layer": "9"}, "unknown layer '9'"),
        ({"labels": ["a"]}, "labels holds 1 names"),
        ({"compare": 3}, "compare: model must be an instance"),
    ],
    ids=str,
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        ldam.Toolbox(network(), **({"input_shape": SHAPE} | options))


def test_messages_that_no_page_of_ours_sends(view: View, caplog: pytest.LogCaptureFixture) -> None:
    nonsense: list[Any] = [
        None, 3, [], {"kind": "change"}, {"kind": "change", "view": "a", "rev": 1, "choice": 3},
        {"kind": "change", "view": "a", "rev": 1, "choice": {"unit": "x"}},
        {"kind": "change", "view": "a", "rev": 1, "choice": {"boost": []}},
        {"kind": "picture"}, {"kind": "picture", "name": "x", "camera": True, "number": 1},
        {"kind": "source", "what": {}}, {"kind": "do", "what": "explode"}, {"kind": "ack", "seq": 10**9, "view": "a"},
        {"kind": "set", "params": {"boost": 3}}, {"kind": "select", "layer": "2"},
    ]  # fmt: skip
    for content in nonsense:
        view.tell(content, checked=False)
    view.tell({"kind": "picture", "name": "x", "camera": False, "number": 1}, b"", b"", checked=False)
    view.settle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert view.widget.layer == "0"


def test_closing_frees_everything() -> None:
    model = network()
    toolbox = ldam.Toolbox(model, input_shape=SHAPE, images=photographs())
    view = View(toolbox)
    view.until(lambda: view.of("frame"))
    explorer = weakref.ref(toolbox.explorer)
    toolbox.close()
    toolbox.close()
    assert not loop_threads()
    gc.collect()
    assert explorer() is None
    assert repr(toolbox) == "Toolbox(closed)"
    with pytest.raises(RuntimeError, match="the widget is closed; make a new one"):
        toolbox.layer = "2"
    assert not any(module._forward_hooks for module in model.modules())
    forgotten = weakref.ref(toolbox)
    del view.widget, toolbox
    gc.collect()
    assert forgotten() is None


def test_a_toolbox_that_nobody_holds_is_freed() -> None:
    toolbox = ldam.Toolbox(network(), input_shape=SHAPE, images=photographs())
    toolbox.layer = "2"
    gone = weakref.ref(toolbox)
    del toolbox
    wait_until(lambda: (gc.collect(), gone() is None)[1])
