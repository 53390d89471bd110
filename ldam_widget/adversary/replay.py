"""The sampled half of Algorithm 2: chains that persist between rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.precision import widest
from ..core.target import NEURON, Evaluation, Kernel, Noise, State, Target, Term, per_image
from ..execution import Execution
from ..kernels import Algorithm1
from ..network.trace import Preprocess
from ..objectives import Discriminator
from ..objectives.neuron import Neurons
from ..parametrizations.pixels import Pixels, first_images
from ..sampling.defaults import default_kernel, default_temperature, size_of
from ..sampling.warm_up import as_scales, first_norms
from .recipe import Recipe

_SCALE_MEMORY = 0.9  # of a group's gradient scales, at each of its turns


class FreshNoise:
    """Noise for training: one generator for all chains, since no chain has to be reproducible on its own."""

    def __init__(self, shape: tuple[int, ...], generator: torch.Generator) -> None:
        self._shape, self._generator = shape, generator

    def normal(self) -> Tensor:
        device = self._generator.device
        return torch.randn(self._shape, generator=self._generator, device=device, dtype=torch.float32)

    def uniform(self) -> Tensor:
        size, device = self._shape[0], self._generator.device
        return torch.rand(size, generator=self._generator, device=device, dtype=widest(device))


@dataclass
class Group:
    """Some chains for some neurons, moved together."""

    neurons: Neurons
    units: list[int]
    calibrated: bool
    x: Tensor
    velocity: Tensor
    scales: dict[str, Tensor] | None = None  # for calibrated groups: mean gradient norm of each term, (neuron,)


class Turn:
    """A group being moved, with the kernel, weight and temperature drawn for this round."""

    def __init__(
        self, group: Group, kernel: Kernel, target: Target, state: State, noise: Noise, execution: Execution
    ) -> None:
        self.group, self._kernel, self._target, self._noise = group, kernel, target, noise
        self._state, self._execution = state, execution

    def step(self) -> None:
        """One step of all chains."""
        self._execution.follow()
        with self._execution.threads():
            self._state, _ = self._kernel.step(self._state, self._target, self._noise)
        self.group.x, self.group.velocity = self._state.x, self._state.memory[0]


class Replay:
    """The pool of chains.

    Args:
        view: the classifier as a private view.
        term: the discriminator being trained, bound to the images.
        recipe: see `Recipe`.
        layer, units: neurons to sample for; each group has as many of them as fit half a batch.
        input_shape, pixel_range, preprocess: as for `Sampler`.
        notes: receives notes for the user.
        choose, noise: random generators, on the CPU and on the device.
        execution: how the classifier is run.
    """

    def __init__(
        self,
        view: nn.Module,
        term: Discriminator,
        recipe: Recipe,
        *,
        layer: str | None,
        units: Sequence[Any],
        input_shape: tuple[int, ...],
        pixel_range: tuple[float, float] | None,
        preprocess: Preprocess | None,
        notes: Notes,
        choose: torch.Generator,
        noise: torch.Generator,
        execution: Execution,
    ) -> None:
        self._execution = execution
        self._view, self._term, self._recipe = view, term.weakened(recipe.strength), recipe
        self._layer, self._units, self._preprocess = layer, list(units), preprocess
        self._shape, self._range = input_shape, pixel_range
        self._pixels = Pixels(pixel_range)
        self._notes, self._choose, self._noise = notes, choose, noise
        self._side, self._width = size_of(input_shape, pixel_range)
        calibrated, alone = round(recipe.calibrated * recipe.pool), round(recipe.alone * recipe.pool)
        self.groups = [self._group(i < calibrated) for i in range(recipe.pool)]
        low, high = recipe.weights
        mixed = max(0, recipe.pool - calibrated - alone)
        # each of the other groups has its own range of weights, since samples differ between weights
        strata = [(low + (high - low) * i / mixed, low + (high - low) * (i + 1) / mixed) for i in range(mixed)]
        self._weights = ([(low, high)] * calibrated + strata + [(1.0, 1.0)] * alone)[: recipe.pool]

    def turn(self) -> Turn:
        """Draw a group, restart some of its chains, and draw the settings for this round."""
        recipe = self._recipe
        number = int(torch.randint(len(self.groups), (), generator=self._choose))
        group = self.groups[number]
        restarted = torch.rand(len(group.x), generator=self._choose) < recipe.renewed
        if bool(restarted.any()):
            mask = per_image(restarted.to(group.x.device), group.x)
            group.x = torch.where(mask, self.first_images(len(group.x)), group.x)
            group.velocity = torch.where(mask, 0.0, group.velocity)
        self._execution.prepare(group.neurons)
        self._execution.follow()
        with self._execution.threads():
            return self._turn_of(group, _between(self._weights[number], self._draw()))

    def _turn_of(self, group: Group, weight: float) -> Turn:
        recipe, noise = self._recipe, FreshNoise(tuple(group.x.shape), self._noise)
        if not group.calibrated:
            sigma = _log_between(recipe.noises, self._draw())
            kernel: Kernel = Algorithm1(0.1 * self._width, sigma, 0.8, mix="convex")
            target = self._target(group, weight, 1.0, {})
            state = State(group.x, target.evaluate(group.x), 0, (group.velocity, {}))
            return Turn(group, kernel, target, state, noise, self._execution)
        temperature = default_temperature(self._side, self._width) * _log_between(recipe.temperatures, self._draw())
        target = self._target(group, weight, temperature, {})
        evaluation = target.evaluate(group.x)
        target = self._target(group, weight, temperature, self._follow(group, target, evaluation))
        kernel = default_kernel(self._side, self._width)  # its step size is fixed, so chains need not find one
        state = State(group.x, evaluation, 0, (group.velocity, group.x.new_ones(len(group.x))))
        return Turn(group, kernel, target, state, noise, self._execution)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that has to be saved to resume a training."""
        kept: dict[str, Tensor] = {}
        for i, group in enumerate(self.groups):
            kept |= {f"pool.{i}.x": group.x, f"pool.{i}.velocity": group.velocity}
            kept[f"pool.{i}.units"] = torch.tensor(group.units)
            kept |= {f"pool.{i}.scale.{name}": value for name, value in (group.scales or {}).items()}
        return kept

    def load(self, kept: dict[str, Tensor]) -> None:
        """Restore the result of `tensors`. KeyError, ValueError if it does not fit."""
        for i, group in enumerate(self.groups):
            units = kept[f"pool.{i}.units"].tolist()
            if units != group.units:
                group.neurons, group.units = self._neurons(units), units
            for name in ("x", "velocity"):
                value = kept[f"pool.{i}.{name}"]
                if value.shape != group.x.shape:
                    raise ValueError(f"the pool holds {tuple(value.shape)} instead of {tuple(group.x.shape)}")
                setattr(group, name, value.to(group.x.device))
            prefix = f"pool.{i}.scale."
            scales = {k.removeprefix(prefix): v.to(group.x.device) for k, v in kept.items() if k.startswith(prefix)}
            group.scales = scales or None

    def _group(self, calibrated: bool) -> Group:
        half = self._recipe.batch // 2
        count = min(len(self._units), half)
        if count < len(self._units):
            chosen = torch.randperm(len(self._units), generator=self._choose)[:count].tolist()
        else:
            chosen = list(range(count))
        neurons = self._neurons(chosen)
        x = self.first_images(count * (half // count))
        return Group(neurons, chosen, calibrated, x, torch.zeros_like(x))

    def _neurons(self, chosen: Sequence[int]) -> Neurons:
        return Neurons(
            self._view, self._layer, [self._units[i] for i in chosen],
            chains=(self._recipe.batch // 2) // len(chosen), input_shape=self._shape, preprocess=self._preprocess,
            notes=self._notes,
        )  # fmt: skip

    def first_images(self, count: int) -> Tensor:
        """Start images x0, as in the sampler."""
        device = self._noise.device
        x = torch.randn((count, *self._shape), generator=self._noise, device=device, dtype=torch.float32)
        return first_images(x, self._range)

    def _target(self, group: Group, weight: float, temperature: float, scales: dict[str, Tensor]) -> Target:
        name = self._term.name
        terms: dict[str, Term] = {NEURON: group.neurons, name: self._term}
        if weight == 1 and not group.calibrated:
            del terms[NEURON]  # with convex weights its weight is 0, and it costs as much as the discriminator
        return Target(
            terms, {NEURON: 1.0, name: weight}, temperature, self._pixels, learned=frozenset(terms),
            energy_needed=False, scales=scales,
        )  # fmt: skip

    def _follow(self, group: Group, target: Target, evaluation: Evaluation) -> dict[str, Tensor]:
        """Gradient scales that slowly follow the discriminator, (chain,)."""
        per_neuron = len(group.x) // len(group.units)
        norms = first_norms(target, evaluation, 1)  # of every chain; a scale is shared by all chains of a neuron
        now = {name: norm.view(-1, per_neuron).mean(1) for name, norm in norms.items()}
        old = group.scales
        group.scales = {
            name: norm if old is None or name not in old else old[name].lerp(norm, 1 - _SCALE_MEMORY)
            for name, norm in now.items()
        }
        return as_scales(group.scales, per_neuron)

    def _draw(self) -> float:
        return float(torch.rand((), generator=self._choose))


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def _log_between(ends: tuple[float, float], share: float) -> float:
    return math.exp(_between((math.log(ends[0]), math.log(ends[1])), share))
