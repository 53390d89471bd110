"""Receptive fields, against the arithmetic of convolutions and poolings."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SIDE = 48
KINDS = ("conv", "max", "average")
NAMES = ("kernel_size", "stride", "padding", "dilation")
Step = tuple[str, int, int, int, int]  # kind, kernel, stride, padding, dilation


def stack(steps: list[Step]) -> nn.Sequential:
    """As many of the steps as the map is large enough for."""
    layers: list[nn.Module] = []
    side = SIDE
    for kind, kernel, stride, padding, dilation in steps:
        if side <= (kernel - 1) * dilation:
            break
        padding = min(padding, kernel // 2)  # poolings take no more
        if kind == "conv":
            layers += [nn.Conv2d(2, 2, kernel, stride, padding, dilation), nn.BatchNorm2d(2), nn.ReLU()]
        elif kind == "max":
            layers += [nn.MaxPool2d(kernel, stride, padding, dilation), nn.GELU()]
        else:
            dilation = 1
            layers += [nn.AvgPool2d(kernel, stride, padding)]
        side = (side + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
    return with_fixed_weights(lambda: nn.Sequential(*layers), 3).eval()


def pixels_of(network: nn.Sequential, at: int) -> list[int]:
    """The pixels that unit `at` sees along one axis, from the last layer back to the picture."""
    windows = [layer for layer in network if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d))]
    sizes, x = [], torch.zeros(1, 2, SIDE, SIDE)
    for layer in windows:
        sizes.append(x.shape[-1])
        x = layer(x)
    seen = {at}
    for layer, size in zip(reversed(windows), reversed(sizes), strict=True):
        kernel, stride, padding, dilation = (one(getattr(layer, name, 1)) for name in NAMES)
        seen = {k * dilation + unit * stride - padding for unit in seen for k in range(kernel)} & set(range(size))
    return sorted(seen)


def one(size: int | tuple[int, ...]) -> int:
    return size[0] if isinstance(size, tuple) else size


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    some.lists(
        some.tuples(
            some.sampled_from(KINDS), some.integers(1, 4), some.integers(1, 3), some.integers(0, 1), some.integers(1, 2)
        ),
        min_size=1,
        max_size=4,
    ),
    some.data(),
)
def test_stacks_of_convolutions_and_poolings(steps: list[Step], data: some.DataObject) -> None:
    network = stack(steps)
    *_, height, width = network(torch.zeros(1, 2, SIDE, SIDE)).shape
    last = str(len(network) - 1)
    for at in ((data.draw(some.integers(0, height - 1)), data.draw(some.integers(0, width - 1))), None):
        y, x = at or (height // 2, width // 2)
        rows, columns = pixels_of(network, y), pixels_of(network, x)
        if not rows or not columns:
            with pytest.raises(ValueError, match="depends on no pixel"):
                ldam.receptive_field(network, last, (2, SIDE, SIDE), at=at)
            continue
        box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        size = (box[2] - box[0], box[3] - box[1])
        assert ldam.receptive_field(network, last, (2, SIDE, SIDE), at=at) == (size if at is None else box)


def test_closed_rectifiers_and_zero_weights_hide_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 5), nn.ReLU(), nn.Conv2d(1, 1, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].bias.fill_(-1)
    assert ldam.receptive_field(network, "2", (1, 20, 20)) == (7, 7)


@pytest.mark.slow
@pytest.mark.realdata
def test_resnet_18() -> None:
    """As arithmetic says: 7; 11 after the pooling and 8 more for each of 4 convolutions; and so on."""
    if "LDAM_DATA" not in os.environ:
        pytest.skip("LDAM_DATA does not say where the network is")
    path = Path(os.environ["LDAM_DATA"]) / "models.py"
    names: dict[str, Any] = {"__name__": "models_of_others"}
    exec(path.read_text(encoding="utf-8"), names)  # as a user defines it in a cell
    network = with_fixed_weights(names["ResNet"], 1)
    for layer, size in {"conv1": 7, "layer1": 43, "layer2": 99, "layer3": 211}.items():
        assert ldam.receptive_field(network, layer, (3, 224, 224)) == (size, size)


def test_what_sees_everything() -> None:
    mixing = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    for layer in ("1", "2", "3"):
        assert ldam.receptive_field(mixing, layer, (1, 9, 12)) == (9, 12)
    assert ldam.receptive_field(mixing, "3", (1, 9, 12), at=()) == (0, 0, 9, 12)
    assert ldam.receptive_field(nn.Sequential(nn.GroupNorm(1, 1), nn.Conv2d(1, 1, 3)), "1", (1, 9, 9)) == (9, 9)


class Discards(nn.Module):
    """Its rectifier gives 0 for NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.where(x > 0, x, torch.zeros_like(x))


def test_a_network_that_discards_nan() -> None:
    assert ldam.receptive_field(with_fixed_weights(Discards, 1), "", (1, 20, 20), at=(4, 5)) == (4, 5, 9, 10)


def test_other_shapes_of_pictures_and_of_layers() -> None:
    assert ldam.receptive_field(nn.Conv3d(1, 2, 3), "", (1, 8, 9, 10)) == (3, 3)
    assert ldam.receptive_field(nn.Conv3d(1, 2, 3), "", (1, 8, 9, 10), at=(0, 1, 2)) == (1, 2, 4, 5)

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 4, 4)

        def forward(self, x: Tensor) -> Any:
            return self.embed(x).flatten(2).transpose(1, 2)  # tokens

    assert ldam.receptive_field(Patches(), "", (3, 16, 16), at=(6,)) == (4, 8, 8, 12)
    half = nn.Conv2d(1, 1, 3)
    assert ldam.receptive_field(half, "", (1, 8, 8), lambda x: nn.functional.avg_pool2d(x, 2)) == (6, 6)


def test_the_models_own_output() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y[..., 1:] + y[..., :-1]  # of no module

    assert ldam.receptive_field(Sums(), "(output)", (1, 9, 9)) == (3, 4)


def test_the_model_and_the_random_numbers_stay_as_they_are() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.conv(x))
            self.seen += x.detach().sum()
            return y + torch.rand_like(y)

    network = Noisy().train()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert ldam.receptive_field(network, "", (1, 9, 9)) == (3, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"layer": "conv9"}, "unknown layer 'conv9'"),
        ({"at": (6, 0)}, r"at must be a place on a map of size 6×6 in layer '0'; got \(6, 0\)"),
        ({"at": (1,)}, "a place on a map of size 6×6"),
        ({"at": 3}, "a place on a map of size 6×6"),
        ({"layer": "2", "at": (0, 0)}, r"at must be \(\): the layer has no map"),
        ({"input_shape": (64,)}, "height and width"),
        ({"input_shape": (3, 8, 8)}, "does not fit the model"),
    ],
    ids=str,
)
def test_bad_input(arguments: dict[str, Any], match: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    given: dict[str, Any] = {"layer": "0", "input_shape": (1, 8, 8)}
    with pytest.raises(ValueError, match=match):
        ldam.receptive_field(network, **(given | arguments))
