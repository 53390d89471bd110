"""The natural prior has the law that it claims: with a linear neuron, behind the squash, and on the ladder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import Evaluation, Kernel, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, LeimkuhlerMatthews
from ldam_widget.parametrizations import maps
from ldam_widget.parametrizations.natural import NaturalCoordinates
from ldam_widget.sampling.defaults import NATURAL_SCALE

from ..conftest import run_seed
from . import natural as laws
from .harness import normal_score, within_bounds
from .natural import PRIORS, TEMPERATURE, Array, Prior, require_law, require_law_behind_the_squash

pytestmark = pytest.mark.statistical

# every kernel, the steps that it takes to forget the start, and by how much its own step widens the prior
KERNELS: dict[str, tuple[Kernel, int, float]] = {
    "BAOAB": (BAOAB(0.7, 1.0), 70, 1.0),
    "BAOAB, long steps": (BAOAB(1.7, 0.4), 70, 1.0),
    "GHMC": (GHMC(0.4, 1.0), 90, 1.0),
    "MALA": (MALA(0.1), 250, 1.0),
    "Leimkuhler-Matthews": (LeimkuhlerMatthews(0.9), 40, 1.0),
    "ULA": (ULA(0.3), 50, 1 / 0.85),
}


def covariance_at(prior: Prior, w: float) -> Array:
    if w == 1:
        return prior.covariance
    if "amplitude" in prior.natural._tensors:
        return laws.spectral_covariance(prior.natural, prior.shape[1:], w)  # type: ignore[arg-type]
    return laws.powered(prior.covariance, w)


@pytest.mark.parametrize("tau", [0.4, 1.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_linear_neuron_tilts_the_prior_with_every_kernel(kernel: str, tau: float) -> None:
    """False alarm: 8e-8; see `Departure`."""
    right, steps, warmth = KERNELS[kernel]
    prior = PRIORS["whole covariance"]()
    require_law(right, prior, prior.covariance, 1.0, tau, steps, warmth)


@pytest.mark.parametrize(("prior", "w"), [
    ("photos", 1.0), ("photos", 0.5), ("photos", 0.0), ("whole covariance", 0.5), ("whole covariance", 0.0),
    ("leading directions", 1.0),
])  # fmt: skip
def test_a_linear_neuron_tilts_every_prior(prior: str, w: float) -> None:
    """False alarm: 8e-8."""
    made = PRIORS[prior]()
    require_law(BAOAB(0.9, 1.0), made, covariance_at(made, w), w, 0.4, 60)


@pytest.mark.parametrize(("tau", "pixel_range"), [(0.4, (0.0, 1.0)), (1.0, (-2.0, 3.0))])
def test_behind_the_squash_z_is_gaussian(tau: float, pixel_range: tuple[float, float]) -> None:
    """False alarm: 8e-8."""
    require_law_behind_the_squash(tau, pixel_range)


@pytest.mark.filterwarnings("ignore:without a pixel_range")
def test_the_coldest_rung_of_a_ladder_has_its_own_law() -> None:
    """Through the sampler, three rungs and swaps at every second step. False alarm: 8e-8."""
    prior = PRIORS["whole covariance"]()
    weight = laws.filter_for(prior.covariance, prior.shape, NATURAL_SCALE)
    s = sampler(weight, prior, kernel=BAOAB(0.7, 1.0), temperature=laws.SCALE * laws.TEMPERATURE, chains=200,
                ladder=ldam.Ladder((1, 1.4, 2), every=2), scale="none")  # fmt: skip
    s.step(80)
    assert min(s.diagnostics()["ladder"]["swap_acceptance"]) > 0.1
    mean = laws.tilted(prior.mean, prior.covariance, weight, NATURAL_SCALE)
    laws.departure(s.images[0], mean, NATURAL_SCALE**2 * prior.covariance).require_small()


@pytest.mark.filterwarnings("ignore:without a pixel_range")
def test_the_prior_alone_has_the_table_s_spectrum_and_colours() -> None:
    """At T = 10,000, by rings of the Fourier plane and by colours, with all that is found by default.

    False alarm: 4e-8 for each of 23 rings and three colours.
    """
    shape, tau = (3, 32, 32), NATURAL_SCALE
    prior = ldam.Natural("photos")
    s = ldam.Sampler(
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)).eval(), neurons=range(2), input_shape=shape, prior=prior,
        preprocess=lambda x: x, temperature=1e4, chains=32, seed=run_seed(), warm_up=20,
    )  # fmt: skip
    s.step(100)
    x = (s.images.flatten(0, 1).double() - prior._tensors["mean"].double().view(3, 1, 1)) / tau
    values, vectors = np.linalg.eigh(prior._tensors["colour"].double().numpy())
    x = torch.einsum("ck,nc...->nk...", torch.from_numpy(vectors / values), x)
    # by colour alone, now with the spectrum that all colours share
    power = torch.fft.fft2(x, norm="ortho").abs().square() / torch.from_numpy(laws.spectrum_of(prior, (32, 32), 1.0))
    cycles = torch.from_numpy(laws.cycles((32, 32)).round())
    scores = {f"ring {k:g}": score(power[..., cycles == k]) for k in cycles.unique().tolist()}
    scores |= {f"colour {k}": score(power[:, k]) for k in range(3)}
    within_bounds(scores)


def score(power: Tensor) -> float:
    return normal_score(float(power.sum()), power.numel())


def sampler(weight: Tensor, prior: Prior, **settings: Any) -> ldam.Sampler:
    """Of f = w·x with τ = ½."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.numel(), 1, bias=False)).eval()
    model[1].weight.data[:] = weight.flatten()  # type: ignore[operator]
    return ldam.Sampler(
        model, neurons=[0], input_shape=prior.shape, prior=prior.natural, preprocess=lambda x: x, seed=run_seed(),
        **settings,
    )  # fmt: skip


def without_colours(self: maps.Spectral, y: Tensor) -> Tensor:
    return self._filtered(y, self._gain)


def without_slope(self: NaturalCoordinates, grad: Tensor, picture: Tensor) -> Tensor:
    return self._now.adjoint(grad * self._gain)


def prior_over_temperature(self: Target, evaluation: Evaluation, z: Tensor) -> Tensor:
    return drift(self, evaluation, z) + z - z / TEMPERATURE


drift = Target.drift
PLANTED: dict[str, tuple[type, str, Any]] = {
    "prior divided by T": (Target, "drift", prior_over_temperature),
    "τ² missing in the pull": (Target, "pull", property(lambda self: 1 / self.temperature)),
    "velocities of temperature 1 for τ²": (Target, "kinetic_temperature", property(lambda self: 1.0)),
    "velocities of temperature T": (Target, "kinetic_temperature", property(lambda self: self.temperature)),
    "adjoint without the colours": (maps.Spectral, "adjoint", without_colours),
    "gradient not taken back to z": (NaturalCoordinates, "pulled_back", lambda self, grad, picture: grad),
    "no spectrum": (maps.Spectral, "_filtered", lambda self, z, gain: z),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PLANTED[mistake])
    prior = PRIORS["photos"]()
    with pytest.raises(AssertionError):
        require_law(BAOAB(0.9, 1.0), prior, prior.covariance, 1.0, 0.4, 60)


def test_a_matrix_for_its_transpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps.Dense, "adjoint", maps.Dense.forward)
    prior = PRIORS["whole covariance"]()
    with pytest.raises(AssertionError):
        require_law(BAOAB(0.9, 1.0), prior, prior.covariance, 1.0, 0.4, 60)


def test_a_squash_without_its_slope_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NaturalCoordinates, "pulled_back", without_slope)
    with pytest.raises(AssertionError):
        require_law_behind_the_squash(1.0, (0.0, 1.0))
