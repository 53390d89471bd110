"""Chains beside those of a sampler: one neuron, the same density, several starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...core.noise import ChainNoise
from ...core.notes import QuietNotes
from ..chains import Chains
from ..defaults import warm_up_for
from ..faults import require_finite
from ..first_state import first_state
from ..settings import Settings
from ..starts import places
from ..warm_up import begun_warm_up


class SideChains:
    """Chains of one neuron under the density of a sampler, which is not moved.

    Args:
        settings: of the sampler, after its last step.
        layer, asked: the neuron, as for `Sampler.select`.
        index: of the neuron in the sampler, whose temperature and frozen scales are used.
        starts: "noise", "grey", or pictures (each, *image), in groups of `each` chains.
        each: chains per start, ≥ 1.
        steps: to run after as many as the sampler's warm-up has; pictures of the second half are averaged.
        seed: of the noise.
        view: another network of the same architecture, whose scales are measured anew; None: the sampler's.
        settled: whether the sampler's warm-up is over; otherwise scales are measured here.

    Raises:
        SamplingError: an activation or a gradient at the start is not finite.
    """

    def __init__(
        self,
        settings: Settings,
        layer: str,
        asked: object,
        index: int,
        *,
        starts: Sequence[str | Tensor],
        each: int,
        steps: int,
        seed: int,
        view: nn.Module | None = None,
        settled: bool = True,
    ) -> None:
        theirs, self._steps, self._groups, self._each = settings, steps, len(starts), each
        settings = _of_one_neuron(settings, index, each * len(starts), view)
        fixed = settings.fixed
        neurons = fixed.aim(layer, [asked])
        noise = ChainNoise(seed, 1, fixed.per_neuron, fixed.input_shape, fixed.device)
        state = first_state(settings, neurons, noise)
        z = self._in_groups(state.x).clone()
        for own, start in zip(z, starts, strict=True):
            if isinstance(start, Tensor) or start != "noise":
                own.copy_(places(start, own, settings.coordinates, fixed.pixel_range, 1, fixed.dataset))  # type: ignore[arg-type]
        target = settings.target(neurons)
        state = settings.kernel.init(z.flatten(0, 1), target)
        require_finite(state, neurons, target, settings)
        chains = Chains.begun(settings, neurons, state, noise, lambda *_: None)
        if settled and view is None and theirs.scale == "frozen":
            scales = {k: v[index * theirs.fixed.per_neuron].expand(fixed.per_neuron) for k, v in theirs.scales.items()}
            settings = replace(settings, scales=scales)
            warm_up = begun_warm_up(settings, None, 1, measures=False)
            chains = replace(chains.under(settings), warm_up=warm_up)
        self._chains = chains
        self._pictures = torch.zeros_like(chains.picture, dtype=torch.float64)
        self._activation = torch.zeros(fixed.per_neuron, dtype=torch.float64)
        # as long as the sampler's warm-up, even if there is nothing to find: the chains have to forget their start
        self._before = fixed.warm_up or warm_up_for(goal=False, natural=settings.prior is not None)
        self._done = self._kept = 0

    @property
    def finished(self) -> bool:
        return self._done >= self._steps

    def work(self) -> bool:
        """Advance one step; returns whether that was the last one. Raises SamplingError as `Sampler.step`."""
        self._chains, _ = self._chains.advanced(1)
        warm_up = self._chains.warm_up
        if warm_up is not None and not warm_up.left:
            _, self._chains = self._chains.settled(self._chains.settings, self._chains.measured())
        if self._before:
            self._before -= 1
            return False
        self._done += 1
        if 2 * self._done > self._steps:
            self._pictures += self._chains.picture
            self._activation += self._chains.activation.flatten().double().cpu()
            self._kept += 1
        return self.finished

    @property
    def pictures(self) -> Tensor:
        """The current pictures (starts, each, *image)."""
        return self._in_groups(self._chains.picture)

    @property
    def averages(self) -> Tensor:
        """Mean pictures over the second half of the steps (starts, each, *image) float32."""
        return self._in_groups((self._pictures / max(1, self._kept)).float())

    @property
    def activation(self) -> Tensor:
        """Mean activation over the second half of the steps (starts, each) float64, on the CPU."""
        return self._in_groups(self._activation / max(1, self._kept))

    def _in_groups(self, rows: Tensor) -> Tensor:
        """(chain, …) -> (starts, each, …)."""
        return rows.view(self._groups, self._each, *rows.shape[1:])


def _of_one_neuron(settings: Settings, index: int, chains: int, view: nn.Module | None) -> Settings:
    """The sampler's settings for chains of one of its neurons: without goal, ladder, heat or findings."""
    fixed = settings.fixed
    fixed = replace(
        fixed, chains=chains, ladder=None, transforms=settings.transforms, notes=QuietNotes(),
        view=fixed.view if view is None else view,
    )  # fmt: skip
    params = dict(settings.params)
    if settings.factors is not None:
        params["temperature"] = settings.temperature * float(settings.factors[index])
    if "heat" in params:
        params["heat"] = 1.0
    return replace(
        settings.without_pulse(), fixed=fixed, params=params, goal=None, goals_asked=0, start="noise", scales={},
        factors=None, rungs=None,
    )  # fmt: skip
