"""Real images that the classifier cannot have been trained on are noticed before an hour of training on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldam_widget import Recipe, Trainer
from ldam_widget.core.notes import LDAMWarning

from .conftest import with_fixed_weights

TINY = Recipe(batch=12, steps=1, pool=1, penalty=0.0, denoising=0.0)
SHAPE = (3, 16, 16)
CLASSES = 3


class Normed(nn.Module):
    """(N, 3, 16, 16) -> (N, 3)."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))
        return z


def images(count: int = 120) -> tuple[Tensor, Tensor]:
    """Patches of one colour each, red, green or blue, with noise; and their classes."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % CLASSES
    colour = torch.eye(3)[label].view(-1, 3, 1, 1)
    noise = 0.2 * torch.randn((count, *SHAPE), generator=generator)
    return (0.3 + 0.4 * colour + noise).clamp(0, 1), label


def normalised(x: Tensor) -> Tensor:
    return (x - 0.43) / 0.27


def trained(norm: bool) -> nn.Module:
    """A classifier that has learned the colours."""
    model = with_fixed_weights(lambda: Normed(norm)).train()
    x, label = images()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(normalised(x)), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    assert float((model(normalised(x)).argmax(1) == label).float().mean()) == 1
    return model


@pytest.fixture(scope="module")
def with_norm() -> nn.Module:
    return trained(True)


@pytest.fixture(scope="module")
def without_norm() -> nn.Module:
    return trained(False)


def notes(model: nn.Module, dataset: Any, **options: Any) -> list[str]:
    return Trainer(model, dataset, recipe=TINY, device="cpu", **({"preprocess": normalised} | options)).notes


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_right_images_raise_no_doubt(with_norm: nn.Module, without_norm: nn.Module) -> None:
    x = images()[0]
    for model in (with_norm, without_norm):
        assert notes(model, x) == []
        assert notes(model, x, pixel_range=(0, 1)) == []
        assert notes(model, (255 * x).byte(), pixel_range=(0, 1)) == []
        assert notes(model, x[:7]) == []
    assert notes(with_norm, 255 * x, pixel_range=(0, 255), preprocess=lambda x: normalised(x / 255)) == []


def wrong() -> dict[str, tuple[dict[str, Any], str]]:
    """What is done to images and settings, and the doubt that this raises in a network with batch norm."""
    x = images()[0]
    twice = {"dataset": x, "preprocess": lambda x: normalised(normalised(x))}
    flat = x.mean((1, 2, 3), keepdim=True).expand_as(x)
    check = r".*Check preprocess= .* the unit of the pixels \(0…1 or 0…255\)"
    spread = r"the input of its batch norm 'norm' spreads {} times as much .*" + check
    return {
        "not normalised": ({"dataset": x, "preprocess": None}, spread.format(r"0\.2\d")),
        "normalised twice": (twice, spread.format(r"3\.\d")),
        "0 to 255": ({"dataset": 255 * x, "pixel_range": (0, 255)}, spread.format(r"2\.\de\+02|2\d\d")),
        "0 to 255, without a range": ({"dataset": 255 * x}, r"input of the network: mean 4\d\d and standard deviation"),
        "divided twice": ({"dataset": x / 255, "pixel_range": (0, 1)},
                          r"between 0 and 0\.0039\d, a small part of pixel_range=\(0, 1\)"),
        "0 to 1 in 0 to 255": ({"dataset": x, "pixel_range": (0, 255)}, "between 0 and 1, a small part of pixel_r"),
        "constant": ({"dataset": flat}, "120 of 120 real images have one value"),
        "black": ({"dataset": torch.zeros_like(x)}, "120 of 120 real images have one value in all pixels"),
        "all the same": ({"dataset": x[:1].expand_as(x)}, "the 120 real images looked at are all the same"),
    }  # fmt: skip


@pytest.mark.parametrize("case", wrong())
def test_the_wrong_ones_do(case: str, with_norm: nn.Module) -> None:
    options, message = wrong()[case]
    with pytest.warns(LDAMWarning, match=message):
        found = notes(with_norm, **options)
    assert len(found) == 1


def test_without_batch_norm_its_input_and_classes_are_looked_at(without_norm: nn.Module) -> None:
    x, label = images()
    with pytest.warns(LDAMWarning, match=r"the network's input has mean 4\d\d and standard deviation 2\d\d"):
        notes(without_norm, 255 * x)
    with pytest.warns(LDAMWarning, match="it puts 100% of 120 images into class 2"):
        notes(without_norm, x.flip(1)[label == 0].repeat(3, 1, 1, 1))  # red as blue


def test_an_untrained_network_raises_no_doubt() -> None:
    """A fresh batch norm has no statistics of the images. Two classes may well be unequal."""
    model = with_fixed_weights(Normed).eval()
    model.fc = nn.Linear(8, 2)
    assert notes(model, images()[0]) == []


def test_layers_that_do_not_take_the_images_raise_their_own_error() -> None:
    with pytest.raises(ValueError, match=r"input_shape=\(1, 16, 16\) does not fit the model.* 3 channels"):
        notes(with_fixed_weights(Normed).eval(), images()[0][:, :1])


def test_the_look_leaves_random_numbers_and_images_alone(with_norm: nn.Module) -> None:
    x = images()[0]
    before, state = x.clone(), torch.get_rng_state()
    with pytest.warns(LDAMWarning):
        notes(with_norm, x, preprocess=lambda x: x.mul_(100))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
