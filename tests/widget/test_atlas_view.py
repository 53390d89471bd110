"""The atlas in a notebook without a browser: its answers to a page, its Python face, and what closing leaves."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import ldam_widget as ldam

from ..atlas.synthetic import synthetic_atlas
from ..atlas.test_pages import DEFS
from .conftest import wait_until
from .page import FakePage

LAYERS = {"conv": 70, "fc": 10}


class Reader(FakePage):
    """A page with one view, whose messages are all as declared, in both directions."""

    def __init__(self, view: ldam.AtlasView) -> None:
        super().__init__(view)
        self.receive(kind="hello", view="a")
        self.settle()

    def record(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        validator = Draft202012Validator({"$ref": "#/$defs/FromKernel", "$defs": DEFS})
        faults = [error.message for error in validator.iter_errors(json.loads(json.dumps(content, allow_nan=False)))]
        super().record(content if not faults else {"kind": f"invalid: {faults}"}, buffers)

    def settle(self) -> None:
        self.widget._loop.call(lambda: None)
        assert not [content for content, _ in self.sent if content["kind"].startswith("invalid")]

    def ask(self, checked: bool = True, **question: Any) -> tuple[dict[str, Any], list[bytes]]:
        question = {"ask": f"a-{len(self.sent)}", "atlas": 0} | question
        if checked:
            Draft202012Validator({"$ref": "#/$defs/ToKernel", "$defs": DEFS}).validate(question)
        self.deliver(question)
        self.settle()
        content, buffers = self.sent[-1]
        assert content["ask"] == question["ask"]
        return content, buffers


@pytest.fixture
def view(tmp_path: Path) -> Iterator[ldam.AtlasView]:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", LAYERS), title="net")
    yield view
    view.close()


def test_a_page_is_told_what_there_is_and_asks_for_the_rest(view: ldam.AtlasView, tmp_path: Path) -> None:
    page = Reader(view)
    assert page.last("index")["title"] == "net"
    content, _ = page.ask(kind="table", layer="fc")
    assert len(content["table"]["states"]) == 10
    content, (sheet,) = page.ask(kind="sheet", layer="conv", block=1, file="top-2.webp")
    assert not content["error"]
    assert sheet == (tmp_path / "atlas/conv/00001/top-2.webp").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "question",
    [
        {"layer": "no"},
        {"layer": "conv", "atlas": 1},
        {"layer": "conv", "block": 2},
        {"layer": "conv", "block": -1},
        {"layer": "conv", "file": "../../atlas.json"},
        {"layer": "conv", "file": "done.json"},
        {"layer": 3},
        {"layer": "conv", "block": "0"},
    ],
)
def test_questions_without_an_answer_get_an_error(view: ldam.AtlasView, question: dict[str, Any]) -> None:
    content, buffers = Reader(view).ask(False, **{"kind": "sheet", "block": 0, "file": "samples.webp"} | question)
    assert content["error"]
    assert not buffers


def test_a_block_that_is_damaged_or_not_there(tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", {"conv": 200}, blocks=2))
    page = Reader(view)
    (tmp_path / "atlas/conv/00001/samples.webp").write_bytes(b"RIFF")
    assert "not been rendered" in page.ask(kind="sheet", layer="conv", block=2, file="samples.webp")[0]["error"]
    assert "damaged" in page.ask(kind="sheet", layer="conv", block=1, file="samples.webp")[0]["error"]
    synthetic_atlas(tmp_path / "atlas", {"conv": 200}, blocks=3)
    view.refresh()
    page.settle()
    assert [each["atlases"][0]["layers"][0]["rendered"] for each in page.of("index")] == [128, 128]
    view.close()


def test_pictures_of_images_can_be_withheld(tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", LAYERS), top=False)
    content, _ = Reader(view).ask(kind="sheet", layer="conv", block=0, file="top-0.webp")
    assert "no such sheet" in content["error"]
    view.close()


def test_selection(view: ldam.AtlasView) -> None:
    page = Reader(view)
    assert view.selection is None
    view.show("conv", 17)
    assert page.last("show") == {"kind": "show", "layer": "conv", "unit": 17}
    assert view.selection == ("conv", 17)
    page.receive(kind="chosen", layer="fc", unit=None)
    assert view.selection == ("fc", None)
    page.receive(kind="chosen", layer="<b>", unit=1)
    assert view.selection == ("fc", None)
    view.show("fc", 3)
    again = Reader(view)  # a second view shows the same
    assert again.last("show") == {"kind": "show", "layer": "fc", "unit": 3}


@pytest.mark.parametrize(
    ("layer", "unit", "error", "words"),
    [
        ("cnv", 1, ValueError, "Did you mean 'conv'"),
        ("conv", 70, ValueError, "unit must be from 0 to 69"),
        ("conv", -1, ValueError, "unit must be from 0 to 69"),
        ("conv", True, ValueError, "unit must be"),
        ("conv", 1.5, TypeError, "float"),
    ],
)
def test_what_cannot_be_shown(view: ldam.AtlasView, layer: str, unit: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        view.show(layer, unit)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no atlas"):
        ldam.AtlasView(tmp_path)
    with pytest.raises(TypeError, match="atlas must be"):
        ldam.AtlasView(None)  # type: ignore[arg-type]


def test_closing_and_forgetting(tmp_path: Path) -> None:
    view = ldam.AtlasView(synthetic_atlas(tmp_path / "atlas", LAYERS), tmp_path / "atlas", names=("a", "b"))
    page = Reader(view)
    assert [atlas["name"] for atlas in page.last("index")["atlases"]] == ["a", "b"]
    count = len(page.sent)
    view.close()
    view.close()
    page.receive(kind="table", ask="x", atlas=0, layer="fc")
    assert len(page.sent) == count
    assert "closed" in repr(view)
    other = ldam.AtlasView(tmp_path / "atlas")
    reference = weakref.ref(other)
    del other
    wait_until(lambda: (gc.collect(), reference() is None)[1])
