"""The thermometer on draws whose temperature is known, without any sampler; then on a real network, with one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import norm, t, truncnorm
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.exact import LinearNeuron, TwoTemplates
from ldam_widget.diagnostics import Thermometer, virial
from ldam_widget.diagnostics.thermometer import LEARN
from ldam_widget.kernels import GHMC, MALA, ULA

from .conftest import SIGMAS, UNSCALED, run_seed
from .law.harness import binomial_score, direction

pytestmark = pytest.mark.statistical

CURVATURE, PIXELS = 0.5, 60


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(run_seed())


def normal(temperature: float, chains: int, pictures: int) -> list[tuple[Tensor, Tensor]]:
    """Independent pictures (x, ∇E) of the Gaussian with E = w·x − ½Λ‖x‖²."""
    weight, source = direction(1, PIXELS), generator()
    scale = math.sqrt(temperature / CURVATURE)
    draws = weight / CURVATURE + scale * torch.randn(pictures, chains, PIXELS, generator=source)
    return [(x, weight - CURVATURE * x) for x in draws]


def boxed(
    temperature: float, chains: int, pictures: int, lean: Tensor, bounds: tuple[float, float]
) -> list[tuple[Tensor, Tensor]]:
    """The same within walls, drawn by scipy; `lean` is w."""
    mean, sigma = lean.double().numpy() / CURVATURE, math.sqrt(temperature / CURVATURE)
    low, high = ((wall - mean) / sigma for wall in bounds)
    law = truncnorm(low, high, mean, sigma)
    draws = torch.from_numpy(law.rvs((pictures, chains, len(mean)), random_state=run_seed() % 2**32)).float()
    return [(x, lean - CURVATURE * x) for x in draws]


def reading(pictures: list[tuple[Tensor, Tensor]], bounds: Any, neurons: int = 1) -> list[float]:
    thermometer = Thermometer(bounds, neurons)
    for x, drift in pictures:
        thermometer.add(x, drift)
    return thermometer.read()


# ---- right -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.03, 1.0, 40.0])
def test_unbounded_pixels(temperature: float) -> None:
    """−⟨(x − c)·∇E⟩/D with c the mean of earlier pictures: every term is T z², so that the standard error is √(2/n) T
    for n = 400 pictures × 4 chains × 60 pixels (c adds a part in 400). 5.5 of them are 2.5 %. False alarm: 4e-8."""
    (found,) = reading(normal(temperature, 4, 500), None)
    tolerance = SIGMAS * math.sqrt(2 / (400 * 4 * PIXELS))
    print(f"seed {run_seed()}: {found / temperature:.4f} ± {tolerance / SIGMAS:.4f}")
    assert found == pytest.approx(temperature, rel=tolerance)


BOXES = {
    "walls far away": (torch.linspace(-0.1, 0.1, PIXELS), (-3.0, 3.0), 0.2),
    "leaning to the walls": (torch.linspace(-3, 3, PIXELS), (0.0, 1.0), 1.0),
    "all at one wall": (torch.linspace(3, 6, PIXELS), (0.0, 1.0), 1.0),
    "cold": (torch.linspace(-0.2, 0.6, PIXELS), (0.0, 1.0), 0.02),
    "not around zero": (torch.linspace(1, 3, PIXELS), (2.0, 5.0), 0.5),
}


@pytest.mark.parametrize("box", BOXES)
def test_pixels_in_a_box(box: str) -> None:
    """Against its spread over twenty independent sets of pictures, each set an own reading: Student's t with 19
    degrees, false alarm 4e-8 a box (8.8 standard errors, which must be small enough to say something)."""
    lean, bounds, temperature = BOXES[box]
    pictures = boxed(temperature, 4, 3000, lean, bounds)
    found = torch.tensor([reading(pictures[i : i + 150], bounds)[0] for i in range(0, 3000, 150)]).double()
    error = float(found.std()) / math.sqrt(20)
    print(f"seed {run_seed()}: {float(found.mean()) / temperature:.4f} ± {error / temperature:.4f}")
    assert error < 0.02 * temperature
    assert abs(float(found.mean()) - temperature) < t.isf(norm.sf(SIGMAS), 19) * error


def test_the_naive_virial_is_wrong_in_a_box() -> None:
    """The control: without the factor that vanishes at the walls the formula reads something else altogether."""
    lean, bounds, temperature = BOXES["leaning to the walls"]
    pictures = boxed(temperature, 4, 400, lean, bounds)
    up, divergence = torch.stack([torch.stack(virial(x, drift, None, (0.0, 0.0))) for x, drift in pictures]).mean(
        (0, 2)
    )
    assert abs(float(up / divergence) - temperature) > 0.5 * temperature


@pytest.mark.parametrize("bounds", [None, (-2.0, 3.0)])
def test_the_divergence_is_that_of_the_field(bounds: Any) -> None:
    """∇·φ by automatic differentiation of φ = −(what `virial` multiplies with ∇E)."""
    x = torch.randn(3, 2, 5, generator=generator(), dtype=torch.float64).clamp(-2, 3)
    field = (torch.randn(2, 5, generator=generator()).double(), torch.randn(2, 5, generator=generator()).double())
    _, found = virial(x, torch.zeros_like(x), bounds, field)

    def phi(y: Tensor) -> Tensor:
        parts = [virial(y, unit[None], bounds, field)[0] * -10 for unit in torch.eye(10).double().view(10, 2, 5)]
        return torch.cat(parts)

    for row, divergence in zip(x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(phi, row[None])
        trace = jacobian.reshape(10, 10).trace() / 10
        torch.testing.assert_close(trace, divergence)
    if bounds is not None:
        edge = torch.full((1, 2, 5), bounds[1], dtype=torch.float64)
        assert float(virial(edge, torch.ones_like(edge), bounds, field)[0].abs().max()) < 1e-12


def test_any_constants_give_the_same_temperature() -> None:
    """c and (k, q) change the noise alone. 2,000 draws of 60 pixels each. Six statements: false alarm 2e-7."""
    lean, bounds, temperature = BOXES["leaning to the walls"]
    cases: list[tuple[list[tuple[Tensor, Tensor]], Any, list[Any]]] = [
        (normal(1.3, 400, 5), None, [(0.0, 0.0), (2.0, 0.0), (torch.linspace(-9, 9, PIXELS), 0.0)]),
        (boxed(temperature, 400, 5, lean, bounds), bounds, [(1.0, 0.0), (0.0, 1.0), (lean / 3, 1.0)]),
    ]
    for pictures, walls, fields in cases:
        asked = 1.3 if walls is None else temperature
        x, drift = (torch.cat(parts).double() for parts in zip(*pictures, strict=True))
        for field in fields:
            up, divergence = virial(x, drift, walls, field)
            residue = up - asked * divergence
            assert abs(float(residue.mean())) < SIGMAS * float(residue.std()) / math.sqrt(len(x)), field


def test_a_slow_chain_is_not_read_too_cold() -> None:
    """Pictures with an autocorrelation time of 50: x' = ρx + √(1 − ρ²) ξ, 64 chains of 200 pixels.

    A constant c that a chain has learnt from its own pictures goes along with its later ones, and reads τ²/(100 n) too
    cold, 2.8 % here. Allowed are 5.5 standard errors √(2τ/(64 · 200 · 900)), 1.6 %. False alarm: 4e-8.
    """
    time, source = 50, generator()
    kept = math.exp(-1 / time)
    x, thermometer = torch.randn(64, 200, generator=source), Thermometer(None, 1)
    for _ in range(1000):
        x = kept * x + math.sqrt(1 - kept**2) * torch.randn(64, 200, generator=source)
        thermometer.add(x, -x)
    print(f"seed {run_seed()}: {thermometer.read()}")
    assert thermometer.read()[0] == pytest.approx(1.0, abs=SIGMAS * math.sqrt(2 * time / (64 * 200 * 900)))


def test_each_neuron_has_its_own() -> None:
    """Two neurons at T and 3T in one batch, neuron first. False alarm: 8e-8 (as `test_unbounded_pixels`)."""
    one, other = normal(1.0, 3, 500), normal(3.0, 3, 500)
    both = [(torch.cat([a, c]), torch.cat([b, d])) for (a, b), (c, d) in zip(one, other, strict=True)]
    cool, hot = reading(both, None, neurons=2)
    tolerance = SIGMAS * math.sqrt(2 / (400 * 3 * PIXELS))
    assert cool == pytest.approx(1.0, rel=tolerance)
    assert hot == pytest.approx(3.0, rel=tolerance)


# ---- silent where it does not know -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [LEARN - 1, LEARN, LEARN + 10, LEARN + 18])
def test_there_is_a_reading_while_new_constants_have_too_few_pictures(count: int) -> None:
    """It is then that of the `LEARN` − 1 pictures before, x·∇E as it stands. False alarm: 8e-8."""
    (found,) = reading(normal(1.0, 2, count), None)
    weight = direction(1, PIXELS)
    variance = 2 * PIXELS + float(weight.square().sum()) / CURVATURE  # of Σ x·∇E, for ξ² + wξ/√Λ in every pixel
    assert found == pytest.approx(1.0, abs=SIGMAS * math.sqrt(variance / (2 * (LEARN - 1))) / PIXELS)


@pytest.mark.parametrize("count", [0, 1, 19])
def test_too_few_pictures_give_no_reading(count: int) -> None:
    """Twenty are the least that ten blocks are made of."""
    found = reading(normal(1.0, 2, count), None, neurons=2)
    assert all(math.isnan(value) for value in found)
    assert len(found) == 2


def test_pixels_that_fill_their_box_evenly_give_no_reading() -> None:
    """T = 10⁵ in a box of width 1: E does not constrain where a pixel is, and the reading is NaN.

    A number is reported if the mean of ten blocks is four of their standard errors from 0 and of the right sign, which
    Student's t with 9 degrees has by chance with probability P(t > 4) = .0016 (2 of 1,200, over 6 seeds). Of twenty
    thermometers, by the binomial distribution: false alarm 2e-8.
    """
    pictures = boxed(1e5, 20 * 4, 400, torch.linspace(-3, 3, PIXELS), (0.0, 1.0))
    reported = sum(not math.isnan(found) for found in reading(pictures, (0.0, 1.0), neurons=20))
    assert binomial_score(reported, 20, t.sf(4, 9)) < SIGMAS


def test_a_reading_that_is_given_is_good_to_a_quarter() -> None:
    """A hundred thermometers of few pixels in a box: those that report a number are right within a quarter (one
    sigma), so that at most a third may be further off. By the binomial distribution: false alarm 2e-8."""
    lean, bounds = torch.linspace(-0.2, 0.3, 4), (0.0, 1.0)
    pictures = boxed(0.6, 100, 400, lean, bounds)
    found = reading(pictures, bounds, neurons=100)
    reported = [value for value in found if not math.isnan(value)]
    off = [value for value in reported if abs(value - 0.6) > 0.15]
    print(f"seed {run_seed()}: {len(reported)} reported, {len(off)} are off by more than a quarter")
    assert binomial_score(len(off), len(reported), 1 / 3) < SIGMAS


def test_reset_forgets_and_memory_is_bounded() -> None:
    """After a change of temperature the reading is of the new one alone, with or without a reset after 1,000 pictures.
    False alarm: 8e-8."""
    for forget in (True, False):
        thermometer = Thermometer(None, 1)
        for x, drift in normal(1.0, 2, 300):
            thermometer.add(x, drift)
        if forget:
            thermometer.reset()
            assert math.isnan(thermometer.read()[0])
        count = 200 if forget else 1000
        for x, drift in normal(5.0, 2, count):
            thermometer.add(x, drift)
        assert thermometer.read()[0] == pytest.approx(5.0, rel=SIGMAS * math.sqrt(2 / (count * 2 * PIXELS)))


# ---- through the sampler ---------------------------------------------------------------------------------------------


def sampled(kernel: Any, model: Any = None, steps: int = 3000, **arguments: Any) -> ldam.Sampler:
    model = LinearNeuron(direction(1, PIXELS)) if model is None else model
    defaults: dict[str, Any] = {
        "input_shape": (PIXELS,), "kernel": kernel, "regularizers": [ldam.L2(CURVATURE)], "chains": 16,
        "seed": run_seed(), "steps_per_frame": 4, **UNSCALED,
    }  # fmt: skip
    s = ldam.Sampler(model, **{**defaults, **arguments})
    s.step(steps)
    return s


def test_it_shows_the_bias_of_ula() -> None:
    """On a quadratic ULA runs at T/(1 − hΛ/2), here 4/3, and the thermometer says 4/3, not 1.

    Some 150 readings of 64 chains and 60 pixels each, 4 steps apart or more, of correlation ½⁸ in x² between them:
    independent, with a standard error of √(2/(150 · 64 · 60)) = .19 % (.36 % with 16 chains, over 22 seeds). 1.5 % is
    eight of them.
    """
    s = sampled(ULA(1.0), temperature=0.7, chains=64)
    print(f"seed {run_seed()}: {s.measured_temperature}")
    assert s.measured_temperature[0] == pytest.approx(0.7 / (1 - CURVATURE / 2), rel=0.015)
    assert s.diagnostics()["temperature"]["ratio"][0] == pytest.approx(4 / 3, rel=0.015)
    assert s.temperature_asked == 0.7


def test_it_follows_the_slider() -> None:
    """T from 1 to 3, and λ, without a new thermometer: the old pictures are forgotten. Some
    220 readings of 16 × 60 numbers have a standard error of .31 % (.33 %, over 12 seeds): 2.5 % is eight of them."""
    s = sampled(GHMC(0.8, 1.0))
    s.set(temperature=3.0, l2=0.9)
    assert math.isnan(s.measured_temperature[0])
    s.step(120)
    s.set(temperature=3.0)  # the pictures between were on their way
    s.step(1500)
    print(f"seed {run_seed()}: {s.measured_temperature}")
    assert s.measured_temperature[0] == pytest.approx(3.0, rel=0.025)


def test_modes_do_not_matter_to_it() -> None:
    """Chains locked in one of two modes have the right temperature all the same: it measures within a mode.

    Some 85 readings of 64 × 60 numbers have a standard error of .25 %, and of .3 % with what the distance between the
    modes adds, (12 · .7/60)² to a variance of 2/60 a reading (.5 % with 16 chains, over 22 seeds): 2.5 % is eight of
    them."""
    direct = torch.zeros(PIXELS)
    direct[0] = 6.0
    model = TwoTemplates(torch.stack([direct, -direct]))
    s = sampled(GHMC(0.8, 1.0), model, 2000, chains=64)
    assert s.measured_temperature[0] == pytest.approx(1.0, rel=0.025)


def test_a_real_network_has_the_temperature_asked_for() -> None:
    """Logits of the shipped LeNet-5, L2 .1, T = 1, no walls: no closed form, but the virial gives it. Within 2 %.

    With the exact kernels, MALA from where GHMC has brought the chains. The mean of two neurons scattered by .25 %
    over three seeds, and by .4 % over five runs of other lengths, too; 2 % is five to eight times that.
    """
    demo = ldam.demo.mnist("final")
    settings = demo.settings | {"pixel_range": None}
    s = ldam.Sampler(
        demo.model, neurons=[3, 8], kernel=GHMC(friction=0.5), regularizers=[ldam.L2(0.1)], chains=8,
        seed=run_seed(), steps_per_frame=2, warm_up=200, **UNSCALED, **settings,
    )  # fmt: skip
    for kernel, before, steps in ((None, 500, 1200), (MALA(), 300, 1500)):
        if kernel is not None:
            s.use_kernel(kernel)
        s.step(before)  # the warm-up, and until the start at variance 1 is forgotten, where the law has 10
        s.set(temperature=1.0)
        s.step(steps)
        found = s.measured_temperature
        print(f"seed {run_seed()}, {s.kernel.name}: {found}, step size {s.params['step_size']:.3f}")
        assert sum(found) / 2 == pytest.approx(1.0, rel=0.02)
