"""The shipped discriminators, and how they are trained: `ldam train discriminator`."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ldam_widget import Discriminator, Sampler, Trainer, build_discriminator, demo, load_discriminator
from ldam_widget.data.cifar import load_cifar
from ldam_widget.demo import prior
from ldam_widget.kernels import Algorithm1

from ..conftest import with_fixed_weights
from .toy_cifar import binary_files, write_files
from .toy_mnist import toy_digits, write_split

FOLDER = files("ldam_widget.demo") / "weights"
pytestmark = pytest.mark.filterwarnings("ignore:the network may not have been trained")


class Small(nn.Module):
    """(N, channels, side, side) -> (N, 10)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 4, 5, stride=4), nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.fc(self.conv(x).tanh().mean((2, 3)))
        return z


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr("ldam_widget.adversary.trainer.trouble", lambda rounds: "")  # in so few rounds
    for split in ("train", "test"):
        write_split(tmp_path / "mnist", split, *toy_digits(80, seed=1))
    write_files(tmp_path / "cifar", binary_files(80, 20))
    return {"mnist": tmp_path / "mnist", "cifar": tmp_path / "cifar"}


@pytest.mark.parametrize(("network", "channels"), [("mnist", 1), ("cifar", 3)])
def test_training_one_again_writes_the_weights_and_their_card(
    network: str, channels: int, data: dict[str, Path], tmp_path: Path
) -> None:
    model = with_fixed_weights(lambda: Small(channels))
    options: dict[str, Any] = {"network": network, "model": model, "execution": "plain", "progress": False}
    net = prior.train_prior(data[network], rounds=3, out=tmp_path, **options)
    shipped, found = prior.SHIPPED[network], demo.mnist() if network == "mnist" else demo.cifar()
    path = tmp_path / shipped.file
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert net.card["rounds"] == card["rounds"] == 3
    assert card["recipe"] == shipped.recipe.as_dict()
    assert card["made_by"] == f"ldam train discriminator --network {network} --data DIR"
    content = path.read_bytes()
    assert card["files"] == {shipped.file: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    if network == "cifar":
        images = load_cifar(data[network]).train.images
        shape = found.settings["input_shape"]
        by_hand = Trainer(
            model, images, net=build_discriminator(model, shape, small=True), recipe=shipped.recipe, device="cpu",
            execution="plain", **{name: found.settings[name] for name in ("pixel_range", "preprocess")},
        )  # fmt: skip
        for _ in range(3):
            by_hand.train_round()
        for name, value in load_discriminator(path).state_dict().items():
            assert torch.equal(value, by_hand.net.state_dict()[name])
    more = prior.train_prior(data[network], rounds=4, out=tmp_path, resume=True, **options)
    assert more.card["rounds"] == 4


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="network='imagenet': there is 'mnist', 'cifar'"):
        prior.train_prior(tmp_path, network="imagenet")


@pytest.mark.parametrize("network", ["mnist", "cifar"])
def test_the_shipped_ones(network: str) -> None:
    shipped, found = prior.SHIPPED[network], demo.mnist() if network == "mnist" else demo.cifar()
    content = (FOLDER / shipped.file).read_bytes()
    assert len(content) <= 2_000_000
    net = found.discriminator
    assert not net.training
    assert net.card["rounds"] == shipped.rounds
    recipe = shipped.recipe.as_dict()
    if network == "mnist":
        recipe["strength"] = 0.5  # of twice log D's gradient then, as 2/3 of 1.5 times it is now
    assert net.card["recipe"] == recipe
    assert net.card["trouble"] == ""
    assert net.pixel_range == found.settings["pixel_range"]
    assert net.input_shape == found.settings["input_shape"]


def test_the_card_of_cifar_is_complete() -> None:
    text = (FOLDER / "cifar_discriminator.json").read_text(encoding="utf-8")
    card, content = json.loads(text), (FOLDER / "cifar_discriminator.safetensors").read_bytes()
    assert not re.search(r'"(/|[A-Z]:|~|file:)', text)
    assert card["files"]["cifar_discriminator.safetensors"] == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    weights = json.loads((FOLDER / "cifar.json").read_text(encoding="utf-8"))
    assert card["data"]["sha256_of_decoded"]["train"] == weights["data"]["sha256_of_decoded"]["train"]
    assert card["against"] == demo.cifar().name
    assert {name: card[name] for name in demo.cifar().discriminator.card} == demo.cifar().discriminator.card


@pytest.mark.realdata
def test_that_of_cifar_separates_photographs_from_samples_of_the_neurons_alone(real_cifar: Path) -> None:
    """D on test images, which it has not seen, and on ten chains without it: most of each are classified right."""
    d = demo.cifar()
    term = Discriminator(d.discriminator, 0.0)
    images = load_cifar(real_cifar).test.images[::100].float() / 255
    s = Sampler(
        d.model, neurons=range(10), chains=2, prior="pixels", kernel=Algorithm1(mix="convex"), regularizers=[term],
        execution="plain", **d.settings,
    )  # fmt: skip
    s.step(60)
    with torch.no_grad():
        real, sampled = d.discriminator(images), d.discriminator(s.images.flatten(0, 1))
    assert float((real > 0).float().mean()) > 0.9
    assert float((sampled < 0).float().mean()) > 0.9
