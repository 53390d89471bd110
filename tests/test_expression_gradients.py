"""Value and gradient of every kind of expression, on several networks, against autograd on the user's own model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.execution import Execution
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons

from .conftest import with_fixed_weights

Outputs = dict[str, Tensor]  # layer, with "#2" for its second call -> output for one image
Formula = Callable[[Outputs, float], Tensor]  # and the interpolation -> f


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(48, 12), nn.Linear(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x.flatten(1))))))


class Overwriting(nn.Module):
    """Batch norms to fold, and rectifiers that overwrite what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.fc = nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8 * 2 * 2, 5)
        self.norm1.running_mean.normal_()  # type: ignore[union-attr]
        self.norm1.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(self.conv2(x).relu_(), 2)
        return self.fc(x.flatten(1))


class Twice(nn.Module):
    """One module, two calls, on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.fc = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(torch.tanh(self.same(x.flatten(1, 2))))
        return self.fc(F.gelu(x)).mean(1)


SHAPE = (3, 4, 4)
IMAGE = torch.randn(SHAPE, generator=torch.Generator().manual_seed(8))


def fixed(*shape: int) -> Tensor:
    """Some direction."""
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).cos().view(shape)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0)


Form = tuple[Any, Formula]
MLP: dict[str, Form] = {
    "-3": ("-3", lambda o, t: -o["c"][3]),
    "difference": ("3 - 2.0*4", lambda o, t: o["c"][3] - 2 * o["c"][4]),
    "three layers": ("a:3 - 0.5*b:1 + 2", lambda o, t: o["a"][3] - 0.5 * o["b"][1] + o["c"][2]),
    "interpolation": ("3 -> b:1 - 4", lambda o, t: (1 - t) * o["c"][3] + t * (o["b"][1] - o["c"][4])),
    "direction": (ldam.neuron(fixed(8), layer="b") - ldam.neuron(2),
                  lambda o, t: o["b"] @ fixed(8) / fixed(8).norm() - o["c"][2]),
    "cosine": (ldam.cosine(fixed(12), layer="a"), lambda o, t: cosine(o["a"], fixed(12))),
    "cosines and neurons": (
        ldam.cosine(fixed(5)) - 0.5 * ldam.cosine(fixed(5) ** 2) + ldam.neuron("0.1*c:3"),
        lambda o, t: cosine(o["c"], fixed(5)) - 0.5 * cosine(o["c"], fixed(5) ** 2) + 0.1 * o["c"][3],
    ),
    "interpolated cosines": (
        ldam.interpolate(ldam.cosine(fixed(8), layer="b"), ldam.cosine(fixed(8) ** 2, layer="b")),
        lambda o, t: (1 - t) * cosine(o["b"], fixed(8)) + t * cosine(o["b"], fixed(8) ** 2),
    ),
    "another image": (ldam.cosine(image=IMAGE, layer="b"), lambda o, t: cosine(o["b"], o["image:b"])),
    "one": (3, lambda o, t: o["c"][3]),
}  # fmt: skip
CNN: dict[str, Form] = {
    "-3": ("-3", lambda o, t: -o["fc"][3]),
    "maps that are overwritten": (
        "conv1:2@1,0 + norm1:3@mean - 0.5*conv2:1", lambda o, t: o["conv1"][2, 1, 0] + o["norm1"][3].mean()
        - 0.5 * o["conv2"][1, 2, 2],
    ),
    "with the output": ("conv2:7@3,3 - 2*fc:1 + conv2:7@0,1",
                        lambda o, t: o["conv2"][7, 3, 3] + o["conv2"][7, 0, 1] - 2 * o["fc"][1]),
    "interpolation": ("0 -> 1", lambda o, t: (1 - t) * o["fc"][0] + t * o["fc"][1]),
    "direction over a map": (ldam.neuron(fixed(8, 4, 4), layer="conv2") / 2,
                             lambda o, t: (o["conv2"] * fixed(8, 4, 4)).sum() / fixed(8, 4, 4).norm() / 2),
    "cosine at a place": (ldam.cosine(fixed(8), layer="conv2", at=(1, 3)),
                          lambda o, t: cosine(o["conv2"][:, 1, 3], fixed(8))),
    "cosine over a map": (ldam.cosine(fixed(6, 4, 4), layer="norm1"), lambda o, t: cosine(o["norm1"], fixed(6, 4, 4))),
    "another image": (ldam.cosine(image=IMAGE, layer="conv2") + ldam.cosine(image=IMAGE, layer="conv2", at="center"),
                      lambda o, t: cosine(o["conv2"], o["image:conv2"])
                      + cosine(o["conv2"][:, 2, 2], o["image:conv2"][:, 2, 2])),
    "one": (4, lambda o, t: o["fc"][4]),
}  # fmt: skip
CALLS: dict[str, Form] = {
    "two calls": ("same:1@5 - same#2:2@0", lambda o, t: o["same"][5, 1] - o["same#2"][0, 2]),
    "call and output": ("3 + 2*same#2:1", lambda o, t: o["output"][3] + 2 * o["same#2"][6, 1]),
    "interpolation of calls": ("same:1 -> same#2:1", lambda o, t: (1 - t) * o["same"][6, 1] + t * o["same#2"][6, 1]),
    "cosine of tokens": (ldam.cosine(fixed(12, 4), layer="same#2"), lambda o, t: cosine(o["same#2"], fixed(12, 4))),
    "-3": ("-3", lambda o, t: -o["output"][3]),
}  # fmt: skip
NETWORKS: dict[str, tuple[type[nn.Module], str, dict[str, Form]]] = {
    "mlp": (Mlp, "c", MLP), "cnn": (Overwriting, "fc", CNN), "calls": (Twice, "", CALLS)
}  # fmt: skip
CASES = [(network, form) for network, (_, _, forms) in NETWORKS.items() for form in forms]


def outputs_of(model: nn.Module, x: Tensor) -> Outputs:
    """Every layer's output for one image (*image), as it is when it returns."""
    found: Outputs = {}
    calls: dict[str, int] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            found[name if calls[name] == 1 else f"{name}#{calls[name]}"] = output.clone()[0]

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    found["output"] = model(x[None])[0]
    for handle in handles:
        handle.remove()
    return found


def by_autograd(model: nn.Module, formulas: list[Formula], x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Of images (N, *image), one for each formula; one image at a time."""
    values, grads = [], []
    of_image = {f"image:{name}": output.detach() for name, output in outputs_of(model, IMAGE).items()}
    for formula, image in zip(formulas, x, strict=True):
        image = image.clone().requires_grad_(True)
        value = formula(of_image | outputs_of(model, image), t)
        values.append(value.detach())
        grads.append(torch.autograd.grad(value, image)[0])
    return torch.stack(values), torch.stack(grads)


def read(network: str, asked: list[Any], chains: int = 2) -> tuple[nn.Module, Neurons]:
    build, layer, _ = NETWORKS[network]
    model = with_fixed_weights(build)
    view = private_view(model, None, Notes())
    home = layer or None  # the output of Twice is the model's own
    return model, Neurons(view, home, asked, input_shape=SHAPE, chains=chains)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def assert_close(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float = 1e-5) -> None:
    for mine, its in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, its, rtol=tolerance, atol=tolerance * float(its.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "form"), CASES)
@pytest.mark.parametrize("t", [0.0, 0.3])
def test_value_and_gradient(network: str, form: str, t: float) -> None:
    asked, formula = NETWORKS[network][2][form]
    model, neurons = read(network, [asked])
    x = images(2)
    expected = by_autograd(model, [formula] * 2, x, t)
    assert float(expected[1].abs().max()) > 0
    assert_close(neurons.at(t).evaluate(x), expected)
    torch.testing.assert_close(neurons.at(t).activations(x)[:, 0], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_all_side_by_side_and_in_parts(network: str) -> None:
    asked, formulas = zip(*NETWORKS[network][2].values(), strict=True)
    model, neurons = read(network, list(asked))
    x = images(2 * len(asked))
    expected = by_autograd(model, [formula for formula in formulas for _ in range(2)], x, 0.7)
    assert_close(neurons.at(0.7).evaluate(x), expected)
    neurons.at_once = 3  # memory is short: parts lie across columns, and the last is smaller
    assert_close(neurons.at(0.7).evaluate(x), expected)


@pytest.mark.parametrize(("network", "execution"), [
    ("cnn", "recorded"), ("cnn", "batch norms folded"), ("cnn", "batch norms folded, recorded"),
    ("cnn", "batch norms folded, banded convolutions, recorded"),
    ("cnn", "batch norms folded, channels last, packed convolutions"),
])  # fmt: skip
def test_every_way_of_running_the_network(network: str, execution: str) -> None:
    """In a recording, the interpolation still moves."""
    forms = [form for form in NETWORKS[network][2].values() if "norm1" not in str(form[0]) or "folded" not in execution]
    asked, formulas = zip(*forms, strict=True)
    model, neurons = read(network, list(asked), chains=1)
    way = Execution(neurons._traced.view, model, execution)
    assert way.prepare(neurons)
    assert str(way.decision.plan) == execution
    for seed, t in enumerate((0.0, 0.2, 0.9)):
        x = images(len(asked), seed)
        assert_close(neurons.at(t).evaluate(x), by_autograd(model, list(formulas), x, t), 1e-4)


def test_where_nothing_is_active_a_cosine_is_zero_and_flat() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU())
    model[1].bias.data.fill_(-100.0)
    view = private_view(model, None, Notes())
    neurons = Neurons(view, "2", [ldam.cosine(fixed(6)), "3"], input_shape=SHAPE, chains=1)
    value, grad = neurons.evaluate(images(2))
    assert (float(value.abs().max()), float(grad.abs().max())) == (0.0, 0.0)


def test_an_image_that_says_nothing_has_no_direction() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU())
    model[1].bias.data.fill_(-100.0)
    with pytest.raises(ValueError, match="has no direction"):
        Neurons(
            private_view(model, None, Notes()), "2", [ldam.cosine(image=IMAGE)], input_shape=SHAPE, chains=1
        )  # fmt: skip


@pytest.mark.slow
def test_the_shipped_lenet() -> None:
    """Its logits beside a map of its first convolution, through `Sampler`."""
    shipped = ldam.demo.mnist("final")
    asked = ["three - 0.5*five", "-seven", "conv2:3@4,4 + fc3:1", "fc2:7 -> 2", ldam.cosine(fixed(84), layer="fc2")]
    s = ldam.Sampler(shipped.model, neurons=asked, seed=3, **shipped.settings)
    s.step(3)
    s.set(interpolation=0.25)
    s.step()
    values, grads = s.state.evaluation.values["neuron"], s.state.evaluation.grads["neuron"]
    preprocess = shipped.settings.get("preprocess") or (lambda x: x)
    formulas: list[Formula] = [
        lambda o, t: o["fc3"][3] - 0.5 * o["fc3"][5],
        lambda o, t: -o["fc3"][7],
        lambda o, t: o["conv2"][3, 4, 4] + o["fc3"][1],
        lambda o, t: (1 - t) * o["fc2"][7] + t * o["fc3"][2],
        lambda o, t: cosine(o["fc2"], fixed(84)),
    ]
    for i, (formula, image) in enumerate(zip(formulas, s.images[:, 0], strict=True)):
        image = image.clone().requires_grad_(True)
        value = formula(outputs_of(shipped.model, preprocess(image)), 0.25)
        (grad,) = torch.autograd.grad(value, image)
        torch.testing.assert_close(values[i], value.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(grads[i], grad, rtol=1e-4, atol=1e-4 * float(grad.abs().max()))


@pytest.mark.slow
def test_minus_lowers_and_a_difference_separates() -> None:
    """Activation maximisation without noise, from the same start."""
    shipped = ldam.demo.mnist("final")
    settings = {**shipped.settings, "kernel": ldam.kernels.ULA(0.5), "temperature": 0.0, "scale": "none"}
    s = ldam.Sampler(shipped.model, neurons=["5", "-5", "3 - 5"], **settings)
    with torch.no_grad():
        before = shipped.model(s.images[:, 0])
        s.step(50)
        after = shipped.model(s.images[:, 0])
    assert after[0, 5] > before[0, 5] + 1
    assert after[1, 5] < before[1, 5] - 1
    assert after[2, 3] - after[2, 5] > before[2, 3] - before[2, 5] + 2
