"""`Comparison` and the ranking of a layer: equal models are equal to the last bit, and what differs is the weights."""

from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import Comparison, Sampler, kernels
from ldam_widget.analysis.ranking import Ranking, by_change, rank
from ldam_widget.core.parameters import Parameter
from ldam_widget.diagnostics.agreement import correlation
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1
from ldam_widget.pictures import images
from ldam_widget.sampling.averages import Window

from .conftest import TINY_SHAPE, UNSCALED, TinyCnn, with_fixed_weights

NAMES = ["nil", "one", "two", "three", "four"]


def tiny(seed: int = 1) -> nn.Module:
    return with_fixed_weights(TinyCnn, seed)


def mlp(units: int = 5, seed: int = 1) -> nn.Module:
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, units)), seed
    )


def compared(*models: nn.Module, names: str = "abcdef", **arguments: Any) -> Comparison:
    models = models or (tiny(1), tiny(2))
    shape = TINY_SHAPE if isinstance(models[0], TinyCnn) else (1, 4, 4)
    defaults: dict[str, Any] = {"input_shape": shape, "kernel": BAOAB(0.3), "chains": 2, **UNSCALED}
    return Comparison(dict(zip(names, models, strict=False)), **(defaults | arguments))


def everything(c: Comparison) -> list[Tensor]:
    return [t.clone() for s in c.samplers for t in (s.images, s.average_images, s.activation)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# ---- common random numbers -------------------------------------------------------------------------------------------


def scales_of(kernel: Any) -> list[str]:
    return ["none"] if getattr(kernel, "normalize", "none") != "none" else ["none", "frozen"]


EVERY_KERNEL = [
    pytest.param(name, scale, id=f"{name}, {scale}")
    for name in kernels.__all__
    for scale in scales_of(getattr(kernels, name)())
] + [pytest.param("Algorithm1 without normalisation", "frozen")]


def kernel_called(name: str) -> Any:
    return getattr(kernels, name)() if name in kernels.__all__ else Algorithm1(normalize="none")


@pytest.mark.parametrize("ours", [lambda model: model, copy.deepcopy], ids=["the same object", "a deep copy"])
@pytest.mark.parametrize(("name", "scale"), EVERY_KERNEL)
def test_equal_models_do_not_differ_by_a_bit(name: str, scale: str, ours: Callable[[nn.Module], nn.Module]) -> None:
    model = tiny()
    c = compared(
        model, ours(model), tiny(2), kernel=kernel_called(name), scale=scale, warm_up=12, pixel_range=(-1.0, 1.0),
        neurons=[0, 3],
    )  # fmt: skip
    c.step(7)
    c.set(l2=0.2, **({"temperature": 0.3} if name != "RegularisedAscent" else {}))
    c.step(13)
    first_slider = c.parameters[0].name  # the step size, or the learning rate
    c.set(**{first_slider: c.params[first_slider] * 0.7}, steps_per_frame=3, average=20)
    if name != "RegularisedAscent":
        c.heat_pulse(ldam.HeatPulse(peak=3.0, rise=2, hold=2, cool=2))
    for n in (1, 4, 8):
        c.step(n)
    first, second, other = c.samplers
    assert torch.equal(first.images, second.images)
    assert torch.equal(c.difference_images[0], torch.zeros(2, *TINY_SHAPE))
    assert not torch.equal(first.images, other.images)  # and it is no accident
    assert c.difference_images[1].abs().max() > 1e-4
    row = c.agreement()[0]
    assert row.activation[0] == row.activation[1]


def test_shipped_networks_and_their_deep_copies() -> None:
    demo = ldam.demo.mnist("epoch1")
    c = Comparison({"a": demo.model, "b": copy.deepcopy(demo.model)}, neurons=[0, 7], kernel=BAOAB(0.2),
                   scale="frozen", temperature=1.0, warm_up=4, **demo.settings)  # fmt: skip
    c.step(9)
    assert not c.difference_images.any()
    assert [(row.gap, row.correlation, row.difference) for row in c.agreement()] == [(0, 1, 0), (0, 1, 0)]


def test_chains_are_those_of_a_sampler_of_its_own() -> None:
    """In spite of odd chunks: one call and many, in company and alone."""
    models = [tiny(1), tiny(2), tiny(3)]
    arguments: dict[str, Any] = {
        "input_shape": TINY_SHAPE, "neurons": [1, 4], "kernel": MALA(), "scale": "frozen", "warm_up": 9, "chains": 3,
        "average": Window(5), "temperature": 0.2, "regularizers": [ldam.L2(0.1)], "seed": 5, "steps_per_frame": 4,
    }  # fmt: skip
    c = Comparison(dict(zip("abc", models, strict=True)), **arguments)
    for n in (1, 5, 16, 3):
        c.step(n)
    alone = [Sampler(model, **arguments) for model in models]
    for sampler in alone:
        sampler.step(25)
    assert c.steps == 25
    assert same(everything(c), [t for s in alone for t in (s.images, s.average_images, s.activation)])


def test_models_advance_together() -> None:
    """The models are stepped in turn, not one after the other."""
    trail: list[str] = []

    def told(name: str) -> Callable[[Tensor], Tensor]:
        return lambda x: (trail.append(name), x)[1]

    c = compared(preprocess={"a": told("a"), "b": told("b")}, kernel=ULA(0.01), steps_per_frame=5, execution="plain")
    trail.clear()
    c.step(12)
    assert "".join(trail) == 2 * (5 * "a" + 5 * "b") + "aabb"


def test_iterators_serve_every_model() -> None:
    c = compared(tiny(), tiny(), class_names=iter(NAMES), neurons=iter(["two"]), regularizers=iter([ldam.L2(3.0)]))
    assert [s.neurons[0].label for s in c.samplers] == ["2 two", "2 two"]
    assert [s.params["l2"] for s in c.samplers] == [3, 3]
    assert c.fresh(["1"]).params["l2"] == 3


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_weights_are_shared_and_models_come_back_untouched() -> None:
    models = {"a": tiny(1).train(), "b": tiny(2).train()}
    models["a"].conv2.weight.requires_grad_(False)
    handle = models["b"].fc.register_forward_hook(lambda *_: None)
    before = {name: {k: v.clone() for k, v in m.state_dict().items()} for name, m in models.items()}
    c = Comparison(models, input_shape=TINY_SHAPE, kernel=BAOAB(0.3), **UNSCALED)
    c.step(5)
    rank(c, 4)
    for model, sampler in zip(models.values(), c.samplers, strict=True):
        theirs = [p.data_ptr() for p in model.parameters()]
        assert [p.data_ptr() for p in sampler.view.parameters()] == theirs
    for name, model in models.items():
        assert all(module.training for module in model.modules())
        assert all(torch.equal(v, before[name][k]) for k, v in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())
        assert [k for k, p in model.named_parameters() if not p.requires_grad] == ["conv2.weight"] * (name == "a")
    assert list(models["b"].fc._forward_hooks) == [handle.id]
    assert not any(module._forward_hooks for module in models["a"].modules())
    gone = [weakref.ref(thing) for s in c.samplers for thing in (s, s.view)] + [weakref.ref(c)]
    del c, sampler
    gc.collect()
    assert not [reference() for reference in gone if reference() is not None]


def test_weights_changed_in_place_are_seen() -> None:
    """As with a sampler of one model: a difference appears when one of two equal models is trained on."""
    model = tiny()
    trained = copy.deepcopy(model)
    c = compared(model, trained)
    c.step(6)
    assert not c.difference.any()
    with torch.no_grad():
        trained.fc.weight.mul_(1.5)
    c.step(6)
    assert (c.difference > 0).all()


# ---- which neurons ---------------------------------------------------------------------------------------------------


def test_classes_are_paired_by_name() -> None:
    order = [3, 0, 4, 1, 2]
    model, shuffled = tiny(), tiny()
    with torch.no_grad():
        for p in (shuffled.fc.weight, shuffled.fc.bias):
            p.copy_(p[order].clone())
    other_names = [NAMES[i] for i in order]
    c = compared(model, shuffled, neurons=["two", 0, "three"], class_names={"a": NAMES, "b": other_names})
    c.step(10)
    assert [n.label for n in c.neurons] == ["2 two", "0 nil", "3 three"]
    assert [n.label for n in c.samplers[1].neurons] == ["4 two", "1 nil", "0 three"]
    torch.testing.assert_close(c.difference_images, torch.zeros_like(c.difference_images), atol=1e-5, rtol=0)
    c.select(neurons=[4])
    assert [n.label for n in c.samplers[1].neurons] == ["2 four"]
    ranked = rank(c, 4)
    assert {row.name for row in ranked} == set(NAMES)
    assert max(row.difference for row in ranked) < 1e-5


def test_classes_that_share_a_name_are_paired_in_their_order() -> None:
    """ImageNet has two classes "crane", 134 and 517."""
    model = mlp(4)
    c = compared(model, model, class_names=["crane", "dog", "crane", "maillot"])
    c.step(3)
    assert [n.unit for n in c.samplers[1].neurons] == [0, 1, 2, 3]
    assert not c.difference_images.any()
    names = {"a": ["crane", "dog", "crane", "x"], "b": ["x", "crane", "crane", "dog"]}
    other = compared(model, model, class_names=names)
    assert [n.unit for n in other.samplers[1].neurons] == [1, 3, 2, 0]


def test_neurons_are_paired_by_number_where_one_has_no_names() -> None:
    c = compared(neurons=["three", 1], class_names={"a": NAMES})
    assert [n.label for n in c.samplers[1].neurons] == ["3", "1"]
    hidden = compared(layer="conv2", neurons=["1@0,2", 3], class_names=NAMES)
    assert [[n.key for n in s.neurons] for s in hidden.samplers] == [["1@0,2", "3"]] * 2


def test_architectures_that_differ() -> None:
    small, large = mlp(5), with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9)))
    c = compared(small, large, layer={"a": "3", "b": "1"}, neurons=[0, 4])
    assert c.layers == {"a": "3", "b": "1"}
    c.step(4)
    assert c.average_images.shape == (2, 2, 1, 4, 4)
    c.select(neurons=[2])
    assert (c.layers, [n.key for n in c.samplers[1].neurons]) == ({"a": "3", "b": "1"}, ["2"])
    assert len(rank(c, 4)) == 5  # of the first model's layer


def test_directions_and_layers_within_neurons() -> None:
    direction = torch.tensor([1.0, -1, 0, 0, 2])
    c = compared(tiny(), tiny(), neurons=[direction, 3])
    c.step(4)
    assert [n.key for n in c.samplers[1].neurons] == ["direction 1", "3"]
    assert not c.difference_images.any()
    view = c.lead.images[0]
    with torch.no_grad():
        expected = tiny()(view) @ direction / direction.norm()
    torch.testing.assert_close(c.activation[1, 0], expected)
    with pytest.raises(ValueError, match="model 'b': direction 1 belongs to the previous layer"):
        c.select(layer={"b": "conv2"})
    assert set(c.layers.values()) == {"fc"}
    layered = compared(tiny(1), tiny(2), neurons=["conv2:3"])
    assert layered.layers == {"a": "conv2", "b": "conv2"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"class_names": {"a": NAMES, "b": ["x", *NAMES[1:]]}}, r"^model 'b': there is no class 'nil' among its class"),
        ({"layer": {"a": "fc", "b": "fc9"}}, r"^model 'b': unknown layer 'fc9'"),
        ({"layer": "fc9"}, r"^model 'a': unknown layer 'fc9'"),
        ({"neurons": [0, 9]}, r"^model 'a': neuron 9 is out of range"),
        ({"neurons": torch.zeros(2, 3)}, r"^model 'a': a direction"),
        ({"layer": {"a": "fc", "b": "conv2"}, "neurons": [4]}, r"^model 'b': neuron 4 is out of range"),
        ({"layer": {"a": "fc", "x": "fc", "y": "fc"}}, r"^layer names 'x', 'y'; the models are 'a', 'b'$"),
        ({"preprocess": {"c": None}}, r"^preprocess names 'c'"),
        ({"class_names": "nil"}, r"^class_names must be a list"),
        ({"class_names": {"b": "nil"}}, r"^model 'b': class_names must be a list|^class_names must be a list"),
        ({"preprocess": {"b": 3}}, r"^model 'b': preprocess must be a function"),
        ({"chains": 0}, r"^model 'a': chains"),
        ({"step_size": 0.1}, r"^model 'a': .*step_size"),
    ],
)
def test_what_does_not_fit_names_the_model(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        compared(**arguments)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"a": nn.Linear(2, 2)}, "two to 6; got 1"),
        ({}, "two to 6; got 0"),
        ({str(i): nn.Linear(2, 2) for i in range(7)}, "two to 6; got 7"),
        ([nn.Linear(2, 2)] * 2, "models must be a dict such as"),
        ({"a": nn.Linear(2, 2), " ": nn.Linear(2, 2)}, "names that are not empty; got ' '"),
        ({"a": nn.Linear(2, 2), 3: nn.Linear(2, 2)}, "names that are not empty; got 3"),
        ({"a": nn.Linear(2, 2), "b": "model.pt"}, "model 'b': model must be an instance of torch.nn.Module"),
        ({"a": nn.Linear(2, 2), "b": nn.Linear(3, 2)}, "model 'b': "),
    ],
)
def test_models_that_cannot_be_compared(models: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        Comparison(models, input_shape=(2,))


def test_input_shape_is_asked_for() -> None:
    with pytest.raises(TypeError, match="input_shape"):
        Comparison({"a": tiny(), "b": tiny()})


class Narrow(nn.Module):
    """Has a layer that `TinyCnn` has as well, with fewer units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(3, 2, 3)
        self.fc = nn.Linear(2 * 4 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv2(x).tanh().flatten(1))
        return out


def test_a_choice_that_fails_for_one_changes_none() -> None:
    models = (tiny(), with_fixed_weights(Narrow))
    c, undisturbed = compared(*models), compared(*models)
    for each in (c, undisturbed):
        each.step(5)
    tries: list[tuple[dict[str, Any], str]] = [
        ({"layer": "conv2", "neurons": [0, 3]}, "model 'b': neuron 3 is out of range"),
        ({"layer": "layer1"}, "model 'b': unknown layer 'layer1'"),
        ({"layer": {"b": "nowhere"}}, "model 'b': unknown layer"),
        ({"layer": {"z": "fc"}}, "layer names 'z'"),
        ({"neurons": []}, "model 'a': .*empty"),
    ]
    for arguments, says in tries:
        with pytest.raises(ValueError, match=says):
            c.select(**arguments)
        assert (c.steps, c.layers) == (5, {"a": "fc", "b": "fc"})
        c.step(3)
        undisturbed.step(3)
        assert same(everything(c), everything(undisturbed)), arguments
        c, undisturbed = compared(*models), compared(*models)
        for each in (c, undisturbed):
            each.step(5)


def test_a_choice_for_one_model_starts_all_afresh() -> None:
    c = compared()
    c.step(8)
    c.select({"b": "conv2"}, [0, 2])
    assert [s.steps for s in c.samplers] == [0, 0]
    c.step(4)
    c.select(layer={"b": "fc"})  # the neurons stay those of the first model
    assert c.layers == {"a": "fc", "b": "fc"}
    assert [s.steps for s in c.samplers] == [0, 0]
    assert [[n.key for n in s.neurons] for s in c.samplers] == [["0", "2"]] * 2
    c.step(4)
    again = compared(neurons=[0, 2])
    again.step(4)
    assert same(everything(c), everything(again))
    c.select(layer={"b": "fc"})  # is so already
    assert c.steps == 4


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_one_value_for_all_until_it_is_freed() -> None:
    c = compared(tiny(1), tiny(2), tiny(3))
    assert c.params == c.lead.params
    assert [p.name for p in c.parameters] == [p.name for p in c.lead.parameters]
    c.set(step_size=0.2, l2=0.5)
    assert [(s.params["step_size"], s.params["l2"]) for s in c.samplers] == [(0.2, 0.5)] * 3
    assert "steps_per_frame" not in c.locks
    assert set(c.locks.values()) == {True}

    c.free("step_size")
    assert c.freed == {"step_size"}
    names = [p.name for p in c.parameters]
    place = [p.name for p in c.lead.parameters].index("step_size")
    assert names[place : place + 3] == ["step_size@0", "step_size@1", "step_size@2"]
    assert "step_size" not in {*names, *c.params}
    assert c.parameters[place + 1].label == "step size, b"
    assert c.parameters[place + 1].check(0.3) == 0.3
    c.set(**{"step_size@1": 0.4, "temperature": 2})
    assert [s.kernel.step_size for s in c.samplers] == [0.2, 0.4, 0.2]
    assert [c.params[f"step_size@{i}"] for i in range(3)] == [0.2, 0.4, 0.2]
    assert list(c.params) == names
    c.set(step_size=0.1)  # a plain name means all, freed or not
    assert [s.kernel.step_size for s in c.samplers] == [0.1, 0.1, 0.1]
    c.set_for("c", step_size=0.7, l2=2)
    assert c.freed == {"step_size", "l2"}
    assert [s.params["l2"] for s in c.samplers] == [0.5, 0.5, 2]
    c.set(**{"step_size@0": 0.3})
    c.lock("step_size")
    assert [s.kernel.step_size for s in c.samplers] == [0.3, 0.3, 0.3]
    assert c.params["step_size"] == 0.3


def test_a_freed_temperature_is_that_of_its_model_alone() -> None:
    c = compared(tiny(), tiny())
    c.set_for("b", temperature=3)
    c.step(5)
    hot = Sampler(tiny(), input_shape=TINY_SHAPE, kernel=BAOAB(0.3), scale="none", chains=2, temperature=3)
    hot.step(5)
    assert torch.equal(c.samplers[1].images, hot.images)
    assert not torch.equal(c.samplers[0].images, hot.images)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"l2": 1, "stepsize": 0.1}, "unknown parameter 'stepsize'.*step_size@0"),
        ({"l2": 1, "average": 7, "step_size@1": 1e9}, "step_size must be between"),
        ({"l2": 1, "average": 7, "step_size@2": 0.1}, r"unknown parameter 'step_size@2'.*known are: step_size@0"),
        ({"l2": 1, "step_size@-1": 0.1}, "unknown parameter"),
        ({"l2": 1, "step_size@01": 0.1}, "unknown parameter"),
        ({"l2": 1, "step_size@²": 0.1}, "unknown parameter"),
        ({"l2": 1, "step_size@": 0.1}, "unknown parameter"),
        ({"l2": 1, "step_size@1@1": 0.1}, "unknown parameter"),
        ({"step_size": 0.1, "l2@1": 1}, "unknown parameter 'l2@1'"),
        ({"average": 7, "step_size@0": 0.1, "step_size@1": "much"}, "step_size must be a number"),
        ({"average": 7, "step_size@1": ldam.PolynomialDecay(0.1)}, "step_size must be a number"),
        ({"average": 7, "l2": float("nan")}, "l2 must be"),
    ],
)
def test_all_or_none_of_several_parameters(params: dict[str, Any], says: str) -> None:
    """Also the averaging time, which is inside the sampler and no attribute."""
    c, undisturbed = compared(), compared()
    for each in (c, undisturbed):
        each.free("step_size")
        each.step(8)
    before = c.params
    with pytest.raises((ValueError, TypeError), match=says):
        c.set(**params)
    assert c.params == before
    for each in (c, undisturbed):
        each.step(6)
    assert same(everything(c), everything(undisturbed))


def test_a_decay_is_for_kernels_that_have_one() -> None:
    c = compared(kernel=Algorithm1(0.1), neurons=[1])
    c.set(step_size=ldam.PolynomialDecay(0.1, b=1, mu=0.5))
    c.step(8)
    assert c.params["step_size"] == pytest.approx(0.1 / 3)
    c.free("step_size")
    c.set(**{"step_size@1": ldam.PolynomialDecay(0.2, b=1, mu=0.5)})
    assert c.params["step_size@1"] == pytest.approx(0.2 / 3)


@pytest.mark.parametrize("name", ["steps_per_frame", "nothing", "step_size@0", ""])
def test_what_cannot_be_freed(name: str) -> None:
    c = compared()
    for act in (c.free, c.lock):
        with pytest.raises(ValueError, match=r"cannot be .*; known are: step_size, temperature"):
            act(name)
    assert not c.freed


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        ("z", {"l2": 1}, "unknown model 'z'; the models are 'a', 'b'"),
        (["a"], {"l2": 1}, "unknown model"),
        ("b", {"l2": 1, "step_size": 1e9}, "step_size must be"),
        ("b", {"l2": 1, "nothing": 1}, "unknown parameter 'nothing'"),
        ("b", {"l2": 1, "steps_per_frame": 3}, "'steps_per_frame' cannot be freed"),
    ],
)
def test_set_for_of_what_is_not_there(model: Any, params: dict[str, Any], says: str) -> None:
    c = compared()
    before = c.params
    with pytest.raises(ValueError, match=says):
        c.set_for(model, **params)
    assert c.params == before
    assert not c.freed


def test_another_kernel_keeps_what_both_have() -> None:
    c = compared(tiny(), tiny(), kernel=Algorithm1(), neurons=[1])
    c.set_for("b", noise=0.7, step_size=0.3, temperature=2, l2=0.4)
    c.step(4)
    before = everything(c)
    c.use_kernel(GHMC(0.05), "frozen")
    assert torch.equal(everything(c)[0], before[0])
    assert c.freed == {"step_size", "temperature", "l2"}
    assert [s.kernel for s in c.samplers] == [GHMC(0.05)] * 2
    assert c.params["l2@1"] == 0.4
    assert "noise@1" not in c.params
    c.step(3)
    with pytest.raises(ValueError, match="frozen"):
        c.use_kernel(Algorithm1(), "frozen")
    assert c.lead.kernel == GHMC(0.05)
    c.lock("l2")
    assert c.params["l2"] == 0


def test_scales_are_each_models_own_and_measured_again() -> None:
    louder = tiny()
    with torch.no_grad():
        louder.fc.weight.mul_(8)
        louder.fc.bias.mul_(8)
    c = compared(tiny(), louder, scale="frozen", warm_up=6, neurons=[0], chains=1)
    c.step(10)
    a, b = (s.scales["neuron"][0] for s in c.samplers if s.scales)
    assert b == pytest.approx(8 * a, rel=1e-4)  # so that the density is the same
    assert float(c.difference.max()) < 1e-3
    c.measure_scales()
    assert all(s.warming_up for s in c.samplers)
    c.step(6)
    assert not any(s.warming_up for s in c.samplers)


# ---- running ---------------------------------------------------------------------------------------------------------


FUSE: list[bool] = []  # beside the models, which a sampler copies


class Fused(TinyCnn):
    """`TinyCnn`, until the fuse blows."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x * (float("nan") if FUSE else 1.0))
        return out


def test_a_model_that_fails_is_brought_back_into_step() -> None:
    models = (tiny(), with_fixed_weights(Fused))
    # a recording of the network would run for some time yet
    c, undisturbed = (compared(*models, steps_per_frame=3, execution="plain") for _ in range(2))
    c.step(5)
    FUSE.append(True)
    try:
        with pytest.raises(ldam.SamplingError, match=r"^model 'b': the activation of neuron 0 .* became nan"):
            c.step(7)
        assert c.steps == 5
        before = everything(c)[3:]
        with pytest.raises(ldam.SamplingError, match=r"^model 'b'"):
            c.step(2)
        assert same(everything(c)[3:], before), "it stands where it was"
        with pytest.raises(ldam.SamplingError, match=r"^model 'b'"):
            c.restart()
        assert c.steps == 5
    finally:
        FUSE.clear()
    c.step(20)
    assert [s.steps for s in c.samplers] == [25, 25]
    undisturbed.step(25)
    assert same(everything(c), everything(undisturbed))


@pytest.mark.parametrize("n", [0, -2, 1.5, "3", None, True])
def test_steps_are_counted_in_positive_integers(n: Any) -> None:
    c = compared()
    with pytest.raises((ValueError, TypeError), match="n must be an integer ≥ 1"):
        c.step(n)
    assert c.steps == 0


def test_restart_and_reset() -> None:
    c = compared(tiny(), tiny(2))
    c.step(6)
    first = everything(c)
    c.restart()
    assert c.steps == 0
    c.step(6)
    assert same(everything(c), first)
    c.restart(seed=9)
    assert [s.seed for s in c.samplers] == [9, 9]
    assert torch.equal(c.samplers[0].images, c.samplers[1].images)
    c.step(6)
    assert not same(everything(c), first)
    c.reset_average()
    for s in c.samplers:
        assert torch.equal(s.average_images, s.images)
    with pytest.raises(ValueError, match="seed"):
        c.restart(seed=-1)
    assert c.steps == 6


# ---- numbers ---------------------------------------------------------------------------------------------------------


def of_numpy(c: Comparison, n: int) -> tuple[list[float], list[float], list[float]]:
    """Gaps, correlations and differences of neuron n, from nothing but the samplers' own pictures."""
    pictures = [s.average_images[n].numpy().astype(np.float64).mean(0).ravel() for s in c.samplers]
    values = [s.activation[n].numpy().astype(np.float64).mean() for s in c.samplers]
    gaps = [v - values[0] for v in values[1:]]
    return (
        gaps,
        [float(np.corrcoef(pictures[0], p)[0, 1]) for p in pictures[1:]],
        [float(np.abs(p - pictures[0]).mean()) for p in pictures[1:]],
    )


@pytest.mark.parametrize("count", [2, 3, 6])
def test_agreement_against_numpy(count: int) -> None:
    c = compared(*[tiny(seed) for seed in range(count)], neurons=[4, 1], class_names=NAMES, chains=3)
    c.step(12)
    rows = c.agreement()
    assert [(row.key, row.name, row.label) for row in rows] == [("4", "four", "4 four"), ("1", "one", "1 one")]
    for n, row in enumerate(rows):
        gaps, correlations, differences = of_numpy(c, n)
        assert len(row.activation) == count
        assert row.gap == pytest.approx(max(gaps, key=abs), rel=1e-4, abs=1e-6)
        assert row.correlation == pytest.approx(min(correlations), abs=1e-5)
        assert row.difference == pytest.approx(np.mean(differences), rel=1e-5)
        assert float(c.difference[n]) == row.difference
    assert c.difference_images.shape == (count - 1, 2, *TINY_SHAPE)
    assert c.activation.shape == (count, 2, 3)


def test_the_difference_is_in_units_of_the_pixels() -> None:
    """At T = 0 and with λ‖x‖²/2, x climbs to w/λ: a linear neuron's average is its weight."""
    w = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    models = [nn.Linear(4, 1, bias=False) for _ in range(2)]
    with torch.no_grad():
        models[0].weight.copy_(w)
        models[1].weight.copy_(w + torch.tensor([0.2, -0.2, 0.6, 0.0]))
    c = Comparison(dict(zip("ab", models, strict=True)), input_shape=(4,), kernel=BAOAB(1.0, 1.0), scale="none",
                   temperature=0.0, regularizers=[ldam.L2(1.0)], average=ldam.EMA(0.0))  # fmt: skip
    c.step(200)
    torch.testing.assert_close(c.difference_images[0, 0], torch.tensor([0.2, -0.2, 0.6, 0.0]), atol=1e-5, rtol=0)
    assert float(c.difference[0]) == pytest.approx(0.25, abs=1e-5)


def test_correlation_of_flat_pictures() -> None:
    """Not what rounding makes of them."""
    random = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    flat, darker = torch.full_like(random, 0.1), torch.full_like(random, 0.03)
    assert correlation(flat, flat.clone()) == 1
    for a, b in ((flat, random), (random, flat), (flat, darker)):
        assert np.isnan(correlation(a, b))
    assert correlation(random, 3 * random + 1) == pytest.approx(1)
    assert correlation(random, -random) == pytest.approx(-1)


@pytest.mark.parametrize("flat", [(1,), (2,), (1, 2)])
def test_a_model_with_a_flat_picture_has_no_correlation(flat: tuple[int, ...]) -> None:
    """Whatever the others have: the least of those alone would hide it."""
    model = nn.Linear(6, 2)
    c = Comparison({"a": model, "b": model, "c": model}, input_shape=(6,), kernel=ULA(0.01), **UNSCALED)
    c.step(2)
    assert c.agreement()[0].correlation == 1
    averages = c.average_images
    averages[list(flat)] = 0.1
    with mock.patch.object(Comparison, "average_images", averages):
        assert np.isnan(c.agreement()[0].correlation)


# ---- the ranking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [3, 8])
def test_a_planted_change_comes_first(row: int) -> None:
    demo = ldam.demo.mnist()
    changed = copy.deepcopy(demo.model)
    with torch.no_grad():
        changed.fc3.weight[row] = changed.fc3.weight[row].roll(7)
    c = Comparison({"a": demo.model, "b": changed}, kernel=BAOAB(0.2), scale="frozen", temperature=0.0036,
                   **demo.settings)  # fmt: skip
    c.step(2)
    before = everything(c)
    found = rank(c, 12)
    assert same(everything(c), before), "the comparison itself goes on undisturbed"
    assert found[0].key == str(row)
    assert found[0].name == ldam.demo.DIGITS[row]
    assert found[0].difference > 0.005
    assert [(f.difference, f.gap, f.correlation) for f in found[1:]] == [(0, 0, 1)] * 9
    assert [f.within_noise for f in found] == [False] + [True] * 9
    assert found[0].change > 5 * found[0].error
    assert str(found).count("within the noise") == 9


def permuted(model: nn.Module) -> nn.Module:
    """The same function: hidden units of fc2 in another order."""
    found = copy.deepcopy(model)
    order = torch.randperm(84, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found.fc2.weight.copy_(model.fc2.weight[order])
        found.fc2.bias.copy_(model.fc2.bias[order])
        found.fc3.weight.copy_(model.fc3.weight[:, order])
    return found


def test_a_permutation_of_hidden_units_is_seen_there_and_nowhere_else() -> None:
    demo = ldam.demo.mnist()
    settings = {**demo.settings, "kernel": BAOAB(0.2), "scale": "frozen", "temperature": 0.0036}
    models = {"a": demo.model, "b": permuted(demo.model)}
    outputs = rank(Comparison(models, **settings), 12)
    assert sorted(int(row.key) for row in outputs) == list(range(10))
    # a few chains take another way where rounding tips the balance: by chance, and said so
    assert np.median([row.difference for row in outputs]) < 1e-4
    assert sum(not row.within_noise for row in outputs) <= 2
    hidden = Ranking(Comparison(models, **settings | {"layer": "fc2"}), 12)
    while not hidden.work():
        pass
    assert np.median([row.difference for row in hidden.done]) > 0.005


def test_ranking_in_units() -> None:
    """Batches of at most 16; every neuron once; rows are those of a comparison of these neurons."""
    models = (mlp(19, 1), mlp(19, 2))
    c = compared(*models, steps_per_frame=5, average=Window(3), chains=3)
    c.step(3)
    ranking = Ranking(c, 6, chains=5, seeds=1)
    assert (ranking.layer, ranking.total, ranking.finished, ranking.done) == ("3", 19, False, [])
    lengths = []
    while not ranking.finished:
        if ranking.work():
            lengths.append(len(ranking.done))
    assert lengths == [16, 19]
    assert not ranking.work()
    assert [row.key for row in ranking.done] == [str(i) for i in range(19)]
    reference = compared(*models, neurons=range(16, 19), chains=5, steps_per_frame=1, average=ldam.EMA(0.98))
    reference.step(6)
    assert [row[:6] for row in ranking.done[16:]] == [row[:6] for row in reference.agreement()]
    ordered = by_change(ranking.done)
    assert [row.within_noise for row in ordered] == sorted(row.within_noise for row in ordered)
    changed = [row.change for row in ordered if not row.within_noise]
    assert changed == sorted(changed, reverse=True)


def test_seeds_are_runs_of_their_own() -> None:
    """Averages are over the chains of all runs; other seeds of a comparison share none of them."""
    models, runs = (mlp(5, 1), mlp(5, 2)), []
    c = compared(*models, seed=3)
    found = Ranking(c, 6, chains=2, seeds=3)
    found.run()
    for seed in (9, 10, 11):
        alone = compared(*models, neurons=range(5), chains=2, steps_per_frame=1, average=ldam.EMA(0.98), seed=seed)
        alone.step(6)
        runs.append(alone.average_images)
    averages = torch.stack(runs).mean(0)
    expected = (averages[1] - averages[0]).abs().flatten(1).mean(1)
    assert torch.allclose(torch.tensor([row.difference for row in found.done]), expected, rtol=1e-4)
    for few in ({"chains": 1, "seeds": 1}, {"chains": 2, "seeds": 2}, {"chains": 4, "seeds": 1}):
        with pytest.raises(ValueError, match=r"chains · seeds must be at least 5.*got \d"):
            Ranking(c, 6, **few)
    for wrong in ({"chains": 0}, {"seeds": 1.5}):
        with pytest.raises((ValueError, TypeError), match="must be an integer ≥ 1"):
            Ranking(c, 6, **wrong)  # type: ignore[arg-type]


def test_a_ranking_is_of_what_was_set_when_it_began() -> None:
    def begun() -> tuple[Comparison, Ranking]:
        c = compared(mlp(19, 1), mlp(19, 2))
        c.set(temperature=0.3, l2=0.2, heat=1.5, friction=2.0)
        c.set_for("b", step_size=0.5, display_scale=2, average=3)
        return c, Ranking(c, 8)

    c, ranking = begun()
    fresh = c.fresh(["17"])
    assert fresh.params == c.params
    assert fresh.freed == c.freed
    expected = begun()[1].run()
    while not ranking.work():
        pass
    c.set(step_size=0.1, temperature=5)
    c.use_kernel(ULA(0.01))
    c.select("1")
    assert (ranking.run(), ranking.layer) == (expected, "3")


def test_a_ranking_has_one_averaging_time_and_no_heat_pulse() -> None:
    c = compared(mlp(), mlp())
    c.free("average")
    c.set(**{"average@0": 3.0, "average@1": 400.0})
    c.free("heat")
    c.step(4)
    c.heat_pulse(ldam.HeatPulse())
    c.step(100)
    assert c.params["heat@0"] > 1
    assert [row.difference for row in rank(c, 30)] == [0] * 5


@pytest.mark.parametrize("steps", [0, -1, 2.5, "10"])
def test_a_ranking_of_no_steps(steps: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="steps must be an integer ≥ 1"):
        rank(compared(), steps)


def test_a_ranking_names_the_model_that_lacks_a_neuron() -> None:
    c = compared(mlp(19), mlp(5), neurons=[0])
    with pytest.raises(ValueError, match="model 'b': neuron 5 is out of range"):
        rank(c, 4)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_signed_levels() -> None:
    pictures = np.linspace(-0.8, 0.8, 2001, dtype=np.float32).reshape(1, 3, 667, 1)
    levels, end = images.signed_levels(pictures)
    assert end == 1
    assert levels.shape == pictures.shape
    assert levels.dtype == np.uint8
    np.testing.assert_allclose((levels.astype(float) - 128) / 127 * end, pictures, atol=0.5 / 127 + 1e-6)
    assert images.signed_levels(np.zeros((2, 4, 4, 1), np.float32))[0].tolist() == np.full((2, 4, 4, 1), 128).tolist()
    assert not (images.signed_levels(np.full((4, 4, 1), -9.0, np.float32))[0] == 0).any()


@pytest.mark.parametrize(
    ("top", "end"), [(0.11, 0.2), (0.19, 0.2), (0.21, 0.5), (0.6, 1), (3, 5), (70, 100), (0, 1e-6), (1e-9, 1e-6)]
)
def test_the_scale_of_differences_is_a_round_number(top: float, end: float) -> None:
    random = np.random.default_rng(0)
    pictures = random.uniform(-top, top, (4, 20, 20, 1)).astype(np.float32)
    pictures[0, 0, 0, 0] = 1000 * top  # one of 1600 pixels clips, and does not set the scale
    levels, found = images.signed_levels(pictures)
    assert found == pytest.approx(end)
    if top:
        assert levels[0, 0, 0, 0] == 255
        assert (np.abs(pictures) <= found).mean() >= 0.995


def test_signed_levels_of_colours_and_of_no_numbers() -> None:
    colours = np.zeros((1, 2, 2, 3), np.float32)
    colours[0, 0, 0] = [0.3, 0.6, 0.9]
    colours[0, 0, 1] = [0.3, 0, -0.3]
    levels, end = images.signed_levels(colours)
    assert levels.shape == (1, 2, 2, 1)
    assert levels[0, 0, :, 0].tolist() == [128 + round(0.6 / end * 127), 128]
    wild = np.array([[[np.nan], [np.inf]], [[-np.inf], [0.0]]], np.float32)
    assert images.signed_levels(wild)[0].ravel().tolist() == [128, 255, 1, 128]


def oklab(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lightness, chroma and hue in degrees of sRGB bytes (…, 3). Source: Björn Ottosson, A perceptual color space for
    image processing, 2020, from sRGB to OKLab."""
    srgb = colours / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear @ np.array([
        [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]).T)  # fmt: skip
    lab = lms @ np.array([
        [0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]).T  # fmt: skip
    return lab[..., 0], np.hypot(lab[..., 1], lab[..., 2]), np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360


@pytest.mark.parametrize(
    ("page", "zero", "lightness", "chroma", "hues"),
    [("light", 1, 0.5, 0.15, (255, 30)), ("dark", 0.2, 0.74, 0.13, (245, 55))],
)
def test_signed_colours_are_balanced(
    page: str, zero: float, lightness: float, chroma: float, hues: tuple[float, float]
) -> None:
    """Both ends look equally strong, 0 is the page, and every step away from it is a step towards an end.

    A byte is coarse: it moves a lightness by .004, a chroma by .006 and a hue of that chroma by 3°.
    """
    table = json.loads((Path(images.__file__).parent / "difference_colours.json").read_text(encoding="utf-8"))[page]
    colours = np.array([list(bytes.fromhex(colour)) for colour in table])
    assert colours.shape == (256, 3)
    assert (colours[0] == colours[1]).all()  # there is no level 0
    light, strength, hue = oklab(colours)
    assert strength[128] < 0.001
    for share in (0.25, 0.5, 1.0):
        offset = round(127 * share)
        for end, wanted in zip((128 - offset, 128 + offset), hues, strict=True):
            assert light[end] == pytest.approx(zero + offset / 127 * (lightness - zero), abs=0.005)
            assert strength[end] == pytest.approx(chroma * (offset / 127) ** 0.8, abs=0.006)
            assert hue[end] == pytest.approx(wanted, abs=4)
    for half in (light[128:0:-1], light[128:]):
        assert (np.diff(half) * np.sign(lightness - zero) >= -0.002).all()


def test_snapshot_and_figure_have_the_colours_of_a_light_page() -> None:
    """The page's own are those of the file; see compare.test.ts."""
    table = json.loads((Path(images.__file__).parent / "difference_colours.json").read_text(encoding="utf-8"))["light"]
    levels = np.arange(256, dtype=np.uint8)[:, None]
    assert [bytes(colour).hex() for colour in images.signed_colours(levels)] == table
    c = compared(mlp(3, 1), mlp(3, 2))
    c.step(6)
    figure = ldam.figures.comparison(c)
    signed, _ = images.signed_levels(images.as_pictures(c.difference_images, 3))
    for column in range(3):
        drawn = figure.axes[2 * 3 + column].images[0]
        shown = drawn.cmap(drawn.norm(drawn.get_array()), bytes=True)[..., :3]
        np.testing.assert_array_equal(shown, images.signed_colours(signed[0, column]))


def test_pictures_of_several_models_have_one_contrast() -> None:
    c = compared(tiny(1), tiny(2))
    with torch.no_grad():
        c.samplers[1].state.x.mul_(4)
    frames = [s.frame() for s in c.samplers]
    tiles = images.panes_alike(frames, 3, None)
    assert tiles[0].shown == tiles[1].shown
    assert tiles[0].sample.std() < tiles[1].sample.std() / 2
    bounded = images.panes_alike(frames, 3, (0.0, 1.0))
    for tile, frame in zip(bounded, frames, strict=True):
        assert np.array_equal(tile.sample, images.panes(frame, 3, (0.0, 1.0), 1).sample)


@pytest.mark.parametrize("count", [2, 3])
def test_figure(count: int, tmp_path: Path) -> None:
    models = [mlp(seed=seed) for seed in range(count)]
    c = compared(*models, class_names=NAMES, neurons=[1, 3, 4], pixel_range=(0.0, 1.0))
    c.free("l2")
    c.step(12)
    figure = ldam.figures.comparison(c, title="a title")
    rows = 2 * count - 1
    tiles, (bar,) = figure.axes[: rows * 3], figure.axes[rows * 3 :]
    assert [axis.get_title() for axis in tiles[:3]] == ["1 one", "3 three", "4 four"]
    assert figure.get_suptitle() == "a title"
    for k in range(count):
        assert tiles[3 * k].get_ylabel() == "abc"[k]
        for n in range(3):
            shown = np.asarray(tiles[3 * k + n].images[0].get_array())
            expected = np.floor(c.average_images[k, n, 0].numpy() * 255 + 0.5).clip(0, 255)
            assert np.array_equal(shown, expected)
            assert tiles[3 * k + n].get_xlabel() == f"{float(c.activation[k, n].mean()):.3g}"
    for k in range(1, count):
        assert tiles[3 * (count + k - 1)].get_ylabel() == f"{'abc'[k]}\nminus a"
        for n in range(3):
            shown = tiles[3 * (count + k - 1) + n].images[0]
            low, high = shown.get_clim()
            assert low == -high
            inside = c.difference_images[k - 1, n, 0].clamp(low, high).numpy()
            np.testing.assert_allclose(np.asarray(shown.get_array()), inside, atol=high / 127)
    for n, row in enumerate(c.agreement()):
        assert tiles[3 * (rows - 1) + n].get_xlabel() == f"r = {row.correlation:.2f}"
    assert bar.get_ylabel() == "difference of averages"
    caption = figure.get_supxlabel().replace("\n", " ")
    assert caption.startswith("step 12; ")
    for name, value in c.params.items():
        assert f"{name.replace('_', ' ')} {value:.4g}" in caption
    figure.savefig(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


def test_declarations_are_parameters() -> None:
    c = compared()
    c.free("temperature")
    assert all(isinstance(p, Parameter) for p in c.parameters)
    assert len({p.name for p in c.parameters}) == len(c.parameters)
