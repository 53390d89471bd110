"""`ldam embed`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ldam_widget as ldam
from ldam_widget.cli import app

from ..demo.toy_mnist import toy_digits, write_split

QUICK = ("--perplexity", "5", "--steps", "20")


def run(*arguments: object, ok: bool = True) -> str:
    result = CliRunner().invoke(app, ["embed", *map(str, arguments)])
    assert (result.exit_code == 0) == ok, result.output
    return result.output


def test_digits_through_the_shipped_network(tmp_path: Path) -> None:
    images, labels = toy_digits(60, 0)
    write_split(tmp_path, "test", images, labels)
    out = tmp_path / "map.safetensors"
    said = run(tmp_path, "-o", out, "--split", "test", "--layer", "fc2", *QUICK)
    assert "map.png: 60 points, 20 steps" in said
    e = ldam.Embedding.load(out)
    d = ldam.demo.mnist("final")
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255
    features = ldam.activations(d.model, d.settings["preprocess"](pixels), ["fc2"])["fc2"]
    np.testing.assert_array_equal(e.place(features).positions, e.points)
    with Image.open(tmp_path / "map.png") as picture:
        assert min(picture.size) > 500
        colours = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) > 20  # classes have colours


def test_a_folder_of_pictures_through_a_network_of_the_user(tmp_path: Path) -> None:
    own = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = own.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{i}.png")
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())\n"
    )
    out = tmp_path / "map.safetensors"
    given = ("--model", f"{tmp_path / 'net.py'}:make", "--input-shape", "3,8,8", "--layer", "0", "--at", "mean")
    said = run(tmp_path / "pictures", "-o", out, *given, *QUICK, "--cache", tmp_path / "kept")
    assert "24 points" in said
    assert ldam.Embedding.load(out).place(torch.zeros(1, 4)).positions.shape == (1, 2)
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "-o", "map.safetensors"), "there is no folder nowhere"),
        ((".", "-o", "map.png"), "the name must end in .safetensors"),
        ((".", "-o", "nowhere/map.safetensors"), "there is no folder nowhere"),
        ((".", "-o", "map.safetensors", "--split", "all"), "--split all: train or test"),
        ((".", "-o", "map.safetensors"), "images"),  # nothing in it
    ],
)
def test_what_it_refuses(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*arguments, ok=False)
    assert "error:" in said
    assert words in said
    assert not list(tmp_path.iterdir())
