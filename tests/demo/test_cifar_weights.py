from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import tarfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ldam_widget import Sampler
from ldam_widget.demo import VGG, Demo, cifar

STATES = ("final", "averaged")
WIDTHS = (64, 96, 96, 128, 128, 192, 192)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = np.array((0.4914, 0.4822, 0.4465)), np.array((0.2470, 0.2435, 0.2616))
FOLDER = files("ldam_widget.demo") / "weights"


@pytest.mark.parametrize("which", STATES)
def test_shipped_weights(which: str) -> None:
    demo = cifar(which)
    assert isinstance(demo.model, VGG)
    assert not demo.model.training
    assert [name for name, _ in demo.model.named_children()] == [
        *(f"{kind}{number}" for number in range(1, 8) for kind in ("conv", "bn")),
        "fc",
    ]
    assert tuple(demo.model.get_submodule(f"conv{n}").weight.shape[0] for n in range(1, 8)) == WIDTHS  # type: ignore[union-attr, operator]
    assert sum(p.numel() for p in demo.model.parameters()) == 954_698
    for parameter in demo.model.parameters():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.dtype == torch.float32
        assert parameter.device.type == "cpu"
        assert parameter.requires_grad
        assert parameter.isfinite().all()
    content = (FOLDER / f"cifar_{which}.safetensors").read_bytes()
    assert len(content) <= 2_000_000
    assert demo.card["files"][f"cifar_{which}.safetensors"] == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_states_differ() -> None:
    final, averaged = (cifar(which).model for which in STATES)
    assert not torch.equal(final.fc.weight, averaged.fc.weight)
    # One run: its last epochs lie in one valley.
    a, b = (torch.cat([p.flatten() for p in model.parameters()]) for model in (final, averaged))
    assert torch.cosine_similarity(a, b, 0) > 0.9


def test_settings() -> None:
    settings = cifar().settings
    assert settings.keys() == {"layer", "input_shape", "preprocess", "pixel_range", "class_names"}
    assert settings["layer"] == "fc"
    assert settings["input_shape"] == (3, 32, 32)
    assert settings["pixel_range"] == (0.0, 1.0)
    assert settings["class_names"] == CLASSES


def test_preprocess_is_picklable_and_standardises_each_colour() -> None:
    preprocess = pickle.loads(pickle.dumps(cifar().settings["preprocess"]))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = preprocess(x)
    expected = (x.detach().double().numpy() - MEAN[:, None, None]) / STD[:, None, None]
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    np.testing.assert_allclose(gradient[0, :, 0, 0], 1 / STD, rtol=1e-6)
    assert preprocess(x.detach().double()).dtype == torch.float64


def test_a_sampler_takes_it_as_it_is() -> None:
    """Logits and any convolution, whose neurons are channels; ten names."""
    demo = cifar("averaged")
    sampler = Sampler(demo.model, neurons=range(10), seed=0, **demo.settings)
    sampler.step(3)
    assert sampler.images.shape[-3:] == (3, 32, 32)
    assert sampler.neurons[8].label == "8 ship"
    inner = Sampler(demo.model, neurons=[0, 95], seed=0, **demo.settings | {"layer": "conv3"})
    inner.step(3)
    assert torch.as_tensor(inner.images).isfinite().all()


def test_each_call_is_its_own_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    one = cifar()
    with torch.no_grad():
        one.model.fc.weight.zero_()
    one.settings["layer"] = "conv1"
    one.card.clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            other = cifar()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert other.model.fc.weight.abs().sum() > 0
    assert other.settings["layer"] == "fc"
    assert other.card


def test_demo_can_be_pickled() -> None:
    demo = pickle.loads(pickle.dumps(cifar("averaged")))
    assert isinstance(demo, Demo)
    assert demo.name == "VGG on CIFAR-10, averaged"


@pytest.mark.parametrize("which", ["epoch1", "", "Final"])
def test_unknown_state_lists_the_known(which: str) -> None:
    with pytest.raises(ValueError, match='choose "final" or "averaged"') as caught:
        cifar(which)
    assert repr(which) in str(caught.value)


def test_card_is_complete() -> None:
    text = (FOLDER / "cifar.json").read_text(encoding="utf-8")
    card = json.loads(text)
    assert card["made_by"] == "ldam train cifar --data DIR"
    assert not re.search(r'"(/|[A-Z]:|~|file:)', text)
    assert card["data"]["name"] == "CIFAR-10"
    assert card["data"]["read_from"] == "pictures in class folders"
    assert card["data"]["sha256_of_decoded"].keys() == {"train", "test"}
    assert card["recipe"]["optimizer"].startswith("torch.optim.SGD")
    assert card["recipe"]["seed"] == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", card["torch"])
    assert (card["train_size"], card["test_size"], card["lossless_test_size"]) == (50_000, 10_000, 1_000)
    for which in STATES:
        assert card["states"][which]
        assert card["test_accuracy"][which] == card["test_correct"][which] / 10_000
        assert card["lossless_test_accuracy"][which] == card["lossless_test_correct"][which] / 1_000
        assert card["test_accuracy"][which] >= 0.88


@pytest.mark.realdata
def test_accuracy_on_real_test_images(real_cifar: Path) -> None:
    """Read, standardised and counted without the package's own code: every fifth JPEG, and the 1,000 exact ones.

    2,000 of the 10,000, drawn by their names, give the card's accuracy within 4.9 standard errors of a draw without
    replacement: false alarm 1e-6 over other subsets. The exact ones are counted in full; rounding may move three.
    """
    pixels, labels = [], []
    with tarfile.open(real_cifar / "cifar10_jpeg_60k.tar.xz", "r:xz") as tar:
        for member in tar:
            found = re.fullmatch(r"cifar10/test/(\w+)/(\d+)\.jpg", member.name)
            if found and int(found[2]) % 5 == 0:
                with Image.open(io.BytesIO(tar.extractfile(member).read())) as picture:  # type: ignore[union-attr]
                    pixels.append(np.asarray(picture.convert("RGB")))
                labels.append(CLASSES.index(found[1]))
    assert len(pixels) == 2000
    exact = np.load(real_cifar / "cifar10_lossless_5k.npz")
    for which in STATES:
        model, card = cifar(which).model, cifar(which).card
        truth = card["test_accuracy"][which]
        error = np.sqrt(truth * (1 - truth) / 2000 * (1 - 0.2))
        assert abs(accuracy(model, np.stack(pixels), np.array(labels)) - truth) < 4.9 * error
        hits = 1000 * accuracy(model, exact["test_images"], exact["test_labels"])
        assert abs(hits - card["lossless_test_correct"][which]) <= 3


def accuracy(model: VGG, images: np.ndarray, labels: np.ndarray) -> float:
    """Images (N, 32, 32, 3) uint8."""
    x = torch.from_numpy(((images / 255 - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in x.split(250)])
    return float((found.numpy() == labels).mean())
