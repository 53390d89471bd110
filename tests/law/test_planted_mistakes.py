"""The law tests can fail: mistakes of the kind that samplers have are planted, and the same assertion must catch them.

Here in `Algorithm1` and in what kernels are given; `test_planted_in_kernels` has those of the calibrated kernels.

A planted mistake is caught unless chance hides it, which for the smallest of them (a temperature wrong by 3 %) is
2.5 times the tolerance of 1.2 %: eight standard errors beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Kernel, State, Target
from ldam_widget.kernels import Algorithm1

from ..conftest import run_seed
from .harness import CHAINS, CURVATURE, DIMENSIONS, LAWS, Departure, Law, direction, gaussian, last_states

pytestmark = pytest.mark.statistical


@dataclass
class Altered:
    """Noise that is not what the kernel should have got."""

    noise: ChainNoise
    change: Callable[[Tensor], Tensor]

    def normal(self) -> Tensor:
        return self.change(self.noise.normal())


@dataclass
class Scaled:
    """A term whose gradient is wrong by a factor."""

    term: Any
    factor: float

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.term.evaluate(x)
        return value, grad * self.factor


def with_term(target: Target, name: str, factor: float) -> Target:
    return replace(target, terms={**target.terms, name: Scaled(target.terms[name], factor)})


@dataclass(frozen=True)
class Mistaken:
    """`Algorithm1` whose state is spoiled before or after every step."""

    right: Algorithm1
    before: Callable[[State], State] = lambda state: state
    after: Callable[[State, State, float], Tensor] = lambda old, new, gamma: new.x

    def init(self, x: Tensor, target: Target) -> State:
        return self.right.init(x, target)

    def step(self, state: State, target: Target, noise: Any) -> Any:
        new, info = self.right.step(self.before(state), target, noise)
        x = self.after(state, new, self.right.momentum)
        return State(x, target.evaluate(x), new.step, new.memory), info


def forget_velocity(state: State) -> State:
    return state._replace(memory=(torch.zeros_like(state.x), {}))


TARGETS: dict[str, Callable[[Target], Target]] = {
    "temperature forgotten": lambda t: replace(t, temperature=1.0),
    "T for √T": lambda t: replace(t, temperature=t.temperature**2),
    "temperature wrong by 3 %": lambda t: replace(t, temperature=1.03 * t.temperature),
    "mean gradient over the batch for the sum": lambda t: with_term(with_term(t, "l2", 1 / CHAINS), NEURON, 1 / CHAINS),
    "down the neuron for up": lambda t: with_term(t, NEURON, -1.0),
    "L2 as −‖x‖² for −½‖x‖²": lambda t: with_term(t, "l2", 2.0),
    "neuron gradient wrong by 1 %": lambda t: with_term(t, NEURON, 1.01),
}
NOISES: dict[str, Callable[[Tensor], Tensor]] = {
    "h for √(2h): half the variance": lambda z: z * 0.5**0.5,
    "variance for standard deviation": lambda z: z * LAW.kernel.noise,
    "every chain gets the same noise": lambda z: z[:1].expand_as(z),
    "uniform on [0, 1) for normal": lambda z: torch.special.ndtr(z),
    "step size forgotten in the noise": lambda z: z / LAW.kernel.step_size,
}
KERNELS: dict[str, Callable[[Algorithm1], Any]] = {
    "momentum forgotten": lambda k: Mistaken(k, before=forget_velocity),
    "momentum applied twice": lambda k: Mistaken(k, after=lambda old, new, gamma: new.x + gamma * new.memory[0]),
    "dampening (1 − γ) as in some optimisers": lambda k: replace(k, step_size=k.step_size * (1 - k.momentum)),
    "half a step": lambda k: Mistaken(k, after=lambda old, new, gamma: (old.x + new.x) / 2),
    "noise that falls within a burst": lambda k: replace(k, burst=2),
    "normalised gradients": lambda k: replace(k, normalize="unit"),
}
LAW: Law = LAWS["Algorithm1, near the limit of stability"]  # noise, step size, T and momentum all differ from 1
WEIGHT = 10 * direction(1)


def right(x: Any) -> Any:
    return x


def departure(kernel: Kernel, target: Target, change: Callable[[Tensor], Tensor]) -> Departure:
    noise = ChainNoise(run_seed(), 1, CHAINS, (DIMENSIONS,), torch.device("cpu"))
    states = last_states(kernel, target, Altered(noise, change), noise.start(), LAW.steps)
    return Departure.of(states, WEIGHT / CURVATURE, LAW.variance(CURVATURE, LAW.temperature))


def test_nothing_planted() -> None:
    """The control: the same path without a mistake passes. False alarm 8e-8."""
    departure(LAW.kernel, gaussian(WEIGHT, LAW.temperature), right).require_small()


@pytest.mark.parametrize("mistake", [*TARGETS, *NOISES, *KERNELS])
def test_planted_mistake_is_caught(mistake: str) -> None:
    kernel = KERNELS.get(mistake, right)(LAW.kernel)
    target = TARGETS.get(mistake, right)(gaussian(WEIGHT, LAW.temperature))
    found = departure(kernel, target, NOISES.get(mistake, right))
    print(mistake, found)
    with pytest.raises(AssertionError):
        found.require_small()
