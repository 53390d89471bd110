"""`Frame`: one picture of a run."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..network.units import Neuron


class Frame(NamedTuple):
    """One picture of the run, safe to keep. N neurons, C chains per neuron."""

    images: Tensor  # (N, C, *image) float32, current samples
    average_images: Tensor  # same shape
    activation: Tensor  # (N, C), f_α of the current samples
    burned_in: Tensor  # (N, C) bool
    steps: int
    params: dict[str, float]  # every live parameter, JSON-safe
    neurons: tuple[Neuron, ...] = ()  # the N neurons when the picture was taken
