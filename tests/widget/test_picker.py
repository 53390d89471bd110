"""The picker's list of units, and what a page that connects late receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget import L2, LDAM, Recipe
from ldam_widget.kernels import Algorithm1

from .test_live import Page

NAMES = ["cat", "catfish", '<img src=x onerror="alert(1)">', "ünïcödé \ud83d", "dog"]


@pytest.fixture
def page() -> Iterator[Page]:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)).eval()
    page = Page(
        model=model, input_shape=(1, 4, 4), class_names=NAMES, regularizers=[L2(0.1)], chains=2, kernel=Algorithm1()
    )
    yield page
    page.widget.close()


def units(page: Page, **ask: Any) -> dict[str, Any]:
    page.receive(kind="units", **{"layer": "3", "query": "", "offset": 0, "limit": 50} | ask)
    page.settle()
    answer: dict[str, Any] = json.loads(json.dumps(page.of("units")[-1], allow_nan=False))
    return answer


def test_units(page: Page) -> None:
    def keys(query: str, **ask: int) -> list[str]:
        return [unit["key"] for unit in units(page, query=query, **ask)["units"]]

    assert keys("") == ["0", "1", "2", "3", "4"]
    assert keys("CAT") == ["0", "1"]
    assert keys("4") == ["4"]
    assert keys("", offset=3, limit=1) == ["3"]
    assert keys("nothing") == []
    assert units(page, offset=3, limit=1)["total"] == 5


@pytest.mark.slow
def test_a_page_that_comes_late(page: Page) -> None:
    def setup() -> Any:
        page.receive(kind="hello", view="a")
        page.settle()
        return json.loads(json.dumps(page.of("setup")[-1], allow_nan=False))

    assert setup()["trace"] == {"steps": [], "activation": []}
    widget: LDAM = page.widget
    widget.step(1500)
    late = setup()
    assert [layer["name"] for layer in late["layers"]] == ["0", "1", "2", "3"]
    assert late["layers"][-1]["shape"] == [5]
    assert [unit["name"] for unit in late["neurons"]][:2] == ["cat", "catfish"]
    assert {p["name"] for p in late["parameters"]} == set(late["params"])
    assert all(p["low"] < p["high"] and p["label"] and p["help"] for p in late["parameters"])
    steps, activation = late["trace"]["steps"], late["trace"]["activation"]
    assert 100 <= len(steps) == len(activation) <= 300
    assert all(len(row) == 5 for row in activation)


def test_an_expression_is_found(page: Page) -> None:
    def found(query: str) -> list[dict[str, str]]:
        answer = units(page, query=query)
        assert (answer["total"], answer["problem"]) == (1, "")
        return answer["units"]

    assert found("-dog + cat") == [{"key": "0 - 4", "label": "-dog + cat", "name": ""}]
    assert found("1:3") == [{"key": "+1:3", "label": "1:3", "name": ""}]
    assert found("cat -> 1:3") == [{"key": "0 -> 1:3", "label": "cat → 1:3", "name": ""}]
    assert found("+3") == [{"key": "3", "label": "3", "name": "ünïcödé \ud83d"}]
    assert units(page, query="cat")["problem"] == ""


@pytest.mark.parametrize(("query", "words"), [
    ("cat -", "character 6: a neuron should follow"), ("dog - catt", "did you mean 'cat'"),
    ("9:1 + 3", "unknown layer '9'"), ("1:99 - 3", "0 to 11"), ("3 - 3", "cancel"), ("nothing", "known are: cat"),
])  # fmt: skip
def test_what_is_wrong_with_what_is_typed(page: Page, query: str, words: str) -> None:
    answer = units(page, query=query)
    assert (answer["total"], answer["units"]) == (0, [])
    assert words in answer["problem"]
    page.receive(kind="select", neurons=["0", query])  # Enter all the same
    page.settle()
    assert words in page.widget.error
    assert page.widget.neurons == [0, 1, 2, 3, 4]
    page.receive(kind="select", neurons=["0", "3 - 4"])
    page.settle()
    assert page.widget.error is None  # corrected


def test_keys_from_the_page_bring_back_what_was_asked_for(page: Page) -> None:
    widget: LDAM = page.widget
    direction = torch.arange(12.0)
    widget.neurons = ["-dog + cat", ldam.cosine(direction, layer="1"), torch.ones(5), 2]
    widget.step(3)
    keys = [unit["key"] for unit in page.of("setup")[-1]["neurons"]]
    before = [neuron.label for neuron in widget.sampler.neurons]
    page.receive(kind="select", neurons=[*keys, "1:3"])
    page.settle()
    assert widget.error is None
    assert [neuron.label for neuron in widget.sampler.neurons] == [*before, "1:3"]
    assert (widget.layer, widget.sampler.steps) == ("3", 3)
    assert page.of("setup")[-1]["neurons"][0]["label"] == "-dog + cat"


def test_the_slider_comes_and_goes_with_the_neurons_that_need_it(page: Page) -> None:
    widget: LDAM = page.widget

    def sliders() -> list[str]:
        return [parameter["name"] for parameter in page.of("setup")[-1]["parameters"]]

    assert "interpolation" not in dir(widget)
    page.receive(kind="select", neurons=["0", "cat -> 1:3"])
    page.settle()
    assert "interpolation" in sliders()
    assert "interpolation" in dir(widget)
    assert widget.interpolation == 0
    page.receive(kind="set", view="a", rev=1, params={"interpolation": 0.25})
    page.settle()
    widget.step(2)
    with torch.no_grad():
        x = widget.sampler.images[1]
        expected = 0.75 * page.model(x)[:, 0] + 0.25 * page.model[:2](x)[:, 3]
    torch.testing.assert_close(widget.sampler.activation[1], expected)
    assert widget.sampler.params["interpolation"] == 0.25
    widget.interpolation = 0.5
    assert page.of("state")[-1]["params"]["interpolation"] == 0.5
    widget.neurons = [0]
    assert "interpolation" not in sliders()
    with pytest.raises(AttributeError, match="unknown parameter 'interpolation'"):
        _ = widget.interpolation


def test_a_discriminator_is_trained_beside_expressions(page: Page) -> None:
    widget = LDAM(
        page.model, input_shape=(1, 4, 4), neurons=["3 - 1:2", "0 -> 1"], play=False, dataset=torch.rand(40, 1, 4, 4),
        pixel_range=(0, 1), class_names=NAMES,
    )  # fmt: skip
    widget.train_discriminator(recipe=Recipe(batch=8, steps=2, pool=2))
    widget.step(4)
    widget.stop_training()
    assert widget.error is None
    assert widget.trainer is not None
    widget.close()
