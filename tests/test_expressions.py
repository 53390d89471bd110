"""Expressions of neurons as text and as objects: what they mean, how they are named, and what is wrong with others."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons
from ldam_widget.objectives.reading import read

from .conftest import with_fixed_weights

SHAPE = (1, 4, 4)
NAMES = ("cat", "hot dog", "black-and-tan coonhound", "3", "dog", "crane", "crane")


class Net(nn.Module):
    """Names of layers that look like arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.add_module("conv-1", nn.Conv2d(4, 6, 1))
        self.blocks = nn.Sequential(nn.Flatten(), nn.Linear(24, 8))
        self.fc = nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        h = self.get_submodule("conv-1")(torch.tanh(self.conv1(x)))
        return self.fc(torch.tanh(self.blocks(h)))


NET = with_fixed_weights(Net)


def neurons(*asked: Any, layer: str | None = None, names: tuple[str, ...] | None = NAMES, **options: Any) -> Neurons:
    options = {"chains": 1, **options}
    view = private_view(NET, None, Notes())
    return Neurons(view, layer, list(asked), input_shape=SHAPE, class_names=names, **options)


def images(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(4))


def value(*asked: Any, t: float = 0.0, **options: Any) -> Tensor:
    """The columns on some images, (images, N)."""
    return neurons(*asked, **options).at(t).activations(images(5))


LOGITS = NET(images(5)).detach()
CONV = NET.conv1(images(5)).detach()


def logits(weights: dict[int, float]) -> Tensor:
    return sum((w * LOGITS[:, unit] for unit, w in weights.items()), torch.zeros(5))


MEANINGS: dict[str, dict[int, float]] = {
    "3": {3: 1},
    " 3 ": {3: 1},
    "-5": {5: -1},
    "+5": {5: 1},
    "--5": {5: 1},
    "3 - 5": {3: 1, 5: -1},
    "-5 + 3": {3: 1, 5: -1},
    "3-5": {3: 1, 5: -1},
    "3 + 0.5*5 - 6": {3: 1, 5: 0.5, 6: -1},
    "5*0.5 + 3": {3: 1, 5: 0.5},
    ".5*5+1e-1*2": {5: 0.5, 2: 0.1},
    "0.5 * -3": {3: -0.5},
    "-2.0*3/4.0": {3: -0.5},
    "(3 + 5)/2": {3: 0.5, 5: 0.5},
    "2*(3 - (5 - 6))": {3: 2, 5: -2, 6: 2},
    "0.5*0.5*3": {3: 0.25},
    "3 + 3 + 3 - 5": {3: 3, 5: -1},
    "3 − 0.5·5 × 2.0": {3: 1, 5: -1},
    "cat": {0: 1},
    "hot dog": {1: 1},
    "black-and-tan coonhound": {2: 1},
    "cat + dog": {0: 1, 4: 1},
    "cat-dog": {0: 1, 4: -1},
    "hot dog - dog": {1: 1, 4: -1},
    "'hot dog' - \"cat\"": {1: 1, 0: -1},
    "2*cat - black-and-tan coonhound*0.5": {0: 2, 2: -0.5},
    "crane - 6": {5: 1, 6: -1},
    "fc:3 - fc:cat": {3: 1, 0: -1},
    "fc:'hot dog' + fc: 3": {1: 1, 3: 1},
}


@pytest.mark.parametrize("text", MEANINGS)
def test_what_a_text_means(text: str) -> None:
    torch.testing.assert_close(value(text)[:, 0], logits(MEANINGS[text]), rtol=1e-5, atol=1e-5)


Written = tuple[str, dict[str, float]]  # a text, and the weight of every unit
LEAVES = st.sampled_from(
    [(str(i), {str(i): 1.0}) for i in range(7)] + [("cat", {"cat": 1.0}), ("'hot dog'", {"hot dog": 1.0})]
)
FACTORS = st.sampled_from([0.5, 2.0, 1.5, -0.25])


def _plus(one: Written, other: Written, sign: str) -> Written:
    (a, mine), (b, its) = one, other
    s = -1.0 if sign == "-" else 1.0
    weights = {unit: mine.get(unit, 0.0) + s * its.get(unit, 0.0) for unit in {**mine, **its}}
    return f"{a} {sign} ({b})", weights


def _times(one: Written, factor: float, form: str) -> Written:
    a, mine = one
    by = 1 / factor if "/" in form else factor
    return form.format(a=f"({a})", c=factor), {unit: by * weight for unit, weight in mine.items()}


@pytest.mark.slow
@given(st.recursive(
    LEAVES, lambda inner: st.builds(_plus, inner, inner, st.sampled_from("+-"))
    | st.builds(_times, inner, FACTORS, st.sampled_from(["{c}*{a}", "{a} * {c}", "{a}/{c}"])), max_leaves=8,
))  # fmt: skip
def test_any_text_means_what_it_says(written: Written) -> None:
    text, weights = written
    found = dict.fromkeys(weights, 0.0)
    for start, end, atom in read(text, NAMES, ("fc", "conv-1")).terms:
        assert start == end
        found[str(atom)] += start
    assert found == pytest.approx(weights)


@given(st.lists(st.sampled_from([
    "3", "5@3,4", "0.5", "1e-3", "cat", "hot dog", *"+-*/()'\"#:@[] →·", "->", "fc:", "conv-1:", "0.5:", "nan", "1e",
]), max_size=9).map("".join))  # fmt: skip
def test_any_other_text_is_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        read(text, NAMES, ("fc", "conv-1", "0.5"))


@pytest.mark.parametrize("text", ["(" * 5000 + "3", "-" * 5000 + "3"], ids=["brackets", "signs"])
def test_too_deep(text: str) -> None:
    with pytest.raises(ValueError, match="too many"):
        read(text, NAMES, ())


def test_other_layers() -> None:
    expected = CONV[:, 2, 1, 0] + LOGITS[:, 1]
    torch.testing.assert_close(value("conv1:2@1,0 + fc:1")[:, 0], expected)
    torch.testing.assert_close(value("conv1:2@1,0 + 1")[:, 0], expected)
    torch.testing.assert_close(value("0.5*conv1:2@mean - 1")[:, 0], 0.5 * CONV[:, 2].mean((1, 2)) - LOGITS[:, 1])
    torch.testing.assert_close(value("2*conv1:2 - 1", at="mean")[:, 0], 2 * CONV[:, 2].mean((1, 2)) - LOGITS[:, 1])
    with_sign = NET.get_submodule("conv-1")(torch.tanh(CONV))[:, 5, 0, 1]
    torch.testing.assert_close(value("conv-1:5@0,1 - conv1:0@0,0")[:, 0], with_sign - CONV[:, 0, 0, 0])
    torch.testing.assert_close(value("1-conv-1:5@0,1")[:, 0], LOGITS[:, 1] - with_sign)
    torch.testing.assert_close(value("conv-1:5@0,1")[:, 0], with_sign)


def test_the_models_own_output() -> None:
    """Where a function computes it, no layer returns it."""

    class Functional(Net):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    view = private_view(with_fixed_weights(Functional), None, Notes())
    by_objects = ldam.neuron(3, layer="(output)") - ldam.neuron((2, 1, 0), layer="conv1")
    for asked in ("(output):3 - conv1:2@1,0", "3 - conv1:2@1,0", by_objects, "(0.5*((output):3 - conv1:2@1,0))/0.5"):
        for layer in (None, "fc"):
            found = Neurons(view, layer, [asked], input_shape=SHAPE, chains=1)
            of_fc = layer == "fc" and asked == "3 - conv1:2@1,0"
            expected = (1 if of_fc else 2) * LOGITS[:, 3] - CONV[:, 2, 1, 0]
            torch.testing.assert_close(found.activations(images(5))[:, 0], expected)
            again = Neurons(view, layer, [found.neurons[0].key], input_shape=SHAPE, chains=1)
            assert again.neurons[0].key == found.neurons[0].key


N = ldam.neuron
OBJECTS: dict[str, tuple[Callable[[], ldam.Expression], dict[int, float]]] = {
    "text": (lambda: N("3"), {3: 1}),
    "expression in text": (lambda: 0.5 * N("3 - 5") - N(6), {3: 0.5, 5: -0.5, 6: -1}),
    "number": (lambda: N(3) + 0.5 * N(5), {3: 1, 5: 0.5}),
    "name": (lambda: N("cat") - N("hot dog"), {0: 1, 1: -1}),
    "layer": (lambda: N("fc:3") * 2 - N(5, layer="fc") / 4, {3: 2, 5: -0.25}),
    "text within a layer": (lambda: N("3 - 5", layer="fc"), {3: 1, 5: -1}),
    "signs": (lambda: +N(3) - -N(5), {3: 1, 5: 1}),
    "sum": (lambda: sum([N(1), N(2), N(3)]), {1: 1, 2: 1, 3: 1}),  # type: ignore[dict-item,return-value]
    "tensor factor": (lambda: torch.tensor(0.5).item() * N(3), {3: 0.5}),
    "direction": (lambda: N(torch.eye(7)[3]) - 2 * N(torch.eye(7)[5] * 9), {3: 1, 5: -2}),
}


@pytest.mark.parametrize("case", OBJECTS.values(), ids=OBJECTS.keys())
def test_what_an_object_means(case: tuple[Callable[[], Any], dict[int, float]]) -> None:
    torch.testing.assert_close(value(case[0]())[:, 0], logits(case[1]), rtol=1e-5, atol=1e-5)


def test_objects_are_compared_and_kept_in_sets() -> None:
    one, same = (ldam.neuron("fc:3") + 0.5 * ldam.neuron(torch.eye(7)[5]) for _ in range(2))
    other = ldam.neuron("fc:3") + 0.5 * ldam.neuron(torch.eye(7)[4])
    assert one == same
    assert len({one, same, other}) == 2
    with pytest.raises(AttributeError):
        one.terms = ()  # type: ignore[misc]
    assert repr(N("fc:3") + 0.5 * N("fc:5")) == "neuron('fc:3 + 0.5*fc:5')"
    assert str(2 * N(3) - N("cat - dog")) == "2·3 - (cat - dog)"
    assert N((2, 1, 0), layer="conv1").label == "conv1:2@1,0"
    torch.testing.assert_close(
        value(eval(repr(N(3) - 2 * N("5 - 6")), {"neuron": N}))[:, 0], logits({3: 1, 5: -2, 6: 2})
    )


def test_interpolation_and_opposites() -> None:
    for asked in ("3 -> 5", ldam.interpolate("3", 5), "3 → 5"):
        for t in (0.0, 0.3, 1.0):
            torch.testing.assert_close(value(asked, t=t)[:, 0], logits({3: 1 - t, 5: t}))
    part = value(ldam.interpolate("3 - conv1:0@1,1", "-5") - 0.5 * N(6), t=0.25)[:, 0]
    expected = 0.75 * (LOGITS[:, 3] - CONV[:, 0, 1, 1]) - 0.25 * LOGITS[:, 5] - 0.5 * LOGITS[:, 6]
    torch.testing.assert_close(part, expected)
    found = neurons(*ldam.opposites(5, "cat - dog"))
    assert [n.label for n in found.neurons] == ["5 crane", "-5", "cat - dog", "-cat + dog"]
    assert not found.interpolates
    assert neurons("3 -> 5").interpolates


# ---- names -----------------------------------------------------------------------------------------------------------

LABELS: dict[str, tuple[str, str]] = {  # key and label
    "cat + 0.5*dog": ("0 + 0.5*4", "cat + 0.5·dog"),
    "-5 + 3": ("3 - 5", "-5 + 3"),
    "2*cat": ("2.0*0", "2·cat"),
    "-dog": ("-4", "-dog"),
    "crane - 6": ("5 - 6", "5 - 6"),  # two classes have that name
    "conv1:2@1,0 + fc:1": ("1 + conv1:2@1,0", "conv1:2@1,0 + hot dog"),
    "fc:cat + conv1:1": ("0 + conv1:1", "cat + conv1:1"),
    "cat -> dog": ("0 -> 4", "cat → dog"),
    "(cat -> dog) - 5": ("0 - 5 -> 4 - 5", "cat - 5 → dog - 5"),
    "cat + 3 - cat/2 - 3": ("0.5*0", "0.5·cat"),
}


@pytest.mark.parametrize("text", LABELS)
def test_keys_and_labels(text: str) -> None:
    (neuron,) = neurons(text).neurons
    assert (neuron.key, neuron.label, neuron.unit) == (*LABELS[text], None)
    again = neurons(neuron.key)
    assert again.neurons[0].key == neuron.key
    torch.testing.assert_close(value(neuron.key), value(text))


def test_a_neuron_of_another_layer_keeps_the_layer_of_the_others() -> None:
    found = neurons("3", ldam.neuron("conv1:2"))
    assert (found.layer, [n.key for n in found.neurons]) == ("fc", ["3", "+conv1:2"])
    again = neurons("3", "+conv1:2")
    assert (again.layer, [n.label for n in again.neurons]) == ("fc", ["3 3", "conv1:2"])
    assert neurons(ldam.neuron("conv1:2")).layer == "conv1"  # nothing says otherwise
    assert neurons("conv1:2 - conv1:3").layer == "conv1"
    assert neurons("conv1:2 - 3").layer == "fc"


def test_a_single_neuron_is_just_that() -> None:
    for asked in ("+3", "cat + 3 - cat", "3.0*3/3.0", N(3), N("fc:3"), "1.0*fc:3"):
        (neuron,) = neurons(asked).neurons
        assert (neuron.key, neuron.unit, neuron.terms) == ("3", 3, ())


@pytest.mark.parametrize("pair", [
    ("3 - 5", "-5 + 3"), ("3", "+3"), ("2.0*3", "3 + 3"), (N(3) - N(5), "3 - 5"), ("cat - dog", "0 - fc:4"),
    ("3 -> 5", ldam.interpolate(3, 5)), (ldam.cosine(torch.ones(7)), ldam.cosine(torch.ones(7))),
], ids=str)  # fmt: skip
def test_the_same_in_other_words_is_a_duplicate(pair: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="must differ"):
        neurons(*pair)


def test_not_a_duplicate() -> None:
    directions = [N(torch.eye(7)[i]) - N(0) for i in range(2)]
    assert len({n.key for n in neurons("3 - 5", "5 - 3", "3 -> 5", "5 -> 3", "2.0*3", *directions).neurons}) == 7


# ---- errors ----------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, ...]] = {
    "3 +": ("'3 +', character 4", "should follow", "'+'"),
    "3 * 5": ("character 3", "product of two neurons", "3.0*5"),
    "cat*dog": ("character 4", "product of two neurons"),
    "conv1:2*(3 + 5)": ("character 8", "product of two neurons"),
    "0*3": ("character 1", "factor 0"),
    "3*0": ("character 3", "factor 0"),
    "cat + 0.0*dog": ("character 7", "factor 0"),
    "3/0": ("character 2", "division by zero"),
    "cat/0.0": ("character 4", "division by zero"),
    "3/5": ("character 2", "divided by a number", "5.0"),
    "3/cat": ("character 2", "divided by a number"),
    "3 - 3": ("'3 - 3'", "zero", "cancel"),
    "0.1*3 + 0.2*3 - 0.3*3": ("zero", "cancel"),
    "3 -> 5 - 5": ("zero at interpolation = 1",),
    "(3 -> 5) - 3": ("zero at interpolation = 0",),
    "nan*3": ("character 1", "finite"),
    "3 - inf*5": ("character 5", "finite"),
    "1e999*5": ("character 1", "finite"),
    "0.5 + 3": ("character 1", "0.5 is a factor", "0.5*3"),
    "3 cat + 1": ("character 3", "operator", "'cat + 1'"),
    "(3 + 5": ("character 1", "closing bracket"),
    "3)+1": ("character 2", "operator", "')+1'"),
    "*3": ("character 1", "should follow"),
    "3 + * 5": ("character 5", "should follow after '+'"),
    "-": ("character 2", "should follow after '-'"),
    "3 + 'cat": ("character 5", "quotation mark"),
    "3 + ct": ("character 5", "'ct'", "did you mean 'cat'"),
    "3 + 99": ("'3 + 99', at '99'", "7 units", "0 to 6"),
    "3 - conv9:2": ("at 'conv9:2'", "unknown layer 'conv9'", "Did you mean 'conv"),
    "3 - conv1:9": ("at 'conv1:9'", "4 units", "0 to 3"),
    "3 - conv1:2@9,9": ("at 'conv1:2@9,9'", "map of size 2×2"),
    "3 - conv1#2:2": ("at 'conv1#2:2'", "call 2 of 'conv1'", "runs 1 time"),
    "3 - fc:": ("character 8", "unit should follow"),
    "3 - fc:ct": ("character 8", "unit should follow", "'ct'"),
    "(3 -> 5) -> 6": ("character 10", "second interpolation"),
    "3 -> 5 -> 6": ("character 8", "operator", "'-> 6'"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"neuron") as caught:
        neurons(text)
    for part in WRONG[text]:
        assert part in str(caught.value)


WRONG_OBJECTS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "zero": (lambda: 0 * N(3), ValueError, "not zero"),
    "nan": (lambda: N(3) * math.nan, ValueError, "finite"),
    "by zero": (lambda: N(3) / 0, ValueError, "zero"),
    "product": (lambda: N(3) * N(5), TypeError, "numbers only"),
    "quotient": (lambda: N(3) / N(5), TypeError, "number only"),
    "plus a number": (lambda: N(3) + 5, TypeError, r"ldam.neuron\(5\)"),
    "number minus": (lambda: 5 - N(3), TypeError, r"ldam.neuron\(5\)"),
    "text factor": (lambda: N(3) * "2", TypeError, "number"),
    "empty": (lambda: N(" "), ValueError, "empty"),
    "negative": (lambda: N(-5), ValueError, "-ldam.neuron"),
    "flag": (lambda: N(True), ValueError, "number"),
    "nothing": (lambda: N(None), TypeError, "None"),
    "zero direction": (lambda: N(torch.zeros(3)), ValueError, "not zero"),
    "layer twice": (lambda: N(N(3), layer="fc"), TypeError, "layer"),
    "layer of a wrong kind": (lambda: N(3, layer=4), TypeError, "layer"),  # type: ignore[arg-type]
    "twice interpolated": (lambda: ldam.interpolate("3", ldam.interpolate(3, 5)), ValueError, "second"),
    "text that interpolates": (lambda: neurons(ldam.interpolate("3", "3 -> 5")), ValueError, "second"),
    "cancelled": (lambda: neurons(N(3) - N("fc:3")), ValueError, "zero"),
    "no direction": (lambda: ldam.cosine(), ValueError, "either"),
    "both": (lambda: ldam.cosine(torch.ones(3), image=torch.ones(3)), ValueError, "either"),
    "no tensor": (lambda: ldam.cosine([1.0]), TypeError, "tensor"),  # type: ignore[arg-type]
    "where": (lambda: ldam.cosine(torch.ones(3), at="top"), ValueError, "at must be"),  # type: ignore[arg-type]
    "length": (lambda: neurons(ldam.cosine(torch.ones(3))), ValueError, r"shape \(7,\)"),
    "image": (lambda: neurons(ldam.cosine(image=torch.ones(3))), ValueError, r"\(1, 4, 4\)"),
    "place": (lambda: neurons(ldam.cosine(torch.ones(4), layer="conv1", at=(5, 5))), ValueError, "map of size 2×2"),
    "two layers": (lambda: neurons("fc:3", "conv1:2"), ValueError, "of one layer"),
    "other layer": (lambda: neurons("conv1:2", layer="fc"), ValueError, r"ldam.neuron\('conv1:2'\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_OBJECTS.values(), ids=WRONG_OBJECTS.keys())
def test_what_is_wrong_with_an_object(case: tuple[Callable[[], object], type[Exception], str]) -> None:
    make, kind, words = case
    with pytest.raises(kind, match=words):
        make()
