"""An exported atlas: all that the page reads is there, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ldam_widget.atlases import Atlas
from ldam_widget.atlases.layout import block_name
from ldam_widget.cli import app

from .synthetic import synthetic_atlas
from .test_pages import checked

LAYERS = {"conv 1": 70, "fc": 10}


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return synthetic_atlas(tmp_path / "atlas", LAYERS)


def files_of(path: Path) -> set[str]:
    return {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()}


def test_everything_the_page_reads_is_there(atlas: Atlas, tmp_path: Path) -> None:
    page = atlas.export(tmp_path / "site", title="</title><script>")
    out = page.parent
    assert "&lt;/title&gt;&lt;script&gt;" in page.read_text("utf-8")
    index = checked(json.loads((out / "atlas.json").read_text("utf-8")), "Index")
    expected = {"index.html", "widget.js", "widget.css", "atlas.json"}
    for layer in index["atlases"][0]["layers"]:
        checked(json.loads((out / "0" / layer["folder"] / "table.json").read_text("utf-8")), "Table")
        expected.add(f"0/{layer['folder']}/table.json")
        for block in range(-(-layer["units"] // layer["block"])):
            for sheet in layer["sheets"]:
                for file in sheet["files"]:
                    name = f"{layer['folder']}/{block_name(block)}/{file}"
                    assert (out / "0" / name).read_bytes() == (atlas.path / name).read_bytes()
                    expected.add(f"0/{name}")
    assert files_of(out) == expected


def test_without_the_images_of_the_survey(atlas: Atlas, tmp_path: Path) -> None:
    out = atlas.export(tmp_path / "site", top=False).parent
    assert not [name for name in files_of(out) if "top" in name or "deconv" in name]


def test_an_earlier_export_is_replaced_and_nothing_else(atlas: Atlas, tmp_path: Path) -> None:
    site = tmp_path / "site"
    atlas.export(site, other=synthetic_atlas(tmp_path / "two", LAYERS))
    (site / "atlas.json").unlink()  # as after an interruption
    (site / "CNAME").write_text("example.org")
    atlas.export(site, top=False)
    assert not (site / "1").exists()
    assert not [name for name in files_of(site) if "top" in name]
    assert (site / "CNAME").read_text() == "example.org"


def test_folders_that_hold_something_else(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "index.html").write_text("<h1>mine</h1>")
    for out, words in [
        (tmp_path / "home", "no earlier export"),
        (tmp_path / "home" / "index.html", "is a file"),
        (atlas.path, "lie in each other"),
        (atlas.path / "site", "lie in each other"),
        (tmp_path, "lie in each other"),
    ]:
        with pytest.raises(ValueError, match=words):
            atlas.export(out)
    assert files_of(tmp_path / "home") == {"index.html"}


def test_a_damaged_sheet_takes_its_block_out(atlas: Atlas, tmp_path: Path) -> None:
    sheet = atlas.path / atlas.layer("conv 1").folder / block_name(1) / "samples.webp"
    content = bytearray(sheet.read_bytes())
    content[-9] ^= 255  # of the same size, so only its hash tells
    sheet.write_bytes(content)
    out = atlas.export(tmp_path / "site").parent
    (listed,) = json.loads((out / "atlas.json").read_text("utf-8"))["atlases"]
    assert listed["layers"][0]["rendered"] == 64
    home = out / "0" / listed["layers"][0]["folder"]
    assert not (home / block_name(1)).exists()
    table = json.loads((home / "table.json").read_text("utf-8"))
    assert table["states"][64:] == ["missing"] * 6
    assert "damaged" in table["failures"]["64"]
    assert all(unit < 64 for others in table["similar"] for unit in others)


@pytest.mark.slow
def test_from_the_command_line(atlas: Atlas, tmp_path: Path) -> None:
    synthetic_atlas(tmp_path / "two", LAYERS, seed=1)
    asked = [
        "atlas", "export", str(atlas.path), str(tmp_path / "my site"), "--other", str(tmp_path / "two"), "--no-images",
        "--name", "a", "--name", "b", "--title", "net",
    ]  # fmt: skip
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0, ran.output
    assert "python -m http.server -d '" in ran.output
    index = json.loads((tmp_path / "my site" / "atlas.json").read_text("utf-8"))
    assert (index["title"], [each["name"] for each in index["atlases"]]) == ("net", ["a", "b"])
    assert not [name for name in files_of(tmp_path / "my site") if "top" in name]
    ran = CliRunner().invoke(app, ["atlas", "export", str(tmp_path / "nothing"), str(tmp_path / "x")])
    assert ran.exit_code == 2
    assert "there is no atlas in" in ran.output
