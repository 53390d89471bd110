"""Everything that passes arguments on to a sampler names and types them, for editors and for type checkers."""

from __future__ import annotations

import inspect
from typing import Any, ForwardRef

import pytest

import ldam_widget as ldam
from ldam_widget.sampling import arguments

SAMPLER = {
    name: p for name, p in inspect.signature(ldam.Sampler.__init__).parameters.items() if p.kind is p.KEYWORD_ONLY
}
OF_EACH_MODEL = {"layer", "preprocess", "class_names"}  # a mapping by name where several models are compared


def declared(kind: Any) -> dict[str, str]:
    """Name -> annotation as it is written."""
    return {
        name: one.__forward_arg__ if isinstance(one, ForwardRef) else str(one)
        for name, one in kind.__annotations__.items()
    }


def test_what_is_declared_is_what_a_sampler_takes() -> None:
    assert declared(arguments.SamplerArguments) == {name: p.annotation for name, p in SAMPLER.items()}
    compared = declared(arguments.ComparisonArguments)
    assert set(compared) == set(SAMPLER)
    assert {name for name, p in SAMPLER.items() if compared[name] != p.annotation} == OF_EACH_MODEL
    assert arguments.SamplerArguments.__required_keys__ == {"input_shape"}


@pytest.mark.parametrize(
    "function",
    [ldam.Comparison, ldam.LDAM, ldam.Compare, ldam.Watch, ldam.compare, ldam.compare_checkpoints, ldam.watch],
)
def test_every_argument_is_completed(function: Any) -> None:
    """With the default of the sampler; no argument hides behind stars."""
    shown = inspect.signature(function).parameters
    assert not [p for p in shown.values() if p.kind is p.VAR_KEYWORD]
    assert {name: shown[name].default for name in SAMPLER} == {name: p.default for name, p in SAMPLER.items()}


def test_an_argument_that_is_missing_or_unknown() -> None:
    with pytest.raises(TypeError, match="input_shape"):
        ldam.LDAM(None)  # type: ignore[arg-type, call-arg]
    with pytest.raises(TypeError, match="temprature"):
        ldam.LDAM(None, input_shape=(1, 4, 4), temprature=1)  # type: ignore[arg-type, call-arg]
