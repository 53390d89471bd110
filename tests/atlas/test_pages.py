"""What the browser of an atlas reads: the numbers of the atlas, in the declared form, and which units are alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from ldam_widget.atlases import Atlas, folder
from ldam_widget.atlases.layout import VERDICTS, block_name
from ldam_widget.atlases.likeness import change, nearest
from ldam_widget.atlases.pages import Pages, pages_of

from .synthetic import CLASSES, synthetic_atlas

DEFS = json.loads((Path(__file__).parents[2] / "js/src/atlas/protocol.schema.json").read_text("utf-8"))["$defs"]
LAYERS = {"block.conv1": 130, "fc": 10}


def checked(content: dict[str, Any], kind: str) -> dict[str, Any]:
    """As JSON brings it over; fails unless it is as declared."""
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": DEFS}).validate(plain)
    return plain


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return synthetic_atlas(tmp_path / "one", LAYERS)


@pytest.fixture
def pages(atlas: Atlas) -> Pages:
    return pages_of(atlas, None, None, None)


def column(table: dict[str, Any], name: str) -> list[float | None]:
    (found,) = (each["values"] for each in table["columns"] if each["name"] == name)
    return list(found)


def test_the_overview_counts_what_there_is(pages: Pages) -> None:
    index = checked(pages.overview(), "Index")
    (listed,) = index["atlases"]
    assert (index["title"], listed["name"], listed["folder"]) == ("MadeUp", "", "0")
    first, last = listed["layers"]
    assert (first["name"], first["units"], first["rendered"], first["dead"], first["failed"]) == (
        "block.conv1", 130, 130, 1, 1,
    )  # fmt: skip
    assert last["units"] == 10
    assert [sheet["kind"] for sheet in first["sheets"]] == ["samples", "average", "top", "deconv"]
    assert any("1,000 images" in line for line in listed["about"])


def test_the_table_has_the_numbers_of_the_atlas(pages: Pages, atlas: Atlas) -> None:
    table, numbers = checked(pages.table("one", "block.conv1"), "Table"), atlas.numbers("block.conv1")
    expected = {"activation": numbers["activation"].mean(1)} | {key: numbers[key] for key in ("r_hat", "percentile")}
    for name, values in expected.items():
        shown = column(table, name)
        assert shown[7] is None  # it failed
        known = [i for i in range(130) if i != 7]
        np.testing.assert_allclose([shown[i] for i in known], values[known], rtol=1e-4)
    assert [VERDICTS.index(state) for state in table["states"]] == numbers["verdict"].tolist()
    assert table["failures"] == {"7": "the activation became nan at step 12"}
    assert table["top_images"][3] == numbers["top_image"][3].tolist()
    assert table["top_images"][7] == table["top_values"][7] == []
    words = {each["name"]: each for each in table["words"]}
    recognised = words["recognised as"]
    said = recognised["texts"][recognised["which"][3]]
    assert said == f"{CLASSES[numbers['recognised'][3]]}, {numbers['confidence'][3]:.0%} sure"
    assert words["verdict"]["texts"][words["verdict"]["which"][5]] == "the unit is dead"
    assert table["names"] == []
    assert pages.table("one", "fc")["names"] == list(CLASSES)


def test_similar_units_have_similar_pictures(pages: Pages, atlas: Atlas) -> None:
    """A second way to them: whole tiles, cut from the sheets one by one."""
    tiles = np.stack([np.asarray(atlas.picture("block.conv1", u) or np.full((16, 16, 3), np.nan)) for u in range(130)])
    flat = tiles.reshape(130, -1).astype(float)
    known = [unit for unit in range(130) if unit != 7]
    centred = flat - flat[known].mean(0)
    length = np.sqrt((centred**2).sum(1))
    cosine = centred @ centred.T / np.outer(length, length)
    similar = pages.table("one", "block.conv1")["similar"]
    assert similar[7] == []
    for unit in known:
        assert len(similar[unit]) == 12
        assert not {unit, 7} & set(similar[unit])
        others = sorted((cosine[unit, other] for other in known if other != unit), reverse=True)
        assert all(cosine[unit, other] >= others[13] - 0.03 for other in similar[unit])  # thumbnails lose a little


def test_neighbours_of_points_on_a_circle_are_those_beside_them() -> None:
    angles = np.arange(60) * 2 * np.pi / 60
    points = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    points[10] = np.nan
    found = nearest(points, 2)
    assert found[10] == []
    assert [set(found[i]) for i in (0, 30)] == [{59, 1}, {29, 31}]
    assert found[11][0] == 12
    assert nearest(points[:1], 2) == [[]]


def test_change_is_one_minus_the_correlation() -> None:
    draws = np.random.default_rng(0)
    first, second = draws.normal(size=(2, 5, 40)).astype(np.float32)
    second[0] = 3 * first[0] + 2
    second[1] = -first[1]
    second[2] = 7
    second[3] = np.nan
    found = change(first, second)
    np.testing.assert_allclose(found[:2], [0, 2], atol=1e-6)
    assert np.isnan(found[2:4]).all()
    np.testing.assert_allclose(found[4], 1 - np.corrcoef(first[4], second[4])[0, 1], rtol=1e-5)


def test_two_atlases_are_compared_unit_by_unit(atlas: Atlas, tmp_path: Path) -> None:
    other = synthetic_atlas(tmp_path / "two", LAYERS, seed=1)
    pages = pages_of(atlas, other, None, "both")
    names = [each["name"] for each in checked(pages.overview(), "Index")["atlases"]]
    assert names == ["one", "two"]
    change_of = [column(checked(pages.table(name, "fc"), "Table"), "change") for name in names]
    assert change_of[0] == change_of[1]
    assert change_of[0][7] is None
    assert all(value is not None and 0 <= value <= 2 for unit, value in enumerate(change_of[0]) if unit != 7)
    same = pages_of(atlas, synthetic_atlas(tmp_path / "deeper" / "one", LAYERS), None, None)
    assert len(same.atlases) == 2
    name = next(iter(same.atlases))
    assert max(value for value in column(same.table(name, "fc"), "change") if value is not None) == 0


def test_what_is_not_rendered_is_missing_and_why(tmp_path: Path) -> None:
    atlas = synthetic_atlas(tmp_path / "half", {"conv": 200}, blocks=2)
    folder.write_failure(atlas.path, atlas.layer("conv"), 2, atlas.recipe_hash, "out of memory")
    pages = pages_of(atlas, None, None, None)
    (layer,) = checked(pages.overview(), "Index")["atlases"][0]["layers"]
    assert layer["rendered"] == 128
    table = checked(pages.table("half", "conv"), "Table")
    assert table["states"][127] != "missing"
    assert table["states"][128:] == ["missing"] * 72
    assert table["failures"]["128"] == "out of memory"
    assert "199" not in table["failures"]


def test_a_damaged_block_is_missing_and_named(atlas: Atlas, pages: Pages) -> None:
    sheet = atlas.path / atlas.layer("block.conv1").folder / block_name(1) / "average.webp"
    sheet.write_bytes(sheet.read_bytes()[:-20])
    table = checked(pages.table("one", "block.conv1"), "Table")
    assert table["states"].count("missing") == 64
    (listed,) = pages.overview()["atlases"]
    assert any("average.webp" in line for line in listed["about"])


def test_without_the_images_of_the_survey(atlas: Atlas) -> None:
    pages = pages_of(atlas, None, None, None, top=False)
    assert [sheet["kind"] for sheet in pages.overview()["atlases"][0]["layers"][0]["sheets"]] == ["samples", "average"]
    assert pages.table("one", "fc")["top_images"]  # their numbers remain


@pytest.mark.parametrize("names", [["a"], ["a", "a"], "ab"])
def test_names_that_do_not_fit(atlas: Atlas, tmp_path: Path, names: Any) -> None:
    other = synthetic_atlas(tmp_path / "two", LAYERS)
    with pytest.raises(ValueError, match="names must be 2 different texts"):
        pages_of(atlas, other, names, None)


def test_atlases_without_a_common_layer(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no layer in common"):
        pages_of(atlas, synthetic_atlas(tmp_path / "two", {"other": 3}), None, None)
