from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo import train
from ldam_widget.demo.fit import LeNetRecipe, fit
from ldam_widget.demo.lenet import LeNet5
from ldam_widget.demo.train import train_lenet5

FILES = {"lenet5_epoch1.safetensors", "lenet5_final.safetensors", "lenet5_averaged.safetensors", "lenet5.json"}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def quick(folder: Path, **options: object) -> train.TrainingResult:
    return train_lenet5(folder, **{"epochs": 2, "batch_size": 20, "progress": False, **options})  # type: ignore[arg-type]


def test_same_seed_same_bits(toy_folder: Path) -> None:
    first, second, other = quick(toy_folder), quick(toy_folder), quick(toy_folder, seed=1)
    for state in ("epoch1", "final", "averaged"):
        assert same(first.weights[state], second.weights[state])
        assert not same(first.weights[state], other.weights[state])
    assert first.card == second.card


def test_it_learns(toy_folder: Path) -> None:
    result = quick(toy_folder, epochs=8)
    assert result.accuracy["final"] >= 0.9
    assert result.accuracy["averaged"] >= 0.9


@pytest.mark.parametrize(("epochs", "counted"), [(7, 5), (3, 3), (1, 1)])
def test_average_is_the_mean_over_every_step_of_the_last_five_epochs(
    toy_folder: Path, epochs: int, counted: int
) -> None:
    """Against a mean in double precision of weights noted from outside."""
    steps_an_epoch = 6
    noted: list[dict[str, torch.Tensor]] = []

    def note(model: LeNet5, steps_done: int) -> None:
        noted.append({k: v.detach().double().clone() for k, v in model.state_dict().items()})
        assert steps_done == len(noted)

    weights = quick(toy_folder, epochs=epochs, on_step=note).weights
    assert len(noted) == epochs * steps_an_epoch
    window = noted[-counted * steps_an_epoch :]
    for name, value in weights["averaged"].items():
        mean = torch.stack([state[name] for state in window]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=0, atol=1e-6)
        assert torch.equal(weights["epoch1"][name].double(), noted[steps_an_epoch - 1][name])
        assert torch.equal(weights["final"][name].double(), noted[-1][name])


def test_a_last_small_batch_counts(toy_folder: Path) -> None:
    steps = []
    quick(toy_folder, epochs=1, batch_size=50, on_step=lambda model, done: steps.append(done))
    assert steps == [1, 2, 3]


def test_nothing_global_is_changed(toy_folder: Path) -> None:
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
        with pytest.raises(KeyboardInterrupt):
            quick(toy_folder, on_step=interrupt_at(3))
        assert state() == before
    finally:
        torch.set_num_threads(threads)


def test_the_callers_settings_do_not_matter(toy_folder: Path) -> None:
    plain = quick(toy_folder)
    with torch.no_grad(), torch.device("meta"):  # meta stands in for a default device that is not the CPU
        odd = quick(toy_folder)
    assert same(plain.weights["averaged"], odd.weights["averaged"])
    assert plain.accuracy == odd.accuracy


def test_files_say_what_the_result_says(toy_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    result = quick(toy_folder, seed=4, out=out)
    assert result.out == out
    assert {p.name for p in out.iterdir()} == FILES
    card = json.loads((out / "lenet5.json").read_text())
    assert card == result.card
    assert card["made_by"] == "ldam train lenet5 --data DIR --epochs 2 --seed 4"
    assert card["recipe"]["batch_size"] == 20
    assert card["train_size"] == 120
    assert card["test_size"] == 50
    assert card["data"]["name"] == "not the published MNIST"
    assert card["test_accuracy"] == result.accuracy
    assert str(tmp_path) not in json.dumps(card)
    for state, weights in result.weights.items():
        path = out / f"lenet5_{state}.safetensors"
        assert same(load_file(path), weights)
        content = path.read_bytes()
        assert card["files"][path.name] == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_without_out_nothing_is_written(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quick(toy_folder).out is None
    assert {p.name for p in tmp_path.iterdir()} == {"toy"}


def interrupt_at(step: int) -> Callable[[LeNet5, int], None]:
    def on_step(model: LeNet5, steps_done: int) -> None:
        if steps_done == step:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize("step", [1, 7, 12])
def test_interrupted_training_leaves_the_folder_as_it_was(toy_folder: Path, tmp_path: Path, step: int) -> None:
    out = tmp_path / "out"
    quick(toy_folder, epochs=1, out=out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        quick(toy_folder, seed=9, out=out, on_step=interrupt_at(step))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_failure_while_writing_leaves_nothing(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full_disk(weights: object) -> bytes:
        calls.append(weights)
        if len(calls) == 2:
            raise OSError("No space left on device")
        return b"x"

    monkeypatch.setattr(train, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        quick(toy_folder, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_missing_data_is_noticed_before_training(toy_folder: Path, tmp_path: Path, name: str) -> None:
    (toy_folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        quick(toy_folder, out=tmp_path / "out", on_step=interrupt_at(1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["epochs", "batch_size"])
def test_impossible_recipes(toy_folder: Path, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=0 must be at least 1"):
        quick(toy_folder, **{option: 0})


def test_progress_goes_to_stderr_only(toy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = load_mnist(toy_folder)
    fit(images, labels, LeNetRecipe(epochs=1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 1 of 1" in captured.err
    fit(images, labels, LeNetRecipe(epochs=1), progress=False)
    assert capsys.readouterr().err == ""
