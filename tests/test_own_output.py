"""The default layer is what the model itself returns, whatever computes it; against the user's own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)


class Headed(nn.Module):
    """A stem, and a head that is given its features (N, 8)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(36, 8), head

    def forward(self, x: Tensor) -> Any:
        return self.head(self.stem(x.flatten(1)).tanh())


class Adapted(nn.Module):
    """A linear layer and a low-rank correction of it."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.down, self.up = nn.Linear(8, 5), nn.Linear(8, 2), nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class Function(nn.Module):
    """Features and a matrix (5, 8) -> whatever a function makes of them."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(5, 8)), function

    def forward(self, x: Tensor) -> Any:
        return self.function(x, self.weight)


class Heads(nn.Module):
    """Two heads, of which `join` makes the output."""

    def __init__(self, join: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second, self.join = nn.Linear(8, 5), nn.Linear(8, 5), join

    def forward(self, x: Tensor) -> Any:
        return self.join(self.first(x), self.second(x))


class Tied(nn.Module):
    """The classifier is the transposed embedding, used by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.embedding = nn.Linear(8, 4), nn.Embedding(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) @ self.embedding.weight.T


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.same = nn.Linear(8, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.same(self.same(self.down(x)).relu())


def cosine(x: Tensor, weight: Tensor) -> Tensor:
    return 20 * F.linear(F.normalize(x), F.normalize(weight))


def margin(x: Tensor, weight: Tensor) -> Tensor:
    """As ArcFace without labels."""
    return 10 * torch.cos(torch.acos(F.linear(F.normalize(x), F.normalize(weight)).clamp(-0.99, 0.99)) + 0.1)


# a head, the name of the default layer, and how the logits are read from what the model returns
HEADS: dict[str, tuple[Callable[[], nn.Module], str, Callable[[Any], Tensor]]] = {
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(8, 5)), "head", lambda y: y),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(8, 5)), "head", lambda y: y),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(8, 5)), "head", lambda y: y),
    "adapter": (Adapted, "head", lambda y: y),
    "cosine": (lambda: Function(cosine), "head", lambda y: y),
    "margin": (lambda: Function(margin), "head", lambda y: y),
    "tied": (Tied, "head", lambda y: y),
    "called twice": (Repeated, "head.same#2", lambda y: y),
    "mean of heads": (lambda: Heads(lambda a, b: (a + b) / 2), "head", lambda y: y),
    "one of two": (lambda: Heads(lambda a, b: a), "head.first", lambda y: y),
    "auxiliary last": (lambda: Heads(lambda a, b: {"out": a, "aux": b}), "head.first", lambda y: y["out"]),
    "auxiliary first": (lambda: Heads(lambda a, b: {"aux": b, "logits": a}), "head.first", lambda y: y["logits"]),
    "temperature": (lambda: Heads(lambda a, b: a / 0.5), "head", lambda y: y),
    "negated": (lambda: Heads(lambda a, b: -a), "head", lambda y: y),
    "flattened": (
        lambda: nn.Sequential(nn.Linear(8, 5), nn.Unflatten(1, (5, 1, 1)), nn.Flatten()),
        "head.2",
        lambda y: y,
    ),
    "in place": (lambda: nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True)), "head.1", lambda y: y),
}


@pytest.mark.parametrize(("head", "layer", "read"), HEADS.values(), ids=HEADS.keys())
def test_default_layer_is_what_the_model_returns(
    head: Callable[[], nn.Module], layer: str, read: Callable[[Any], Tensor]
) -> None:
    model = with_fixed_weights(lambda: Headed(head())).eval()
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[0, 3], chains=2, device="cpu")
    assert s.layer == layer
    assert layer in [row.name for row in ldam.layers(model, SHAPE)]
    s.step(3)
    with torch.no_grad():
        expected = read(model(s.images.flatten(0, 1))).view(2, 2, -1)
    torch.testing.assert_close(s.activation, torch.stack([expected[0, :, 0], expected[1, :, 3]]), atol=1e-5, rtol=1e-5)


class Scaled(nn.Module):
    """No layer returns what the model returns."""

    def __init__(self, end: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fc, self.end = nn.Linear(36, 5), end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.fc(x.flatten(1)))


@pytest.mark.parametrize("name", [None, "", "(output)"])
def test_what_no_layer_returns_has_a_name_of_its_own(name: str | None) -> None:
    model = with_fixed_weights(lambda: Scaled(lambda y: y**2)).eval()
    assert [row.name for row in ldam.layers(model, SHAPE)] == ["fc", "(output)"]
    assert list(ldam.activations(model, torch.rand(2, *SHAPE))) == ["fc", "(output)"]
    s = ldam.Sampler(model, layer=name, input_shape=SHAPE, neurons=[1], device="cpu")
    assert s.layer == "(output)"
    s.step(2)
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 1].detach())
    s.select("fc", [2])
    s.select("(output)", ["(output):4"])
    s.step(1)
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 4].detach())


@pytest.mark.parametrize(
    ("end", "name"), [(lambda y: {"depth": y * 2}, "(output)[depth]"), (lambda y: (y.sin(), y), "(output)[0]")]
)
def test_parts_of_what_is_returned(end: Callable[[Tensor], Any], name: str) -> None:
    model = with_fixed_weights(lambda: Scaled(end)).eval()
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[1], device="cpu").step(2)
    assert name in [row.name for row in ldam.layers(model, SHAPE)]
    first = next(iter(model(s.images[0]).values())) if name.endswith("[depth]") else model(s.images[0])[0]
    torch.testing.assert_close(s.activation[0], first[:, 1].detach())


@pytest.mark.parametrize("softmax", [lambda y: y.softmax(1), lambda y: F.log_softmax(y, -1)])
def test_softmax_by_a_function_is_left_out(softmax: Callable[[Tensor], Tensor]) -> None:
    model = with_fixed_weights(lambda: Scaled(softmax))
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[1], device="cpu")
    assert s.layer == "fc"
    assert ldam.layers(model, SHAPE)[-1].name == "(output)", "it can still be asked for"


def test_softmax_of_something_functional_is_reported() -> None:
    model = with_fixed_weights(lambda: Scaled(lambda y: (y / 0.1).softmax(1)))
    with pytest.warns(ldam.LDAMWarning, match="ends in a softmax.*give layer= one before it"):
        assert ldam.Sampler(model, input_shape=SHAPE, neurons=[1], device="cpu").layer == "(output)"


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda y: y.argmax(1), "returns one tensor of shape"),
        (lambda y: {"boxes": y.detach()}, r"returns a dict with keys \['boxes'\]"),
        (lambda y: y.square().sum(1), "returns one tensor of shape"),
    ],
)
def test_an_output_without_units_is_reported(end: Callable[[Tensor], Any], says: str) -> None:
    model = with_fixed_weights(lambda: Scaled(end))
    with pytest.warns(ldam.LDAMWarning, match=f"{says}.*no units.*'fc'"):
        assert ldam.Sampler(model, input_shape=SHAPE, neurons=[1], device="cpu").layer == "fc"


@pytest.mark.parametrize("compiled", [torch.jit.script, lambda model: torch.jit.trace(model, torch.rand(2, *SHAPE))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_program_has_its_output_alone(compiled: Callable[[nn.Module], nn.Module]) -> None:
    plain = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 5)))
    model = compiled(plain)
    assert [row.name for row in ldam.layers(model, SHAPE)] == ["(output)"]
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[3], chains=2, device="cpu")
    s.step(3)
    torch.testing.assert_close(s.activation[0], plain(s.images[0])[:, 3].detach(), atol=1e-5, rtol=1e-5)


class EditedAfterwards(nn.Module):
    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.fc, self.flat = nn.Linear(36, 5), flat

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x.flatten(1))
        y = y.view(len(x), 5) if self.flat else y
        with torch.no_grad():
            y.add_(1)
        return y


@pytest.mark.parametrize("flat", [False, True])
def test_an_output_that_is_edited_without_a_gradient(flat: bool) -> None:
    model = with_fixed_weights(lambda: EditedAfterwards(flat))
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[3], device="cpu")
    s.step(2)
    assert s.layer == "(output)"
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 3].detach())
