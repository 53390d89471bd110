"""The samplers' keyword arguments as typed dicts, so that editors complete them wherever they are forwarded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from typing_extensions import TypedDict

from ..core.target import Kernel, Regularizer
from ..network.trace import Preprocess
from ..parametrizations import Natural, Transforms
from .averages import Average
from .burn_in import BurnIn
from .ladder import Ladder
from .starts import Start

F = TypeVar("F", bound=Callable[..., Any])


class LawArguments(TypedDict, total=False):
    """Arguments shared by samplers of one and of several models; see `Sampler`."""

    kernel: Kernel | None
    prior: Natural | Literal["auto", "natural", "pixels"] | None
    transforms: Transforms | Literal["auto"] | None
    start: Start
    temperature: float | None
    goal: float | str | None
    chains: int
    average: Average
    pixel_range: tuple[float, float] | None
    steps_per_frame: int
    seed: int
    device: torch.device | str | None
    at: Literal["center", "mean"]
    burn_in: BurnIn
    scale: Literal["none", "frozen"] | None
    warm_up: int | None
    ladder: Ladder | Sequence[float] | None
    leaky: float
    discriminator_only: bool
    execution: str


class OneModelArguments(LawArguments, total=False):
    """Further arguments for one model; see `Sampler`."""

    layer: str | None
    neurons: Iterable[Any] | None
    preprocess: Preprocess | None
    class_names: Sequence[str] | None


class ModelsArguments(LawArguments, total=False):
    """Further arguments for several models; see `Comparison`."""

    layer: str | Mapping[str, str] | None
    neurons: Iterable[Any] | None
    preprocess: Preprocess | Mapping[str, Preprocess] | None
    class_names: Sequence[str] | Mapping[str, Sequence[str]] | None


class _Shape(TypedDict):
    input_shape: Sequence[int]


class _Data(_Shape, total=False):
    regularizers: Sequence[Regularizer]
    dataset: Any


class SamplerArguments(_Data, OneModelArguments, total=False):
    """All keyword arguments of `Sampler`."""


class SharedArguments(_Data, LawArguments, total=False):
    """Keyword arguments of `Comparison` that are the same for all models."""


class ComparisonArguments(_Data, ModelsArguments, total=False):
    """All keyword arguments of `Comparison`."""


def completed_by(*sources: Callable[..., Any]) -> Callable[[F], F]:
    """Adds forwarded keyword arguments to a function's signature, which notebooks use for completion.

    Args:
        sources: functions that receive the arguments; if several share a name, the first one's parameter is shown.
    """

    def completed(function: F) -> F:
        own = inspect.signature(function)
        named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        known = {p.name for p in named}
        for source in sources:
            for name, parameter in inspect.signature(source).parameters.items():
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in known:
                    named.append(parameter)
                    known.add(name)
        function.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
        return function

    return completed
