"""Contributions between units, against what follows from the weights by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ldam_widget.core.notes import QuietNotes
from ldam_widget.network.contributions import connections
from ldam_widget.network.traced import Traced
from ldam_widget.network.view import private_view

from .conftest import with_fixed_weights

SHAPE = (3, 10, 10)


def network() -> nn.Module:
    """A normalisation, a rectifier and a pooling between layers with weights, which are to be passed over."""
    return with_fixed_weights(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(5, 4, 3), nn.ReLU(True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6),
        ),
        3,
    ).eval()  # fmt: skip


def traced(model: nn.Module) -> Traced:
    return Traced.of(private_view(model, None, QuietNotes(), shared=False), SHAPE, None, None, QuietNotes())


def images(count: int = 7) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_of_a_linear_layer_they_are_weight_times_activation() -> None:
    model, x = network(), images()
    found = connections(traced(model), "8", 2, x, k=4)
    with torch.no_grad():
        before = model[:5](x)  # the convolution; its rectifier passes what is positive
        expected = (before.clamp(min=0).mean((2, 3)) * model[8].weight[2]).mean(0)
    assert {each.layer for each in found.inputs} == {"4"}
    assert [each.unit for each in found.inputs] == expected.abs().argsort(descending=True).tolist()
    for each in found.inputs:
        assert each.value == pytest.approx(float(expected[each.unit]), rel=1e-4, abs=1e-6)
    assert found.outputs == ()  # nothing comes after it


def test_only_the_output_has_names_of_classes() -> None:
    """The hidden layer has as many units as there are classes."""
    model = with_fixed_weights(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 4), nn.Softmax(1),
        ),
        3,
    ).eval()  # fmt: skip
    names = ("cat", "dog", "eel", "fox")
    of_first, of_output = (connections(traced(model), layer, 0, images(), class_names=names) for layer in ("0", "6"))
    hidden = connections(traced(model), "2", 0, images(), class_names=names)
    for unnamed in (of_first.outputs, of_output.inputs):
        assert {each.layer for each in unnamed} == {"2"}
        assert {each.name for each in unnamed} == {""}
    assert {each.layer for each in hidden.outputs} == {"6"}
    assert all(each.name == names[each.unit] for each in hidden.outputs)
    assert not any(each.name for each in connections(traced(model), "2", 0, images(), class_names=names[:3]).outputs)


def test_what_a_channel_drives() -> None:
    """Both are linear beyond the rectifier, and all that is on its way is averaged."""
    model, x = network(), images()
    found = connections(traced(model), "4", 1, x, k=3)
    with torch.no_grad():
        active = model[:5](x).clamp(min=0).mean((0, 2, 3))
        expected = active[1] * model[8].weight[:, 1]
    assert [each.unit for each in found.outputs] == expected.abs().argsort(descending=True)[:3].tolist()
    for each in found.outputs:
        assert (each.layer, each.units) == ("8", 6)
        assert each.value == pytest.approx(float(expected[each.unit]), rel=1e-3, abs=1e-5)


def test_inputs_of_a_channel_lie_beyond_the_pooling_and_add_up() -> None:
    """Without biases in between, activation times gradient of all inputs adds up to the activation."""
    model, x = network(), images()
    with torch.no_grad():
        model[4].bias.zero_()
    found = connections(traced(model), "4", 3, x, k=5)
    with torch.no_grad():
        value = model[:5](x)[:, 3].flatten(1).amax(1).mean()
    assert {each.layer for each in found.inputs} == {"1"}
    assert len(found.inputs) == 5
    assert sum(each.value for each in found.inputs) == pytest.approx(float(value), rel=1e-4)
    assert connections(traced(model), "0", 0, x).inputs == ()  # the pixels


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(ValueError, match="'conv9' is not run"):
        connections(traced(network()), "conv9", 0, images())


def test_in_half_precision_they_add_up() -> None:
    """The sum over images and positions goes beyond 65,504, where half precision ends."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(200, 2, bias=False)
            nn.init.constant_(self.first.weight, 30)
            nn.init.constant_(self.second.weight, 30)
            self.first.half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.second(self.first(x.half()).flatten(1).float())
            return found

    model, x = Half(), images()
    found = connections(traced(model), "second", 1, x)
    assert sum(each.value for each in found.inputs) == pytest.approx(model(x)[:, 1].mean().item(), rel=1e-3)
