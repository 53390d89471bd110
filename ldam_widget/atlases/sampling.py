"""The chains of some units of a layer."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ..core.notes import Notes, QuietNotes
from ..core.target import NEURON
from ..objectives.neuron import Neurons
from ..sampling.burn_in import BurnIn
from ..sampling.sampler import Sampler, SamplingError
from .layout import VERDICTS
from .recipe import UnitRecipe, stream_of

# All pictures after the warm-up count, for every unit alike: what the chains of other units do must not matter.
_AT_ONCE = BurnIn(window=2, tolerance=float("inf"))


class MemoryShortError(RuntimeError):
    """There is no memory for a batch of the recipe's size."""


class UnitSamples(NamedTuple):
    """What chains have made of some units."""

    images: Tensor  # (units, chains, *input_shape), the final samples
    averages: Tensor  # (units, *input_shape), over time and chains
    temperature: npt.NDArray[np.float32]  # (units,)
    r_hat: npt.NDArray[np.float32]
    ess: npt.NDArray[np.float32]
    verdict: npt.NDArray[np.int8]
    words: list[str]  # the verdicts


def try_settings(model: nn.Module, layer: str, recipe: UnitRecipe, device: str | None) -> None:
    """Raise ValueError or TypeError, as `Sampler`, for a recipe that fits no unit."""
    with contextlib.suppress(SamplingError, MemoryShortError):  # it is told of every unit
        UnitSampler(model, layer, [0], recipe, device)


class UnitSampler(Sampler):
    """A sampler in which every unit has random numbers of its own, whichever others are sampled beside it.

    Args:
        model: any `nn.Module`.
        layer, units: of it.
        recipe: all else.

    Raises:
        MemoryShortError: the batch does not fit into memory at once; in parts, it would be rounded differently.
        SamplingError, ValueError, TypeError: as `Sampler`.
    """

    def __init__(
        self, model: nn.Module, layer: str, units: Sequence[int], recipe: UnitRecipe, device: str | None
    ) -> None:
        super().__init__(
            model, layer=layer, neurons=list(units), device=device, burn_in=_AT_ONCE, **recipe.sampler_settings()
        )
        self._require_memory()

    def sampled(self, steps: int) -> UnitSamples:
        """Run the warm-up, if there is one, and `steps` steps after it."""
        warm_up = self._chains.warm_up
        self.step((0 if warm_up is None else warm_up.left) + steps)
        self._require_memory()
        found = self.diagnostics()
        verdict = np.array([VERDICTS.index(level) for level in found.levels], np.int8)
        words = list(found.verdicts)
        for i in np.flatnonzero(self._dead()):
            verdict[i], words[i] = VERDICTS.index("dead"), "the unit is dead or saturated: nothing changes it"
        return UnitSamples(
            self.images.cpu(),
            self.average_images.mean(1).cpu(),
            np.array(self.temperatures, np.float32),
            np.array(found.r_hat, np.float32),
            np.array(found.ess, np.float32),
            verdict,
            words,
        )

    def _own_notes(self) -> Notes:
        return QuietNotes()  # of dead units and the like, which verdicts tell

    def _streams(self, neurons: Neurons) -> Sequence[int]:
        return [stream_of(neurons.layer, int(neuron.unit or 0)) for neuron in neurons.neurons]

    def _dead(self) -> npt.NDArray[np.bool_]:
        """Units whose activation is the same in all pictures of all chains, and has no gradient."""
        draws = self.history.draws()
        still: npt.NDArray[np.bool_] = (draws == draws[:1, :, :1]).all((0, 2))
        grad = self.state.evaluation.grads.get(NEURON)
        if grad is None:
            return still
        none = ~grad.flatten(1).any(1).view(len(still), -1).any(1)
        dead: npt.NDArray[np.bool_] = still & none.cpu().numpy()
        return dead

    def _require_memory(self) -> None:
        if self._chains.neurons.in_parts:
            raise MemoryShortError(
                f"not enough memory for a batch of {self._chains.neurons.count} images: free memory, run fewer "
                "workers, or build with a smaller batch="
            )
