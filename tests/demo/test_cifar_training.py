from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from ldam_widget.demo.cifar_fit import CifarRecipe, augment, fit_cifar, refresh_batch_norm
from ldam_widget.demo.cifar_train import stored, train_cifar
from ldam_widget.demo.fit import fresh
from ldam_widget.demo.train import TrainingResult
from ldam_widget.demo.vgg import VGG, preprocess

from .toy_cifar import binary_files, toy_photos, write_files

FILES = {"cifar_final.safetensors", "cifar_averaged.safetensors", "cifar.json"}
Weights = dict[str, torch.Tensor]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_files(tmp_path / "toy", binary_files(60, 20))
    return tmp_path / "toy"


def quick(folder: Path, **options: object) -> TrainingResult:
    return train_cifar(folder, **{"epochs": 2, "batch_size": 20, "progress": False, **options})  # type: ignore[arg-type]


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def photos(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = toy_photos(count, seed)
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels).long()


def test_same_seed_same_bits(toy: Path) -> None:
    first, second, other = quick(toy), quick(toy), quick(toy, seed=1)
    for state in ("final", "averaged"):
        assert same(first.weights[state], second.weights[state])
        assert not same(first.weights[state], other.weights[state])
    assert first.card == second.card


def test_it_learns(toy: Path) -> None:
    accuracy = quick(toy, epochs=20).accuracy
    assert accuracy["final"] >= 0.9
    assert accuracy["averaged"] >= 0.9


def test_the_average_is_the_mean_over_every_step_of_the_last_epochs() -> None:
    """Against a mean in double precision of weights noted from outside."""
    noted: list[Weights] = []

    def note(model: VGG, steps_done: int) -> None:
        noted.append({name: value.detach().double().clone() for name, value in model.state_dict().items()})
        assert steps_done == len(noted)

    recipe = CifarRecipe(epochs=3, batch_size=20, average_epochs=2)
    weights = fit_cifar(*photos(30, 1), recipe, progress=False, on_step=note)
    assert len(noted) == 6  # a last small batch counts
    for name, _ in VGG().named_parameters():
        mean = torch.stack([state[name] for state in noted[2:]]).mean(0)
        torch.testing.assert_close(weights["averaged"][name].double(), mean, rtol=0, atol=1e-6)
    assert all(torch.equal(value.double(), noted[-1][name]) for name, value in weights["final"].items())
    assert all(value.is_contiguous() for state in weights.values() for value in state.values())


def test_refreshed_batch_norm_is_that_of_the_images() -> None:
    """One batch of all images, without shifts: statistics of the first two layers from the definition, in float32.

    bfloat16 has 8 bits: each output is right within 2⁻⁸ of the largest, means within 1 % of the spread.
    """
    images, _ = photos(50, 4)
    model = fresh(VGG, 3)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.running_mean.fill_(7.0)  # type: ignore[union-attr]
    refresh_batch_norm(model, images, CifarRecipe(batch_size=50, shift=0), torch.Generator().manual_seed(0))
    with torch.no_grad():  # flips change no mean of a first layer over mirror images: average both
        x = preprocess(torch.cat([images, images.flip(3)]).float() / 255)
        first = model.conv1(x)
    spread = first.var((0, 2, 3)).sqrt()
    assert ((model.bn1.running_mean - first.mean((0, 2, 3))) / spread).abs().max() < 0.03  # type: ignore[operator]
    assert (model.bn1.running_var / first.var((0, 2, 3)) - 1).abs().max() < 0.03  # type: ignore[operator]
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_statistics_do_not_depend_on_the_order_of_the_images() -> None:
    """Class after class, as folders give them: each batch must still see all classes.

    Batches of one class miss the variance between classes, nine tenths of all in these toy pictures.
    """
    images, labels = photos(200, 5)
    images = images[labels.argsort()]
    pixels = images.float().mean((2, 3))  # the colour is nearly all that differs
    within = torch.stack([pixels[start : start + 20].var(0) for start in range(0, 200, 20)]).mean(0)
    assert (within < 0.1 * pixels.var(0)).all()
    model, whole = fresh(VGG, 3), fresh(VGG, 3)
    for net, size in ((model, 20), (whole, 200)):
        recipe = CifarRecipe(batch_size=size, shift=0)
        refresh_batch_norm(net, images, recipe, torch.Generator().manual_seed(0))
    ratio = model.bn1.running_var / whole.bn1.running_var  # type: ignore[operator]
    assert 0.9 < ratio.min() <= ratio.max() < 1.1


def test_learning_rate_rises_and_falls_in_straight_lines_twice() -> None:
    recipe = CifarRecipe(epochs=4, first_cycle=3, peak_rate=0.5, warm_up=0.25)
    rates = [recipe.rate(step, 33) for step in range(132)]
    assert rates[24] == max(rates) == pytest.approx(0.5)
    assert np.diff(rates[:25]) == pytest.approx(0.02)
    assert np.diff(rates[24:99]) == pytest.approx(-1 / 150)
    assert rates[0] == pytest.approx(0.02)
    assert rates[98] == pytest.approx(1 / 150)
    assert max(rates[99:]) == pytest.approx(0.25, abs=0.25 / 34)
    assert rates[99] == pytest.approx(0.25 * 4 / 34)
    assert rates[131] == pytest.approx(0.25 / 34 * 4 / 3)
    short = CifarRecipe(epochs=2, first_cycle=3, peak_rate=0.5, warm_up=0.25)
    assert short.rate(65, 33) == pytest.approx(0.5 / 67 * 4 / 3)  # a run that ends earlier has one cycle, to 0


def test_the_second_cycle_goes_on_from_the_first() -> None:
    """Its weights at the restart are those of a run of the first cycle alone; its first step has no momentum.

    Nesterov's first step of rate r is −r (1 + m) (gradient + decay · weight).
    """
    data = photos(40, 1)
    noted: list[Weights] = []
    gradients: list[Weights] = []

    def note(model: VGG, steps_done: int) -> None:
        noted.append({name: value.detach().clone() for name, value in model.named_parameters()})
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})  # type: ignore[union-attr]

    recipe = CifarRecipe(epochs=3, first_cycle=2, batch_size=20)
    fit_cifar(*data, recipe, progress=False, on_step=note)
    end = fit_cifar(*data, CifarRecipe(epochs=2, first_cycle=2, batch_size=20), progress=False)["final"]
    for name, before in noted[3].items():
        assert torch.equal(before, end[name])
        pull = gradients[4][name] + recipe.weight_decay * before
        expected = before - recipe.rate(4, 2) * (1 + recipe.momentum) * pull
        torch.testing.assert_close(noted[4][name], expected, rtol=1e-5, atol=1e-6)


def test_augmented_images_are_shifted_mirrored_crops_flipped_by_half() -> None:
    """Every result is one of the 2 × 9 × 9 crops of the mirrored image, and 2,000 draws see all of them.

    False alarms: P(one of 162 is not drawn) < 162 (1 − 1/162)^2000 = 7e-4, once, with this seed.
    """
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    padded = F.pad(image.float(), [4] * 4, mode="reflect").to(torch.uint8)[0]
    crops = {
        (flip, row, column): crop.flip(2) if flip else crop
        for flip in (False, True)
        for row in range(9)
        for column in range(9)
        for crop in [padded[:, row : row + 32, column : column + 32]]
    }
    known = {crop.contiguous().numpy().tobytes(): place for place, crop in crops.items()}
    out = augment(image.expand(2000, -1, -1, -1), 4, torch.Generator().manual_seed(2))
    seen = [known[each.contiguous().numpy().tobytes()] for each in out]
    assert len(set(seen)) == 162
    assert abs(sum(flip for flip, _, _ in seen) - 1000) < 5 * np.sqrt(500)


def test_augmented_images_stay_at_their_places() -> None:
    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 3, 32, 32)
    assert augment(images, 4, torch.Generator().manual_seed(0))[:, 0, 0, 0].tolist() == list(range(7))


def test_nothing_global_is_changed(toy: Path) -> None:
    def state() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ]

    def interrupt(model: VGG, steps_done: int) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # not what training uses
    torch.manual_seed(12345)  # not where an earlier training would have left it
    try:
        before = state()
        quick(toy, epochs=1)
        assert state() == before
        with pytest.raises(KeyboardInterrupt):
            quick(toy, on_step=interrupt)
        assert state() == before
    finally:
        torch.set_num_threads(threads)


def test_the_callers_settings_do_not_matter(toy: Path) -> None:
    plain = quick(toy, epochs=1)
    with torch.no_grad(), torch.device("meta"):  # meta stands in for a default device that is not the CPU
        odd = quick(toy, epochs=1)
    assert same(plain.weights["averaged"], odd.weights["averaged"])
    assert plain.card == odd.card


def test_files_say_what_the_result_says(toy: Path, tmp_path: Path) -> None:
    images, labels = toy_photos(7, 3)
    np.savez(toy / "cifar10_lossless_5k.npz", test_images=images, test_labels=labels)
    out = tmp_path / "a" / "b"
    result = quick(toy, seed=4, out=out)
    assert result.out == out
    assert {p.name for p in out.iterdir()} == FILES
    card = json.loads((out / "cifar.json").read_text())
    assert card == result.card
    assert card["made_by"] == "ldam train cifar --data DIR --epochs 2 --seed 4"
    assert card["recipe"]["batch_size"] == 20
    assert (card["train_size"], card["test_size"], card["lossless_test_size"]) == (60, 20, 7)
    assert card["data"]["name"] == "not all of CIFAR-10"
    assert card["data"]["read_from"] == "the binary version"
    assert card["test_accuracy"] == result.accuracy
    assert str(tmp_path) not in json.dumps(card)
    for state, weights in result.weights.items():
        path = out / f"cifar_{state}.safetensors"
        content = path.read_bytes()
        assert same(load_file(path), weights)
        assert len(content) <= 2_000_000
        assert card["files"][path.name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_accuracy_is_that_of_the_stored_weights(toy: Path) -> None:
    """Counted with a chain of modules and the files' half precision, without the package's forward pass."""
    result = quick(toy)
    images, labels = photos(20, 2)
    for state, weights in result.weights.items():
        assert weights["conv3.weight"].dtype == torch.float16
        assert weights["bn3.running_var"].dtype == torch.float32
        logits = chain(weights)(preprocess(images.float() / 255))
        assert result.card["test_correct"][state] == int((logits.argmax(1) == labels).sum())


def chain(weights: Weights) -> nn.Sequential:
    """The architecture written a second time, in eval mode."""
    modules: list[nn.Module] = []
    for number in range(1, 8):
        kernel = weights[f"conv{number}.weight"].float()
        convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(len(kernel))
        convolution.load_state_dict({"weight": kernel})
        norm.load_state_dict({name[4:]: v for name, v in weights.items() if name.startswith(f"bn{number}.")})
        modules += [convolution, norm, nn.ReLU()]
        if number in (1, 3, 5):
            modules.append(nn.MaxPool2d(2))
    last = nn.Linear(192, 10)
    last.load_state_dict({"weight": weights["fc.weight"].float(), "bias": weights["fc.bias"]})
    return nn.Sequential(*modules, nn.AvgPool2d(4), nn.Flatten(), last).eval()


def test_stored_weights_are_near() -> None:
    weights = fresh(VGG, 0).state_dict()
    for name, value in stored(weights).items():
        torch.testing.assert_close(value.to(weights[name].dtype), weights[name], rtol=2**-11, atol=2**-25)


def test_failure_leaves_the_folder_as_it_was(toy: Path, tmp_path: Path) -> None:
    def interrupt(model: VGG, steps_done: int) -> None:
        if steps_done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    out.mkdir()
    (out / "cifar.json").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        quick(toy, out=out, on_step=interrupt)
    assert {p.name: p.read_text() for p in out.iterdir()} == {"cifar.json": "earlier"}


def test_missing_data_is_noticed_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--download"):
        quick(tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["epochs", "batch_size"])
def test_impossible_recipes(toy: Path, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=0 must be at least 1"):
        quick(toy, **{option: 0})


def test_progress_goes_to_stderr_only(capsys: pytest.CaptureFixture[str]) -> None:
    fit_cifar(*photos(20, 1), CifarRecipe(epochs=1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 1 of 1" in captured.err
