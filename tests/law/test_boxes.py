"""Pixels in a box: truncated normal laws, and no pixel on a wall or beyond it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.exact import LinearNeuron, truncated_normal
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, LeimkuhlerMatthews
from ldam_widget.kernels.moves import coast

from ..conftest import run_seed
from .harness import CURVATURE, box_scores, direction, gaussian, numbers, within_bounds

pytestmark = pytest.mark.statistical

BOX = (-0.4, 0.8)
PIXELS, CHAINS, TEMPERATURE = 40, 1000, 0.3
WEIGHT = direction(3, PIXELS)  # means without walls from −4 to 4: pixels lean to either wall, or fill the box
# and the steps after which a pixel, which needs a time of ½ to cross the box, has done so many times
EXACT: dict[str, tuple[Any, int]] = {"MALA": (MALA(0.05), 250), "GHMC": (GHMC(0.3, 1.0), 150)}
SMALL_STEPS: dict[str, tuple[Any, int]] = {
    "BAOAB": (BAOAB(0.1, 1.0), 250),
    "Leimkuhler-Matthews": (LeimkuhlerMatthews(0.02), 150),
    "ULA": (ULA(0.004), 600),
}


def in_the_box(kernel: Any, steps: int, chains: int = CHAINS) -> Tensor:
    """(chain, pixel) after `steps` steps; on the way no pixel is beyond a wall."""
    noise = numbers(chains, PIXELS, run_seed())
    target = replace(gaussian(WEIGHT, TEMPERATURE, bounds=BOX), energy_needed=kernel.needs_energy)
    low, high = torch.tensor(BOX)
    state = kernel.init(noise.start().clamp(low, high), target)
    for _ in range(steps):
        state, _ = kernel.step(state, target, noise)
        assert bool(((state.x >= low) & (state.x <= high)).all())
    require_off_the_walls(state.x)
    return state.x


def require_off_the_walls(x: Tensor) -> None:
    """Of 40,000 single-precision numbers of a smooth density .01 fall on the last number before a wall by rounding, of
    80,000 .02: more than four with a probability of 3e-11."""
    low, high = torch.tensor(BOX)
    assert int(((x == low) | (x == high)).sum()) <= 4


def scores(x: Tensor) -> dict[str, float]:
    return box_scores(x, WEIGHT / CURVATURE, TEMPERATURE / CURVATURE, BOX)


def outward(x: Tensor) -> float:
    """Mean error of the pixels, counted away from the middle."""
    expected, _ = truncated_normal(WEIGHT / CURVATURE, TEMPERATURE / CURVATURE, *BOX)
    return float(((x.double().mean(0) - expected) * torch.sign(expected - sum(BOX) / 2)).mean())


@pytest.mark.parametrize("name", [*EXACT, *SMALL_STEPS])
def test_pixels_are_truncated_normal(name: str) -> None:
    """Exactly with Metropolis kernels; with the others at steps whose error, O(h²) with velocities and O(h) without, is
    below what 40,000 numbers show (measured: −.0006, −.0002, −.0008 where the standard error is .0014, which makes
    4e-7 of the false-alarm rate of one of the three statements, 4e-8)."""
    kernel, steps = (EXACT | SMALL_STEPS)[name]
    found = scores(in_the_box(kernel, steps))
    print(f"seed {run_seed()}: {found}")
    within_bounds(found)


@pytest.mark.parametrize("kernel", [MALA(0.1), GHMC(0.5, 0.5)], ids=lambda kernel: kernel.name)
def test_the_law_in_a_box_stays_where_it_is(kernel: Any) -> None:
    """Exact draws by the inverse of the distribution function, then ten long steps. False alarm: 2e-7."""
    generator = torch.Generator().manual_seed(run_seed())
    mean, sigma = (WEIGHT / CURVATURE).double(), (TEMPERATURE / CURVATURE) ** 0.5
    a, b = (torch.special.ndtr((wall - mean) / sigma) for wall in BOX)
    uniform = torch.rand(4000, PIXELS, generator=generator, dtype=torch.float64)
    x = (mean + sigma * torch.special.ndtri(a + (b - a) * uniform)).float().clamp(*torch.tensor(BOX))
    within_bounds(scores(x))
    target = gaussian(WEIGHT, TEMPERATURE, bounds=BOX)
    state = kernel.init(x, target)
    if isinstance(kernel, GHMC):
        velocity = TEMPERATURE**0.5 * torch.randn(x.shape, generator=generator)
        state = state._replace(memory=(velocity, *state.memory[1:]))
    noise, share = numbers(4000, PIXELS, run_seed()), 0.0
    for _ in range(10):
        state, info = kernel.step(state, target, noise)
        share += float(info.acceptance.mean()) / 10
    print(f"seed {run_seed()}: accepted {share:.2f}, {scores(state.x)}")
    assert 0.2 < share < 0.97
    within_bounds(scores(state.x))


def test_longer_steps_err_as_the_order_of_the_kernel_says() -> None:
    """BAOAB: h² (−.0217 at .6, −.0053 at .3); ULA with reflection: h (−.0199 at .1, −.0042 at .02). Of 2,000
    chains the standard error of each is .001, so that every bound is more than 6.5 of them away: false alarm 1e-10."""
    errors = {h: outward(in_the_box(BAOAB(h, 1.0), int(60 / h), 2 * CHAINS)) for h in (0.6, 0.3)}
    plain = {h: outward(in_the_box(ULA(h), int(6 / h), 2 * CHAINS)) for h in (0.1, 0.02)}
    print(f"seed {run_seed()}: BAOAB {errors}, ULA {plain}")
    assert abs(errors[0.6]) > 0.015
    assert abs(errors[0.3]) < abs(errors[0.6]) / 1.7
    assert abs(plain[0.1]) > 0.012
    assert abs(plain[0.02]) < abs(plain[0.1]) / 1.7


@pytest.mark.parametrize("name", [*EXACT, *SMALL_STEPS])
def test_the_sampler_keeps_pixels_inside_and_off_the_walls(name: str) -> None:
    """The start has no pixel on a wall either. Means of 40 pixels: false alarm 1e-7."""
    kernel, steps = (EXACT | SMALL_STEPS)[name]
    s = ldam.Sampler(
        LinearNeuron(WEIGHT),
        input_shape=(PIXELS,),
        kernel=kernel,
        regularizers=[ldam.L2(CURVATURE, toward=0.0)],
        scale="none",
        temperature=TEMPERATURE,
        pixel_range=BOX,
        chains=500,
        seed=run_seed(),
    )
    low, high = torch.tensor(BOX)
    assert float(((s.images == low) | (s.images == high)).float().mean()) == 0
    s.step(steps)
    x = s.images[0]
    assert bool(((x >= low) & (x <= high)).all())
    require_off_the_walls(x)
    within_bounds(scores(x))


# ---- the wall itself -------------------------------------------------------------------------------------------------


def test_coasting_between_mirrors_is_a_walk_in_small_steps() -> None:
    """Against a ball that is moved 1/20000 of the way at a time and turned whenever it passes a wall."""
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(60, 1, generator=generator, dtype=torch.float64) * 1.2 - 0.4
    velocity = torch.randn(60, 1, generator=generator, dtype=torch.float64) * 3
    found, turned = coast(x, velocity, 1.5, BOX)
    ball, speed = x.clone(), velocity.clone()
    pieces = 20_000
    for _ in range(pieces):
        ball = ball + speed * (1.5 / pieces)
        beyond_low, beyond_high = ball < BOX[0], ball > BOX[1]
        ball = torch.where(beyond_low, 2 * BOX[0] - ball, torch.where(beyond_high, 2 * BOX[1] - ball, ball))
        speed = torch.where(beyond_low | beyond_high, -speed, speed)
    torch.testing.assert_close(found, ball, rtol=0, atol=1e-9)
    assert torch.equal(turned, speed)
    assert bool((turned != velocity).any())
    assert bool((turned == velocity).any())


@pytest.mark.parametrize(
    "time", [0.3, 2.0, torch.linspace(0.1, 5, 50, dtype=torch.float64)], ids=["short", "long", "own"]
)
def test_coasting_is_reversible_and_keeps_volume(time: float | Tensor) -> None:
    """What makes a Metropolis kernel with walls exact: back with the velocity turned, one is where one was; and a
    coordinate's derivative is ±1, the same as the turn of its velocity."""
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(50, 7, generator=generator, dtype=torch.float64) * 1.2 - 0.4
    velocity = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    there, turned = coast(x, velocity, time, BOX)
    back, again = coast(there, -turned, time, BOX)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(-again, velocity)
    nudged, _ = coast(x + 1e-7, velocity, time, BOX)
    torch.testing.assert_close(((nudged - there) / 1e-7).abs(), torch.ones_like(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.sign(nudged - there), turned / velocity)


@pytest.mark.parametrize("start", [BOX[0], BOX[1]])
def test_a_pixel_on_a_wall_at_rest_stays_and_one_that_moves_goes_inside(start: float) -> None:
    x = torch.full((1, 3), start)
    found, _ = coast(x, torch.tensor([[0.0, 0.5, -0.5]]), 0.1, BOX)
    torch.testing.assert_close(found[0, 0], x[0, 0])
    inside = abs(start - 0.05) if start > 0 else start + 0.05
    torch.testing.assert_close(found[0, 1:], torch.full((2,), inside))
