"""Units: the energy has none of its own, so that measuring E and T in others changes no chain of a calibrated kernel.

No closed form and no statistics: two runs with the same noise must be the same run, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import Kernel
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.parametrizations import Pixels

from .harness import DoubleWell, numbers

KERNELS: list[Any] = [BAOAB(0.8, 0.5), GHMC(0.7, 0.5), MALA(0.3), LeimkuhlerMatthews(0.4), ULA(0.2)]
BOX = (-1.5, 2.0)


@dataclass
class Scaled:
    """The same term in other units of energy."""

    term: Any
    factor: float

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.term.evaluate(x)
        return value * self.factor, grad * self.factor


class Wide:
    """Noise in double precision, so that rounding stays far below what is tested."""

    def __init__(self, noise: ChainNoise) -> None:
        self.noise = noise
        self.uniform = noise.uniform

    def normal(self) -> Tensor:
        return self.noise.normal().double()


def rescaled(kernel: Any, factor: float) -> Any:
    """The kernel in units in which energies are `factor` times as large: h has units pixel²/energy, a time step
    pixel/√energy, and a friction is one over a time."""
    if isinstance(kernel, (BAOAB, GHMC)):
        return replace(kernel, step_size=kernel.step_size / factor**0.5, friction=kernel.friction * factor**0.5)
    return replace(kernel, step_size=kernel.step_size / factor)


def path(kernel: Kernel, factor: float, bounds: tuple[float, float] | None, temperature: float = 0.7) -> Tensor:
    """(step, chain, pixel) float64: 100 steps in a double well, energy and temperature in units `factor` as large."""
    well = DoubleWell(3.0, dimensions=6)
    well.model.double()
    target = well.target(factor * temperature)
    target = replace(target, terms={k: Scaled(t, factor) for k, t in target.terms.items()}, coordinates=Pixels(bounds))
    noise = numbers(8, 6, 3)
    state = kernel.init(noise.start().double().clamp(-1.5, 2.0), target)
    states = []
    for _ in range(100):
        state, _ = kernel.step(state, target, Wide(noise))
        states.append(state.x)
    return torch.stack(states)


@pytest.mark.parametrize("factor", [4.0, 1e-3, 37.0])
@pytest.mark.parametrize("bounds", [None, BOX], ids=["free", "box"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_other_units_of_energy_give_the_same_chain(
    kernel: Kernel, bounds: tuple[float, float] | None, factor: float
) -> None:
    """E → cE, T → cT, h → h/c (time steps h/√c, friction · √c). Doubles have 1e-16; 100 steps make 1e-9 of it at most,
    as neighbouring chains part by no more than a small factor a step."""
    plain = path(kernel, 1.0, bounds)
    assert plain.std() > 0.3  # they moved
    torch.testing.assert_close(path(rescaled(kernel, factor), factor, bounds), plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_control_other_units_without_another_step_or_temperature_give_another_chain(kernel: Kernel) -> None:
    plain = path(kernel, 1.0, None)
    assert not torch.allclose(path(kernel, 4.0, None), plain, atol=0.01)
    colder = path(rescaled(kernel, 4.0), 4.0, None, temperature=0.7 / 4)
    assert not torch.allclose(colder, plain, atol=0.01)


def test_algorithm_1_with_normalised_gradients_has_no_units_to_change() -> None:
    """Its gradients forget how large E is (reference/algorithm.md, section 1.6: 'unit-norm 23')."""
    kernel = Algorithm1(0.1, 0.5, 0.5)
    plain = path(kernel, 1.0, None)
    assert not torch.allclose(path(rescaled(kernel, 4.0), 4.0, None), plain, atol=0.1)


def test_units_of_pixels() -> None:
    """x → ax with E(x/a): h → a²h, a time step a·h, friction as it is per time. Here a = 2 and w → w/2, λ → λ/4."""
    from ldam_widget.core.exact import TwoTemplates

    well = DoubleWell(3.0, dimensions=6)
    wide = TwoTemplates(well.model.weights / 2, well.model.biases)
    for kernel in KERNELS:
        runs = []
        for scale, model in ((1.0, well.model), (2.0, wide)):
            changed: Any = kernel
            if isinstance(kernel, (BAOAB, GHMC)):
                changed = replace(kernel, step_size=kernel.step_size * scale, friction=kernel.friction / scale)
            else:
                changed = replace(kernel, step_size=kernel.step_size * scale**2)
            target = well.target(0.7)
            terms = {**target.terms, "neuron": type(target.terms["neuron"])(model.double())}  # type: ignore[call-arg]
            target = replace(target, terms=terms, weights={"neuron": 1.0, "l2": well.curvature / scale**2})
            noise = numbers(4, 6, 3)
            state = changed.init(noise.start().double() * scale, target)
            for _ in range(60):
                state, _ = changed.step(state, target, Wide(noise))
            runs.append(state.x / scale)
        torch.testing.assert_close(runs[1], runs[0], rtol=1e-9, atol=1e-9, msg=kernel.name)
