"""The judge of MNIST samples: what ships, how it is trained, what it refuses."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from ldam_widget.cli import app
from ldam_widget.demo import judge as module
from ldam_widget.demo.judge import Judge, JudgeRecipe, augment, judge, train_judge
from ldam_widget.demo.train import TrainingResult

from .conftest import SIGMAS, run_seed
from .demo.toy_mnist import toy_digits, write_split

FOLDER = files("ldam_widget.demo") / "weights"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(run_seed())


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    write_split(folder, "train", *toy_digits(230, seed=1))
    write_split(folder, "test", *toy_digits(50, seed=2))
    return folder


def quick(folder: Path, **options: Any) -> TrainingResult:
    return train_judge(folder, **{"epochs": 2, "progress": False, **options})


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- what ships ------------------------------------------------------------------------------------------------------


def test_shipped_file_is_the_one_on_the_card() -> None:
    content = (FOLDER / "judge.safetensors").read_bytes()
    text = (FOLDER / "judge.json").read_text(encoding="utf-8")
    card = json.loads(text)
    assert len(content) <= 250_000
    assert card["files"] == {
        "judge.safetensors": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    }
    assert card["made_by"] == "ldam train judge --data DIR"
    assert card["data"]["name"] == "MNIST"
    assert (card["train_size"], card["test_size"]) == (60_000, 10_000)
    assert card["test_accuracy"] == {name: hits / 10_000 for name, hits in card["test_correct"].items()}
    assert card["test_accuracy"]["clean"] >= 0.99
    assert card["test_accuracy"]["noisy"] >= 0.985
    lenet = json.loads((FOLDER / "lenet5.json").read_text(encoding="utf-8"))
    assert card["data"] == lenet["data"]
    assert card["recipe"]["seed"] != lenet["recipe"]["seed"]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", card["torch"])
    assert not re.search(r'"(/|[A-Z]:|~|file:)', text)


def test_shipped_network() -> None:
    model = judge()
    assert not any(part.training for part in model.modules())
    assert sum(p.numel() for p in model.parameters()) == 61_306
    for value in model.state_dict().values():
        assert value.device.type == "cpu"
        assert value.isfinite().all()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.statistical
def test_forward_pass_against_arithmetic_in_double_precision() -> None:
    """Convolutions as sums over patches, batch norm as written in its paper: nothing of torch.nn."""
    stored = {name: value.double() for name, value in load((FOLDER / "judge.safetensors").read_bytes()).items()}
    pixels = torch.rand(3, 1, 28, 28, generator=generator())
    x = (pixels.double() - 0.1307) / 0.3081
    for first, stride, padding in ((0, 2, 2), (3, 1, 1), (6, 2, 1), (9, 1, 0)):
        weight = stored[f"convolutions.{first}.weight"]
        size = weight.shape[-1]
        wide = torch.zeros(*x.shape[:2], x.shape[2] + 2 * padding, x.shape[3] + 2 * padding, dtype=torch.float64)
        wide[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]] = x
        patches = wide.unfold(2, size, stride).unfold(3, size, stride)  # (N, in, rows, columns, size, size)
        x = torch.einsum("nirckl,oikl->norc", patches, weight)
        scale, shift, mean, variance = (
            stored[f"convolutions.{first + 1}.{name}"].view(-1, 1, 1)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
    assert x.shape == (3, 64, 5, 5)
    features = x.mean((2, 3))
    logits = features @ stored["classes.weight"].T + stored["classes.bias"]
    model = judge()
    torch.testing.assert_close(model.features(pixels).double(), features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model(pixels).double(), logits, rtol=1e-4, atol=1e-4)
    assert model(pixels.double()).dtype == torch.float32
    assert model(pixels[:0]).shape == (0, 10)


@pytest.mark.statistical
def test_images_do_not_see_each_other() -> None:
    pixels = torch.rand(4, 1, 28, 28, generator=generator())
    model = judge()
    together = model.features(pixels)
    alone = torch.cat([model.features(pixel[None]) for pixel in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert same(model.state_dict(), judge().state_dict())


def test_each_call_is_its_own_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    one = judge()
    with torch.no_grad():
        one.classes.weight.zero_()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            other = judge()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert other.classes.weight.abs().sum() > 0
    assert other.classes.weight.dtype == torch.float32
    assert other.classes.weight.device.type == "cpu"


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32), (2, 784)], ids=str)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"(N, 1, 28, 28), not {shape}")):
        judge()(torch.zeros(shape))


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.uint8: divide bytes by 255"):
        judge().features(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))


@pytest.mark.statistical
@pytest.mark.realdata
def test_accuracy_on_the_real_test_set(data_folder: Path) -> None:
    """Read and counted without the package's own code; noise of 0.2 from another seed than the card's."""
    raw = gzip.decompress((data_folder / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    truth = torch.tensor(list(gzip.decompress((data_folder / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]))
    pixels = torch.from_numpy(np.frombuffer(raw, np.uint8, offset=16).reshape(10_000, 1, 28, 28) / np.float32(255))
    noisy = (pixels + 0.2 * torch.randn(pixels.shape, generator=generator())).clamp(0, 1)
    model, card = judge(), json.loads((FOLDER / "judge.json").read_text(encoding="utf-8"))
    with torch.no_grad():
        clean_hits, noisy_hits = (
            sum(int((model(some).argmax(1) == some_truth).sum()) for some, some_truth in zip(
                images.split(1000), truth.split(1000), strict=True)) for images in (pixels, noisy)
        )  # fmt: skip
    assert clean_hits == card["test_correct"]["clean"]
    assert clean_hits >= 9_900
    # two draws of the noise disagree on few images only, the difference of two binomials at most: false alarm < 4e-8
    spread = math.sqrt(2 * card["test_accuracy"]["noisy"] * (1 - card["test_accuracy"]["noisy"]) * 10_000)
    assert abs(noisy_hits - card["test_correct"]["noisy"]) < SIGMAS * spread


# ---- training --------------------------------------------------------------------------------------------------------


def test_same_seed_same_bits(toy_folder: Path) -> None:
    first, second, other = quick(toy_folder), quick(toy_folder), quick(toy_folder, seed=2)
    assert same(first.weights["judge"], second.weights["judge"])
    assert not same(first.weights["judge"], other.weights["judge"])
    assert first.card == second.card


def test_it_learns(toy_folder: Path) -> None:
    """A bar in one of ten places two pixels apart is beyond shifts of two: half of the images keep it in its place."""
    assert quick(toy_folder, epochs=12).accuracy["clean"] >= 0.8


def test_nothing_global_is_changed(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.mkldnn.enabled,
        ]

    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # not what training uses
    torch.manual_seed(12345)  # not where an earlier training would have left it
    try:
        before = state()
        quick(toy_folder)
        assert state() == before
        monkeypatch.setattr(module, "augment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(toy_folder)
        assert state() == before
    finally:
        torch.set_num_threads(threads)


def interrupted(*anything: object) -> Tensor:
    raise KeyboardInterrupt


def test_the_callers_settings_do_not_matter(toy_folder: Path) -> None:
    plain = quick(toy_folder)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.device("meta"):  # meta stands in for a default device that is not the CPU
            odd = quick(toy_folder)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(plain.weights["judge"], odd.weights["judge"])
    assert plain.card == odd.card


def test_files_say_what_the_result_says(toy_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    result = quick(toy_folder, seed=4, out=out)
    assert result.out == out
    assert {p.name for p in out.iterdir()} == {"judge.safetensors", "judge.json"}
    card = json.loads((out / "judge.json").read_text())
    assert card == result.card
    assert card["made_by"] == "ldam train judge --data DIR --epochs 2 --seed 4"
    assert (card["train_size"], card["test_size"]) == (230, 50)
    assert card["data"]["name"] == "not the published MNIST"
    assert card["test_accuracy"] == result.accuracy
    assert str(tmp_path) not in json.dumps(card)
    content = (out / "judge.safetensors").read_bytes()
    assert same(load_file(out / "judge.safetensors"), result.weights["judge"])
    sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert card["files"] == {"judge.safetensors": sums}


def test_interrupted_training_leaves_the_folder_as_it_was(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    quick(toy_folder, epochs=1, out=out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(module, "write_card", interrupted)  # at the very end, the weights are written
    with pytest.raises(KeyboardInterrupt):
        quick(toy_folder, epochs=1, seed=9, out=out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_without_out_nothing_is_written(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quick(toy_folder, epochs=1).out is None
    assert {p.name for p in tmp_path.iterdir()} == {"toy"}


def test_missing_data_is_noticed_before_training(toy_folder: Path, tmp_path: Path) -> None:
    (toy_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        quick(toy_folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_impossible_recipes(toy_folder: Path) -> None:
    with pytest.raises(ValueError, match="epochs=0 must be at least 1"):
        quick(toy_folder, epochs=0)


@pytest.mark.parametrize("steps", [1, 2, 6, 2400])
def test_rate_rises_and_falls(steps: int) -> None:
    recipe = JudgeRecipe()
    rates = [recipe.rate(step, steps) for step in range(steps)]
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert min(rates) > 0
    top = int(np.argmax(rates))
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)


@pytest.mark.statistical
def test_augmentation_is_what_the_card_says() -> None:
    """Of 4000 images half are changed. Two statements: false alarm 8e-8."""
    count, recipe, source = 4000, JudgeRecipe(), generator()
    pixels = torch.zeros(count, 1, 28, 28)
    pixels[:, :, 6:22, 5:21] = 0.5
    changed = augment(pixels, recipe, source)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    touched = (changed != pixels).flatten(1).any(1)
    assert abs(int(touched.sum()) - count / 2) < SIGMAS * math.sqrt(count) / 2
    # of every changed image: where its bright block went, and how strong its noise is within the block
    block = nn.functional.avg_pool2d(changed[touched], 16, stride=1)[:, 0]
    place = block.flatten(1).argmax(1)
    shifts = torch.stack([place // block.shape[2] - 6, place % block.shape[2] - 5])
    assert set(shifts.flatten().tolist()) == {-2, -1, 0, 1, 2}
    noise = torch.stack([
        image[0, 6 + int(dy) : 22 + int(dy), 5 + int(dx) : 21 + int(dx)].std()
        for image, dy, dx in zip(changed[touched], *shifts, strict=True)
    ])  # fmt: skip
    assert noise.max() < 0.2 * 1.25  # 256 pixels: standard deviations scatter by 4 %
    # strengths are even over 0…0.2: their mean is 0.1, less the under 1 % that clamping takes
    assert noise.mean().item() == pytest.approx(0.1, abs=0.002 + SIGMAS * 0.2 / math.sqrt(12 * len(noise)))


def test_command_line(toy_folder: Path, tmp_path: Path) -> None:
    options = ["--data", str(toy_folder), "--out", str(tmp_path / "out"), "--epochs", "1", "--seed", "3"]
    result = CliRunner().invoke(app, ["train", "judge", *options])
    assert result.exit_code == 0, result.output
    assert re.search(r"clean +\d+\.\d\d% of the test images", result.output)
    again = quick(toy_folder, epochs=1, seed=3)
    assert same(load_file(tmp_path / "out" / "judge.safetensors"), again.weights["judge"])
    failed = CliRunner().invoke(app, ["train", "judge", "--data", str(tmp_path / "nowhere")])
    assert failed.exit_code == 2
    assert "--download" in failed.output


def test_the_judge_is_not_lenet() -> None:
    assert not any(isinstance(part, nn.MaxPool2d) for part in Judge().modules())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in Judge().modules()) == 4
