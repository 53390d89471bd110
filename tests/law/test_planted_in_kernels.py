"""Mistakes that calibrated samplers are known to have, planted in the kernels themselves by replacing one function.

Each is caught by the assertions of the law tests: exact draws from a double well or from a box that ten steps must
leave where they are, and last states on a quadratic. Each departs from its law by eleven standard errors or more, so
that chance hides it (below 5.5) as rarely as it raises a false alarm. The control is the same path with nothing
planted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, LeimkuhlerMatthews, baoab, ghmc, leimkuhler_matthews, mala, ula
from ldam_widget.kernels.metropolis import accepted, choose
from ldam_widget.kernels.moves import coast, plus, root, thermal

from ..conftest import run_seed
from .harness import (
    CURVATURE,
    Departure,
    DoubleWell,
    box_scores,
    direction,
    gaussian,
    last_states,
    numbers,
    within_bounds,
)
from .test_boxes import BOX
from .test_double_well import from_its_law

pytestmark = pytest.mark.statistical

Patch = pytest.MonkeyPatch
WELL = DoubleWell(3.0)
TEMPERATURE = 2.0  # ≠ 1, or a forgotten T would not show


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def inverted(gain: Tensor, temperature: Any, noise: Any) -> tuple[Tensor, Tensor]:
    """Accepts what it should refuse."""
    moves, share = accepted(gain, temperature, noise)
    return ~moves, share


def always(gain: Tensor, temperature: Any, noise: Any) -> tuple[Tensor, Tensor]:
    moves, share = accepted(gain, temperature, noise)
    return torch.ones_like(moves), share


def sign(gain: Tensor, temperature: Any, noise: Any) -> tuple[Tensor, Tensor]:
    return accepted(-gain, temperature, noise)


def without_temperature(gain: Tensor, temperature: Any, noise: Any) -> tuple[Tensor, Tensor]:
    return accepted(gain, 1.0, noise)


def no_kinetic(velocity: Tensor) -> Tensor:
    """Accept by ΔE alone: in MALA the proposal's ratio q(x|x*)/q(x*|x) is then missing."""
    return torch.zeros(len(velocity), dtype=torch.float64)


def cool(temperature: Any, values: Tensor) -> Tensor:
    """√h for √(2h) in the noise of a proposal."""
    return thermal(temperature / 2, values)


def unheated(temperature: Any, values: Tensor) -> Tensor:
    return thermal(1.0, values)


def wrong_friction(velocity: Tensor, kept: Any, temperature: Any, values: Tensor) -> Tensor:
    """(1 − c) for (1 − c²)."""
    return plus(velocity * kept, root((1 - kept) * temperature), values)


def unheated_friction(velocity: Tensor, kept: Any, temperature: Any, values: Tensor) -> Tensor:
    return plus(velocity * kept, root(1 - kept**2), values)


class NotTurned:
    """GHMC's velocity after a rejection goes on as it was. Its step chooses the velocity first, then x."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, moves: Tensor, new: Tensor, old: Tensor) -> Tensor:
        self.calls += 1
        return choose(moves, new, -old if self.calls % 2 else old)


def clamped(x: Tensor, velocity: Tensor, time: Any, bounds: Any) -> tuple[Tensor, Tensor]:
    x = plus(x, time, velocity)
    return (x, velocity) if bounds is None else (x.clamp(*bounds), velocity)


def without_flip(x: Tensor, velocity: Tensor, time: Any, bounds: Any) -> tuple[Tensor, Tensor]:
    """Reflects x and leaves the velocity as it was."""
    return coast(x, velocity, time, bounds)[0], velocity


# ---- how it is caught ------------------------------------------------------------------------------------------------


def require_law_of_the_well(kernel: Any, steps: int = 10, chains: int = 4000) -> None:
    """As `test_double_well.test_the_law_stays_where_it_is`, at T = 2, from draws of long, correct chains."""
    start = WELL.model.sample(chains, 0.5, torch.Generator().manual_seed(run_seed()))
    start = start_at(TEMPERATURE, start)
    x, _ = from_its_law(kernel, WELL.target(TEMPERATURE), start, steps)
    scores = WELL.scores(x, TEMPERATURE)
    print({name: round(score, 1) for name, score in scores.items()})
    within_bounds(scores)


def start_at(temperature: float, x: Tensor) -> Tensor:
    """Exact draws from the well at another temperature: along its axis by the inverse of the distribution function."""
    generator = torch.Generator().manual_seed(run_seed() + 2)
    grid, density = WELL.density(temperature)
    uniform = torch.rand(len(x), generator=generator, dtype=torch.float64)
    along = grid[torch.searchsorted(density.cumsum(0), uniform).clamp_max(len(grid) - 1)]
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64) * (temperature / WELL.curvature) ** 0.5
    across = WELL.across / WELL.curvature + noise - (noise @ WELL.axis)[:, None] * WELL.axis
    return (across + along[:, None] * WELL.axis).float()


def require_gaussian(kernel: Any, steps: int = 100, chains: int = 256, dimensions: int = 400) -> None:
    """As `test_closed_forms`, for kernels with an error of their own elsewhere."""
    weight = direction(run_seed(), dimensions)
    noise = numbers(chains, dimensions, run_seed())
    x = last_states(kernel, gaussian(weight, TEMPERATURE), noise, noise.start(), steps)
    own = 1 / (1 - kernel.step_size * CURVATURE / 2) if isinstance(kernel, ULA) else 1.0
    found = Departure.of(x, weight / CURVATURE, TEMPERATURE / CURVATURE * own)
    print(found)
    found.require_small()


def require_box(kernel: Any, steps: int = 150, chains: int = 800) -> None:
    """As `test_boxes.test_pixels_are_truncated_normal`."""
    weight, noise = direction(3, 40), numbers(chains, 40, run_seed())
    x = last_states(kernel, gaussian(weight, 0.3, bounds=BOX), noise, noise.start().clamp(*torch.tensor(BOX)), steps)
    scores = box_scores(x, weight / CURVATURE, 0.3 / CURVATURE, BOX)
    print({name: round(score, 1) for name, score in scores.items()})
    within_bounds(scores)


ROUGH_MALA, ROUGH_GHMC = MALA(0.5), GHMC(1.0, 0.5)
# name: where, which function, by what, and the test that must see it
PLANTED: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "MALA, inverted accept": (mala, "accepted", inverted, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, sign of the gain": (mala, "accepted", sign, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, accepts everything": (mala, "accepted", always, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, proposal ratio missing": (mala, "kinetic", no_kinetic, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, √h for √(2h)": (mala, "thermal", cool, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, T forgotten in noise": (mala, "thermal", unheated, lambda: require_law_of_the_well(ROUGH_MALA)),
    "MALA, T forgotten in accept": (
        mala, "accepted", without_temperature, lambda: require_law_of_the_well(ROUGH_MALA, 40, 8000)
    ),
    "GHMC, inverted accept": (ghmc, "accepted", inverted, lambda: require_law_of_the_well(ROUGH_GHMC)),
    "GHMC, accepts everything": (ghmc, "accepted", always, lambda: require_law_of_the_well(ROUGH_GHMC)),
    "GHMC, accept by ΔE alone": (ghmc, "kinetic", no_kinetic, lambda: require_law_of_the_well(ROUGH_GHMC)),
    "GHMC, T forgotten in accept": (
        ghmc, "accepted", without_temperature, lambda: require_law_of_the_well(ROUGH_GHMC, 40, 8000)
    ),
    "GHMC, T forgotten in friction": (ghmc, "refresh", unheated_friction, lambda: require_law_of_the_well(ROUGH_GHMC)),
    "GHMC, friction noise (1 − c)": (ghmc, "refresh", wrong_friction, lambda: require_law_of_the_well(ROUGH_GHMC)),
    "GHMC, velocity not turned": (
        ghmc, "choose", NotTurned(), lambda: require_law_of_the_well(GHMC(1.3, 0.3), 40, 8000)
    ),
    "BAOAB, friction noise (1 − c)": (baoab, "refresh", wrong_friction, lambda: require_gaussian(BAOAB(1.0, 1.0))),
    "BAOAB, T forgotten": (baoab, "refresh", unheated_friction, lambda: require_gaussian(BAOAB(1.0, 1.0))),
    "Leimkuhler-Matthews, √h for √(2h)": (
        leimkuhler_matthews, "thermal", cool, lambda: require_gaussian(LeimkuhlerMatthews(1.0))
    ),
    "Leimkuhler-Matthews, T forgotten": (
        leimkuhler_matthews, "thermal", unheated, lambda: require_gaussian(LeimkuhlerMatthews(1.0))
    ),
    "ULA, √h for √(2h)": (ula, "root", lambda value: root(value / 2), lambda: require_gaussian(ULA(0.3))),
    "ULA, T forgotten": (ula, "root", lambda value: root(value / TEMPERATURE), lambda: require_gaussian(ULA(0.3))),
    "BAOAB, clamped": (baoab, "coast", clamped, lambda: require_box(BAOAB(0.1, 1.0), 250)),
    "BAOAB, velocity not turned at a wall": (baoab, "coast", without_flip, lambda: require_box(BAOAB(0.1, 1.0), 250)),
    "GHMC, clamped": (ghmc, "coast", clamped, lambda: require_box(GHMC(0.3, 1.0))),
    "GHMC, velocity not turned at a wall": (
        ghmc, "coast", without_flip, lambda: require_box(GHMC(0.6, 1.0), 150)
    ),
    "MALA, clamped": (mala, "coast", clamped, lambda: require_box(MALA(0.05))),
    "MALA, velocity not turned at a wall": (mala, "coast", without_flip, lambda: require_box(MALA(0.2), 150)),
    "Leimkuhler-Matthews, clamped": (
        leimkuhler_matthews, "coast", clamped, lambda: require_box(LeimkuhlerMatthews(0.02))
    ),
    "Leimkuhler-Matthews, noise not turned at a wall": (
        leimkuhler_matthews, "coast", without_flip, lambda: require_box(LeimkuhlerMatthews(0.02), 150, 2000)
    ),
    "ULA, clamped": (ula, "coast", clamped, lambda: require_box(ULA(0.004), 400)),
}  # fmt: skip


CHECKS = [
    lambda: require_law_of_the_well(ROUGH_MALA, 40, 8000),
    lambda: require_law_of_the_well(ROUGH_GHMC, 40, 8000),
    lambda: require_law_of_the_well(GHMC(1.3, 0.3), 40, 8000),
    lambda: require_gaussian(BAOAB(1.0, 1.0)),
    lambda: require_gaussian(LeimkuhlerMatthews(1.0)),
    lambda: require_gaussian(ULA(0.3)),
    lambda: require_box(BAOAB(0.1, 1.0), 250),
    lambda: require_box(GHMC(0.3, 1.0)),
    lambda: require_box(MALA(0.05)),
    lambda: require_box(GHMC(0.6, 1.0), 150),
    lambda: require_box(MALA(0.2), 150),
    lambda: require_box(LeimkuhlerMatthews(0.02), 150, 2000),
    lambda: require_box(ULA(0.004), 400),
]


@pytest.mark.parametrize("check", range(len(CHECKS)))
def test_nothing_planted(check: int) -> None:
    """The controls, each with the false alarm of the test that it is taken from, 2e-7 at most."""
    CHECKS[check]()


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_is_caught(mistake: str, monkeypatch: Patch) -> None:
    where, function, wrong, require = PLANTED[mistake]
    assert hasattr(where, function)
    monkeypatch.setattr(where, function, wrong)
    with pytest.raises(AssertionError):
        require()
