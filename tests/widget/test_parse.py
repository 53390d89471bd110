"""Messages of a page: whatever arrives does no harm."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldam_widget.widget import protocol

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**53, 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=3,
)
FIELDS = ["view", "seq", "visible", "rev", "params", "what", "layer", "neurons", "query", "offset", "limit"]
KINDS = st.sampled_from(["hello", "bye", "ack", "set", "do", "select", "units"])
NEARLY = st.fixed_dictionaries({"kind": KINDS}, optional=dict.fromkeys(FIELDS, NUMBERS | JSON))


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(JSON | NEARLY)
def test_parse_survives_anything(content: Any) -> None:
    message = protocol.parse(content)
    if isinstance(message, protocol.Ack):
        assert type(message.seq) is int
    elif isinstance(message, protocol.Set):
        assert type(message.rev) is int
        assert all(type(name) is str for name in message.params)
    elif isinstance(message, protocol.Do):
        assert type(message.action) is str
    elif isinstance(message, protocol.Other):
        for field in FIELDS:
            assert protocol.integer(message.content, field) in (None, message.content.get(field))
            assert protocol.text(message.content, field) in (None, message.content.get(field))
            keys = protocol.texts(message.content, field)
            assert keys is None or all(type(key) is str for key in keys)


def test_parse_understands_the_front_end() -> None:
    """The words of js/src/protocol.ts."""
    parse = protocol.parse
    assert parse({"kind": "hello", "view": "a"}) == protocol.Hello("a")
    assert parse({"kind": "hello"}) == protocol.Hello("")
    assert parse({"kind": "bye", "view": "a"}) == protocol.Bye("a")
    assert parse({"kind": "ack", "view": "a", "seq": 7, "visible": False}) == protocol.Ack(7, False, "a")
    assert parse({"kind": "ack", "seq": 7, "visible": True}) == protocol.Ack(7, True, "")
    assert parse({"kind": "set", "view": "a", "rev": 3, "params": {"l2": 1}}) == protocol.Set("a", 3, {"l2": 1})
    assert parse({"kind": "do", "what": "reset_average"}) == protocol.Do("reset_average")
    scrub = {"kind": "scrub", "index": 3}
    assert parse(scrub) == protocol.Other("scrub", scrub)


@pytest.mark.parametrize("neurons", ["abc", [1], [None], {"a": 1}, 5])
def test_neurons_are_a_list_of_keys(neurons: Any) -> None:
    assert protocol.texts({"neurons": neurons}, "neurons") is None


def test_a_list_of_keys() -> None:
    assert protocol.texts({"neurons": ["1", "2@3,4"]}, "neurons") == ["1", "2@3,4"]
    assert len(protocol.texts({"neurons": ["1"] * 10**6}, "neurons") or ()) == 1000
    assert protocol.texts({"neurons": ["1" * 10**6]}, "neurons") is None


def test_faults_are_described_in_words() -> None:
    class HomemadeError(Exception):
        pass

    assert protocol.fault(RuntimeError("boom"))["message"] == "RuntimeError: boom"
    assert protocol.fault(ValueError("l2 must be positive"))["message"] == "l2 must be positive"
    assert protocol.fault(HomemadeError())["message"] == "HomemadeError: HomemadeError"
    assert len(protocol.fault(ValueError("x" * 10_000))["message"]) <= 2000
    assert all(protocol.fault(KeyError("x")).values())


def test_figures_are_json() -> None:
    assert protocol.plains({"a": math.nan, "b": math.inf, "c": 2}) == {"a": None, "b": None, "c": 2.0}
