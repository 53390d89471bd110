from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ldam_widget.demo import Demo, LeNet5, mnist

STATES = ("epoch1", "final", "averaged")
SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "fc1.weight": (120, 400),
    "fc1.bias": (120,),
    "fc2.weight": (84, 120),
    "fc2.bias": (84,),
    "fc3.weight": (10, 84),
    "fc3.bias": (10,),
}
FOLDER = files("ldam_widget.demo") / "weights"


@pytest.mark.parametrize("which", STATES)
def test_shipped_weights(which: str) -> None:
    demo = mnist(which)
    assert isinstance(demo.model, LeNet5)
    assert not demo.model.training
    state = demo.model.state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == SHAPES
    for parameter in demo.model.parameters():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.dtype == torch.float32
        assert parameter.device.type == "cpu"
        assert parameter.requires_grad
        assert parameter.isfinite().all()
    content = (FOLDER / f"lenet5_{which}.safetensors").read_bytes()
    assert len(content) <= 270_000
    assert demo.card["files"][f"lenet5_{which}.safetensors"] == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_states_differ() -> None:
    epoch1, final, averaged = (mnist(which).model.fc3.weight for which in STATES)
    assert not torch.equal(epoch1, final)
    assert not torch.equal(final, averaged)
    # One run: the mean of its last epochs lies nearer to its end than its first epoch does.
    assert (averaged - final).norm() < (epoch1 - final).norm()


def test_forward_pass_is_the_papers_network() -> None:
    """The same weights in a chain of modules, written without LeNet5."""
    model = mnist("averaged").model
    chain = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    for mine, theirs in zip(chain.parameters(), model.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), chain(x))
    assert [name for name, _ in model.named_children()] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert sum(p.numel() for p in LeNet5().parameters()) == 61_706


def test_settings() -> None:
    settings = mnist().settings
    assert settings.keys() == {"layer", "input_shape", "preprocess", "pixel_range", "class_names"}
    assert settings["layer"] == "fc3"
    assert settings["input_shape"] == (1, 28, 28)
    assert settings["pixel_range"] == (0.0, 1.0)
    assert " ".join(settings["class_names"]) == "zero one two three four five six seven eight nine"


def test_preprocess_is_picklable_and_standardises() -> None:
    preprocess = pickle.loads(pickle.dumps(mnist().settings["preprocess"]))
    x = torch.tensor([0.0, 0.1307, 1.0]).view(3, 1, 1, 1).expand(3, 1, 28, 28).requires_grad_()
    y = preprocess(x)
    assert y.shape == (3, 1, 28, 28)
    assert y[:, 0, 0, 0].tolist() == pytest.approx([-0.424213, 0.0, 2.821487], abs=1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.unique().tolist() == pytest.approx([1 / 0.3081])


def test_each_call_is_its_own() -> None:
    one = mnist("final")
    with torch.no_grad():
        one.model.fc3.weight.zero_()
    one.settings["layer"] = "conv1"
    one.card.clear()
    other = mnist("final")
    assert other.model.fc3.weight.abs().sum() > 0
    assert other.settings["layer"] == "fc3"
    assert other.card


def test_no_random_numbers_are_drawn_and_defaults_do_not_matter() -> None:
    before = torch.get_rng_state()
    plain = mnist()
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            odd = mnist()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(plain.model.fc1.weight, odd.model.fc1.weight)


def test_demo_can_be_pickled_and_is_frozen() -> None:
    demo = pickle.loads(pickle.dumps(mnist("epoch1")))
    assert isinstance(demo, Demo)
    assert demo.name == "LeNet-5 on MNIST, epoch1"
    with pytest.raises(AttributeError):
        demo.name = "x"


@pytest.mark.parametrize("which", ["last", "", "Final"])
def test_unknown_state_lists_the_known(which: str) -> None:
    with pytest.raises(ValueError, match='"epoch1" or "final" or "averaged"') as caught:
        mnist(which)
    assert repr(which) in str(caught.value)


def test_card_is_complete() -> None:
    text = (FOLDER / "lenet5.json").read_text(encoding="utf-8")
    card = json.loads(text)
    assert card["made_by"] == "ldam train lenet5 --data DIR"
    assert not re.search(r'"(/|[A-Z]:|~|file:)', text)
    assert card["data"]["name"] == "MNIST"
    assert len(card["data"]["sha256_of_decoded_files"]) == 4
    assert card["recipe"]["optimizer"] == "torch.optim.RMSprop"
    assert card["recipe"]["momentum"] == 0.9
    assert card["recipe"]["seed"] == 0
    assert card["recipe"]["augmentation"] is None
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", card["torch"])
    assert (card["train_size"], card["test_size"]) == (60_000, 10_000)
    assert card["paper"]["test_accuracy"] == {"final": 0.987, "averaged": 0.991}
    for which in STATES:
        assert card["states"][which]
        assert card["test_accuracy"][which] == card["test_correct"][which] / 10_000
    accuracy = card["test_accuracy"]
    assert accuracy["final"] >= 0.987
    assert accuracy["averaged"] >= 0.990
    assert accuracy["epoch1"] < accuracy["final"] < accuracy["averaged"]


@pytest.mark.realdata
def test_accuracies_on_the_real_test_set(real_mnist: Path) -> None:
    """Read, standardised and counted without the package's own code."""
    raw = gzip.decompress((real_mnist / "t10k-images-idx3-ubyte.gz").read_bytes())
    truth = gzip.decompress((real_mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(10_000, 1, 28, 28).astype(np.float32) / 255
    labels = torch.tensor(list(truth))
    correct = {}
    for which in STATES:
        demo = mnist(which)
        with torch.no_grad():
            logits = demo.model(demo.settings["preprocess"](torch.from_numpy(pixels)))
        correct[which] = int((logits.argmax(1) == labels).sum())
    assert correct == mnist().card["test_correct"]
    assert correct["final"] > correct["epoch1"]
