"""`Fixed`: the parts of a sampler that never change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from ..core.notes import Notes
from ..core.target import Coordinates, Kernel
from ..data import RealImages
from ..kernels import BAOAB
from ..network.trace import Preprocess
from ..objectives.neuron import Neurons
from ..parametrizations import Natural, Transforms
from . import defaults, priors
from .ladder import Ladder


@dataclass(frozen=True)
class Fixed:
    """The parts of a sampler that never change.

    Attributes:
        input_shape, pixel_range, chains, ladder, transforms, leaky, dataset, preprocess: as for `Sampler`, checked.
        warm_up: steps; None for the default.
        view: the private view of the model.
        class_names, at: as for `Sampler`.
        device: where the chains live.
        notes: notes for the user.
    """

    input_shape: tuple[int, ...]
    pixel_range: tuple[float, float] | None
    chains: int
    ladder: Ladder | None
    transforms: Transforms | Literal["auto"] | None
    leaky: float
    dataset: RealImages | None
    warm_up: int | None
    preprocess: Preprocess | None
    class_names: tuple[str, ...] | None
    at: Literal["center", "mean"]
    view: nn.Module
    device: torch.device
    notes: Notes

    @property
    def rungs(self) -> int:
        """Number of temperatures per chain."""
        return 1 if self.ladder is None else len(self.ladder.factors)

    @property
    def per_neuron(self) -> int:
        """Chains per neuron, counting replicas."""
        return self.chains * self.rungs

    @property
    def size(self) -> tuple[float, float]:
        """√pixels, and the width of the pixel range."""
        return defaults.size_of(self.input_shape, self.pixel_range)

    def coordinates_of(self, prior: Natural | None) -> Coordinates:
        return priors.coordinates_of(
            prior, self.input_shape, self.pixel_range, self.device, self.preprocess is not None, self.notes
        )

    def suited(self, kernel: Kernel, prior: Natural | None) -> Kernel:
        """The kernel; if its step size is None but cannot be found, with one that suits the image size."""
        if isinstance(kernel, BAOAB) and kernel.step_size is None and prior is None:
            found = defaults.kernel_for(self.size, natural=False)
            return replace(kernel, step_size=found.step_size)  # type: ignore[attr-defined]  # also a BAOAB
        return kernel

    @torch.inference_mode(False)
    def aim(self, layer: str | None, neurons: Iterable[Any] | None, default_layer: str | None = None) -> Neurons:
        """Resolve the neurons of a layer; arguments and errors as for `Sampler` and `Neurons`."""
        return Neurons(
            self.view, layer, neurons, chains=self.per_neuron, input_shape=self.input_shape, preprocess=self.preprocess,
            class_names=self.class_names, at=self.at, notes=self.notes, default_layer=default_layer, leaky=self.leaky,
        )  # fmt: skip
