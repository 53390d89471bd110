"""Bad input is refused with a message that names the argument, what came, and what would work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget import BurnIn, PolynomialDecay, Sampler
from ldam_widget.kernels import Algorithm1

from .conftest import TINY_SHAPE, UNSCALED, TinyCnn, with_fixed_weights

NAN, INF = float("nan"), float("inf")
NAMES = ("ant", "cat", "dog", "eel", "fox")


def sampler(model: Any = None, **arguments: Any) -> Sampler:
    model = with_fixed_weights(TinyCnn) if model is None else model
    return Sampler(model, **{"input_shape": TINY_SHAPE, "kernel": Algorithm1(), **UNSCALED, **arguments})


def spoiled(value: float) -> nn.Module:
    model = with_fixed_weights(TinyCnn)
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, :2] = value
    return model


def spoiled_buffer() -> nn.Module:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)))
    model[1].running_var[1] = INF
    return model


# what came -> the call; the error; the argument, what came, and what would work, each as it stands in the message
Case = tuple[Callable[[], Any], type[Exception], str, str, str]

MODELS: dict[str, Case] = {
    "no module": (lambda: sampler("LeNet"), TypeError, "model", "'LeNet'", "an instance of torch.nn.Module"),
    "class": (lambda: sampler(TinyCnn), TypeError, "model", "TinyCnn", "an instance of torch.nn.Module"),
    "layers of no module": (lambda: ldam.layers(3, (1,)), TypeError, "model", "3", "torch.nn.Module"),
    "NaN weight": (lambda: sampler(spoiled(NAN)), ValueError, "'conv2.weight'", "2 NaN", "an earlier checkpoint"),
    "infinite weight": (lambda: sampler(spoiled(INF)), ValueError, "'conv2.weight'", "infinite", "earlier checkpoint"),
    "infinite buffer": (lambda: sampler(spoiled_buffer()), ValueError, "'1.running_var'", "1 NaN or inf", "earlier"),
    "meta": (lambda: sampler(TinyCnn().to("meta")), ValueError, "layer1.0.weight", "meta", "load the weights first"),
}

PLACES: dict[str, Case] = {
    "layer": (lambda: sampler(layer="conv3"), ValueError, "layer", "'conv3'", "mean 'conv2'? The forward pass runs: "),
    "layer type": (lambda: sampler(layer=["fc"], neurons=[1]), ValueError, "layer", "['fc']", "conv2, fc"),
    "neuron": (lambda: sampler(neurons=[5]), ValueError, "neuron", "5", "0 to 4"),
    "negative neuron": (lambda: sampler(neurons=[-1]), ValueError, "neuron", "-1", "0 to 4"),
    "place": (lambda: sampler(layer="conv2", neurons=[(0, 4, 5)]), ValueError, "neuron", "(0, 4, 5)", "size 4×6"),
    "place in a string": (lambda: sampler(neurons=["conv2:0@9,9"]), ValueError, "neuron", "(0, 9, 9)", "size 4×6"),
    "place of a plain unit": (lambda: sampler(neurons=["1@2,3"]), ValueError, "neuron", "(1, 2, 3)", "no place"),
    "too few places": (lambda: sampler(layer="conv2", neurons=["1@2"]), ValueError, "neuron", "(1, 2)", "4×6"),
    "class name": (lambda: sampler(neurons=["dgo"], class_names=NAMES), ValueError, "neuron", "dgo", "mean 'dog'?"),
    "other name": (lambda: sampler(neurons=["zzz"], class_names=NAMES), ValueError, "neuron", "zzz", "ant, cat, dog"),
    "no names": (lambda: sampler(neurons=["dog"]), ValueError, "neuron", "'dog'", "a number such as '5'"),
    "half a neuron": (lambda: sampler(neurons=[1.5]), ValueError, "neuron", "1.5", "an int, (channel, y, x)"),
    "half, numpy": (lambda: sampler(neurons=[np.float64(1.5)]), ValueError, "neuron", "1.5", "an int, (channel"),
    "half, torch": (lambda: sampler(neurons=[torch.tensor(1.5)]), ValueError, "neuron", "1.5", "an int, (channel"),
    "half a place": (lambda: sampler(layer="conv2", neurons=[(0, 0.5, 1)]), ValueError, "neuron", "0.5", "an int, ("),
    "no neuron": (lambda: sampler(neurons=[None]), ValueError, "neuron", "None", "an int, (channel, y, x)"),
    "no list": (lambda: sampler(neurons=2.5), ValueError, "neurons", "2.5", "range(10)"),
    "empty": (lambda: sampler(neurons=[]), ValueError, "neurons", "an empty list", "at least one"),
    "duplicate": (lambda: sampler(neurons=[1, 2, 1]), ValueError, "neurons", "1, 2, 1", "differ from each other"),
    "duplicate, two forms": (lambda: sampler(neurons=[1, "1"]), ValueError, "neurons", "1, 1", "differ"),
    "two layers": (lambda: sampler(neurons=["fc:1", "conv2:1"]), ValueError, "neurons", "fc, conv2", "of one layer"),
    "layer twice": (lambda: sampler(layer="fc", neurons=["conv2:1"]), ValueError, "neurons", "fc, conv2", "one layer"),
    "direction": (lambda: sampler(neurons=[torch.ones(3)]), ValueError, "direction", "(3,)", "(5,)"),
    "zero direction": (lambda: sampler(neurons=[torch.zeros(5)]), ValueError, "direction", "0.0", "not zero"),
    "NaN direction": (lambda: sampler(neurons=[torch.full((5,), NAN)]), ValueError, "direction", "nan", "finite"),
    "at": (lambda: sampler(at="middle"), ValueError, "at", "'middle'", "'center' or 'mean'"),
    "class_names": (lambda: sampler(class_names="abc"), TypeError, "class_names", "'abc'", "a list of names"),
    "class_names of no list": (lambda: sampler(class_names=3), TypeError, "class_names", "3", "a list of names"),
    "select layer": (lambda: sampler().select("fd"), ValueError, "layer", "'fd'", "mean 'fc'"),
    "select neuron": (lambda: sampler().select(neurons=[9]), ValueError, "neuron", "9", "0 to 4"),
    "unit": (lambda: sampler().unit("9"), ValueError, "neuron", "9", "0 to 4"),
    "demo": (lambda: ldam.demo.mnist("last"), ValueError, "mnist", "'last'", '"epoch1" or "final" or "averaged"'),
}

SHAPES: dict[str, Case] = {
    # the model's own words are shown
    "other size": (lambda: sampler(input_shape=(3, 7, 8)), ValueError, "input_shape", "(3, 7, 8)", "1x120 and 96x5"),
    "channels": (lambda: sampler(input_shape=(1, 6, 8)), ValueError, "input_shape", "(1, 6, 8)", "to have 3 channels"),
    "with batch": (lambda: sampler(input_shape=(1, 3, 6, 8)), ValueError, "input_shape", "(1, 3, 6, 8)", "without the"),
    "layers": (lambda: ldam.layers(TinyCnn(), (3, 7, 8)), ValueError, "input_shape", "(3, 7, 8)", "shape of one image"),
    "zero": (lambda: sampler(input_shape=(3, 0, 8)), ValueError, "input_shape", "(3, 0, 8)", "positive integers"),
    "negative": (lambda: sampler(input_shape=(3, -6, 8)), ValueError, "input_shape", "-6", "positive integers"),
    "float": (lambda: sampler(input_shape=(3, 6.5, 8)), ValueError, "input_shape", "6.5", "positive integers"),
    "empty": (lambda: sampler(input_shape=()), ValueError, "input_shape", "()", "e.g. (1, 28, 28)"),
    "number": (lambda: sampler(input_shape=28), ValueError, "input_shape", "28", "e.g. (1, 28, 28)"),
    "text": (lambda: sampler(input_shape="28"), ValueError, "input_shape", "'28'", "e.g. (1, 28, 28)"),
    "preprocess": (lambda: sampler(preprocess=0.5), TypeError, "preprocess", "0.5", "a function of a batch"),
    "preprocess fails": (
        lambda: sampler(preprocess=lambda x: x.off),
        ValueError,
        "preprocess",
        "'off'",
        "(1, 3, 6, 8)",
    ),
    "preprocess gives": (lambda: sampler(preprocess=lambda x: None), ValueError, "preprocess", "NoneType", "a tensor"),
    "preprocess shape": (lambda: sampler(preprocess=lambda x: x[:, 1:]), ValueError, "preprocess", "(2, 6, 8)", "3 ch"),
    "range reversed": (
        lambda: sampler(pixel_range=(1, 0)),
        ValueError,
        "pixel_range",
        "(1, 0)",
        "(lo, hi) with lo < hi",
    ),
    "range empty": (lambda: sampler(pixel_range=(1, 1)), ValueError, "pixel_range", "(1, 1)", "lo < hi"),
    "range of one": (lambda: sampler(pixel_range=255), ValueError, "pixel_range", "255", "(lo, hi)"),
    "range of three": (lambda: sampler(pixel_range=(0, 1, 2)), ValueError, "pixel_range", "(0, 1, 2)", "(lo, hi)"),
    "range of text": (lambda: sampler(pixel_range=("a", "b")), ValueError, "pixel_range", "'a'", "(lo, hi)"),
    "range infinite": (lambda: sampler(pixel_range=(0, INF)), ValueError, "pixel_range", "inf", "both finite, or None"),
    "range NaN": (lambda: sampler(pixel_range=(NAN, 1)), ValueError, "pixel_range", "nan", "both finite, or None"),
}

ARGUMENTS: dict[str, Case] = {
    "device": (lambda: sampler(device="gpu"), ValueError, "device", "'gpu'", "Try device='cpu'"),
    "device without data": (lambda: sampler(device="meta"), ValueError, "device", "'meta'", "Try device='cpu'"),
    "device type": (lambda: sampler(device=3.5), ValueError, "device", "'3.5'", "Try device='cpu'"),
    "chains": (lambda: sampler(chains=0), ValueError, "chains", "0", "an integer ≥ 1"),
    "chains, half": (lambda: sampler(chains=1.5), TypeError, "chains", "1.5", "an integer ≥ 1"),
    "chains, bool": (lambda: sampler(chains=True), ValueError, "chains", "True", "an integer ≥ 1"),
    "seed": (lambda: sampler(seed=-1), ValueError, "seed", "-1", "an integer ≥ 0"),
    "seed type": (lambda: sampler(seed=None), TypeError, "seed", "None", "an integer ≥ 0"),
    "restart": (lambda: sampler().restart(seed=-1), ValueError, "seed", "-1", "an integer ≥ 0"),
    "steps_per_frame": (lambda: sampler(steps_per_frame=0), ValueError, "steps_per_frame", "0", "between 1 and 101"),
    "steps_per_frame, half": (lambda: sampler(steps_per_frame=2.5), ValueError, "steps_per_frame", "2.5", "an integer"),
    "temperature": (lambda: sampler(temperature=-1), ValueError, "temperature", "-1", "0 or between 1e-06 and 10000"),
    "temperature type": (lambda: sampler(temperature="hot"), TypeError, "temperature", "'hot'", "a number"),
    "temperature NaN": (lambda: sampler(temperature=NAN), ValueError, "temperature", "nan", "between 1e-06 and 10000"),
    "kernel": (
        lambda: sampler(kernel="Algorithm1"),
        TypeError,
        "kernel",
        "'Algorithm1'",
        "such as kernels.Algo",
    ),
    "kernel class": (lambda: sampler(kernel=Algorithm1), TypeError, "kernel", "<class", "such as kernels.Algo"),
    "regularizer alone": (lambda: sampler(regularizers=ldam.L2(0.1)), TypeError, "regularizers", "L2(", "a list, e.g."),
    "regularizer class": (lambda: sampler(regularizers=[ldam.L2]), TypeError, "regularizers", "<class", "L2(0.1)"),
    "regularizer number": (lambda: sampler(regularizers=[0.1]), TypeError, "regularizers", "0.1", "such as L2(0.1)"),
    "regularizer twice": (
        lambda: sampler(regularizers=[ldam.L2(), ldam.L2()]),
        ValueError,
        "regular",
        "l2, l2",
        "each",
    ),
    "average": (lambda: sampler(average=0.99), TypeError, "average", "0.99", "EMA(decay) or Window(length)"),
    "average class": (
        lambda: sampler(average=ldam.EMA),
        TypeError,
        "average",
        "<class",
        "EMA(decay) or Window(length)",
    ),
    "burn_in": (lambda: sampler(burn_in=100), TypeError, "burn_in", "100", "BurnIn(window"),
    "step": (lambda: sampler().step(0), ValueError, "n must", "0", "an integer ≥ 1"),
    "step, half": (lambda: sampler().step(0.5), TypeError, "n must", "0.5", "an integer ≥ 1"),
    "frames": (lambda: next(sampler().frames(-5)), ValueError, "steps", "-5", "an integer ≥ 1"),
}

PARTS: dict[str, Case] = {
    "step_size": (lambda: Algorithm1(step_size=0), ValueError, "step_size", "0", "between 0.0001 and 1000"),
    "step_size type": (lambda: Algorithm1(step_size="x"), TypeError, "step_size", "'x'", "a number"),
    "noise": (lambda: Algorithm1(noise=-0.1), ValueError, "noise", "-0.1", "0 or between 0.0001 and 100"),
    "momentum": (lambda: Algorithm1(momentum=1), ValueError, "momentum", "1", "between 0 and 0.99"),
    "normalize": (lambda: Algorithm1(normalize="l2"), ValueError, "normalize", "'l2'", "'unit', 'none' or 'rms'"),
    "mix": (lambda: Algorithm1(mix="sum"), ValueError, "mix", "'sum'", "'add' or 'convex'"),
    "burst": (lambda: Algorithm1(burst=0), ValueError, "burst", "0", "an integer ≥ 1"),
    "burst, half": (lambda: Algorithm1(burst=1.5), ValueError, "burst", "1.5", "an integer ≥ 1"),
    "l2": (lambda: ldam.L2(-1), ValueError, "l2", "-1", "0 or between 0.0001 and 100"),
    "l2 type": (lambda: ldam.L2("a lot"), TypeError, "l2", "'a lot'", "a number"),
    "l2 array": (lambda: ldam.L2(np.ones(3)), TypeError, "l2", "array", "a number"),
    "l2 NaN": (lambda: ldam.L2(NAN), ValueError, "l2", "nan", "between 0.0001 and 100"),
    "EMA": (lambda: ldam.EMA(1.0), ValueError, "decay", "1", "between 0 and 0.998"),
    "EMA, negative": (lambda: ldam.EMA(-0.5), ValueError, "decay", "-0.5", "between 0 and 0.998"),
    "EMA type": (lambda: ldam.EMA("slow"), TypeError, "decay", "'slow'", "a number"),
    "Window": (lambda: ldam.Window(0), ValueError, "length", "0", "between 1 and 518"),
    "Window, half": (lambda: ldam.Window(2.5), ValueError, "length", "2.5", "an integer"),
    "BurnIn window": (lambda: BurnIn(window=1), ValueError, "window", "1", "an integer ≥ 2"),
    "BurnIn tolerance": (lambda: BurnIn(tolerance=0), ValueError, "tolerance", "0", "> 0"),
    "BurnIn tolerance type": (lambda: BurnIn(tolerance="x"), TypeError, "tolerance", "'x'", "a number"),
    "BurnIn threshold": (lambda: BurnIn(threshold="high"), TypeError, "threshold", "'high'", "a number or None"),
    "BurnIn threshold NaN": (lambda: BurnIn(threshold=NAN), ValueError, "threshold", "nan", "a number or None"),
    "decay a": (lambda: PolynomialDecay(0), ValueError, "PolynomialDecay", "a=0", "a > 0"),
    "decay b": (lambda: PolynomialDecay(1, b=-1), ValueError, "PolynomialDecay", "b=-1", "b > 0"),
    "decay mu": (lambda: PolynomialDecay(1, mu=-0.1), ValueError, "PolynomialDecay", "mu=-0.1", "mu >= 0"),
    "decay infinite": (lambda: PolynomialDecay(INF), ValueError, "PolynomialDecay", "a=inf", "finite numbers"),
    "decay type": (lambda: PolynomialDecay("fast"), TypeError, "PolynomialDecay", "a='fast'", "numbers"),
}

KNOWN = "step_size, temperature, noise, momentum, heat, steps_per_frame, l2, average, display_scale, display_base"
LIVE: dict[str, Case] = {
    "misspelt": (lambda: sampler().set(stepsize=1), ValueError, "'stepsize'", "did you mean step_size?", KNOWN),
    "of another kernel": (lambda: sampler().set(friction=1), ValueError, "unknown parameter", "'friction'", KNOWN),
    "too small": (lambda: sampler().set(l2=-1), ValueError, "l2", "-1", "0 or between 0.0001 and 100"),
    "too large": (lambda: sampler().set(average=519), ValueError, "average", "519", "between 1 and 518"),
    "no number": (lambda: sampler().set(temperature=[1]), TypeError, "temperature", "[1]", "a number"),
    "None": (lambda: sampler().set(momentum=None), TypeError, "momentum", "None", "a number"),
    "bool": (lambda: sampler().set(momentum=True), TypeError, "momentum", "True", "a number"),
    "NaN": (lambda: sampler().set(noise=NAN), ValueError, "noise", "nan", "0 or between"),
    "no schedule here": (lambda: sampler().set(l2=PolynomialDecay(1)), TypeError, "l2", "PolynomialDecay", "a number"),
    "half steps": (lambda: sampler().set(steps_per_frame=1.5), ValueError, "steps_per_frame", "1.5", "an integer"),
}

if not torch.cuda.is_available():
    ARGUMENTS["device that is not there"] = (
        lambda: sampler(device="cuda"), ValueError, "device", "'cuda'", "Try device='cpu'"
    )  # fmt: skip
GROUPS = {"model": MODELS, "neuron": PLACES, "shape": SHAPES, "argument": ARGUMENTS, "part": PARTS, "live": LIVE}
CASES = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_message_names_argument_value_and_remedy(case: Case) -> None:
    call, error, argument, came, remedy = case
    with pytest.raises(error) as raised:
        call()
    assert raised.type is error  # and not an accident of a subclass
    message = str(raised.value)
    for part in (argument, came, remedy):
        assert part in message


# Layers without a gradient, with integers, tuples or a softmax: tests/test_neurons.py.


def test_a_refused_change_leaves_everything_as_it_was() -> None:
    s = sampler(neurons=[1, 2])
    s.step(4)
    params, images = s.params, s.images
    for call in (lambda: s.set(l2=0.5, nonsense=1), lambda: s.set(l2=0.5, momentum=2), lambda: s.set(l2=1, noise="x"),
                 lambda: s.set(step_size=PolynomialDecay(1), l2=-1), lambda: s.select("conv2", [99]),
                 lambda: s.select("nope"), lambda: s.select(neurons=[]), lambda: s.restart(-1)):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            call()
    assert s.params == params
    assert s.layer == "fc"
    assert [n.key for n in s.neurons] == ["1", "2"]
    assert torch.equal(s.images, images)
    straight = sampler(neurons=[1, 2])
    straight.step(10)
    s.step(6)
    assert torch.equal(s.images, straight.images)


class OnlyFinite(nn.Module):
    """NaN where a pixel is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.good, self.bad = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.good(x) + self.bad(x.log())


def test_start_images_without_a_finite_activation_are_refused() -> None:
    model = with_fixed_weights(OnlyFinite)
    with pytest.raises(ldam.SamplingError, match=r"activation of neuron 0 \(chain 1\) became nan at step 0"):
        Sampler(model, layer="bad", input_shape=(6,))
    s = Sampler(model, layer="good", input_shape=(6,), neurons=[1])
    s.step(4)
    images = s.images
    with pytest.raises(ldam.SamplingError):
        s.select("bad")
    assert s.layer == "good"
    assert torch.equal(s.images, images)
    s.step(2)


@pytest.mark.parametrize(
    ("name", "value"), [("step_size", np.float32(0.25)), ("noise", torch.tensor(0.25)), ("momentum", np.float64(0.25))]
)
def test_numbers_of_other_libraries_are_welcome(name: str, value: Any) -> None:
    """And `params` stays JSON-safe."""
    built = sampler(kernel=Algorithm1(**{name: value}))
    changed = sampler()
    changed.set(**{name: value})
    for s in (built, changed):
        assert s.params[name] == 0.25
        assert type(s.params[name]) is float
        s.step(1)
