"""Backward views against hooks on modules, against captum, against a twin network, and by hand."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

RULES = ["gradient", "guided", "deconv"]


class Block(nn.Module):
    """A residual block; its rectifiers are modules, or functions and methods."""

    def __init__(self, wide: int, out: int, stride: int, modules: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        plain = stride == 1 and wide == out
        self.downsample = (
            nn.Identity() if plain else nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )
        if modules:
            self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        else:
            self.relu1, self.relu2 = torch.relu_, lambda x: x.clamp_min_(0)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """The network of He et al. 2016, of any width."""

    def __init__(self, modules: bool = True, width: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU() if modules else F.relu
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for i in range(1, 5):
            first = Block(widths[i - 1], widths[i], 1 if i == 1 else 2, modules)
            setattr(self, f"layer{i}", nn.Sequential(first, Block(widths[i], widths[i], 1, modules)))
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def resnet(modules: bool = True, width: int = 64) -> nn.Module:
    return with_fixed_weights(lambda: ResNet18(modules, width)).eval()


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


@contextmanager
def hooked(model: nn.Module, rule: str) -> Iterator[None]:
    """The second implementation: hooks on the tensors that come out of, and go into, `nn.ReLU` modules."""

    def before(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        x = x.view_as(x)
        if rule == "guided":
            x.register_hook(lambda grad: grad.clamp(min=0))
        elif rule == "deconv":
            x.register_hook(lambda _: gradients.pop())
        return (x,)

    def after(_: nn.Module, __: Any, output: Tensor) -> None:
        if rule == "deconv":
            output.register_hook(lambda grad: gradients.append(grad.clamp(min=0)))

    gradients: list[Tensor] = []  # one at a time: the hook on the output runs just before that on the input
    modules = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    handles = [m.register_forward_pre_hook(before) for m in modules] + [m.register_forward_hook(after) for m in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def by_hooks(
    model: nn.Module, x: Tensor, layer: str, scalar: Callable[[Tensor], Tensor], rule: str, to: str | None = None
) -> Tensor:
    made: dict[str, Tensor] = {}
    x = x.clone().requires_grad_(True)
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: made.__setitem__(name, output))
        for name in (layer, to)
        if name
    ]
    try:
        with hooked(model, rule):
            model(x)
            return torch.autograd.grad(scalar(made[layer]), made[to] if to else x)[0]
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return resnet(width=16)


SCALARS: dict[str, tuple[str, Any, str | None, Callable[[Tensor], Tensor]]] = {
    "a place": ("layer3", (17, 2, 1), None, lambda output: output[:, 17, 2, 1].sum()),
    "a place in words": ("layer1", "3@5,6", None, lambda output: output[:, 3, 5, 6].sum()),
    "a logit": ("fc", 7, None, lambda output: output[:, 7].sum()),
    "a map by its own activation": ("layer2", 9, None, lambda output: output[:, 9].square().sum() / 2),
    "a map, all places alike": ("layer2", 9, "one", lambda output: output[:, 9].sum()),
    "a logit by its own activation": ("fc", 7, "activation", lambda output: output[:, 7].square().sum() / 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("layer", "unit", "seed", "scalar"), SCALARS.values(), ids=SCALARS.keys())
def test_as_hooks_on_modules_find_it(
    network: nn.Module, layer: str, unit: Any, seed: str | None, scalar: Callable[[Tensor], Tensor], rule: str
) -> None:
    x = images()
    found = ldam.backward(network, x, layer, unit, rule=rule, seed=seed)
    assert found.shape == x.shape
    assert found.abs().max() > 0
    torch.testing.assert_close(found, by_hooks(network, x, layer, scalar, rule), rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("to", ["layer1", "layer2.0.relu1", "conv1", "maxpool"])
def test_to_a_lower_layer(network: nn.Module, to: str, rule: str) -> None:
    found = ldam.backward(network, images(), "layer3", 17, rule=rule, to=to)
    expected = by_hooks(network, images(), "layer3", lambda output: output[:, 17].square().sum() / 2, rule, to)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_functions_and_methods_as_modules(network: nn.Module, rule: str) -> None:
    """Hooks on modules see nothing of the twin, whose rectifiers are functions and work in place."""
    twin = resnet(modules=False, width=16)
    twin.load_state_dict(network.state_dict())
    assert not any(isinstance(module, nn.ReLU) for module in twin.modules())
    for to in ("input", "conv1", "layer1"):  # conv1 and bn1 are overwritten in place
        ours = ldam.backward(twin, images(), "layer3", 17, rule=rule, to=to)
        assert torch.equal(ours, ldam.backward(network, images(), "layer3", 17, rule=rule, to=to))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize("rule", RULES)
def test_as_captum_finds_it(rule: str) -> None:
    attr: Any = importlib.import_module("captum.attr")
    made = {"gradient": attr.NeuronGradient, "guided": attr.NeuronGuidedBackprop, "deconv": attr.NeuronDeconvolution}
    network = resnet()
    for layer, unit in (("layer3", (17, 2, 1)), ("layer1", (3, 5, 6)), ("fc", (7,))):
        model = copy.deepcopy(network)
        expected = made[rule](model, model.get_submodule(layer)).attribute(images(), unit)
        found = ldam.backward(network, images(), layer, unit if len(unit) > 1 else unit[0], rule=rule)
        assert float((found - expected).abs().max()) == 0


class TwoLayers(nn.Module):
    """f(x) = v · relu(W x), all by hand; the layer gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Pair(), nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.second.weight.copy_(torch.tensor([[2.0, -4.0, 8.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)[1].relu_())


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [-1.0, 1.0], [3.0, -1.0]]))

    def forward(self, x: Tensor) -> tuple[str, Tensor]:
        return "two", x @ self.weight.T


def test_by_hand() -> None:
    # x = (1, −1): W x = (−1, −2, 4): only the last is active; v = (2, −4, 8): the first and the last are positive
    x, model = torch.tensor([[1.0, -1.0]]), TwoLayers()
    expected = {"gradient": [0.0, 0.0, 8.0], "guided": [0.0, 0.0, 8.0], "deconv": [2.0, 0.0, 8.0]}
    for rule, hidden in expected.items():
        assert ldam.backward(model, x, "second", 0, rule=rule, to="first[1]").tolist() == [hidden]
        by_hand = (torch.tensor([hidden]) @ model.first.weight).tolist()
        assert ldam.backward(model, x, "second", 0, rule=rule).tolist() == by_hand
    # x = (−1, −1): W x = (−3, 0, −2)
    assert ldam.backward(model, -torch.ones(1, 2), "second", 0, rule="guided").tolist() == [[0.0, 0.0]]
    # the logit by its own activation, 8 · 4 = 32 times the gradient
    assert ldam.backward(model, x, "second", 0, seed="activation").tolist() == [[32 * 24.0, 32 * -8.0]]


@pytest.mark.slow
def test_seeds_and_directions() -> None:
    model, x = resnet(width=4), images(side=32)
    ones = ldam.backward(model, x, "layer1", 2, seed="one")
    assert torch.equal(ones, ldam.backward(model, x, "layer1", 2, seed=torch.ones(8, 8)))
    assert torch.equal(2 * ones, ldam.backward(model, x, "layer1", 2, seed=torch.full((2, 1, 1), 2.0)))
    activation = ldam.activations(model, x, ["layer1"])["layer1"][:, 2]
    own = ldam.backward(model, x, "layer1", 2)
    assert torch.equal(own, ldam.backward(model, x, "layer1", 2, seed=activation))
    assert not torch.equal(own, ones)
    axis = torch.zeros(10)
    axis[3] = 5.0  # of unit length when used
    by_name = ldam.backward(model, x, "fc", "c", class_names=list("abzcdefghi"))
    assert torch.equal(ldam.backward(model, x, "fc", axis), by_name)
    assert torch.equal(by_name, ldam.backward(model, x, "fc", 3))


def test_tokens_have_their_units_last() -> None:
    encoder = with_fixed_weights(lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)).eval()
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    found = ldam.backward(encoder, x, "linear2", (3, 4))
    copied = x.clone().requires_grad_(True)
    made: list[Tensor] = []
    encoder.linear2.register_forward_hook(lambda _, __, output: made.append(output))
    encoder(copied)
    (expected,) = torch.autograd.grad(made[0][:, 4, 3].sum(), copied)
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:model was in training mode")
def test_nothing_of_the_users_is_touched() -> None:
    model = resnet(width=4).train()
    model.fc.weight.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    x = images(side=32).requires_grad_(True)
    with torch.inference_mode():
        ldam.backward(model, images(side=32), "layer1", 0, rule="guided")
    found = ldam.backward(model, x, "layer2", 1, rule="deconv")
    assert torch.equal(found, ldam.backward(model.eval(), x, "layer2", 1, rule="deconv"))
    assert found.dtype == x.dtype
    assert not found.requires_grad
    assert x.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["fc.weight"]
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()


def test_a_network_without_rectifiers_is_told() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)))
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(ldam.LDAMWarning, match="no rectifier runs on the way to '3', so that 'guided' is the plain"):
        guided = ldam.backward(model, x, "3", 0, rule="guided")
    assert torch.equal(guided, ldam.backward(model, x, "3", 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "layer9"}, "unknown layer 'layer9'"),
        ({"unit": 99}, "neuron 99 is out of range: layer 'layer2' has 8 units"),
        ({"unit": (1, 9, 9)}, "does not fit layer 'layer2'"),
        ({"rule": "lrp"}, "rule must be one of 'gradient', 'guided', 'deconv'; got 'lrp'"),
        ({"to": "layer9"}, "unknown layer 'layer9'"),
        ({"to": "layer2"}, "to must be a layer before 'layer2', or 'input'"),
        ({"to": "layer3"}, "layer 'layer3' does not run before 'layer2'"),
        ({"layer": "layer2.0.downsample.0", "to": "layer2.0.conv1"}, "does not depend on layer 'layer2.0.conv1'"),
        ({"seed": "ones"}, "seed must be 'activation', 'one', a tensor or None; got 'ones'"),
        ({"seed": torch.ones(3, 3)}, r"seed must broadcast to \(images, \*map\) = \(2, 4, 4\); got shape \(3, 3\)"),
        ({"x": torch.ones(2, 3, 32, 32, dtype=torch.uint8)}, "x must be a tensor .* got torch.uint8 numbers"),
        ({"x": [1.0]}, "x must be a tensor .* got list"),
        ({"x": torch.ones(0, 3, 32, 32)}, "one image at least"),
        ({"x": torch.ones(2, 5, 32, 32)}, "does not fit the model"),
    ],
    ids=str,
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"x": images(side=32), "layer": "layer2", "unit": 1, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        ldam.backward(resnet(width=4), **asked)
