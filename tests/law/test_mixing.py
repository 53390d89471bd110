"""In white coordinates the slowest modes of a picture are as fast as all others; in pixels with the same prior not."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Kernel, Target
from ldam_widget.diagnostics.mixing import mixing
from ldam_widget.kernels import BAOAB
from ldam_widget.parametrizations import Pixels
from ldam_widget.sampling import defaults

from ..conftest import run_seed

pytestmark = pytest.mark.statistical

SIDE, CHAINS, TAU = 32, 4, 0.5
# frequencies (y, x) of the ten modes of largest variance, each with its phase
SLOWEST = [
    (0, 1, 0),
    (0, 1, 1),
    (1, 0, 0),
    (1, 0, 1),
    (1, 1, 0),
    (1, 1, 1),
    (-1, 1, 0),
    (-1, 1, 1),
    (0, 0, 0),
    (0, 2, 0),
]


@functools.lru_cache
def coordinates() -> Any:
    return ldam.Natural("photos").coordinates((3, SIDE, SIDE), None, torch.device("cpu"))


class Indifferent:
    """A neuron with the same activation for every picture: only the prior is left."""

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(x)), torch.zeros_like(x)


class PriorOfPixels:
    """−½ |M⁻¹(x − μ)|²/τ², the same prior as a term of the energy."""

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        linear = coordinates()._now
        z = linear.inverse(x - coordinates()._mean) / TAU
        return -z.flatten(1).square().sum(1) / 2, -linear.inverse(z) / TAU  # M is symmetric


def modes(x: Tensor) -> npt.NDArray[Any]:
    """Amplitudes of the ten slowest modes of the brightness, (chain, 10)."""
    spectrum = torch.fft.rfft2(x.mean(1))
    return np.stack(
        [(spectrum[:, y, k].imag if phase else spectrum[:, y, k].real).numpy() for y, k, phase in SLOWEST], 1
    )


def ess_per_gradient(kernel: Kernel, target: Target, begin: Tensor, steps: int, warm_up: int = 0) -> float:
    """Of the slowest mode."""
    noise = ChainNoise(run_seed(), 1, CHAINS, begin.shape[1:], torch.device("cpu"))
    state, seen = kernel.init(begin, target), []
    for count in range(1, warm_up + steps + 1):
        state, info = kernel.step(state, target, noise)
        if count <= warm_up:
            if 2 * count > warm_up:
                state = kernel.adapt(state, info, count, target)  # type: ignore[attr-defined]
        else:
            seen.append(modes(target.coordinates.picture(state.x)))
    ess = mixing(np.stack(seen).transpose(0, 2, 1))["ess"]
    return float(ess.min()) / (steps * CHAINS)


def start() -> Tensor:
    return torch.randn(CHAINS, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(run_seed()))


def test_slow_modes_are_as_fast_as_all_others_and_slow_in_pixels() -> None:
    """Measured over 20 seeds: 0.357 ± 0.005 of a gradient (0.348 to 0.367), and 0.0019 in pixels; 0.35 at 224².

    The bound of 0.2 is thirty standard deviations away.
    """
    white = Target({NEURON: Indifferent()}, {NEURON: 1.0}, 1e4, coordinates(), TAU, energy_needed=False)
    kernel = defaults.natural_kernel()
    found = ess_per_gradient(kernel, white, TAU * start(), 600, defaults.NATURAL_WARM_UP)

    prior = PriorOfPixels()
    plain = Target({NEURON: prior}, {NEURON: 1.0}, 1.0, Pixels(None), energy_needed=False)
    colours, gain = torch.linalg.eigvalsh(coordinates()._now._colour), coordinates()._now._gain
    narrowest, widest = TAU * float(colours.min() * gain.min()), TAU * float(colours.max() * gain.max())
    begin = coordinates()._mean + coordinates()._now.forward(TAU * start())
    in_pixels = ess_per_gradient(BAOAB(1.5 * narrowest, 0.4 / widest), plain, begin, 600)
    print(f"seed {run_seed()}: {found:.3f} of a gradient, {in_pixels:.4f} in pixels")
    assert found >= 0.2
    assert in_pixels < found / 10
