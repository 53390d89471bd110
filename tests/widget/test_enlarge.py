"""A tile that Python enlarges in the page."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from ldam_widget import LDAM, Compare

from ..conftest import with_fixed_weights
from .page import FakePage

FLAT: dict[str, Any] = {"input_shape": (6,), "play": False, "prior": None}


def net() -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 5)))


def test_a_chain_that_is_not_shown_is_shown_and_enlarged() -> None:
    w = LDAM(net(), neurons=[3, 1], class_names=list("abcde"), chains=9, **FLAT)
    page = FakePage(w)
    page.receive(kind="hello", view="a")
    shown = w.chains_shown
    for neuron in (1, "1", "b"):
        w.enlarge(neuron)
        assert page.last("enlarge") == {"kind": "enlarge", "neuron": "1", "chain": 0, "model": 0}
    assert w.chains_shown == shown
    w.enlarge(3, chain=7)
    assert page.last("enlarge")["chain"] == 7
    assert w.chains_shown == 8
    w.enlarge(None)
    assert page.last("enlarge")["neuron"] is None
    for wrong, error, said in (
        ((2,), ValueError, "2 is not displayed; neurons are 3, 1"),
        ((1, 9), ValueError, "chain must be below 9; got 9"),
        ((1, -1), ValueError, "chain must be an integer ≥ 0"),
        ((1, 0.5), TypeError, "chain must be an integer ≥ 0"),
        ((1, 0, "one"), ValueError, "unknown model 'one'; there is one model"),
    ):
        with pytest.raises(error, match=said):
            w.enlarge(*wrong)
    w.close()
    with pytest.raises(RuntimeError, match="closed"):
        w.enlarge(1)


def test_a_number_is_a_unit_before_it_is_a_name() -> None:
    w = LDAM(net(), neurons=[0, 1], class_names=list("12345"), **FLAT)
    page = FakePage(w)
    page.receive(kind="hello", view="a")
    for neuron, key in ((1, "1"), ("1", "1"), ("0", "0"), ("2", "1")):
        w.enlarge(neuron)
        assert page.last("enlarge")["neuron"] == key
    w.close()


def test_of_a_comparison_by_model() -> None:
    w = Compare({"one": net(), "other": net()}, neurons=[0], chains=3, **FLAT)
    page = FakePage(w)
    w.enlarge(0, chain=2, model="other")
    assert page.last("enlarge") == {"kind": "enlarge", "neuron": "0", "chain": 2, "model": 1}
    with pytest.raises(ValueError, match="unknown model 'third'; the models are 'one', 'other'"):
        w.enlarge(0, model="third")
    w.close()
