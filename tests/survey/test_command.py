"""`ldam survey` and `ldam merge-surveys`, as a user runs them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import ldam_widget as ldam
from ldam_widget.cli import app

from .networks import coarse_images, contents

pytestmark = pytest.mark.filterwarnings("ignore:notes.png is skipped")

MODEL = """
import pathlib, signal
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(1, 3, 3)
    def forward(self, x):
        stop = pathlib.Path(__file__).with_name("stop")
        if len(x) == 8 and stop.exists():
            with stop.open("a") as file:
                file.write("batch ")
            if stop.read_text() == "batch " * 3:
                signal.raise_signal(signal.SIGINT)  # as Ctrl-C
        return self.conv(x)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    for i, x in enumerate(coarse_images(40)):
        of = tmp_path / "photos" / ("even" if i % 2 == 0 else "odd")
        of.mkdir(parents=True, exist_ok=True)
        Image.fromarray((x[0] * 255).byte().numpy()).save(of / f"{i:02}.png")
    (tmp_path / "photos" / "notes.png").write_text("no picture")
    return tmp_path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["survey", *map(str, arguments)] if arguments[0] != "merge" else
                                ["merge-surveys", *map(str, arguments[1:])])  # fmt: skip
    return result.exit_code, result.output


def test_parts_and_the_whole(folder: Path) -> None:
    ask = (f"{folder}/model.py:Model", folder / "photos", "--input-shape", "1,8,8", "--batch", "8", "--device", "cpu")
    status, output = call(*ask, "--out", folder / "whole")
    assert status == 0
    assert f"{folder}/whole: 41 of 41 images, 1 of them skipped" in output
    survey = ldam.Survey.load(folder / "whole")
    assert survey.class_names == ("even", "odd")
    assert len(survey.top("(output)" if "(output)" in survey.layers else survey.layers[0], 0)) == 9
    parts = [folder / f"part{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        assert call(*ask, "--out", part, "--part", f"{i}/3")[0] == 0
    assert call("merge", *reversed(parts), "--out", folder / "merged")[0] == 0
    assert contents(folder / "merged") == contents(folder / "whole")
    for wrong in ("4/3", "0/3", "1", "a/b"):
        status, output = call(*ask, "--out", folder / "no", "--part", wrong)
        assert status == 2
        assert f"error: --part {wrong}: write i/n" in output
    status, output = call(*ask, "--out", folder / "whole", "-k", "3")
    assert status == 2
    assert "holds a survey of another k (9 and 3)" in output


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal; shells start background jobs that ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_what_is_done(folder: Path) -> None:
    ask = (f"{folder}/model.py:Model", folder / "photos", "--input-shape", "1,8,8", "--batch", "8", "--device", "cpu")
    (folder / "stop").touch()
    status, output = call(*ask, "--out", folder / "out")
    assert status == 130
    assert f"stopped; {folder}/out keeps what is done, and the same command continues" in output
    assert ldam.Survey.load(folder / "out").images == 24  # the batch with the broken file has seven
    (folder / "stop").unlink()
    assert call(*ask, "--out", folder / "out")[0] == 0
    assert call(*ask, "--out", folder / "whole")[0] == 0
    assert contents(folder / "out") == contents(folder / "whole")
