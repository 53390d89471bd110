"""The map's widget without a browser: its messages, its Python face, t-SNE that runs, and what closing leaves."""

from __future__ import annotations

import csv
import gc
import io
import weakref
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .conftest import loop_threads, wait_until
from .map_page import IMAGES, POINTS, RNG, View, make

__all__ = ["make"]


LABELS = np.arange(40) % 3


@pytest.fixture
def view(make: Any) -> View:
    view = View(make(images=IMAGES, labels=LABELS, class_names=["cat", "<b>dog</b>"], title="<i>map</i>"))
    wait_until(lambda: view.of("frame"))
    view.settle()
    return view


def classifier(classes: int = 4) -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, classes)), 3).eval()


def test_what_a_view_is_greeted_with(view: View) -> None:
    kinds = [content["kind"] for content, _ in view.said]
    assert kinds == ["setup", "colours", "selected", "frame"]
    setup, _ = view.newest("setup")
    assert (setup["count"], setup["has_pictures"], setup["follows"]) == (40, True, False)
    assert (setup["colours"], setup["colour"], setup["run"]["steps"]) == (["label"], "label", 0)
    colours, (levels,) = view.newest("colours")
    assert [each["name"] for each in colours["classes"]] == ["cat", "<b>dog</b>", "2"]
    assert [each["count"] for each in colours["classes"]] == [14, 13, 13]
    assert (np.frombuffer(levels, np.uint8) == LABELS).all()
    assert np.abs(view.positions() - POINTS).max() < 6 / 65535 + 1e-6


def test_the_selection_is_an_attribute(view: View) -> None:
    widget, seen = view.widget, []
    assert widget.selection.dtype == np.int64
    assert len(widget.selection) == 0
    widget.observe(lambda change: seen.append(change["new"].tolist()), "selection")
    view.select([7, 3, 39], rev=4)
    assert widget.selection.tolist() == [3, 7, 39]
    content, (bits,) = view.newest("selected")
    assert (content["view"], content["rev"], content["count"]) == ("a", 4, 3)
    assert np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")).tolist() == [3, 7, 39]
    widget.selection = [5, 5, 1]
    assert (view.newest("selected")[0]["view"], view.newest("selected")[0]["count"]) == ("", 2)
    widget.selection = torch.tensor([1, 5])  # as it is
    widget.selection = LABELS == 2
    assert (widget.selection == np.flatnonzero(LABELS == 2)).all()
    widget.selection = []
    widget.selection = None
    assert seen == [[3, 7, 39], [1, 5], np.flatnonzero(LABELS == 2).tolist(), []]
    with pytest.raises(ValueError, match="read-only"):
        widget.selection[:] = 0
    for wrong, error, words in [
        ([40], IndexError, "selection holds 40, but the map has points 0…39"),
        ([-1], IndexError, "selection holds -1"),
        ([0.5], TypeError, "indices of points, or a mask of booleans; got float64"),
        ("all", TypeError, "indices of points"),
        ([[1, 2]], ValueError, r"a list of indices; got an array of shape \(1, 2\)"),
        (np.ones(3, bool), ValueError, r"must have shape \(40,\); got \(3,\)"),
    ]:
        with pytest.raises(error, match=words):
            widget.selection = wrong
    view.settle()


def test_malformed_messages_change_nothing(view: View) -> None:
    view.select([1])
    before = len(view.said)
    bits = b"\xff" * 5
    for content, buffers in [
        ({"kind": "select", "view": "a", "rev": 2}, []),
        ({"kind": "select", "view": "a", "rev": 2}, [bits + b"1"]),
        ({"kind": "select", "view": "a"}, [bits]),
        ({"kind": "pictures", "indices": [40]}, []),
        ({"kind": "pictures", "indices": list(range(101))}, []),
        ({"kind": "pictures", "indices": "all"}, []),
        ({"kind": "chain", "index": 0}, []),
        ({"kind": "colour", "view": "a", "rev": 1, "name": 3}, []),
        ({"kind": "do", "what": "explode"}, []),
        ("hello", []),
    ]:
        view.tell(content, *buffers, checked=False)
    view.settle()
    assert view.widget.selection.tolist() == [1]
    assert len(view.said) == before


def test_pictures_and_captions_on_demand(view: View) -> None:
    view.tell({"kind": "pictures", "indices": [4, 1]})
    wait_until(lambda: view.of("pictures"))
    content, (data,) = view.newest("pictures")
    assert (content["indices"], content["captions"]) == ([4, 1], ["<b>dog</b>", "<b>dog</b>"])
    assert (content["shape"], content["encoding"]) == ([2, 6, 6, 1], "raw")
    expected = (IMAGES[[4, 1]].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    assert np.abs(np.frombuffer(data, np.uint8).reshape(2, 6, 6, 1).astype(int) - expected).max() <= 1


def test_large_pictures_come_as_a_sheet(make: Any) -> None:
    images = np.zeros((40, 200, 100, 3), np.uint8)
    images[:, :, :] = (np.arange(40) * 6)[:, None, None, None]
    view = View(make(images=images.transpose(0, 3, 1, 2)))
    view.tell({"kind": "pictures", "indices": list(range(40))})
    wait_until(lambda: view.of("pictures"))
    content, (data,) = view.newest("pictures")
    assert (content["shape"], content["encoding"]) == ([40, 64, 32, 3], "jpeg")
    sheet = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    columns = 9  # √(40 · 64 ÷ 32), rounded up
    assert sheet.shape == (5 * 64, columns * 32, 3)
    for i in (0, 8, 9, 39):
        middle = sheet[(i // columns) * 64 + 32, (i % columns) * 32 + 16]
        assert np.abs(middle - 6 * i).max() <= 4


def test_selected_images(view: View) -> None:
    widget = view.widget
    with pytest.raises(ValueError, match="nothing is selected"):
        widget.selected_images()
    widget.selection = [2, 9, 11]
    torch.testing.assert_close(widget.selected_images(), IMAGES[[2, 9, 11]])
    torch.testing.assert_close(widget.selected_images(2), IMAGES[[2, 11]])
    torch.testing.assert_close(widget.selected_images(5), IMAGES[[2, 9, 11, 2, 9]])
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        widget.selected_images(0)


def test_chains_of_a_followed_widget_start_from_the_selection(make: Any) -> None:
    w = ldam.LDAM(classifier(), input_shape=(1, 6, 6), chains=2, pixel_range=(0, 1), prior=None, play=False)
    try:
        view = View(make(images=IMAGES, follow=w))
        view.do("start_chains")
        wait_until(lambda: view.of("error"))
        assert "nothing is selected" in view.newest("error")[0]["error"]["message"]
        view.do("dismiss_error")
        wait_until(lambda: view.newest("error")[0]["error"] is None)
        view.select([6, 8])
        view.do("start_chains")
        wait_until(
            lambda: torch.allclose(w.sampler.images.float(), IMAGES[[6, 8]].expand(4, -1, -1, -1, -1), atol=1e-5)
        )
        assert view.of("setup")[0][0]["follows"]
    finally:
        w.close()


def test_colours(view: View) -> None:
    widget = view.widget
    assert widget.color == "label"
    widget.color = np.linspace(-1, 3, 40)
    assert widget.color == "colour"
    colours, (levels,) = view.newest("colours")
    assert (colours["type"], colours["low"], colours["high"]) == ("numbers", -1, 3)
    assert np.frombuffer(levels, np.uint8)[[0, 20, 39]].tolist() == [0, 130, 254]
    widget.color = {"size": np.where(LABELS == 1, np.nan, 2.0), "kind": ["a" if i % 2 else "b" for i in range(40)]}
    assert view.newest("state")[0]["colours"] == ["label", "colour", "size", "kind"]
    assert (np.frombuffer(view.newest("colours")[1][0], np.uint8) == np.where(LABELS == 1, 255, 0)).all()
    view.tell({"kind": "colour", "view": "a", "rev": 3, "name": "kind"})
    wait_until(lambda: widget.color == "kind")
    wait_until(lambda: (view.newest("state")[0]["view"], view.newest("state")[0]["rev"]) == ("a", 3))
    assert [each["name"] for each in view.newest("colours")[0]["classes"]] == ["a", "b"]
    view.tell({"kind": "colour", "view": "a", "rev": 4, "name": "of tomorrow"})
    wait_until(lambda: widget.error)
    assert widget.color == "kind"
    widget.color = None
    assert view.newest("colours")[0]["type"] == "one"
    for wrong, words in [
        ("x", "color must be an array, or one of 'label', 'colour', 'size', 'kind'; got 'x'"),
        ([1, 2], r"color must be one per point, 40; got list of shape \(2,\)"),
        ({"a": [1]}, r"color\['a'\] must be one per point, 40"),
    ]:
        with pytest.raises(ValueError, match=words):
            widget.color = wrong
    with pytest.raises(TypeError, match="color must be numbers or text"):
        widget.color = [object()] * 40
    view.settle()


def test_many_kinds(make: Any) -> None:
    count = 600
    points = np.zeros((count, 2), np.float32)
    view = View(make(points, color=np.arange(count)))
    wait_until(lambda: view.of("colours"))
    assert view.newest("colours")[0]["type"] == "numbers"
    view.widget.color = np.arange(count) % 254
    assert len(view.newest("colours")[0]["classes"]) == 254
    view.widget.color = np.arange(count) % 255 - 1  # -1: none
    colours, (levels,) = view.newest("colours")
    assert (len(colours["classes"]), np.frombuffer(levels, np.uint8)[0]) == (254, 255)
    view.widget.color = [f"name {i // 2}" for i in range(count)]
    last = view.newest("colours")[0]["classes"][-1]
    assert last == {"name": "47 others", "count": 94}
    view.widget.color = np.full(count, np.nan)
    assert view.newest("colours")[0]["low"] is None
    view.widget.color = np.arange(count) > 5
    assert [each["name"] for each in view.newest("colours")[0]["classes"]] == ["False", "True"]
    view.settle()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "classes", "levels"),
    [
        (np.array([3, 1, 3], object), ["1", "3"], [1, 0, 1]),
        (["b", None, "a"], ["a", "b"], [1, 255, 0]),
        (np.array([float("nan"), "x", ""], object), ["x"], [255, 0, 255]),
        ([None, None, None], [], [255, 255, 255]),
        ([-1, -1, -1], [], [255, 255, 255]),
        (["=1+1", "a,b", "=1+1"], ["=1+1", "a,b"], [0, 1, 0]),
        (torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16), [], [0, 127, 254]),
        ([1e308, 0.0, -1e308], [], [254, 127, 0]),
    ],
    ids=["objects", "None", "NaN", "nothing", "unknown", "text", "bfloat16", "far"],
)
def test_odd_labels(make: Any, tmp_path: Path, values: Any, classes: list[str], levels: list[int]) -> None:
    view = View(make(POINTS[:3], labels=values, color={"x": values}))
    wait_until(lambda: view.of("colours"))
    content, (sent,) = view.newest("colours")
    assert [each["name"] for each in content["classes"]] == classes
    assert np.frombuffer(sent, np.uint8).tolist() == levels
    view.widget.to_csv(tmp_path / "map.csv")
    rows = list(csv.DictReader((tmp_path / "map.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["index", "x", "y", "label", "colour x", "selected"]
    if classes:
        expected = ["" if level == 255 else classes[level] for level in levels]
        assert [row["label"] for row in rows] == [row["colour x"] for row in rows] == expected
    view.settle()


def test_predicted_classes(make: Any, tmp_path: Path) -> None:
    model = classifier()
    names = ["w", "x", "y", "z"]
    view = View(make(images=IMAGES, labels=LABELS, model=model, class_names=names, color="predicted"))
    expected = model(IMAGES).argmax(1).numpy()
    kinds = np.unique(expected)
    wait_until(lambda: view.of("colours") and view.newest("colours")[0]["name"] == "predicted")
    content, (levels,) = view.newest("colours")
    assert [each["name"] for each in content["classes"]] == [names[kind] for kind in kinds]
    assert (kinds[np.frombuffer(levels, np.uint8)] == expected).all()
    view.tell({"kind": "pictures", "indices": [3]})
    wait_until(lambda: view.of("pictures"))
    assert view.newest("pictures")[0]["captions"] == [f"w · predicted {names[expected[3]]}"]
    other = make(images=IMAGES, model=model)
    other.to_csv(tmp_path / "map.csv")  # waits for it
    rows = list(csv.DictReader((tmp_path / "map.csv").open()))
    assert [int(row["predicted"]) for row in rows] == expected.tolist()


def test_chains_over_the_map(view: View) -> None:
    widget, picked = view.widget, []
    widget._chains.on_pick = picked.append
    widget._chains.show([[1.5, 2], [np.nan, 0]], [0, 1], [True, False], ["<b>3</b>", "7"])
    wait_until(lambda: (view.newest("frame")[0]["chains"] or {}).get("count"))
    content, buffers = view.newest("frame")
    assert content["chains"] == {"count": 2, "neurons": ["<b>3</b>", "7"], "colours": [0, 1], "fresh": True}
    np.testing.assert_array_equal(
        np.frombuffer(buffers[0], "<f4").reshape(2, 4), [[1.5, 2, 0, 1], [np.nan, 0, 1, 0]]
    )  # fmt: skip
    widget._chains.show([[1, 2], [3, 4]], [0, 1], [True, False], ["3", "7"])
    wait_until(lambda: not view.newest("frame")[0]["chains"]["fresh"])
    view.tell({"kind": "chain", "index": 1})
    view.tell({"kind": "chain", "index": 2})
    view.settle()
    assert picked == [1]
    widget._chains.clear()
    wait_until(lambda: view.newest("frame")[0]["chains"]["count"] == 0)
    view.settle()


def test_files(view: View, tmp_path: Path) -> None:
    widget = view.widget
    widget.selection = [0, 39]
    widget.to_csv(tmp_path / "map.csv")
    rows = list(csv.DictReader((tmp_path / "map.csv").open(encoding="utf-8")))
    assert [int(row["index"]) for row in rows] == list(range(40))
    np.testing.assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], POINTS, rtol=1e-5)
    assert [row["label"] for row in rows[:3]] == ["cat", "<b>dog</b>", "2"]
    assert [i for i, row in enumerate(rows) if row["selected"] == "1"] == [0, 39]
    view.do("csv")
    wait_until(lambda: view.of("download"))
    content, (data,) = view.newest("download")
    assert content["mime"] == "text/csv"
    assert data == (tmp_path / "map.csv").read_bytes()
    widget.save(tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").size == (900, 900)
    widget.color = np.linspace(0, 1, 40)
    widget.save(tmp_path / "map.svg")
    with pytest.raises(ValueError, match="txt"):
        widget.save(tmp_path / "map.txt")
    widget.color = [f"{i % 12:02}" for i in range(40)]
    widget.save(tmp_path / "map.svg")
    drawn = (tmp_path / "map.svg").read_text().lower()
    for colour in ("#3f90da", "#265683"):  # the first, and a shade of it for the eleventh
        assert colour in drawn


def test_folders_have_names_and_labels(make: Any, tmp_path: Path) -> None:
    for name in ("b/1.png", "b/2.png", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / name)
    view = View(make(POINTS[:3], images=tmp_path, input_shape=(3, 8, 8)))
    view.tell({"kind": "pictures", "indices": [0, 2]})
    wait_until(lambda: view.of("pictures"))
    assert view.newest("pictures")[0]["captions"] == ["a · a/3.png", "b · b/2.png"]
    view.widget.to_csv(tmp_path / "map.csv")
    assert (tmp_path / "map.csv").read_text().splitlines()[1].endswith(",a,0,a/3.png")


def test_arguments_that_do_not_fit(make: Any) -> None:
    for options, error, words in [
        ({"labels": [1, 2]}, ValueError, r"labels must be one per point, 40; got list of shape \(2,\)"),
        ({"images": IMAGES[:7]}, ValueError, "images must be one per point, 40; got 7"),
        ({"model": classifier()}, ValueError, "model predicts the classes of images: give images=, too"),
        ({"color": "predicted"}, ValueError, "one of none; got 'predicted'; \"predicted\" needs model= and images="),
        ({"labels": [[1, 2], [3]]}, TypeError, "labels must be numbers or text, one per point; got list"),
        (
            {"labels": np.zeros((40, 1))},
            ValueError,
            r"labels must be one per point, 40; got ndarray of shape \(40, 1\)",
        ),
        ({"color": [1.0]}, ValueError, "color must be one per point, 40"),
        (
            {"follow": classifier()},
            TypeError,
            "follow must be a widget that samples, such as ldam.LDAM; got Sequential",
        ),
        ({"images": "nowhere", "input_shape": (1, 6, 6)}, FileNotFoundError, "there is no folder"),
    ]:
        with pytest.raises(error, match=words):
            make(**options)
    broken = POINTS.copy()
    broken[3, 1] = np.nan
    for points, words in [
        (broken, "points holds numbers that are NaN or infinite in single precision, in row 3"),
        (np.zeros((5, 3)), r"points must be positions on a map, \(n, 2\); got \(5, 3\)"),
        (np.zeros((0, 2)), "at least one of each"),
        ([], "points must have one row a point"),
    ]:
        with pytest.raises(ValueError, match=words):
            make(points)
    with pytest.raises(TypeError, match="points must be rows of numbers"):
        make(object())
    widget = make()
    with pytest.raises(AttributeError, match="Scatter has no attribute 'colour'"):
        widget.colour = "label"
    with pytest.raises(ValueError, match="this map has no images; give images="):
        widget.selected_images()
    with pytest.raises(ValueError, match="this map has positions only"):
        widget.embedding.place(np.zeros((1, 3)))


@pytest.mark.parametrize(
    "points", [[[3.0, 4.0]], np.zeros((5, 2)), [[1e30, 0], [-1e30, 0]]], ids=["one", "same", "far"]
)
def test_few_and_far(make: Any, points: Any) -> None:
    view = View(make(points))
    wait_until(lambda: view.of("frame"))
    np.testing.assert_allclose(view.positions(), np.asarray(points), atol=2e26)
    view.select([0])
    assert view.widget.selection.tolist() == [0]
    view.settle()


def test_a_closed_map_leaves_nothing(make: Any) -> None:
    before = loop_threads()
    images = torch.rand(40, 1, 6, 6)
    widget = make(ldam.TSNE(RNG.normal(size=(40, 5)), perplexity=5, steps=100_000, device="cpu"), images=images)
    view = View(widget)
    wait_until(lambda: view.of("frame"))
    widget.close()
    wait_until(lambda: loop_threads() == before)
    assert repr(widget) == "Scatter(closed)"
    for _ in range(2):
        widget.close()
    view.tell({"kind": "hello", "view": "b"})
    with pytest.raises(RuntimeError, match="the widget is closed"):
        widget.play()


def test_a_map_that_nobody_holds_is_freed() -> None:
    widget = ldam.Scatter(POINTS, images=IMAGES)
    gone = weakref.ref(widget)
    view = View(widget)
    view.settle()
    view.tell({"kind": "bye", "view": "a"})
    view.settle()
    del widget, view
    wait_until(lambda: (gc.collect(), gone() is None)[1])


def test_a_map_that_never_came_to_be_leaves_nothing_behind() -> None:
    """A dead widget in ipywidgets' registry would make the notebook impossible to save with its widgets."""
    with pytest.raises(ValueError, match="images"):
        ldam.Scatter(np.random.default_rng(0).random((20, 2)), images=torch.rand(3, 1, 8, 8))
    gc.collect()
    ipywidgets.Widget.get_manager_state()
