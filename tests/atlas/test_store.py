"""The files of an atlas: what is written is read back, and what is not whole is named and never shown."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from ldam_widget.atlases import Atlas, folder, sheets
from ldam_widget.atlases.layout import BLANK, Sheets, folders_of

from .synthetic import DEAD, FAILED, rendered, synthetic_atlas

LAYERS = {"block.conv1": 130, "fc": 10}


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return synthetic_atlas(tmp_path / "atlas", LAYERS)


def bytes_of(path: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


def test_numbers_are_those_that_were_written(atlas: Atlas) -> None:
    numbers = atlas.numbers("block.conv1")
    assert all(len(values) == 130 for values in numbers.values())
    for block in range(3):
        made = rendered(atlas.layer("block.conv1"), block, 4, 9).numbers
        for key, values in made.items():
            np.testing.assert_array_equal(numbers[key][64 * block : 64 * block + 64], values)
            assert numbers[key].dtype == values.dtype
    assert (numbers["verdict"][5], numbers["verdict"][7]) == (DEAD, FAILED)


@pytest.mark.parametrize(("kind", "tiles"), [("samples", 4), ("average", 1), ("top", 9), ("deconv", 9)])
def test_pictures_are_those_that_were_written(atlas: Atlas, kind: str, tiles: int) -> None:
    layer = atlas.layer("block.conv1")
    assert layer.sheets[kind].tiles == tiles
    for unit in (0, 3, 63, 64, 129):
        made = rendered(layer, unit // 64, 4, 9).pictures[kind][unit % 64]
        for tile in range(tiles):
            picture = atlas.picture(layer.name, unit, kind, tile)
            assert picture is not None
            np.testing.assert_array_equal(np.asarray(picture), made[tile])


def test_a_unit_that_failed_has_words_and_no_picture(atlas: Atlas) -> None:
    assert atlas.picture("fc", 7) is None
    block = atlas.block("fc", 0)
    assert block is not None
    assert block.failures == {7: "the activation became nan at step 12"}
    assert block.verdicts[5] == "the unit is dead"
    sheet = np.asarray(atlas.sheet(block, "average"))
    assert sheet.shape == (2 * 16, 8 * 16, 3)
    assert (sheet[16:, 2 * 16 :] == BLANK).all()  # beyond unit 9


@pytest.mark.parametrize("tiles", [1, 3, 4, 5, 9, 16, 17])
def test_tiles_do_not_overlap_and_fill_their_sheets(tiles: int) -> None:
    layout = Sheets("top", (3, 2), tiles)
    boxes = [layout.place(unit, tile) for unit in range(64) for tile in range(tiles)]
    assert len(set(boxes)) == 64 * tiles
    for number in range(len(layout.files)):
        mine = [box for file, box in boxes if file == number]
        assert len(mine) == 64 * len(layout.in_file(number)) <= 256
        assert (max(box[2] for box in mine), max(box[3] for box in mine)) == (8 * len(layout.in_file(number)) * 2, 24)


def test_layers_have_folders_of_their_own() -> None:
    found = folders_of(["a.b", "a/b", "A/b", "a_b", "...", "layer1.0#2"])
    assert found == {"a.b": "a.b", "a/b": "a_b", "A/b": "A_b_2", "a_b": "a_b_3", "...": "_", "layer1.0#2": "layer1.0_2"}


def test_folders_of_layers_are_folders_everywhere() -> None:
    found = folders_of(["aux", "Con.1", "auxiliary", "atlas.json", "index.html", "a" * 99 + ".b", "x" * 300])
    assert list(found.values()) == [
        "_aux", "_Con.1", "auxiliary", "atlas.json_2", "index.html_2", "a" * 99, "x" * 100,
    ]  # fmt: skip
    assert len({folder.lower() for folder in folders_of(["y" * 200, "Y" * 200, "y" * 201]).values()}) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sheets", {"../../../evil": {"tile": [8, 8], "tiles": 9}}),
        ("sheets", {"samples": {"tile": [8], "tiles": 9}}),
        ("folder", ".."),
        ("folder", "a/b"),
        ("recipe", None),
        ("class_names", 3),
        ("model", []),
    ],
)
def test_a_card_that_leads_elsewhere_or_lacks_something_is_refused(atlas: Atlas, key: str, value: object) -> None:
    card = json.loads((atlas.path / "atlas.json").read_text())
    (card["layers"][1] if key in card["layers"][1] else card)[key] = value
    (atlas.path / "atlas.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"atlas\.json is damaged"):
        Atlas(atlas.path)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", ".nfs0001"])
def test_files_of_the_system_do_no_harm(atlas: Atlas, name: str) -> None:
    (atlas.path / "fc" / "00000" / name).write_bytes(b"made by whoever looked at the folder")
    assert atlas.picture("fc", 1) is not None
    assert atlas.status(verify=True).problems == ()


def test_two_threads_write_one_block(atlas: Atlas) -> None:
    layer, errors = atlas.layer("fc"), []
    made = rendered(layer, 0, 4, 9, seed=1)

    def write() -> None:
        try:
            for _ in range(5):
                folder.write_block(atlas.path, layer, 0, atlas.recipe_hash, made, replace=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert atlas.status(verify=True).problems == ()
    assert {each.name for each in (atlas.path / "fc").iterdir()} == {"00000"}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        synthetic_atlas(tmp_path / name, LAYERS)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_a_block_that_is_there_stays(atlas: Atlas) -> None:
    layer = atlas.layer("fc")
    before = bytes_of(atlas.path)
    folder.write_block(atlas.path, layer, 0, atlas.recipe_hash, rendered(layer, 0, 4, 9, seed=1))
    assert bytes_of(atlas.path) == before
    folder.write_block(atlas.path, layer, 0, atlas.recipe_hash, rendered(layer, 0, 4, 9, seed=1), replace=True)
    assert bytes_of(atlas.path).keys() == before.keys()
    assert bytes_of(atlas.path) != before


def test_status_counts(tmp_path: Path) -> None:
    atlas = synthetic_atlas(tmp_path, LAYERS, blocks=1)
    status = atlas.status()
    assert status.layers == {"block.conv1": (1, 3), "fc": (1, 1)}
    assert status.units == (74, 140)
    assert not status.complete
    assert status.failures.keys() == {"block.conv1:7", "fc:7"}
    assert "became nan" in status.words
    assert status.problems == ()
    folder.write_failure(atlas.path, atlas.layer("block.conv1"), 2, atlas.recipe_hash, "not enough memory")
    assert atlas.status().failures["block.conv1 block 2"] == "not enough memory"
    folder.write_failure(atlas.path, atlas.layer("block.conv1"), 1, "of another recipe", "not enough memory")
    assert "block.conv1 block 1" not in atlas.status().failures


def damage(atlas: Atlas, how: str) -> None:
    home = atlas.path / "block.conv1" / "00001"
    done = json.loads((home / "done.json").read_text())
    if how == "truncated":
        (home / "samples.webp").write_bytes((home / "samples.webp").read_bytes()[:100])
    elif how == "no file":
        (home / "numbers.safetensors").unlink()
    elif how == "no done":
        (home / "done.json").unlink()
    elif how == "done cut":
        (home / "done.json").write_text('{"format": ')
    elif how == "foreign":
        (home / "notes.txt").write_text("mine")
    elif how == "recipe":
        (home / "done.json").write_text(json.dumps(done | {"recipe": "fedcba9876543210"}))
    elif how == "version":
        (home / "done.json").write_text(json.dumps(done | {"format": "ldam-atlas-0"}))
    elif how == "no lists":
        (home / "done.json").write_text(json.dumps(done | {"files": dict.fromkeys(done["files"], 3)}))
    elif how == "leads elsewhere":
        (home / "done.json").write_text(json.dumps(done | {"files": done["files"] | {"../../secret": [1, "0"]}}))
    elif how == "moved":
        home.rename(home.with_name("00002x"))
        (atlas.path / "block.conv1" / "00000").rename(home)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "samples.webp has 100 bytes"),
        ("no file", "numbers.safetensors is missing"),
        ("no done", "done.json is missing"),
        ("done cut", "done.json is missing or unreadable"),
        ("foreign", "foreign file, notes.txt"),
        ("recipe", "another recipe (fedcba"),
        ("version", "another version (ldam-atlas-0"),
        ("no lists", "noted are 3"),
        ("leads elsewhere", "names another file, ../../secret"),
        ("moved", "it has been moved"),
    ],
)
def test_a_damaged_block_is_named_and_not_shown(atlas: Atlas, how: str, words: str) -> None:
    damage(atlas, how)
    with pytest.raises(ValueError, match="00001") as caught:
        atlas.block("block.conv1", 1)
    assert words in str(caught.value)
    assert 1 not in [block.number for block in atlas.blocks("block.conv1")]
    assert (atlas.numbers("block.conv1")["verdict"][64:128] == -1).all()
    assert any(words in problem for problem in atlas.status().problems)
    with pytest.raises(ValueError, match="00001"):
        atlas.picture("block.conv1", 70)


def test_a_changed_byte_is_found_when_it_is_read(atlas: Atlas) -> None:
    path = atlas.path / "fc" / "00000" / "average.webp"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    block = atlas.block("fc", 0)
    assert block is not None
    with pytest.raises(ValueError, match=r"average.webp is damaged"):
        atlas.sheet(block, "average")
    assert atlas.status().problems == ()
    assert any("average.webp is damaged" in words for words in atlas.status(verify=True).problems)


def test_foreign_files_are_named(atlas: Atlas) -> None:
    (atlas.path / "notes.txt").write_text("mine")
    (atlas.path / "fc" / "00009").mkdir()
    assert atlas.status().problems == ("fc/00009 is a foreign file", "notes.txt is a foreign file")


def test_what_is_no_atlas_is_told(tmp_path: Path, atlas: Atlas) -> None:
    with pytest.raises(FileNotFoundError, match=r"no atlas\.json"):
        Atlas(tmp_path)
    for content in ("{", '{"format": "ldam-atlas-0"}', '{"format": "ldam-atlas-1", "layers": [{}], "recipe_hash": ""}'):
        (atlas.path / "atlas.json").write_text(content)
        with pytest.raises(ValueError, match=r"atlas\.json"):
            Atlas(atlas.path)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda a: a.layer("block.conv"), "Did you mean 'block.conv1'"),
        (lambda a: a.block("fc", 1), "block must be from 0 to 0"),
        (lambda a: a.picture("fc", 10), "unit must be from 0 to 9"),
        (lambda a: a.picture("fc", 1, "crops"), "kind must be one of"),
        (lambda a: a.picture("fc", 1, "samples", 4), "tile must be from 0 to 3"),
        (lambda a: a.sheet(a.block("fc", 0), "top", 3), "number must be from 0 to 2"),
    ],
)
def test_bad_questions(atlas: Atlas, ask: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask(atlas)  # type: ignore[operator]


def test_prints_as_a_table(atlas: Atlas) -> None:
    assert "block.conv1" in repr(atlas)
    assert "<td>130</td>" in atlas._repr_html_()
    png = atlas._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")


def test_large_tiles_are_compressed_and_still_the_same_pictures() -> None:
    own = np.random.default_rng(0)
    coarse = own.integers(0, 256, (10, 2, 2, 2, 3), np.uint8)
    tiles = coarse.repeat(48, 2).repeat(48, 3)  # (10, 2, 96, 96, 3)
    layout = Sheets("samples", (96, 96), 2)
    (data,) = sheets.encode(tiles, layout).values()
    page = np.asarray(sheets.decode(data)).astype(int)
    for unit in (0, 9):
        for tile in (0, 1):
            _, (left, top, right, bottom) = layout.place(unit, tile)
            assert np.abs(page[top:bottom, left:right] - tiles[unit, tile].astype(int)).mean() < 6
    assert len(data) < tiles.nbytes / 8


def test_a_truncated_sheet_is_no_picture() -> None:
    data = sheets.encode(np.zeros((1, 1, 8, 8, 3), np.uint8), Sheets("average", (8, 8), 1))["average.webp"]
    with pytest.raises(ValueError, match="not a whole picture"):
        sheets.decode(data[:20])


def test_tiles_fit_into_the_largest_webp() -> None:
    for height, width, tiles in ((224, 224, 9), (10, 4000, 4), (5000, 3, 1)):
        tile = sheets.fitting(height, width, 100_000, tiles)
        made = sheets.encode(np.zeros((1, tiles, *tile, 1), np.uint8), Sheets("top", tile, tiles))
        assert sheets.decode(next(iter(made.values()))).height == tile[0]
