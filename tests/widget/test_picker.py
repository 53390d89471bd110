"""The picker's list of units, and what a page that comes late is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

from ldam_widget import L2, LDAM
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
