"""Objectives that read several places of a network in one pass, against autograd on the user's own model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.notes import Notes
from ldam_widget.core.target import NEURON, Target
from ldam_widget.execution import Execution
from ldam_widget.kernels import BAOAB
from ldam_widget.network.addresses import Address
from ldam_widget.network.readout import Readout
from ldam_widget.network.traced import Traced
from ldam_widget.network.units import LayerUnits
from ldam_widget.network.view import private_view
from ldam_widget.objectives import L2
from ldam_widget.objectives.objective import Objective
from ldam_widget.parametrizations import Pixels

from .conftest import TINY_SHAPE, TinyCnn, run_seed, with_fixed_weights
from .law.harness import Departure

Tensors = tuple[Tensor, ...]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sum:
    """What linear read-outs of several places give, added up."""

    readouts: Sequence[Readout]
    device: torch.device = CPU

    @property
    def count(self) -> int:
        return self.readouts[0].count

    @property
    def bytes_each(self) -> int:
        return sum(readout.bytes_each for readout in self.readouts)

    def given(self, part: slice) -> Tensors:
        return tuple(readout.given(part)[0] for readout in self.readouts)

    def seeds(self, outputs: Tensors, given: Tensors) -> Tensors:
        return given

    def read(self, outputs: Tensors, part: slice) -> Tensor:
        return self.combined([r.read((o,), part) for r, o in zip(self.readouts, outputs, strict=True)])

    def read_all(self, outputs: Tensors) -> Tensor:
        return self.combined([r.read_all((o,)) for r, o in zip(self.readouts, outputs, strict=True)])

    @staticmethod
    def combined(values: list[Tensor]) -> Tensor:
        return torch.stack(values).sum(0)


class Product(Sum):
    """Multiplied instead: what one place is seeded with depends on what the others give."""

    def seeds(self, outputs: Tensors, given: Tensors) -> Tensors:
        (a, b), (of_a, of_b) = outputs, given
        one, other = ((o * g).flatten(1).sum(1).view(-1, *[1] * (o.ndim - 1)) for o, g in ((a, of_a), (b, of_b)))
        return of_a * other.view(-1, *[1] * (a.ndim - 1)), of_b * one.view(-1, *[1] * (b.ndim - 1))

    @staticmethod
    def combined(values: list[Tensor]) -> Tensor:
        return torch.stack(values).prod(0)


class Rectified(nn.Module):
    """Batch norms to fold; a map that is changed in place once it has been read; and `late`, which is never needed."""

    def __init__(self, coupled: bool = False) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=not coupled)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc, self.late = nn.Linear(6 * 2 * 3, 5), nn.Linear(5, 2)
        self.runs = 0
        for norm in (self.norm1, self.norm2):
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = self.norm2(self.conv2(x)).relu_()
        x = self.fc(F.max_pool2d(x, 2).flatten(1))
        self.runs += 1
        return self.late(x)


class Twice(nn.Module):
    """One module, two calls, on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.same, self.fc = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(torch.tanh(self.same(x.flatten(1, 2))))
        return self.fc(F.gelu(x)).mean(1)


# a network, two places, and which unit of each the columns read
Case = tuple[type[nn.Module], tuple[Address, Address], tuple[tuple[Any, Any], ...]]
CASES: dict[str, Case] = {
    "a map and the logits": (TinyCnn, (Address("layer1.0"), Address("fc")), (((1, 2, 3), 4), ((0, 0, 7), 2))),
    "maps that are overwritten": (Rectified, (Address("conv1"), Address("fc")), (((2, 1, 1), 0), ((3, 3, 5), 3))),
    "the deeper one first": (
        Rectified,
        (Address("norm2"), Address("conv2")),
        (((1, 0, 0), "2@mean"), ((5, 3, 2), (4, 1, 1))),
    ),
    "two calls of a module": (Twice, (Address("same"), Address("same", 2)), (((3, 5), (3, 5)), ((7, 0), (1, 17)))),
}


def made(name: str, kind: type[Sum] = Sum) -> tuple[nn.Module, Objective]:
    build, addresses, columns = CASES[name]
    model = with_fixed_weights(build)
    view = private_view(model, None, Notes())
    traced = Traced.of(view, TINY_SHAPE, None, None, Notes())
    places = [traced.place(address) for address in addresses]
    readouts = []
    for place, units in zip(places, zip(*columns, strict=True), strict=True):
        found = LayerUnits(str(place.address), place.shape, place.unit_axis, ())
        neurons = [found.resolve(unit, "center", i) for i, unit in enumerate(units)]
        readouts.append(Readout(neurons, place.shape, 2, CPU, place.dtype))
    return model, Objective(traced, places, kind(readouts), notes=Notes())


def by_autograd(
    name: str, model: nn.Module, x: Tensor, kind: type[Sum] = Sum, chains: int = 2
) -> tuple[Tensor, Tensor]:
    """The scalar of every chain and its gradient, from hooks on the user's model."""
    _, addresses, columns = CASES[name]
    outputs: dict[Address, Tensor] = {}
    calls: dict[str, int] = {}

    def hook(module: str) -> Any:
        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            calls[module] = calls.get(module, 0) + 1
            outputs[Address(module, calls[module])] = output.clone()  # as it is now

        return note

    handles = [model.get_submodule(m).register_forward_hook(hook(m)) for m in {a.module for a in addresses}]
    x = x.clone().requires_grad_(True)
    model(x)
    for handle in handles:
        handle.remove()
    values = []
    for i in range(len(x)):
        read = []
        for address, unit in zip(addresses, columns[i // 2], strict=True):
            output = outputs[address][i]
            if name == "two calls of a module":
                output = output.T  # (units, tokens)
            if isinstance(unit, str):
                read.append(output[int(unit.split("@")[0])].mean())
            else:
                read.append(output[unit])
        values.append(kind.combined(read))
    value = torch.stack(values)
    (grad,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), grad


def images(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, *TINY_SHAPE, generator=torch.Generator().manual_seed(seed))


def assert_close(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], tolerance: float = 1e-5) -> None:
    for mine, its in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, its, rtol=tolerance, atol=tolerance * float(its.abs().max()))


@pytest.mark.parametrize("kind", [Sum, Product])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_those_of_the_users_model(name: str, kind: type[Sum]) -> None:
    model, objective = made(name, kind)
    x = images()
    expected = by_autograd(name, model, x, kind)
    assert float(expected[1].abs().max()) > 0
    assert_close(objective.evaluate(x), expected)
    objective.at_once = 3  # the last part is smaller, and parts lie across columns
    assert_close(objective.evaluate(x), expected)
    torch.testing.assert_close(objective.activations(x)[[0, 1, 2, 3], [0, 0, 1, 1]], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Sum, Product])
@pytest.mark.parametrize(("name", "execution"), [
    ("a map and the logits", "recorded"),
    ("a map and the logits", "banded convolutions"),
    ("maps that are overwritten", "batch norms folded, recorded"),
    ("maps that are overwritten", "batch norms folded, banded convolutions, recorded"),
    ("maps that are overwritten", "batch norms folded, channels last, packed convolutions"),
    ("the deeper one first", "batch norms folded"),
    ("the deeper one first", "batch norms folded, recorded"),
])  # fmt: skip
def test_every_way_of_running_the_network(name: str, execution: str, kind: type[Sum]) -> None:
    """What is read stays what it is: the convolution before a folded batch norm is not the one that was asked for."""
    model, objective = made(name, kind)
    way = Execution(objective._traced.view, model, execution)
    assert way.prepare(objective)
    assert str(way.decision.plan) == execution
    for seed in range(3):
        x = images(seed=seed)
        assert_close(objective.evaluate(x), by_autograd(name, model, x, kind), 1e-4)


def test_the_pass_goes_no_further_than_the_last_place() -> None:
    _, objective = made("maps that are overwritten")
    objective.run_by(view := objective._traced.view, torch.contiguous_format)
    before = view.runs
    objective.evaluate(images())
    assert view.runs == before
    view(images())
    assert view.runs == before + 1  # the control


def test_batch_norms_before_the_last_place_couple_the_chains() -> None:
    notes = Notes()
    view = private_view(with_fixed_weights(lambda: Rectified(coupled=True)), None, Notes())
    traced = Traced.of(view, TINY_SHAPE, None, None, Notes())
    for modules, told in ((["conv1"], False), (["conv1", "fc"], True)):
        places = [traced.place(Address(module)) for module in modules]
        units = [LayerUnits(m, p.shape, 1, ()).resolve(0, "center", 0) for m, p in zip(modules, places, strict=True)]
        scalars = Sum([Readout([u], p.shape, 2, CPU, p.dtype) for u, p in zip(units, places, strict=True)])
        Objective(traced, places, scalars, notes=notes)
        assert any("the chains of one batch depend on each other" in note for note in notes) == told


def test_a_leak_goes_through_both_places() -> None:
    """Everything is shut: without a leak the second place is dead."""
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 6), nn.ReLU(), nn.Linear(6, 2)))
    model[1].bias.data.fill_(-100.0)
    traced = Traced.of(private_view(model, None, Notes()), TINY_SHAPE, None, None, Notes())
    places = [traced.place(Address(name)) for name in ("1", "3")]
    units = [LayerUnits(p.address.module, p.shape, 1, ()).resolve(1, "center", 0) for p in places]
    scalars = Sum([Readout([u], p.shape, 1, CPU, p.dtype) for u, p in zip(units, places, strict=True)])
    first, second = model[1].weight.data, model[3].weight.data
    for slope in (0.0, 0.1):
        _, grad = Objective(traced, places, scalars, notes=Notes(), leaky=slope).evaluate(images(1))
        expected = first[1] + slope * second[1] @ first
        torch.testing.assert_close(grad.flatten(), expected)


@pytest.mark.statistical
@pytest.mark.parametrize("execution", ["plain", "recorded"])
def test_baoab_samples_the_law_of_a_sum_over_two_places(execution: str) -> None:
    """A linear network: f is one filter, and with L2 the law is a Gaussian around it. False alarm: 8e-8."""
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)))
    traced = Traced.of(private_view(model, None, Notes()), (1, 8, 8), None, None, Notes())
    places = [traced.place(Address(name)) for name in ("0", "2")]
    units = [LayerUnits(p.address.module, p.shape, 1, ()).resolve(2, "center", 0) for p in places]
    chains, l2, temperature = 300, 0.5, 0.7
    scalars = Sum([Readout([u], p.shape, chains, CPU, p.dtype) for u, p in zip(units, places, strict=True)])
    objective = Objective(traced, places, scalars, notes=Notes())
    assert Execution(traced.view, model, execution).prepare(objective) == (execution != "plain")
    target = Target({NEURON: objective, "l2": L2()}, {NEURON: 1.0, "l2": l2}, temperature, Pixels(None))
    noise, kernel = ChainNoise(run_seed(), 1, chains, (1, 8, 8), CPU), BAOAB(1.0, 1.0)
    state = kernel.init(noise.start(), target)
    for _ in range(100):
        state, _ = kernel.step(state, target, noise)
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    (filters,) = torch.autograd.grad(model[0](x)[0, 2, 3, 3] + model(x)[0, 2], x)
    Departure.of(state.x.flatten(1), filters.flatten() / l2, temperature / l2).require_small()
