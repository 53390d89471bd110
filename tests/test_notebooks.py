"""Every notebook runs from a clean kernel, and is saved with a picture in it."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEED_DATA = {"imagenet_study", "map"}  # at LDAM_DATA; the former would download weights


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.realdata if p.stem in NEED_DATA else ()) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_runs(path: Path, request: pytest.FixtureRequest) -> None:
    if path.stem in NEED_DATA:
        request.getfixturevalue("data_folder")
    from execute import execute

    execute(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_saved_with_a_static_picture(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type in ("error", "stream") and output.get("name") == "stderr" for output in outputs)
