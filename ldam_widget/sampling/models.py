"""Helpers for several models: checking names, matching neurons, and naming the model in errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.parameters import check_all
from ..core.schedules import PolynomialDecay
from ..data import RealImages
from ..network.trace import check_shape
from ..network.units import Neuron
from ..objectives.algebra import Expression, Weighted
from ..objectives.columns import Summand
from . import checks
from .priors import resolved
from .sampler import Sampler

MOST = 6


def checked_names(models: Any) -> list[str]:
    if not isinstance(models, Mapping):
        raise TypeError(f'models must be a dict such as {{"epoch 1": a, "epoch 10": b}}; got {models!r:.80}')
    if not 2 <= len(models) <= MOST:
        raise ValueError(f"models must be two to {MOST}; got {len(models)}")
    for name in models:
        if not isinstance(name, str) or not name.strip():
            raise TypeError(f"models must have names that are not empty; got {name!r}")
    return list(models)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Prefix errors with the model's name."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        if error.args and isinstance(error.args[0], str) and not error.args[0].startswith("model '"):
            error.args = (f"model {name!r}: {error.args[0]}", *error.args[1:])
        raise


def check_params(sampler: Sampler, params: dict[str, Any]) -> None:
    """Raise whatever `Sampler.set` would raise."""
    schedule = params.get("step_size")
    if isinstance(schedule, PolynomialDecay):
        replace(sampler.kernel, step_size=schedule)  # type: ignore[type-var]  # every kernel is a dataclass
        params = {name: value for name, value in params.items() if name != "step_size"}
    if "goal" in params:
        sampler.checked_goal(params["goal"])
        params = params | {"goal": 0.0}  # checks that the parameter exists
    check_all(sampler.parameters, params)


def measured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the data set and measure the prior, once for all models."""
    shape, pixel_range = check_shape(settings["input_shape"]), checks.pixel_range(settings.get("pixel_range"))
    real = RealImages.checked(settings.get("dataset"), shape, pixel_range)
    prior = resolved(settings.get("prior", "auto"), shape, pixel_range, real, settings.get("kernel"))
    return {"dataset": real, "prior": prior}


def paired(lead: Sampler, wanted: Sequence[Any] | None, class_names: Sequence[str] | None) -> list[Any]:
    """The neurons of another model that correspond to those of the first.

    Args:
        lead: the first model's sampler.
        wanted: the neurons as requested; None for those of `lead`.
        class_names: of the other model.

    Raises:
        ValueError: the other model lacks a class, or a neuron belongs to the former layer.
    """
    found: list[Any] = []
    names = None if class_names is None else [str(name) for name in class_names]
    for position, neuron in enumerate(lead.neurons):
        if neuron.terms:
            found.append(
                Expression(
                    tuple(
                        Weighted(term.start, term.end, replace(term.atom, **_of_other_model(term, lead, names)))
                        for term in neuron.terms
                    )
                )
            )
        elif neuron.unit is None:
            if wanted is None:
                raise ValueError(f"{neuron.key} belongs to the previous layer; choose neurons together with the layer")
            found.append(wanted[position])  # a direction has no index; it must fit as it is
        else:
            found.append(_key_in(neuron, lead.unit_names, names))
    return found


def _key_in(neuron: Neuron, own: Sequence[str], names: Sequence[str] | None) -> str:
    """The key of a neuron in another model: by class name if both have names, else the same."""
    if not (neuron.name and names is not None and own):
        return neuron.key
    same = [unit for unit, name in enumerate(names) if name == neuron.name]
    # ImageNet has two classes named "crane": match the second with the second
    nth = list(own[: neuron.unit]).count(neuron.name)
    if nth >= len(same):
        raise ValueError(f"there is no class {neuron.name!r} among its class_names")
    place = neuron.key.partition("@")[2]
    return f"{same[nth]}@{place}" if place else str(same[nth])


def _of_other_model(term: Summand, lead: Sampler, names: Sequence[str] | None) -> dict[str, Any]:
    """Fields of a term's atom that are others in another model."""
    if term.neuron.unit is None:  # a direction or cosine has no index; it must fit as it is
        return {"layer": term.layer}
    return {"layer": term.layer, "what": _key_in(term.neuron, lead.class_names or (), names)}
