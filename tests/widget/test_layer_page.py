"""The page of a layer without a browser: its table, units opened, files, and what it refuses."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .conftest import wait_until
from .page import SettlingPage

SHAPE = (3, 12, 12)


def network(seed: int = 1) -> nn.Module:
    def make() -> nn.Module:
        made = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(600, 3))
        with torch.no_grad():
            made[0].weight[2], made[0].bias[2] = 0, -1  # dead
        return made

    return with_fixed_weights(make, seed).eval()


def photographs(count: int = 60) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def survey() -> ldam.Survey:
    return ldam.survey(network(), photographs(), ["0", "3"], labels=["cat", "<b>"] * 30, progress=False)


@pytest.fixture
def widget(survey: ldam.Survey) -> Iterator[ldam.LayerPage]:
    widget = ldam.LayerPage(network(), "0", survey=survey, title="net")
    yield widget
    widget.close()


@pytest.fixture
def page(widget: ldam.LayerPage) -> SettlingPage:
    page = SettlingPage(widget)
    page.receive(kind="hello", view="a")
    return page


def test_a_view_is_given_the_whole_table(page: SettlingPage, survey: ldam.Survey) -> None:
    (message,) = page.of("unit_table")
    columns, table = message["columns"], survey.table("0")
    for row in table:
        shown = {name: values[row.unit] for name, values in columns.items()}
        assert shown["mean"] == row.mean
        assert shown["best_class"] == row.best_class
        assert shown["partner"] == (None if row.partner < 0 else row.partner)
        assert shown["change"] is None
    assert columns["dead"] == [False, False, True, False, False, False]
    weights = network()[0].weight.detach()
    assert (message["weights"]["low"], message["weights"]["high"]) == (float(weights.min()), float(weights.max()))
    assert sum(message["activations"]["counts"]) == pytest.approx(360)
    assert page.last("setup")["open_unit"] is None
    assert not page.of("unit_bars")


def test_nothing_is_sampled_before_a_unit_is_opened(page: SettlingPage, widget: ldam.LayerPage) -> None:
    assert not widget.playing
    assert not widget.opened
    widget.restart()
    assert not widget.opened
    page.receive(kind="open_unit", unit=4)
    assert (widget.opened, widget.unit, widget.neurons, widget.playing) == (True, 4, [4], True)
    widget.pause()
    assert page.last("state")["open_unit"] == 4
    bars = page.last("unit_bars")
    assert bars["unit"] == 4
    assert sum(bars["activations"]["counts"]) == 60
    assert sum(bars["weights"]["counts"]) == 27
    page.receive(kind="hello", view="b")
    assert page.last("setup")["open_unit"] == 4
    assert page.last("unit_bars") == bars


def test_a_unit_opened_from_python(page: SettlingPage, widget: ldam.LayerPage) -> None:
    widget.unit = 1
    assert widget.playing
    widget.pause()
    assert widget.neurons == [1]
    assert page.last("unit_bars")["unit"] == 1
    assert page.last("unit")["kind"] == "unit"  # its page, as that of `UnitPage`
    widget.next()
    assert page.last("unit_bars")["unit"] == 2
    assert page.last("setup")["open_unit"] == 2
    assert not widget.playing  # as it was
    widget.layer = "3"
    assert page.last("setup")["open_unit"] == -1
    page.receive(kind="open_unit", unit=1)
    assert page.last("state")["open_unit"] == 1
    assert widget.layer == "0"
    with pytest.raises(ValueError, match="unit must be from 0 to 5 in layer '0'; got 6"):
        widget.unit = 6
    with pytest.raises(ValueError, match="got 'cat'"):
        widget.unit = "cat"  # type: ignore[assignment]
    assert widget.unit == 1


def test_files_hold_the_rows_shown_in_their_order(page: SettlingPage, widget: ldam.LayerPage, tmp_path: Path) -> None:
    page.receive(kind="export_units", what="csv", column="max", ascending=True, query="cat")
    content, (data,) = next(each for each in page.sent if each[0]["kind"] == "download")
    assert (content["filename"], content["mime"]) == ("net-0.csv", "text/csv")
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    wanted = widget.table.find("cat").by("max", ascending=True)
    assert [int(row["unit"]) for row in rows] == [row.unit for row in wanted]
    assert [float(row["max"]) for row in rows] == [row.max for row in wanted]
    page.receive(kind="export_units", what="sheet", column="unit", ascending=True, query="")
    wait_until(lambda: len(page.of("download")) == 2)
    content, (data,) = [each for each in page.sent if each[0]["kind"] == "download"][-1]
    assert content["filename"] == "net-0.png"
    picture = Image.open(io.BytesIO(data))
    widget.sheet(tmp_path / "sheet.png")
    assert picture.tobytes() == Image.open(tmp_path / "sheet.png").tobytes()
    widget.to_csv(tmp_path / "units.csv")
    assert len((tmp_path / "units.csv").read_text().splitlines()) == 7


class Held:
    """Photographs of which those for a sheet are given only while `go_on` is set."""

    def __init__(self) -> None:
        self.go_on, self.asked = threading.Event(), 0
        self.go_on.set()

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Tensor:
        self.asked += 1
        assert self.go_on.wait(60)
        return photographs()[index]


@pytest.mark.slow
def test_pictures_go_on_while_a_sheet_is_made() -> None:
    held = Held()
    found = ldam.survey(network(), held, "0", input_shape=SHAPE, progress=False)
    widget = ldam.LayerPage(network(), "0", survey=found, unit=4, title="net")
    page = SettlingPage(widget)
    page.receive(kind="hello", view="a")
    wait_until(lambda: any("complete" in message for message in page.of("unit")))
    held.go_on.clear()
    before = held.asked
    page.receive(kind="export_units", what="sheet", column="unit", ascending=True, query="")
    wait_until(lambda: held.asked > before)  # it is being made
    for _ in range(3):
        frame, steps = len(page.of("frame")), widget.sampler.steps
        page.receive(kind="ack", view="a", seq=page.last("frame")["seq"], visible=True)
        wait_until(lambda frame=frame, steps=steps: len(page.of("frame")) > frame and widget.sampler.steps > steps)
    assert not page.of("download")
    held.go_on.set()
    wait_until(lambda: page.of("download"))
    data = next(buffers[0] for content, buffers in page.sent if content["kind"] == "download")
    assert Image.open(io.BytesIO(data)).size[0] > 100
    assert widget.error is None
    widget.close()


@pytest.mark.slow
def test_a_sheet_is_given_up_when_the_widget_is_closed() -> None:
    held = Held()
    found = ldam.survey(network(), held, "0", input_shape=SHAPE, progress=False)
    widget = ldam.LayerPage(network(), "0", survey=found)
    page = SettlingPage(widget)
    page.receive(kind="hello", view="a")
    held.go_on.clear()
    before = held.asked
    page.receive(kind="export_units", what="sheet", column="unit", ascending=True, query="")
    wait_until(lambda: held.asked > before)
    threading.Timer(0.2, held.go_on.set).start()
    widget.close()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "ldam-unit"])
    assert not page.of("download")


def test_an_empty_sheet_is_refused_in_the_banner(page: SettlingPage, widget: ldam.LayerPage) -> None:
    page.receive(kind="export_units", what="sheet", column="unit", ascending=True, query="no such class")
    assert "units must name at least one unit" in page.last("error")["error"]["message"]
    assert not page.of("download")


@pytest.mark.slow
@pytest.mark.parametrize(
    "message",
    [
        {"kind": "open_unit", "unit": 6},
        {"kind": "open_unit", "unit": -1},
        {"kind": "open_unit", "unit": "0"},
        {"kind": "export_units", "what": "exe", "column": "max", "ascending": True, "query": ""},
        {"kind": "export_units", "what": "csv", "column": "size", "ascending": True, "query": ""},
        {"kind": "export_units", "what": "csv", "column": "max", "ascending": True, "query": 7},
    ],
)
def test_what_no_page_of_ours_sends_is_ignored(
    page: SettlingPage, widget: ldam.LayerPage, message: dict[str, Any]
) -> None:
    page.deliver(message)
    page.settle()
    assert not widget.opened
    assert not page.of("download")
    assert widget.error is None


def test_another_checkpoint(survey: ldam.Survey) -> None:
    other = ldam.survey(network(2), photographs(), "0", labels=["cat", "<b>"] * 30, progress=False)
    tables = []
    for given in (other, network(2)):
        widget = ldam.LayerPage(network(), "0", survey=survey, other=given)
        tables.append([(row.change, row.kept) for row in widget.table])
        widget.close()
    assert repr(tables[0]) == repr(tables[1])
    assert any(change != 0 for change, _ in tables[0])


def test_a_survey_that_was_loaded_alone(survey: ldam.Survey, tmp_path: Path) -> None:
    survey.save(tmp_path / "s")
    alone = ldam.Survey.load(tmp_path / "s")
    widget = ldam.LayerPage(network(), "0", survey=alone, unit=3)
    widget.pause()
    page = SettlingPage(widget)
    page.receive(kind="hello", view="a")
    assert page.last("unit_table")["weights"] is None
    assert page.last("unit_bars")["activations"]
    page.receive(kind="export_units", what="sheet", column="unit", ascending=True, query="")
    assert "loaded alone" in page.last("error")["error"]["message"]
    with pytest.raises(ValueError, match="give other= as a survey too"):
        ldam.LayerPage(network(), "0", survey=alone, other=network(2))
    widget.close()


def test_refused_arguments(survey: ldam.Survey) -> None:
    with pytest.raises(TypeError, match=r"survey must be what ldam\.survey returns; got str"):
        ldam.LayerPage(network(), "0", survey="survey/")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer '1' is not in this survey"):
        ldam.LayerPage(network(), "1", survey=survey)
    with pytest.raises(ValueError, match="unit must be from 0 to 5"):
        ldam.LayerPage(network(), "0", survey=survey, unit=9)


def test_another_layer_is_no_unit_of_this_one(page: SettlingPage, widget: ldam.LayerPage) -> None:
    """Its first unit has the same number as the one that would have been opened."""
    widget.layer = "3"
    assert page.last("setup")["open_unit"] == -1
