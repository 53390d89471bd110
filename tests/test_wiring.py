"""Class → its most strongly wired units: against weights written down by hand, and what the classifier multiplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons

from .conftest import with_fixed_weights

WEIGHT = torch.tensor([[0.1, -0.9, 0.5, 0.3], [0.81, 0.2, -0.6, 0.44], [-0.7, 1.25, 0.6, 0.1]])  # 3 classes, 4 units


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)
        with torch.no_grad():
            self.fc3.weight.copy_(WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x))))), 1)


@pytest.mark.parametrize("shape", [(6,), None])
def test_units_of_a_class_by_hand(shape: tuple[int, ...] | None) -> None:
    """Row 1 of the weights is .81, .2, −.6, .44; columns 0 and 3 are (.1, .81, −.7) and (.3, .44, .1)."""
    wiring = ldam.neurons_of(Mlp(), 1, 2, input_shape=shape, top=2)
    assert wiring.layer == "fc2"
    assert wiring.neurons == ["0", "3"]
    assert [row.unit for row in wiring] == [0, 3]
    assert [row.weight for row in wiring] == pytest.approx([0.81, 0.44])
    assert [[top.class_index for top in row.classes] for row in wiring] == [[1, 0], [1, 0]]
    assert [row.label for row in wiring] == ["fc2:0 → 1 .81, 0 .10", "fc2:3 → 1 .44, 0 .30"]


def test_weights_rank_with_their_sign() -> None:
    """What inhibits a class is not among what drives it, however strongly: as the original program."""
    assert ldam.neurons_of(Mlp(), 0, 4).neurons == ["2", "3", "0", "1"]  # .5, .3, .1, −.9


def test_more_units_asked_for_than_there_are() -> None:
    assert len(ldam.neurons_of(Mlp(), 0)) == 4


def test_class_names() -> None:
    wiring = ldam.neurons_of(Mlp(), "dog", 1, class_names=("ant", "cat", "dog"), top=2)
    assert (wiring.class_index, wiring.class_name) == (2, "dog")
    assert wiring[0].label == "fc2:1 → dog 1.25, cat .20"
    lines = repr(wiring).splitlines()
    assert lines[0].split() == ["neuron", "wired", "to", "weight", "for", "dog"]
    assert lines[2].split() == ["fc2:1", "dog", "1.25,", "cat", ".20", "1.25"]


def test_they_can_be_sampled() -> None:
    model = Mlp()
    wiring = ldam.neurons_of(model, 1, 2, input_shape=(6,))
    s = ldam.Sampler(model, layer=wiring.layer, neurons=[row.neuron for row in wiring], input_shape=(6,))
    s.step(3)
    assert [n.key for n in s.neurons] == ["0", "3"]


# ---- what may lie between --------------------------------------------------------------------------------------------


class Between(nn.Module):
    """Conv map (3, 2, 4) or so -> `between` -> Linear."""

    def __init__(self, between: Callable[[Tensor], Tensor], features: int, *modules: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.steps = nn.ModuleList(modules)
        self.drop, self.fc, self.between = nn.Dropout(), nn.Linear(features, 5), between

    def into_fc(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for step in self.steps:
            x = step(x)
        return self.drop(self.between(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.into_fc(x))


BETWEEN: dict[str, tuple[Callable[[], Between], str]] = {
    "flatten": (lambda: Between(lambda x: x.flatten(1), 24), "conv"),
    "flatten, by module": (lambda: Between(lambda x: x, 24, nn.Flatten()), "conv"),
    "flatten, channels last": (lambda: Between(lambda x: x.permute(0, 2, 3, 1).flatten(1), 24), "conv"),
    "mean": (lambda: Between(lambda x: x.mean((2, 3)), 3), "conv"),
    "pooling, by module": (lambda: Between(lambda x: x.flatten(1), 3, nn.AdaptiveAvgPool2d(1)), "conv"),
    "pooling to a line": (lambda: Between(lambda x: x.flatten(1), 12, nn.AvgPool2d((1, 2))), "steps.0"),
    "maxima": (lambda: Between(lambda x: x.flatten(1), 12, nn.MaxPool2d((1, 2))), "steps.0"),
    "maxima by function": (lambda: Between(lambda x: F.max_pool2d(x, (1, 2)).flatten(1), 12), "drop"),
    "batch norm": (lambda: Between(lambda x: x.flatten(1), 24, nn.BatchNorm2d(3)), "steps.0"),
}


@pytest.mark.parametrize(("build", "layer"), BETWEEN.values(), ids=BETWEEN.keys())
def test_the_neuron_is_what_the_weight_multiplies(build: Callable[[], Between], layer: str) -> None:
    """Every unit that is named is the very number that the classifier multiplies with that weight."""
    model = with_fixed_weights(build)
    x = torch.rand(1, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    features = model.into_fc(x)[0].detach()
    wiring = ldam.neurons_of(model, 2, 100, input_shape=(1, 4, 6))
    assert wiring.layer == layer
    assert len(wiring) == len(features)
    read = Neurons(private_view(model, None, Notes()), layer, wiring.neurons, chains=1, input_shape=(1, 4, 6))
    values, _ = read.evaluate(x.expand(len(wiring), -1, -1, -1))
    order = model.fc.weight[2].argsort(descending=True)
    torch.testing.assert_close(torch.tensor([row.weight for row in wiring]), model.fc.weight[2][order].detach())
    torch.testing.assert_close(values, features[order], rtol=1e-4, atol=1e-6)


def test_neuron_strings() -> None:
    flat = with_fixed_weights(BETWEEN["flatten"][0])
    with torch.no_grad():
        flat.fc.weight[0, 13] = 9  # 13 = channel 1, row 1, column 1 of maps of 2 × 4
    assert ldam.neurons_of(flat, 0, 1, input_shape=(1, 4, 6)).neurons == ["1@1,1"]
    mean = with_fixed_weights(BETWEEN["mean"][0])
    with torch.no_grad():
        mean.fc.weight[0, 1] = 9
    for shape in ((1, 4, 6), None):
        assert ldam.neurons_of(mean, 0, 1, input_shape=shape).neurons == ["1@mean"]


def test_activations_are_passed_over_and_residual_blocks_are_not_entered() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x + self.conv(x))

    plain = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 3)).eval()
    assert ldam.neurons_of(plain, 0, 1, input_shape=(6,)).layer == "1"
    assert ldam.neurons_of(plain, 0, 1).layer == "1"
    block = nn.Sequential(Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3)).eval()
    for shape in ((1, 4, 6), None):
        wiring = ldam.neurons_of(block, 0, 1, input_shape=shape)
        assert (wiring.layer, wiring.neurons) == ("0", ["0@mean"])


@pytest.mark.parametrize("last", ["state", "output"])
def test_recurrent_network(last: str) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out, (state, _) = self.lstm(x)
            return self.fc(state[-1] if last == "state" else out[:, -1])

    model = with_fixed_weights(Recurrent)
    with torch.no_grad():
        model.fc.weight.copy_(WEIGHT)
    wiring = ldam.neurons_of(model, 1, 1, input_shape=(7, 3))
    assert wiring.layer == ("lstm[1][0]" if last == "state" else "lstm[0]")
    ldam.Sampler(model, layer=wiring.layer, neurons=wiring.neurons, input_shape=(7, 3)).step(1)
    assert wiring.neurons == (["0"] if last == "state" else ["0@6"])


CONV_HEADS: dict[str, tuple[nn.Module, str, str]] = {
    "before pooling, as SqueezeNet": (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        "0", "0@mean",
    ),
    "after pooling, as MobileNet": (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Conv2d(4, 3, 1), nn.Flatten()),
        "0", "0@mean",
    ),
    "in a block of its own": (
        nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Sequential(nn.Dropout(), nn.Conv2d(4, 3, 1))),
        "0", "0@mean",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "layer", "neuron"), CONV_HEADS.values(), ids=CONV_HEADS.keys())
def test_convolution_that_classifies(model: nn.Module, layer: str, neuron: str) -> None:
    head = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    with torch.no_grad():
        head.weight.copy_(WEIGHT[:, :, None, None])
    wiring = ldam.neurons_of(model.eval(), 1, 1, input_shape=(1, 6, 6))
    assert (wiring.layer, wiring.neurons) == (layer, [neuron])
    assert wiring[0].weight == pytest.approx(0.81)


def test_convolution_as_large_as_its_map() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, (2, 4)), nn.Flatten()).eval()
    with torch.no_grad():
        model[2].weight[1, 1, 0, 3] = 9
    wiring = ldam.neurons_of(model, 1, 1, input_shape=(1, 4, 6))
    assert (wiring.layer, wiring.neurons) == ("0", ["1@0,3"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_and_wrapper(dtype: torch.dtype) -> None:
    model = nn.DataParallel(Mlp().to(dtype))
    wiring = ldam.neurons_of(model, 1, 2, input_shape=(6,))
    assert (wiring.layer, wiring.neurons) == ("fc2", ["0", "3"])
    assert next(model.parameters()).dtype == dtype


# ---- what is refused -------------------------------------------------------------------------------------------------


def flattened() -> nn.Module:
    return BETWEEN["flatten"][0]()


def maxima() -> nn.Module:
    """Between the map and the classifier there is no module that could be named."""
    model = Between(lambda x: F.max_pool2d(x, 2).flatten(1), 6)
    del model.drop
    model.drop = lambda x: x
    return model


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "class": (lambda: ldam.neurons_of(Mlp(), 3), "class_index 3 is out of range: layer 'fc3' has 3 classes, 0 to 2"),
    "negative": (lambda: ldam.neurons_of(Mlp(), -1), "class_index -1 is out of range.*0 to 2"),
    "no number": (lambda: ldam.neurons_of(Mlp(), 1.5), "integer or a class name; got 1.5"),
    "name": (lambda: ldam.neurons_of(Mlp(), "dgo", class_names=("ant", "cat", "dog")), "'dgo'.*Did you mean 'dog'"),
    "names not given": (lambda: ldam.neurons_of(Mlp(), "dog"), "'dog' is not a class name. Give class_names"),
    "too few names": (lambda: ldam.neurons_of(Mlp(), 0, class_names=("a",)), "must name the 3 classes.*got 1"),
    "k": (lambda: ldam.neurons_of(Mlp(), 0, 0), "k must be a positive integer; got 0"),
    "top": (lambda: ldam.neurons_of(Mlp(), 0, top=0), "top must be a positive integer; got 0"),
    "no classifier": (lambda: ldam.neurons_of(nn.Tanh(), 0), "no linear layer or convolution"),
    "large kernel": (lambda: ldam.neurons_of(nn.Conv2d(1, 3, 3), 0, input_shape=(1, 8, 8)), "kernel 3×3.*give layer="),
    "no such layer": (lambda: ldam.neurons_of(Mlp(), 0, layer="fc"), "layer='fc' is not a linear layer.*e.g. 'fc3'"),
    "nothing before": (lambda: ldam.neurons_of(nn.Linear(6, 3), 0, input_shape=(6,)), "no layer feeds '' one to one"),
    "nothing before, by order": (lambda: ldam.neurons_of(nn.Linear(6, 3), 0), "nothing comes before it; give input_sh"),
    "flattened, by order": (lambda: ldam.neurons_of(flattened(), 0), "takes 24 features and 'conv' with 3 units"),
    "maxima by function": (
        lambda: ldam.neurons_of(maxima(), 0, input_shape=(1, 4, 6)),
        "no layer feeds 'fc' one to one: .*pooling by maxima",
    ),
    "shape": (lambda: ldam.neurons_of(Mlp(), 0, input_shape=(7,)), r"input_shape=\(7,\) does not fit"),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.filterwarnings("ignore:model was in training mode")
def test_refused(ask: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask()


def test_another_classifying_layer() -> None:
    model = Mlp()
    with torch.no_grad():
        model.fc2.weight[2, 4] = 9
    wiring = ldam.neurons_of(model, 2, 1, layer="fc2", input_shape=(6,))
    assert (wiring.layer, wiring.neurons) == ("fc1", ["4"])
