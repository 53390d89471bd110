"""The kernels have the law that their closed forms say: through the kernel alone, and through the public sampler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget import kernels
from ldam_widget.core.noise import ChainNoise
from ldam_widget.kernels import Algorithm1

from ..conftest import run_seed, with_fixed_weights
from .harness import CHAINS, CURVATURE, DIMENSIONS, LAWS, Departure, Law, direction, gaussian, last_states, numbers

pytestmark = pytest.mark.statistical

each_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())


@each_law
def test_last_states_have_mean_and_variance_of_the_closed_form(law: Law) -> None:
    """False alarm: 8e-8 a law; see `Departure`."""
    weight = direction(run_seed(), law.dimensions)
    noise = numbers(law.chains, law.dimensions, run_seed())
    target = replace(gaussian(weight, law.temperature), energy_needed=law.kernel.needs_energy)
    states = last_states(law.kernel, target, noise, noise.start(), law.steps, law.warm_up)
    departure = Departure.of(states, weight / CURVATURE, law.variance(CURVATURE, law.temperature))
    print(f"seed {run_seed()}: {departure}")
    departure.require_small()


@each_law
def test_the_sampler_has_the_closed_form_on_a_real_linear_layer(law: Law) -> None:
    """As above with two neurons at once, 64 chains and at most 400 pixels each. False alarm: 8e-8 a neuron."""
    size = min(400, law.dimensions)
    model = with_fixed_weights(lambda: nn.Linear(size, 2), run_seed())
    s = ldam.Sampler(
        model,
        neurons=range(2),
        input_shape=(size,),
        kernel=law.kernel,
        regularizers=[ldam.L2(CURVATURE)],
        scale="none",
        temperature=law.temperature,
        chains=64,
        seed=run_seed(),
        warm_up=max(1, law.warm_up),
    )
    s.step(law.steps)
    assert not s.warming_up
    for images, weight in zip(s.images, model.weight.detach(), strict=True):
        variance = law.variance(CURVATURE, law.temperature)
        Departure.of(images, weight / CURVATURE, variance).require_small()


@each_law
def test_reported_temperature_is_the_closed_form_to_first_order(law: Law) -> None:
    """Var · Λ → T as Λ → 0; at finite Λ it is the discretisation that the report leaves out."""
    target = gaussian(direction(0, 4), law.temperature)
    reported = law.kernel.temperature(target)
    assert law.variance(1e-7, law.temperature) * 1e-7 == pytest.approx(reported, rel=1e-6)
    doubled = gaussian(direction(0, 4), 2 * law.temperature)
    assert law.kernel.temperature(doubled) == pytest.approx(2 * reported)


def test_every_kernel_of_the_package_has_a_law_here() -> None:
    """A new kernel is one file, one import in kernels/__init__.py, and one closed form: this is what asks for the last.

    A kernel that can find its step size is here both with a step of its own and with one that it finds.
    """
    exported = {getattr(kernels, name) for name in kernels.__all__} - {kernels.RegularisedAscent}  # an optimiser
    assert all(isinstance(kernel, type) and hasattr(kernel, "step") for kernel in exported)
    here = {(type(law.kernel), getattr(law.kernel, "step_size", 0.0) is None) for law in LAWS.values()}
    assert {kernel for kernel, _ in here} == exported, "write a line in LAWS of tests/law/harness.py"
    for kernel in exported:
        if hasattr(kernel, "adapt") and kernel is not kernels.BAOAB:  # finds one in white coordinates: test_natural
            assert (kernel, True) in here, f"{kernel.__name__}(step_size=None) has no line in LAWS"
            assert (kernel, False) in here
    files = {path.stem for path in Path(kernels.__file__).parent.glob("*.py")} - {"regularised_ascent"}
    homes = {kernel.__module__.rsplit(".", 1)[1] for kernel in exported}
    assert files - homes == {"__init__", "metropolis", "moves"}, "a kernel that kernels/__init__.py does not import?"


@pytest.mark.parametrize(
    "law", [law for law in LAWS.values() if law.kernel.calibrated], ids=lambda law: str(law.kernel)
)
def test_the_temperature_of_a_calibrated_kernel_is_the_one_asked_for(law: Law) -> None:
    assert law.kernel.temperature(gaussian(direction(0, 4), 0.7)) == 0.7


def test_the_sampler_reports_the_temperature_it_has_now() -> None:
    model, kernel = with_fixed_weights(lambda: nn.Linear(4, 1)), Algorithm1(0.2, 0.5, 0.75, normalize="none")
    s = ldam.Sampler(model, input_shape=(4,), kernel=kernel, temperature=3.0)
    assert s.effective_temperature == pytest.approx(3 * 0.2 * 0.25 / (2 * 0.25))
    found = s.diagnostics()["temperature"]
    assert (found["asked"], found["closed_form"]) == (3.0, s.effective_temperature)
    assert "T = 0.3" in s.kernel_note
    s.set(step_size=ldam.PolynomialDecay(a=1.0, b=1.0, mu=1.0))
    s.step(9)  # β = 1/(1 + 9)
    assert s.effective_temperature == pytest.approx(3 * 0.1 * 0.25 / (2 * 0.25))
    assert "T = 0.15" in s.kernel_note


@pytest.mark.parametrize("options", [{"normalize": "unit"}, {"normalize": "rms"}, {"mix": "convex"}, {"burst": 2}])
def test_no_temperature_is_claimed_where_there_is_no_law(options: dict[str, object]) -> None:
    kernel = Algorithm1(**{"normalize": "none", **options})
    assert kernel.temperature(gaussian(direction(0, 4), 1.0)) is None
    assert "no known law" in kernel.note(gaussian(direction(0, 4), 1.0))


def test_polynomial_decay_anneals_as_predicted() -> None:
    """With β_t = a(b + t)^−µ the chain is Gaussian at every step; its covariance follows from two lines of algebra.

    The variance must fall like β_t (by 5 from step 8 to step 200). False alarm: 8e-8 for each of three
    steps, as in `Departure`.
    """
    gamma, sigma, temperature = 0.5, 1.0, 0.7
    schedule = ldam.PolynomialDecay(a=1.0, b=1.0, mu=0.55)
    kernel = Algorithm1(schedule, sigma, gamma, normalize="none")
    weight = direction(run_seed())
    target = gaussian(weight, temperature)
    noise = ChainNoise(run_seed(), 1, CHAINS, (DIMENSIONS,), torch.device("cpu"))
    state = kernel.init(noise.start(), target)
    covariance = np.diag([1.0, 0.0])  # of (x, v)
    offset = np.array([-1.0, 0.0])  # of (x − w/Λ, v), in units of w/Λ: the start has mean 0
    variances = {}
    for t in range(200):
        state, _ = kernel.step(state, target, noise)
        beta = 1.0 * (1.0 + t) ** -0.55
        move = np.array([[1 - beta * CURVATURE, gamma], [-beta * CURVATURE, gamma]])
        covariance = move @ covariance @ move.T + beta**2 * sigma**2 * temperature * np.ones((2, 2))
        offset = move @ offset
        if t + 1 in (8, 40, 200):
            mean = weight / CURVATURE * (1 + offset[0])
            Departure.of(state.x, mean, covariance[0, 0]).require_small()
            variances[t + 1] = covariance[0, 0]
    assert variances[8] > 2 * variances[40] > 4 * variances[200]
