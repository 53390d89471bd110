"""A neuron averaged over changes of the picture: linear stays linear, with the filter averaged likewise.

Exact kernels average over four fixed changes, and have the law of that filter. BAOAB draws one anew each step; on a
linear neuron that is noise in the gradient which does not depend on the place, and its law is Gaussian in closed form.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import NEURON, Kernel
from ldam_widget.kernels import BAOAB, GHMC, MALA
from ldam_widget.sampling.defaults import NATURAL_SCALE

from ..conftest import run_seed
from . import natural as laws
from .harness import Departure

pytestmark = [pytest.mark.statistical, pytest.mark.filterwarnings("ignore:without a pixel_range")]

SHAPE, TAU, TEMPERATURE = (3, 16, 16), NATURAL_SCALE, 0.35
PRIOR = ldam.Natural("photos")
CHAINS = 200


def weight() -> Tensor:
    covariance = laws.photos().covariance
    return laws.filter_for(covariance, SHAPE, TAU) * laws.SCALE


def sampler(kernel: Kernel, transforms: ldam.Jitter | ldam.Robust) -> ldam.Sampler:
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 1, bias=False)).eval()
    model[1].weight.data[:] = weight().flatten()  # type: ignore[operator]
    return ldam.Sampler(
        model, neurons=[0], input_shape=SHAPE, prior=PRIOR, preprocess=lambda x: x, kernel=kernel, scale="none",
        temperature=laws.SCALE * TEMPERATURE, chains=CHAINS, transforms=transforms, seed=run_seed(), execution="plain",
    )  # fmt: skip


def filters_of(transforms: ldam.Jitter | ldam.Robust, numbers: Tensor) -> Tensor:
    """∇ f(τx), (k, *image): f is linear, so that it is the same at every x."""
    x = torch.zeros(len(numbers), *SHAPE, requires_grad=True)
    f = (transforms.apply(x, numbers) * weight()).sum()
    return torch.autograd.grad(f, x)[0]


def pulls(s: ldam.Sampler, filters: Tensor) -> Tensor:
    """τ²/T Mᵀw, like the filters."""
    assert s.prior is not None
    pulled: Tensor = s.coordinates.pulled_back(filters, filters)
    return pulled * TAU**2 / s.params["temperature"]


@pytest.mark.parametrize("transforms", [ldam.Jitter(3), ldam.Robust()], ids=str)
@pytest.mark.parametrize(("kernel", "steps"), [(GHMC(0.3, 1.0), 120), (MALA(0.06), 400)], ids=str)
def test_exact_kernels_have_the_law_of_four_fixed_changes(
    kernel: Kernel, steps: int, transforms: ldam.Jitter | ldam.Robust
) -> None:
    """False alarm: 8e-8."""
    s = sampler(kernel, transforms)
    numbers = s.target.numbers[NEURON][0].view(4, -1)
    assert numbers.shape == (4, transforms.numbers)
    s.step(steps)
    mean = pulls(s, filters_of(transforms, numbers)).mean(0).flatten()
    Departure.of(s.state.x.flatten(1), mean, TAU**2).require_small()


def test_baoab_has_the_law_of_the_mean_filter_and_a_known_warmth() -> None:
    """Every shift is as likely as all others: 25 filters. False alarm: 8e-8."""
    transforms, h, friction = ldam.Jitter(2), 0.3, 1.0
    s = sampler(BAOAB(h, friction), transforms)
    s.step(120)
    numbers = torch.cartesian_prod(torch.arange(5), torch.arange(5)).double().add(0.5) / 5
    each = pulls(s, filters_of(transforms, numbers)).flatten(1)
    rotated, spread = rotate(each)
    z = s.state.x.flatten(1) @ rotated
    variances = TAU**2 + torch.tensor([warmth(float(v), h, friction) for v in spread])
    white = (z - each.mean(0) @ rotated) / variances.sqrt()
    assert float((variances / TAU**2).max()) > 1.05, "the changes are felt"
    Departure.of(white, torch.zeros(white.shape[1]), 1.0).require_small()


def rotate(each: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (D, D) in which the pull of a random shift is uncorrelated, and its variance along each."""
    centred = (each - each.mean(0)).double()
    spread, directions = torch.linalg.eigh(centred.T @ centred / len(each))
    return directions.float(), spread.clamp_min(0).float()


def warmth(spread: float, h: float, friction: float) -> float:
    """What noise in the pull, of this variance and new each step, adds to the variance of z.

    BAOAB in one dimension with the pull ξ − z is linear: (z, v, ξ) after a step from those before, ξ being that of the
    last gradient, which the next step begins with.
    """
    kept = math.exp(-friction * h)
    kick, coast, forget = np.eye(4), np.eye(4), np.diag([1.0, kept, 1.0, 1.0])
    kick[1] = [-h / 2, 1, h / 2, 0]  # of the state (z, v, ξ, the next ξ)
    coast[0, 1] = h / 2
    fresh = np.diag([1.0, 1.0, 0.0, 0.0])
    fresh[2, 3] = 1.0
    move = (kick @ fresh @ coast @ forget @ coast @ kick)[:3]
    stationary = solve_discrete_lyapunov(move[:, :3], spread * np.outer(move[:, 3], move[:, 3]))
    return float(stationary[0, 0])
