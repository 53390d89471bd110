"""What `belief` measures, on networks small enough to know the answer; see test_belief_attacks for real attacks."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldam_widget import Comparison, Ladder, Sampler, kernels
from ldam_widget.diagnostics.belief import departure

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

SHAPE = (1, 6, 6)
QUICK = {"input_shape": SHAPE, "pixel_range": (0, 1), "warm_up": 5, "execution": "plain"}


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


IMAGES = numbers(3, 200, *SHAPE)


def network(seed: int = 1) -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4)), seed)


def naive_departure(a: Tensor, b: Tensor) -> float:
    between = torch.stack([(x - y).square().sum() for x in a for y in b]).mean()
    within = [
        torch.stack([(x - y).square().sum() for i, x in enumerate(g) for j, y in enumerate(g) if i != j]).mean()
        for g in (a, b)
    ]
    return float((between - sum(within) / 2) / max(within))


def test_departure_is_the_unbiased_distance_of_means_over_the_spread() -> None:
    a, b = numbers(1, 3, 2, 4).double(), 2 * numbers(2, 5, 2, 4).double() + 1
    assert departure(a, b) == pytest.approx(naive_departure(a, b), rel=1e-12)
    assert departure(a, a) == pytest.approx(naive_departure(a, a), rel=1e-9)
    assert departure(a, a) < 0, "it scatters around 0 for equal distributions"
    assert departure(np.zeros((2, 3)), np.zeros((2, 3))) == 0
    assert departure(np.zeros((2, 3)), np.ones((2, 3))) == math.inf


def test_rank_and_overshoot_are_those_of_the_users_own_network() -> None:
    model = network()
    s = Sampler(model, neurons=[0, 2], chains=3, **QUICK)
    s.step(20)
    found = s.belief(IMAGES, steps=4)
    real = model(IMAGES).detach()[:, [0, 2]].double()
    now = model(s.images.flatten(0, 1)).detach().view(2, 3, 4).double()
    for each, column, own in zip(found.neurons, real.T, (now[0, :, 0].mean(), now[1, :, 2].mean()), strict=True):
        assert each.activation == pytest.approx(float(own), abs=1e-5)
        assert each.percentile == pytest.approx(100 * float((column < own).double().mean()), abs=1e-9)
        assert each.overshoot == pytest.approx(float(own / column.max()), rel=1e-4) or float(column.max()) <= 0
    assert found.images == 200


class WithASilentUnit(nn.Module):
    """f = 3·relu(mean) + 9·relu(middle row − 1.5 − the corner pixel); real images have a bright corner."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 2), nn.Linear(2, 1)
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.weight[0] = 1 / 36
            self.first.weight[1, 12:18], self.first.weight[1, 0] = 1.0, -6.0
            self.first.bias.copy_(torch.tensor([0.0, 0.0]))
            self.second.weight.copy_(torch.tensor([[3.0, 9.0]]))
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).relu())


def test_the_share_of_silent_units() -> None:
    images = IMAGES.clone()
    images[..., 0, 0] = 1.0
    model = WithASilentUnit().eval()
    dark = torch.full(SHAPE, 0.5)
    dark[..., 0, 0] = 0.0
    s = Sampler(model, start=dark, **QUICK)
    parts = model.first(s.images[0].flatten(1)).relu()[0] * torch.tensor([3.0, 9.0])
    (found,) = s.belief(images, steps=4).neurons
    assert found.silent == pytest.approx(float((parts[1] / parts.sum()).detach()), abs=1e-6)
    assert found.silent > 0.9
    assert found.silent_in == "second"
    assert "units that real images never use" in found.text
    images[0:4, ..., 0, 0] = 0.0  # more than one image in a hundred uses it
    assert s.belief(images, steps=4).neurons[0].silent == 0


def test_nothing_else_changes() -> None:
    """The chains afterwards are those without it, bit for bit; so are averages, global random numbers and flags."""
    model = network()
    options = {"neurons": [0, 1], "chains": 2, "regularizers": [], **QUICK}
    with_it, without = Sampler(model, **options), Sampler(model, **options)
    weights = [p.clone() for p in model.parameters()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for _ in range(3):
        with_it.step(7)
        without.step(7)
        with_it.belief(IMAGES, judge=network(2), steps=4)
        assert torch.equal(with_it.images, without.images)
        assert torch.equal(with_it.average_images, without.average_images)
        assert with_it.steps == without.steps
        assert with_it.notes == without.notes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), weights, strict=True))
    assert with_it.belief(IMAGES, steps=4).to_dict() == without.belief(IMAGES, steps=4).to_dict(), "and it repeats"


class Interrupting(nn.Module):
    """Interrupted in a forward pass when `left` runs out."""

    left = 10**9

    def __init__(self) -> None:
        super().__init__()
        self.inside = network()

    def forward(self, x: Tensor) -> Tensor:
        Interrupting.left -= 1
        if Interrupting.left == 0:
            raise KeyboardInterrupt
        return self.inside(x)


def test_an_interrupt_leaves_the_sampler_as_it_was() -> None:
    s, other = (Sampler(Interrupting(), neurons=[0], **QUICK) for _ in range(2))
    for passes in (2, 9, 30):
        s.step(3)
        other.step(3)
        Interrupting.left = passes
        with pytest.raises(KeyboardInterrupt):
            s.belief(IMAGES, steps=20)
        Interrupting.left = 10**9
        assert torch.equal(s.images, other.images)
    s.step(3)
    other.step(3)
    assert torch.equal(s.images, other.images)


class Reversed(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return -self.inside(x)


def test_a_judge_that_agrees_and_judges_that_do_not() -> None:
    s = Sampler(network(), neurons=[0, 1, 2, 3], temperature=1e-6, **QUICK)
    s.step(80)
    names = s.images[:, 0]
    said = network()(names).argmax(1)
    agreed = s.belief(IMAGES, judge=network(), steps=40)
    for index, each in enumerate(agreed.neurons):
        assert each.recognised_as == f"class {index}"
        assert each.recognised is not None
        assert (each.recognised_samples or 0) >= 0.25 * float(said[index] == index)
    assert sum(each.recognised or 0 for each in agreed.neurons) > 2
    # a judge whose outputs fall where the neuron's rise: the class of that number is another one
    for each in s.belief(IMAGES, judge=Reversed(network()), steps=4).neurons:
        assert not each.recognised_as.startswith("class")


def test_a_hidden_neuron_is_matched_by_correlation() -> None:
    model, judge = network(), network()
    with torch.no_grad():
        judge[1].weight.copy_(model[1].weight.flip(0))  # the same units in another order
        judge[1].bias.copy_(model[1].bias.flip(0))
    s = Sampler(model, layer="1", neurons=[3], temperature=1e-6, **QUICK)
    s.step(80)
    (found,) = s.belief(IMAGES, judge=judge, steps=40).neurons
    assert found.recognised_as == "unit 8 of 1, correlation 1.00"
    assert found.recognised == 1.0
    (found,) = s.belief(IMAGES, judge=with_fixed_weights(lambda: Constant()), steps=4).neurons
    assert found.recognised is None
    assert "not applicable" in found.recognised_as


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 3)


def test_heat_makes_pictures_that_do_not_depend_on_the_weights() -> None:
    """At T → ∞ the pictures are noise. A false alarm, or a miss, takes a mean over 3 chains that is 10 σ off."""
    hot, cold = (Sampler(network(), neurons=[0], temperature=t, **QUICK) for t in (1e4, 1e-3))
    assert "shuffled weights" in hot.belief(IMAGES, steps=400).neurons[0].text
    (found,) = cold.belief(IMAGES, steps=400).neurons
    assert "shuffled weights" not in found.text
    assert found.shuffled > 1
    assert found.preference > 1


def test_what_is_not_known_is_said() -> None:
    s = Sampler(network(), neurons=[0, 1], **QUICK)
    found = s.belief(steps=4)
    assert found.verdict.level == "wait"
    assert [word for word in found.missing if "dataset=" in word]
    assert [word for word in found.missing if "judge=" in word]
    for each in found.neurons:
        assert math.isnan(each.percentile)
        assert math.isnan(each.departure)
        assert set(each.starts) == {"noise", "grey"}
    assert "not known" in repr(found)
    assert Sampler(network(), neurons=[0], dataset=IMAGES, **QUICK).belief(steps=4).images == 200


def test_a_network_without_units_before_the_neuron() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2)))
    (found,) = Sampler(model, neurons=[0], **QUICK).belief(IMAGES, steps=4).neurons
    assert math.isnan(found.silent)
    assert found.silent_in == ""
    assert [word for word in found.missing if word.startswith("which units carry the activation")]


def test_the_result_is_a_mapping_and_a_table() -> None:
    s = Sampler(network(), neurons=[0], class_names=["<b>", "b", "c", "d"], **QUICK)
    found = s.belief(IMAGES, judge=network(2), steps=4)
    assert set(found) == {"neurons", "images", "steps", "verdict", "missing"}
    assert found["neurons"][0]["label"] == "0 <b>"
    assert "&lt;b&gt;" in found._repr_html_()
    assert "recognised" in repr(found)
    json.dumps(found.neurons[0].to_dict())
    with pytest.raises(AttributeError):
        found.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "options",
    [
        {"neurons": ["0 - 2", torch.tensor([0.5, 1.0, 0.0, -1.0])]},
        {"neurons": ["0 -> 1"]},
        {"layer": "1", "neurons": [11]},
        {"kernel": kernels.GHMC(), "neurons": [0]},
        {"kernel": kernels.Algorithm1(), "neurons": [0]},
        {"kernel": kernels.RegularisedAscent.preset("A"), "neurons": [0]},
        {"ladder": Ladder((1.0, 4.0)), "neurons": [0]},
        {"dataset": IMAGES, "goal": "p90", "neurons": [1]},
        {"dataset": IMAGES, "prior": "natural", "neurons": [1], "start": "grey"},
    ],
    ids=lambda options: "-".join(options),
)
def test_it_works_with(options: dict[str, object]) -> None:
    s = Sampler(network(), chains=2, **(QUICK | options))
    for steps in (1, 8):  # also in the middle of the warm-up
        s.step(steps)
        found = s.belief(IMAGES, judge=network(2), steps=4)
        assert len(found.neurons) == len(s.neurons)
        for each in found.neurons:
            assert math.isfinite(each.departure + each.gap + each.shuffled + each.preference)
            assert 0 <= each.silent <= 1 or math.isnan(each.silent)


def test_colour_maps_and_comparisons() -> None:
    models = {"a": with_fixed_weights(TinyCnn), "b": with_fixed_weights(TinyCnn, 2)}
    images = numbers(4, 40, *TINY_SHAPE)
    options = {"layer": "conv2", "neurons": [1], **QUICK, "input_shape": TINY_SHAPE}
    c = Comparison(models, **options)
    found = c.belief(images, steps=2)
    assert list(found) == ["a", "b"]
    alone = Sampler(models["b"], **options)
    assert alone.belief(images, steps=2).to_dict() == found["b"].to_dict()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps": 1}, "steps must be at least 2"),
        ({"steps": 2.5}, "steps"),
        ({"seed": -1}, "seed"),
        ({"images": numbers(1, 5, 3, 6, 6)}, "the model takes"),
        ({"images": IMAGES * 300}, "outside of pixel_range"),
        ({"judge": lambda x: x}, "judge must be a torch.nn.Module"),
        ({"judge": nn.Linear(7, 2)}, "judge cannot be run"),
        ({"judge": nn.Conv2d(1, 2, 3)}, r"must return class scores"),
        ({"judge": network(), "judge_preprocess": 3}, "judge_preprocess must be a function"),
        ({"judge_preprocess": abs}, "without a judge"),
    ],
)
def test_bad_input(arguments: dict[str, object], said: str) -> None:
    s = Sampler(network(), neurons=[0], **QUICK)
    with pytest.raises((ValueError, TypeError), match=said):
        s.belief(**arguments)
