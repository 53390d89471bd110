"""Any layer of any network: what it is called, which tensor it means, where its units are; against plain autograd."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

Read = Callable[[Any], Tensor]


def neurons_in(model: nn.Module, layer: str | None, neurons: Any, shape: tuple[int, ...], **options: Any) -> Neurons:
    options = {"chains": 1, **options}
    return Neurons(private_view(model, None, Notes()), layer, neurons, input_shape=shape, **options)


def images(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(4))


def by_autograd(by_hand: Read, x: Tensor) -> tuple[Tensor, Tensor]:
    """Every image alone: the value and gradient that no other image of a batch has a part in."""
    values, grads = [], []
    for image in x.split(1):
        image = image.clone().requires_grad_(True)
        value = by_hand(image).float()
        (grad,) = torch.autograd.grad(value.sum(), image)
        values.append(value.detach().flatten())
        grads.append(grad)
    return torch.cat(values), torch.cat(grads)


def require_same(
    model: nn.Module, layer: str, neuron: Any, by_hand: Read, shape: tuple[int, ...], **options: Any
) -> None:
    """A batch of three chains is three separate calls, and both match autograd on the formula by hand."""
    x = images(3, shape)
    tolerance = options.pop("tolerance", {"rtol": 1e-4, "atol": 1e-6})
    neurons = neurons_in(model, layer, [neuron], shape, chains=3, **options)
    values, grads = neurons.evaluate(x)
    assert values.dtype == grads.dtype == torch.float32
    expected = by_autograd(by_hand, x)
    assert float(expected[1].abs().max()) > 0
    torch.testing.assert_close((values, grads), expected, **tolerance)
    alone = neurons_in(model, layer, [neuron], shape, **options)
    for i in range(3):
        torch.testing.assert_close(alone.evaluate(x[i : i + 1]), (values[i : i + 1], grads[i : i + 1]), **tolerance)


# ---- tuples, dicts, calls, names -------------------------------------------------------------------------------------


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@dataclasses.dataclass
class Record:
    hidden: Tensor
    loss: Tensor | None = None


class Encoder(nn.Module):
    """(N, 6) -> whatever `pack` makes of three tensors (N, 4)."""

    def __init__(self, pack: Callable[..., Any]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.pack = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 4), pack

    def forward(self, x: Tensor) -> Any:
        return self.pack(torch.tanh(self.a(x)), torch.sin(self.b(x)), torch.cos(self.c(x)))


class Encoded(nn.Module):
    def __init__(self, pack: Callable[..., Any]) -> None:
        super().__init__()
        self.encoder, self.fc = Encoder(pack), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.encoder(x)
        return self.fc(torch.tanh(self.encoder.a(x)))


def second(model: Encoded) -> Read:
    return lambda x: torch.sin(model.encoder.b(x))[:, 2]


PACKS: dict[str, tuple[Callable[..., Any], str]] = {
    "tuple": (lambda a, b, c: (a, b, c), "encoder[1]"),
    "list": (lambda a, b, c: [a, b, c], "encoder[1]"),
    "dict": (lambda a, b, c: {"first": a, "second": b}, "encoder[second]"),
    "dict of numbers": (lambda a, b, c: {7: a, 8: b}, "encoder[8]"),
    "nested": (lambda a, b, c: {"hidden": (a, [b, c]), "n": 3}, "encoder[hidden][1][0]"),
    "None in it": (lambda a, b, c: (a, None, b), "encoder[2]"),
    "named tuple": (lambda a, b, c: Pair(a, b), "encoder[1]"),
    "named tuple by name": (lambda a, b, c: Pair(a, b), "encoder[right]"),
    "dataclass": (lambda a, b, c: Record(b), "encoder[hidden]"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "layer"), PACKS.values(), ids=PACKS.keys())
def test_tensor_inside_an_output(pack: Callable[..., Any], layer: str) -> None:
    model = with_fixed_weights(lambda: Encoded(pack))
    require_same(model, layer, 2, second(model), (6,))
    require_same(model, layer, "2", second(model), (6,))
    if "name" not in layer and layer != "encoder[right]":
        assert layer in [row.name for row in ldam.layers(model, (6,))]


def test_layer_and_part_in_a_neuron_string() -> None:
    model = with_fixed_weights(lambda: Encoded(PACKS["nested"][0]))
    neurons = neurons_in(model, None, ["encoder[hidden][1][0]:2"], (6,))
    assert neurons.layer == "encoder[hidden][1][0]"
    x = images(2, (6,))
    torch.testing.assert_close(
        neurons_in(model, None, ["encoder[hidden][1][0]:2"], (6,), chains=2).evaluate(x), by_autograd(second(model), x)
    )


ASKED: dict[str, tuple[str, str]] = {
    "the whole tuple": (
        "encoder",
        r"returns a dict with keys \['hidden', 'n'\], not one tensor.*encoder\[hidden\]\[0\]",
    ),
    "half way": ("encoder[hidden]", r"returns a tuple of 2, not one tensor.*layer='encoder\[hidden\]\[0\]'"),
    "no such key": ("encoder[hiden]", r"keys \['hidden', 'n'\], without \[hiden\]; choose .*encoder\[hidden\]\[0\]"),
    "position too far": ("encoder[hidden][2]", r"a tuple of 2, without \[2\]; choose .*encoder\[hidden\]\[1\]\[0\]"),
    "no tensor": ("encoder[n]", "gives int for a batch of one image"),
    "inside a tensor": ("fc[0]", r"'fc' returns one tensor of shape \(1, 3\); \[0\] cannot"),
    "third call": ("encoder.a#3", r"call 3 of 'encoder.a', which the forward pass runs 2 times.*'encoder.a#2'"),
    "no module": ("encodr[0]", "unknown layer 'encodr.0.'. Did you mean 'encoder'"),
}


@pytest.mark.parametrize(("layer", "message"), ASKED.values(), ids=ASKED.keys())
def test_message_names_what_works(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        neurons_in(Encoded(PACKS["nested"][0]), layer, [0], (6,))


def test_table_lists_tensors_inside_outputs_and_every_call() -> None:
    table = ldam.layers(Encoded(PACKS["nested"][0]), (6,))
    assert [(row.name, row.shape, row.units) for row in table] == [
        ("encoder.a", (4,), 4),
        ("encoder.b", (4,), 4),
        ("encoder.c", (4,), 4),
        ("encoder[hidden][0]", (4,), 4),
        ("encoder[hidden][1][0]", (4,), 4),
        ("encoder[hidden][1][1]", (4,), 4),
        ("encoder.a#2", (4,), 4),
        ("fc", (3,), 3),
    ]


class Twice(nn.Module):
    """`same` runs three times, and has a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(6, 6)
        self.other_name = self.same
        self.fc = nn.Linear(6, 2)

    def runs(self, x: Tensor, n: int) -> Tensor:
        for _ in range(n):
            x = self.same(torch.tanh(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.runs(x, 3))


@pytest.mark.parametrize(
    ("layer", "call", "name"),
    [
        ("same", 1, "same"),
        ("same#1", 1, "same"),
        ("same#2", 2, "same#2"),
        ("same#3", 3, "same#3"),
        ("other_name", 1, "same"),
        ("other_name#2", 2, "same#2"),
    ],
)
def test_module_that_runs_several_times_and_has_two_names(layer: str, call: int, name: str) -> None:
    model = with_fixed_weights(Twice)
    require_same(model, layer, 4, lambda x: model.runs(x, call)[:, 4], (6,))
    assert neurons_in(model, layer, [4], (6,)).layer == name  # as the table has it
    assert [row.name for row in ldam.layers(model, (6,))] == ["same", "same#2", "same#3", "fc"]


def test_a_last_layer_that_runs_twice_is_its_last_run() -> None:
    class Again(Twice):
        def forward(self, x: Tensor) -> Tensor:
            return self.runs(x, 2)

    model = with_fixed_weights(Again)
    x = images(1, (6,))
    neurons = neurons_in(model, None, [4], (6,))
    assert neurons.layer == "same#2"
    torch.testing.assert_close(neurons.evaluate(x), by_autograd(lambda x: model.runs(x, 2)[:, 4], x))


def test_module_names_that_look_like_ours() -> None:
    model = with_fixed_weights(lambda: nn.ModuleDict({"a#2": nn.Linear(6, 3), "b[0]": nn.Linear(6, 3)}))

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner["a#2"](x) * self.inner["b[0]"](x)

    odd = Odd()
    require_same(odd, "inner.a#2", 1, lambda x: model["a#2"](x)[:, 1], (6,))
    require_same(odd, "inner.b[0]", 1, lambda x: model["b[0]"](x)[:, 1], (6,))


# ---- wrappers --------------------------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "compiled DataParallel": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    "DataParallel of compiled": lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
}


def names(table: ldam.neurons.LayerTable) -> list[str]:
    return [row.name for row in table]


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_wrapper_around_the_model(tiny_cnn: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    wrapped = wrap(tiny_cnn)
    by_hand = lambda x: tiny_cnn.conv2(tiny_cnn.layer1(x))[:, 1, 2, 3]  # noqa: E731
    assert names(ldam.layers(wrapped, TINY_SHAPE)) == names(ldam.layers(tiny_cnn, TINY_SHAPE))
    for layer in ("conv2", "module.conv2", "_orig_mod.conv2", "_orig_mod.module.conv2"):
        require_same(wrapped, layer, 1, by_hand, TINY_SHAPE)
    assert neurons_in(wrapped, "module.conv2", [1], TINY_SHAPE).layer == "conv2"


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_wrapper_inside_the_model(tiny_cnn: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """As torchvision's own training script leaves AlexNet: features.module.0."""
    plain = with_fixed_weights(TinyCnn)
    tiny_cnn.layer1 = wrap(tiny_cnn.layer1)
    kept = tiny_cnn.layer1
    assert names(ldam.layers(tiny_cnn, TINY_SHAPE)) == names(ldam.layers(plain, TINY_SHAPE))
    for layer in ("layer1.0", "layer1.module.0", "layer1._orig_mod.0"):
        require_same(tiny_cnn, layer, 1, lambda x: plain.layer1[0](x)[:, 1, 3, 4], TINY_SHAPE)
    assert tiny_cnn.layer1 is kept


def test_a_module_that_is_really_called_module_keeps_its_name() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x)

    model = with_fixed_weights(Holder)
    assert names(ldam.layers(model, (6,))) == ["module"]
    require_same(model, "module", 1, lambda x: model.module(x)[:, 1], (6,))


# ---- inputs and precision --------------------------------------------------------------------------------------------


def strided(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2), nn.Tanh(), nn.Conv2d(4, 3, 3, stride=2), nn.AdaptiveAvgPool2d(1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 299, 299), (3, 17, 40), (2, 11, 9)])
def test_shape_of_the_input(shape: tuple[int, ...]) -> None:
    model = with_fixed_weights(lambda: strided(shape[0]))

    def conv(x: Tensor) -> Tensor:
        return model[2](torch.tanh(model[0](x)))

    height, width = conv(images(1, shape)).shape[2:]
    tolerance = {"rtol": 1e-4, "atol": 1e-6}
    require_same(model, "2", 1, lambda x: conv(x)[:, 1, height // 2, width // 2], shape, tolerance=tolerance)
    require_same(model, "2", (1, 0, width - 1), lambda x: conv(x)[:, 1, 0, -1], shape, tolerance=tolerance)
    require_same(model, "2", "1@mean", lambda x: conv(x)[:, 1].mean((1, 2)), shape, tolerance=tolerance)
    direction = torch.tensor([2.0, -1.0, 2.0])
    require_same(
        model, "2", direction,
        lambda x: (conv(x)[:, :, height // 2, width // 2] * direction / 3).sum(1), shape, tolerance=tolerance,
    )  # fmt: skip


def test_one_dimensional_signal() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.Tanh(), nn.MaxPool1d(2)))
    for layer, end in (("0", 1), ("1", 2), ("2", 3), ("3", 4)):
        row = next(row for row in ldam.layers(model, (2, 12)) if row.name == layer)
        assert row.units == 5
        middle = row.shape[1] // 2
        require_same(model, layer, 4, lambda x, end=end, at=middle: model[:end](x)[:, 4, at], (2, 12))


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float16, 2**-9), (torch.bfloat16, 2**-6)])
@pytest.mark.parametrize("neuron", [1, "1@mean"])
def test_half_precision(dtype: torch.dtype, precision: float, neuron: Any) -> None:
    """Images and gradients stay float32; the model gets what it computes in. The reference is the model in float32."""
    model = with_fixed_weights(TinyCnn).to(dtype)
    wide = with_fixed_weights(TinyCnn).to(dtype).float()  # the same rounded weights
    reads: dict[Any, Read] = {1: lambda o: o[:, 1, 2, 3], "1@mean": lambda o: o[:, 1].mean((1, 2))}
    require_same(
        model, "conv2", neuron, lambda x: reads[neuron](wide.conv2(wide.layer1(x))), TINY_SHAPE,
        tolerance={"rtol": 8 * precision, "atol": 2 * precision},
    )  # fmt: skip
    s = ldam.Sampler(model, layer="conv2", neurons=[neuron], input_shape=TINY_SHAPE, kernel=ldam.kernels.Algorithm1())
    s.step(3)
    assert s.images.dtype == s.activation.dtype == torch.float32


def test_mean_over_a_large_map_is_not_rounded_to_half_precision() -> None:
    """A sum of 10,000 halves loses its last digits; the mean of a constant map must be that constant."""
    model = nn.Conv2d(1, 1, 1, bias=False).half()
    nn.init.constant_(model.weight, 1.0)
    value, _ = neurons_in(model, None, ["0@mean"], (1, 100, 100)).evaluate(torch.full((1, 1, 100, 100), 0.5))
    assert float(value) == pytest.approx(0.5, rel=1e-3)  # 1 / 10,000 itself is rounded


def test_model_that_writes_into_its_input_does_not_write_into_the_chains() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Hardtanh(-9, 9, inplace=True), nn.Linear(6, 3)))
    x = images(3, (6,)) * 20
    before = x.clone()
    neurons = neurons_in(model, "1", [2], (6,), chains=3)
    value, grad = neurons.evaluate(x)
    assert torch.equal(x, before)
    inside = (before.abs() < 9).float()
    torch.testing.assert_close(value, model[1](before.clamp(-9, 9))[:, 2].detach())
    torch.testing.assert_close(grad, model[1].weight[2].detach() * inside)


# ---- tokens ----------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A transformer block, pre-norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln2(x))


class Vit(nn.Module):
    """(N, 3, 8, 12) -> 6 patches and a class token of `dim` features -> (N, 5)."""

    def __init__(self, dim: int = 10) -> None:
        super().__init__()
        self.patches, self.drop = nn.Conv2d(3, dim, 4, stride=4), nn.Dropout(0.1)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.blocks = nn.Sequential(Block(dim), Block(dim))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 5)

    def tokens(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.drop(torch.cat([self.token.expand(len(x), -1, -1), x], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(x)))[:, 0])


VIT_SHAPE = (3, 8, 12)
VIT_LAYERS: dict[str, Callable[[Vit, Tensor], Tensor]] = {
    "drop": lambda m, x: m.tokens(x),
    "blocks.0.ln1": lambda m, x: m.blocks[0].ln1(m.tokens(x)),
    "blocks.0.attention[0]": lambda m, x: m.blocks[0].attention(*[m.blocks[0].ln1(m.tokens(x))] * 3)[0],
    "blocks.0": lambda m, x: m.blocks[0](m.tokens(x)),
    "blocks": lambda m, x: m.blocks(m.tokens(x)),
    "norm": lambda m, x: m.norm(m.blocks(m.tokens(x))),
}


@pytest.mark.slow
@pytest.mark.parametrize("dim", [10, 8])
@pytest.mark.parametrize(("layer", "tokens"), VIT_LAYERS.items(), ids=VIT_LAYERS.keys())
def test_units_of_tokens_are_their_features(layer: str, tokens: Callable[[Vit, Tensor], Tensor], dim: int) -> None:
    model = with_fixed_weights(lambda: Vit(dim))
    row = next(row for row in ldam.layers(model, VIT_SHAPE) if row.name == layer)
    assert (row.shape, row.units) == ((7, dim), dim)
    forms: dict[Any, Read] = {
        5: lambda o: o[:, 3, 5],  # the token in the middle, as on a map
        "5@1": lambda o: o[:, 1, 5],  # not 0: nothing of the image is in the class token of the first layers
        (5, 6): lambda o: o[:, 6, 5],
        "5@mean": lambda o: o[:, :, 5].mean(1),
    }
    for neuron, read in forms.items():
        require_same(model, layer, neuron, lambda x, read=read: read(tokens(model, x)), VIT_SHAPE)


def test_directions_over_tokens() -> None:
    model = with_fixed_weights(Vit)
    over = torch.arange(10.0) - 4
    whole = torch.arange(70.0).view(7, 10).cos()  # as the layer returns it: tokens, features
    tokens = VIT_LAYERS["blocks.0"]
    require_same(model, "blocks.0", over, lambda x: (tokens(model, x)[:, 3] * over / over.norm()).sum(1), VIT_SHAPE)
    require_same(model, "blocks.0", whole, lambda x: (tokens(model, x) * whole).sum((1, 2)) / whole.norm(), VIT_SHAPE)
    with pytest.raises(ValueError, match=r"shape \(10,\).*or \(7, 10\); got \(10, 7\)"):
        neurons_in(model, "blocks.0", [whole.T], VIT_SHAPE)


class Square(nn.Module):
    """As many tokens as features: the sizes do not reveal which axis is which."""

    def __init__(self, channels_first: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 1), nn.LayerNorm(6), nn.Linear(6, 6)
        self.channels_first = channels_first
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(self.norm(self.conv(x).permute(0, 2, 3, 1)))
        return self.act(x.permute(0, 3, 1, 2) if self.channels_first else x)


@pytest.mark.parametrize("channels_first", [False, True])
def test_square_maps_as_of_swin_and_convnext(channels_first: bool) -> None:
    model = with_fixed_weights(lambda: Square(channels_first))
    read: Read = (lambda o: o[:, 2, 1, 4]) if channels_first else (lambda o: o[:, 1, 4, 2])
    require_same(model, "act", (2, 1, 4), lambda x: read(model(x)), (3, 6, 6))
    for layer in ("norm", "fc"):
        whole = (lambda x: model.norm(model.conv(x).permute(0, 2, 3, 1))) if layer == "norm" else (
            lambda x: model.fc(model.norm(model.conv(x).permute(0, 2, 3, 1)))
        )  # fmt: skip
        require_same(model, layer, (2, 1, 4), lambda x, whole=whole: whole(x)[:, 1, 4, 2], (3, 6, 6))


class Gate(nn.Module):
    """A squeeze-and-excite block: linear layers within, and yet a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * torch.sigmoid(self.fc(y.mean((2, 3))))[:, :, None, None]


def test_linear_layers_over_pooled_channels_do_not_turn_a_map() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(Gate(), nn.Tanh()))
    require_same(model, "0", (5, 1, 6), lambda x: model[0](x)[:, 5, 1, 6], (3, 8, 8))
    require_same(model, "1", 5, lambda x: model(x)[:, 5, 4, 4], (3, 8, 8))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_transformer_encoder(batch_first: bool, depth: int) -> None:
    """And its fast path, which does not run the modules inside, is not taken while layers are listed."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)
    model = with_fixed_weights(lambda: nn.TransformerEncoder(layer, depth, enable_nested_tensor=False))
    turn = (lambda x: x) if batch_first else (lambda x: x.transpose(0, 1))
    require_same(model, f"layers.{depth - 1}", (5, 2), lambda x: turn(model(turn(x)))[:, 2, 5], (7, 8), preprocess=turn)
    assert "layers.0.linear1" in names(ldam.layers(model, (7, 8), turn))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_recurrent_layer(batch_first: bool, depth: int) -> None:
    """Output and last states, which are (layers, batch, …) whatever `batch_first` says."""
    turn = (lambda x: x) if batch_first else (lambda x: x.transpose(0, 1))
    model = with_fixed_weights(lambda: nn.Sequential(nn.LSTM(3, 5, depth, batch_first=batch_first)))
    lstm = model[0]
    common: dict[str, Any] = {"shape": (7, 3), "preprocess": turn}
    require_same(model, "0[0]", (4, 6), lambda x: turn(lstm(turn(x))[0])[:, 6, 4], **common)
    require_same(model, "0[0]", "4@mean", lambda x: turn(lstm(turn(x))[0])[:, :, 4].mean(1), **common)
    require_same(model, "0[1][0]", (4, depth - 1), lambda x: lstm(turn(x))[1][0][depth - 1, :, 4], **common)
    require_same(model, "0[1][1]", (4, 0), lambda x: lstm(turn(x))[1][1][0, :, 4], **common)
    with pytest.raises(ValueError, match=r"'0' returns a tuple of 2, not one tensor; choose layer='0\[0\]' or"):
        neurons_in(model, "0", [0], **common)
    assert [row.units for row in ldam.layers(model, (7, 3), turn)] == [5, 5, 5]


# ---- batch statistics ------------------------------------------------------------------------------------------------


def test_batch_norm_without_running_statistics_is_reported() -> None:
    """It couples the chains, and only behind it."""
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 3, 3)).eval()
    for layer, told in (("0", False), ("1", True), ("2", True)):
        notes = Notes()
        if told:
            with pytest.warns(
                ldam.LDAMWarning, match="batch norm '1' keeps no running statistics.*depend on each other"
            ):
                neurons_in(model, layer, [0], TINY_SHAPE, chains=3, notes=notes)
        else:
            neurons_in(model, layer, [0], TINY_SHAPE, chains=3, notes=notes)
        assert bool(notes) == told


def test_batch_norm_with_running_statistics_is_not(recwarn: pytest.WarningsRecorder) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    require_same(model, "2", 1, lambda x: model(x)[:, 1], (6,))
    assert not recwarn.list


def test_softmax_by_function_is_no_layer() -> None:
    class Soft(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.log_softmax(self.fc(x), 1)

    model = with_fixed_weights(Soft)
    assert neurons_in(model, None, [0], (6,)).layer == "fc"
    require_same(model, "fc", 1, lambda x: model.fc(x)[:, 1], (6,))
