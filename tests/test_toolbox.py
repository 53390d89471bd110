"""What a picture does in a network: against forward passes of our own, by numpy, and on odd networks."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.toolbox.choice import Chosen, checked_unit
from ldam_widget.toolbox.explorer import Explorer
from ldam_widget.toolbox.tiles import as_maps, tiles

from .conftest import with_fixed_weights

SHAPE = (3, 16, 16)


def network(seed: int = 1) -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(200, 5),
        ),
        seed,
    ).eval()


def explorer(model: nn.Module, shape: tuple[int, ...] = SHAPE, **changes: Any) -> Explorer:
    options: dict[str, Any] = {"preprocess": None, "device": "cpu", "labels": (), "other": None, "pixel_range": (0, 1)}
    return Explorer(model, shape, **(options | {"notes": Notes()} | changes))


def picture(shape: tuple[int, ...] = SHAPE, seed: int = 3) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def outputs(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    made = [x[None]]
    for module in model:
        made.append(module(made[-1]))
    return [each[0] for each in made[1:]]


def by_hand(maps: Tensor, boost: float, gamma: float, signed: bool) -> np.ndarray:
    """One channel after the other, in double precision."""
    maps = maps.double().reshape(len(maps), *(maps.shape[1:] if maps.ndim == 3 else (1, 1))).numpy()
    whole = np.abs(maps).max()
    made = []
    for channel in maps:
        share = channel / (np.abs(channel).max() ** boost * whole ** (1 - boost) if np.abs(channel).max() else 1)
        if signed:
            made.append(128 + 127 * np.sign(share) * np.abs(share) ** gamma)
        else:
            made.append(255 * np.clip(share, 0, 1) ** gamma)
    return np.round(np.stack(made)).astype(int)


def test_every_layer_and_the_classes_in_one_pass() -> None:
    model, x = network(), picture()
    shown, made = explorer(model, labels=list("abcde")), outputs(model, x)
    shares = made[-1].double().softmax(0)
    for i, output in enumerate(made):
        shown.choose(layer=str(i), unit=2)
        look = shown.look(x)
        signed = bool((output < 0).any())
        assert look.tiles.signed is signed
        assert np.abs(look.tiles.levels - by_hand(output, 0, 1, signed)).max() <= 1  # rounding of single precision
        assert look.tiles.scale == pytest.approx(float(output.abs().max()))
        assert look.value == pytest.approx(float(output[2].max()))
        assert [c.number for c in look.classes] == shares.argsort(descending=True).tolist()
        assert [c.name for c in look.classes] == ["abcde"[c.number] for c in look.classes]
        np.testing.assert_allclose([c.probability for c in look.classes], shares.sort(descending=True).values)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("boost", "gamma"), [(0, 1), (1, 1), (0.3, 0.5), (0.8, 0.7)])
def test_boost_and_gamma(boost: float, gamma: float, signed: bool) -> None:
    maps = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 0.1, 3, 0, 10]).view(
        -1, 1, 1
    )
    made = tiles(maps, boost, gamma, signed=signed)
    assert np.abs(made.levels.astype(int) - by_hand(maps, boost, gamma, signed)).max() <= 1
    assert made.levels[3].min() == made.levels[3].max() == (128 if signed else 0)  # zero stays zero


def test_numbers_that_are_not_finite_and_many_pixels() -> None:
    maps = torch.ones(2, 4, 4)
    maps[0, 0, 0], maps[1, 1, 1] = math.nan, math.inf
    made = tiles(maps, 0, 1, signed=False)
    assert made.scale == 1
    assert made.levels[0, 0, 0] == made.levels[1, 1, 1] == 0
    assert made.levels[0, 1, 1] == 255
    small = tiles(torch.ones(64, 112, 112), 0, 1, signed=False)
    assert small.levels.size <= 1 << 18
    assert (small.levels == 255).all()
    assert tiles(torch.ones(5000, 1, 1), 0, 1, signed=False).levels.shape == (4096, 1, 1)


def test_maps_of_any_shape() -> None:
    assert as_maps(torch.zeros(5)).shape == (5, 1, 1)
    assert as_maps(torch.zeros(5, 16)).shape == (5, 4, 4)
    tokens = torch.arange(17.0).expand(5, 17)  # a class token first
    assert as_maps(tokens)[0].flatten().tolist() == list(range(1, 17))
    assert as_maps(torch.zeros(5, 11)).shape == (5, 1, 11)
    assert as_maps(torch.zeros(5, 2, 3, 4)).shape == (5, 6, 4)


def test_the_backward_view_is_that_of_backward() -> None:
    model, x = network(), picture()
    shown = explorer(model)
    assert shown.look(x).backward is None
    shown.choose(layer="3", unit=(2, 1, 1), rule="guided", view="norm")
    expected = ldam.backward(model, x[None], "3", (2, 1, 1), rule="guided")[0]
    torch.testing.assert_close(shown.gradient(x), expected)
    torch.testing.assert_close(shown.look(x).backward, ldam.views.norm(expected))
    shown.choose(unit=4)
    torch.testing.assert_close(shown.gradient(x), ldam.backward(model, x[None], "3", 4, rule="guided")[0])


def test_a_pinned_unit_seen_from_lower_layers() -> None:
    model, x = network(), picture()
    shown = explorer(model)
    shown.choose(layer="3", unit=5, rule="deconv")
    shown.pin(True)
    shown.choose(layer="0", show="backward")
    assert shown.choice.pinned == ("3", (5,))
    gradient = ldam.backward(model, x[None], "3", 5, rule="deconv", to="0")[0]
    look = shown.look(x)
    assert look.tiles.signed
    assert np.abs(look.tiles.levels - by_hand(gradient, 0, 1, True)).max() <= 1
    torch.testing.assert_close(look.backward, ldam.views.raw(ldam.backward(model, x[None], "3", 5, rule="deconv")[0]))
    shown.choose(layer="3")
    assert (shown.look(x).tiles.levels == 128).all()  # nothing lies between


def test_differences_to_another_model() -> None:
    models, x = (network(1), network(2)), picture()
    shown = explorer(models[0], other=models[1])
    shown.choose(layer="3", show="difference")
    first, second = (outputs(model, x)[3] for model in models)
    look = shown.look(x)
    assert np.abs(look.tiles.levels - by_hand(second - first, 0, 1, True)).max() <= 1
    expected = outputs(models[1], x)[-1].double().softmax(0)
    np.testing.assert_allclose([c.probability for c in look.other_classes], expected.sort(descending=True).values)
    same = explorer(models[0], other=copy.deepcopy(models[0]))
    same.choose(show="difference")
    assert (same.look(x).tiles.levels == 128).all()


def test_the_model_is_left_alone_and_its_changes_show() -> None:
    model, x = network().train(), picture()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    shown = explorer(model)
    shown.choose(layer="3", rule="guided")
    value = shown.look(x).value
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        model[3].weight.mul_(2)  # type: ignore[index]
        model[3].bias.mul_(2)  # type: ignore[index]
    assert shown.look(x).value == pytest.approx(2 * value)


class Transformer(nn.Module):
    """Its layers take a fast path without gradients, which runs no module inside."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 4, 4)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.cut(x).flatten(2).transpose(1, 2)).mean(1)).softmax(-1)


@pytest.mark.filterwarnings("ignore")
def test_tokens_and_a_softmax_at_the_end() -> None:
    model = with_fixed_weights(Transformer).eval()
    shown, x = explorer(model), picture()
    shown.choose(layer="encoder.layers.0.linear1", unit=3)
    look = shown.look(x)
    assert look.tiles.levels.shape == (16, 4, 4)
    assert [c.probability for c in look.classes] == pytest.approx(
        model(x[None])[0].sort(descending=True).values.tolist()
    )
    expected = ldam.activations(model, x[None].requires_grad_(True), ["cut"])["cut"][0]
    shown.choose(layer="encoder.layers.0.linear1", unit=3, rule="guided")
    assert shown.look(x).remark == "no rectifier on the way: the plain gradient"
    shown.choose(layer="encoder.layers.0", unit=3)
    assert shown.look(x).remark == ""  # it has a rectifier inside
    shown.choose(layer="cut")
    assert shown.look(x).value == pytest.approx(float(expected[3].max()))


def test_networks_without_classes() -> None:
    shown = explorer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)))
    assert not shown.probe.classifies
    assert shown.look(picture()).classes == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "9"}, "unknown layer '9'"),
        ({"layer": 3}, "layer must be a name"),
        ({"unit": 6}, "unit 6 is out of range: layer '0' has 6×14×14 units"),
        ({"unit": (1, 2)}, r"unit must be a channel, or \(channel, y, x\) of a map"),
        ({"unit": True}, "unit must be a channel"),
        ({"unit": "3"}, "unit must be a channel"),
        ({"rule": "lrp"}, "rule must be one of 'off', 'gradient', 'guided', 'deconv'; got 'lrp'"),
        ({"view": "blue"}, "view must be one of"),
        ({"show": "difference"}, "no other model to show differences to; give it as compare="),
        ({"fit": "tile"}, "fit must be one of 'crop', 'stretch'"),
        ({"boost": 1.5}, "boost must be a number from 0 to 1; got 1.5"),
        ({"gamma": 0}, r"gamma must be a number from 0 \(excluded\) to 1; got 0"),
        ({"gamma": math.nan}, "gamma must be a number"),
        ({"frozen": 1}, "frozen must be True or False"),
    ],
    ids=str,
)
def test_a_choice_that_does_not_exist(changes: dict[str, Any], message: str) -> None:
    shown = explorer(network())
    before = shown.choice
    with pytest.raises(ValueError, match=message):
        shown.choose(**changes)
    assert shown.choice == before


def test_another_layer_keeps_the_channel_as_far_as_there_is_one() -> None:
    shown = explorer(network())
    shown.choose(layer="3", unit=(7, 1, 1))
    shown.choose(layer="0")
    assert shown.choice == Chosen("0", (5,))
    assert checked_unit(np.int64(3), (6, 14, 14), "0") == (3,)


def test_models_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="labels holds 2 names, but the model has 5 classes"):
        explorer(network(), labels=["a", "b"])
    with pytest.raises(TypeError, match="labels must be a list of names, one per class; got 'cat'"):
        explorer(network(), labels="cat")
    assert explorer(network(), labels=np.array(list("abcde"))).look(picture()).classes[0].name in "abcde"
    with pytest.raises(ValueError, match="compare: it has no layer of the same name and shape"):
        explorer(network(), other=nn.Sequential(nn.Flatten(), nn.Linear(768, 7)))
    with pytest.raises(TypeError, match="compare: model must be an instance"):
        explorer(network(), other="epoch 2")
    shown = explorer(network(), other=nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3)))
    with pytest.raises(ValueError, match=r"layer '2' is \(6, 7, 7\), in the other model \(8, 12, 12\)"):
        shown.choose(layer="2")
