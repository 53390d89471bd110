"""What the panel lets a reader choose from, for setup messages."""

from __future__ import annotations

from typing import Any

from ..parametrizations import Natural
from ..sampling.defaults import looks_like_photographs
from ..sampling.sampler import Sampler


def wiring(sampler: Sampler) -> dict[str, Any] | None:
    """Classes whose strongest inputs may be asked for."""
    names = sampler.class_names
    return None if names is None else {"label": "units of the layer below with the largest weights", "classes": names}


def prior(sampler: Sampler, natural: Natural | None) -> dict[str, Any] | None:
    """What stands behind the neuron, and what else could: pairs of a value and its text. None: there is no choice.

    Args:
        natural: the one that is meant by "natural"; None: one that would have to be measured, or none.
    """
    if natural is not None:
        source = natural.source
    elif sampler.dataset is not None:
        source = f"{len(sampler.dataset)} images"
    elif looks_like_photographs(sampler.input_shape):
        source = "photographs"
    else:
        return None
    return {
        "name": "pixels" if sampler.prior is None else "natural",
        "choices": [["natural", f"natural: {source}"], ["pixels", "pixels"]],
    }
