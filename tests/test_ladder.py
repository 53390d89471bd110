"""Replica exchange: every rung has its own law, chains cross barriers that lock a plain kernel, swaps are correct.

The target is the double well of `law/harness.py`, whose law at every temperature is known, and a Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.exact import LinearNeuron
from ldam_widget.core.target import NEURON, Evaluation, State, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.sampling.ladder import SwapRecord, coldest, exchange

from .conftest import SIGMAS, UNSCALED, run_seed, with_fixed_weights
from .law.harness import CURVATURE, Departure, DoubleWell, direction, gaussian, normal_score, within_bounds

pytestmark = pytest.mark.statistical

CPU = torch.device("cpu")
KERNELS: list[Any] = [BAOAB(1.0, 1.0), LeimkuhlerMatthews(1.0), GHMC(0.8, 1.0), MALA(0.4)]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


def climbing(model: nn.Module, dimensions: int, kernel: Any, **arguments: Any) -> ldam.Sampler:
    defaults: dict[str, Any] = {
        "input_shape": (dimensions,), "kernel": kernel, "regularizers": [ldam.L2(CURVATURE)],
        "ladder": ldam.Ladder((1, 2, 4), every=3), "seed": run_seed(), **UNSCALED,
    }  # fmt: skip
    return ldam.Sampler(model, **{**defaults, **arguments})


def rungs(s: ldam.Sampler, count: int) -> Tensor:
    """(rung, neuron · chain, *image): a chain's copies lie side by side in the batch."""
    x = s.state.x
    return x.view(-1, count, *x.shape[1:]).transpose(0, 1)


# ---- the law ---------------------------------------------------------------------------------------------------------


@each_kernel
def test_every_rung_has_its_own_gaussian(kernel: Any) -> None:
    """A linear neuron, on which all four kernels are exact alone, and must stay so with swaps after every step: rung r
    is N(w/Λ, factor_r T/Λ). Two neurons. False alarm: 8e-8 for each of six laws.

    Half of the swaps are accepted: what a kernel carries along must not depend on the picture it leaves behind.
    """
    factors = (1.0, 1.3, 1.7)
    model = with_fixed_weights(lambda: nn.Linear(16, 2), run_seed())
    ladder = ldam.Ladder(factors, every=1)
    s = climbing(model, 16, kernel, neurons=range(2), chains=800, temperature=0.5, ladder=ladder)
    s.step(150)
    assert min(s.diagnostics()["ladder"]["swap_acceptance"]) > 0.4
    found = [
        Departure.of(x, weight / CURVATURE, factor * 0.5 / CURVATURE)
        for rung, factor in enumerate(factors)
        for x, weight in zip(rungs(s, 3)[rung].view(2, 800, 16), model.weight.detach(), strict=True)
    ]
    print(f"seed {run_seed()}: {found}")
    for departure in found:
        departure.require_small()
    assert torch.equal(s.images.flatten(0, 1), rungs(s, 3)[0])


@pytest.mark.parametrize("kernel", [GHMC(0.7, 0.5), MALA(0.4)], ids=lambda kernel: kernel.name)
def test_cold_chains_cross_where_a_plain_kernel_is_locked(kernel: Any) -> None:
    """Modes eleven standard deviations apart: the plain chains stay in the mode they fell into, whose share depends on
    the start; on a ladder the cold rung has the closed form, and every other rung the law by quadrature. False alarm:
    2e-7 a rung.

    The middle is 5.5 standard deviations away, 2e-8. 250 plain chains try at most 300 times each, which makes .0014
    that cross; four or more do with a probability of 2e-13."""
    well = DoubleWell(11.0, share=0.85, dimensions=6)
    factors = (1.0, 1.8, 3.2, 5.8, 10.4)
    plain = climbing(well.model, 6, kernel, chains=250, ladder=None)
    plain.step(300)
    before = plain.images[0].double() @ well.axis > well.middle
    plain.step(300)
    after = plain.images[0].double() @ well.axis > well.middle
    assert int((after != before).sum()) < 4
    with pytest.raises(AssertionError):
        within_bounds(well.scores(plain.images[0]))

    s = climbing(well.model, 6, kernel, chains=250, ladder=ldam.Ladder(factors, every=2))
    s.step(1000)
    for rung, factor in enumerate(factors):
        scores = well.scores(rungs(s, 5)[rung], factor)
        print(f"seed {run_seed()}, T × {factor}: {scores}")
        within_bounds(scores)
    within_bounds(well.scores(s.images[0]))
    ladder = s.diagnostics()["ladder"]
    assert min(ladder["swap_acceptance"]) > 0.2
    assert min(ladder["arrivals"]) > 5
    assert ladder["rounds"] == 500


def test_a_change_of_weight_in_the_middle_of_a_run_stays_exact() -> None:
    """λ from ½ to 2, T from 1 to 0.3, at once: the evaluations that swaps use are unweighted. False alarm: 2e-7."""
    s = climbing(LinearNeuron(direction(4, 60)), 60, GHMC(0.4, 1.0), chains=300)
    s.step(37)
    s.set(l2=2.0, temperature=0.3)
    s.step(150)
    for rung, factor in enumerate((1, 2, 4)):
        Departure.of(rungs(s, 3)[rung], direction(4, 60) / 2, factor * 0.3 / 2).require_small()


def test_scales_and_own_steps_go_with_a_ladder() -> None:
    """scale="frozen" and step_size=None: after the warm-up rung r is N((w/s_f)/(λ/s_R), factor T s_R/λ). False alarm:
    8e-8 a rung."""
    weight = direction(4, 60)
    s = climbing(LinearNeuron(weight), 60, GHMC(friction=1.0), chains=300, scale="frozen", warm_up=100)
    s.step(400)
    assert s.scales is not None
    of_neuron, of_l2 = s.scales["neuron"][0], s.scales["l2"][0]
    assert of_neuron == pytest.approx(float(weight.norm()), rel=1e-5)
    curvature = CURVATURE / of_l2
    for rung, factor in enumerate((1, 2, 4)):
        Departure.of(rungs(s, 3)[rung], weight / of_neuron / curvature, factor / curvature).require_small()


# ---- one round of swaps, from exact draws ----------------------------------------------------------------------------

FACTORS = (1.0, 1.3, 2.5)
CHAINS, DIMENSIONS = 20_000, 6
WEIGHT = direction(1, DIMENSIONS)


class Uniform:
    """One stream for all chains: twenty thousand of their own take seconds to make."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(run_seed() + 1)

    def uniform(self) -> Tensor:
        return torch.rand(CHAINS * 3, generator=self.generator, dtype=torch.float64)


def drawn() -> tuple[State, Target]:
    """Every rung at its own law, and the target."""
    generator = torch.Generator().manual_seed(run_seed())
    temperature = torch.tensor(FACTORS, dtype=torch.float64).repeat(CHAINS)
    x = torch.randn(CHAINS * 3, DIMENSIONS, generator=generator)
    x = WEIGHT / CURVATURE + x * (temperature / CURVATURE).sqrt().float()[:, None]
    target = gaussian(WEIGHT, temperature)
    velocity = torch.randn(x.shape, generator=generator) * temperature.sqrt().float()[:, None]
    return State(x, target.evaluate(x), 0, (velocity,)), target


def rounds(target: Target, state: State, noise: Any, count: int) -> tuple[State, SwapRecord]:
    swaps = SwapRecord.start(CHAINS, 3, CPU)
    for _ in range(count):
        state, swaps = exchange(state, swaps, target, noise)
    return state, swaps


def require_laws(state: State) -> None:
    for rung, factor in enumerate(FACTORS):
        x = (state.x[rung::3] - WEIGHT / CURVATURE).double()
        squares = float(x.square().sum()) * CURVATURE / factor
        assert abs(normal_score(squares, CHAINS * DIMENSIONS)) < SIGMAS, (rung, squares / CHAINS / DIMENSIONS)
        assert abs(float(x.mean())) < SIGMAS * math.sqrt(factor / CURVATURE / CHAINS / DIMENSIONS)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_swaps_leave_the_laws_where_they_are(count: int) -> None:
    """Six statements: false alarm 2e-7."""
    state, target = drawn()
    require_laws(state)
    moved, swaps = rounds(target, state, Uniform(), count)
    require_laws(moved)
    assert not torch.equal(moved.x, state.x)
    assert swaps.rounds == count


@dataclass(frozen=True)
class Inverted(Target):
    """An energy of the wrong sign: swaps are accepted with the inverse of their ratio."""

    def terms_energy(self, evaluation: Evaluation) -> Tensor:
        return -super().terms_energy(evaluation)


class Yes:
    """Uniform numbers that accept everything."""

    def uniform(self) -> Tensor:
        return torch.full((CHAINS * 3,), -1.0, dtype=torch.float64)


@pytest.mark.parametrize("mistake", ["inverted sign", "always accepted"])
def test_planted_mistakes_in_swaps_are_caught(mistake: str) -> None:
    state, target = drawn()
    noise: Any = Uniform()
    if mistake == "inverted sign":
        target = Inverted(target.terms, target.weights, target.temperature, target.coordinates)
    else:
        noise = Yes()
    moved, _ = rounds(target, state, noise, 2)
    with pytest.raises(AssertionError):
        require_laws(moved)


def test_swap_acceptance_is_what_independent_draws_give() -> None:
    """E min(1, exp((1/T_i − 1/T_j)(E_j − E_i))) with E = −T χ²(6)/2 + constant, by numpy's own χ² numbers.

    A million draws against 20,000 (and 20,000 of the other pair in the second round). The number in [0, 1] has a
    standard deviation ≤ ½: 5.5 standard errors are at most .0194. False alarm: 4e-8 a pair.
    """
    state, target = drawn()
    _, swaps = rounds(target, state, Uniform(), 2)
    draws = np.random.default_rng(run_seed()).chisquare(DIMENSIONS, size=(2, 1_000_000))
    report = swaps.report(torch.tensor([FACTORS]))
    for i in (0, 1):
        low, high = FACTORS[i], FACTORS[i + 1]
        gain = (1 / low - 1 / high) * (low * draws[0] - high * draws[1]) / 2
        expected = float(np.exp(np.minimum(gain, 0)).mean())
        print(f"seed {run_seed()}: T {low} and {high}: {report['swap_acceptance'][i]:.4f}, expected {expected:.4f}")
        assert report["swap_acceptance"][i] == pytest.approx(expected, abs=SIGMAS * 0.5 / CHAINS**0.5)
    assert swaps.tried.sum(0).tolist() == [CHAINS, CHAINS]


def test_what_swaps_and_what_stays() -> None:
    """Pictures move with their values and gradients; velocities stay on their rung; who came from where is recorded."""
    state, target = drawn()
    moved, swaps = rounds(target, state, Uniform(), 3)
    assert torch.equal(moved.memory[0], state.memory[0])
    again = target.evaluate(moved.x)
    for name in again.grads:
        torch.testing.assert_close(moved.evaluation.grads[name], again.grads[name])
        torch.testing.assert_close(moved.evaluation.values[name], again.values[name])
    came_from = (swaps.replica + 3 * torch.arange(CHAINS)[:, None]).flatten()
    assert torch.equal(moved.x, state.x[came_from])
    assert torch.equal(swaps.replica.sort(1).values, torch.arange(3).expand(CHAINS, 3))


def test_arrivals_count_other_copies_at_the_bottom() -> None:
    state, target = drawn()
    noise = Uniform()
    swaps, at_bottom, count = (
        SwapRecord.start(CHAINS, 3, CPU),
        torch.zeros(CHAINS, dtype=torch.long),
        torch.zeros(CHAINS),
    )
    for _ in range(6):
        state, swaps = exchange(state, swaps, target, noise)
        count = count + (swaps.replica[:, 0] != at_bottom)
        at_bottom = swaps.replica[:, 0]
    assert torch.equal(swaps.arrivals, count.long())


def test_round_trips_count_copies_that_were_at_the_top_in_between() -> None:
    """Counted here copy by copy from where each is: a second implementation, for the first hundred chains."""
    state, target = drawn()
    noise, swaps = Uniform(), SwapRecord.start(CHAINS, 3, CPU)
    seen_top = [[False] * 3 for _ in range(100)]
    trips = [0] * 100
    for _ in range(40):
        state, swaps = exchange(state, swaps, target, noise)
        for chain, on_rungs in enumerate(swaps.replica[:100].tolist()):
            seen_top[chain][on_rungs[2]] = True
            if seen_top[chain][on_rungs[0]]:
                trips[chain] += 1
                seen_top[chain][on_rungs[0]] = False
    assert swaps.round_trips[:100].tolist() == trips
    assert sum(trips) > 100


def test_energies_that_are_not_finite_swap_nothing() -> None:
    state, target = drawn()
    values = {name: torch.full_like(value, math.nan) for name, value in state.evaluation.values.items()}
    state = state._replace(evaluation=Evaluation(values, state.evaluation.grads))
    moved, swaps = rounds(target, state, Uniform(), 1)
    assert torch.equal(moved.x, state.x)
    assert swaps.report(torch.tensor([FACTORS]))["swap_acceptance"][0] == 0


# ---- settings --------------------------------------------------------------------------------------------------------


def test_temperatures_of_the_batch() -> None:
    s = climbing(LinearNeuron(WEIGHT), DIMENSIONS, BAOAB(), chains=3, temperature=2.0, ladder=(1, 3))
    assert isinstance(s.target.temperature, Tensor)
    assert s.target.temperature.tolist() == [2, 6, 2, 6, 2, 6]
    assert coldest(torch.arange(6), 2).tolist() == [0, 2, 4]
    assert coldest(torch.arange(6), 1).tolist() == list(range(6))


@pytest.mark.parametrize(
    "arguments",
    [{"factors": ()}, {"factors": (1,)}, {"factors": (2, 3)}, {"factors": (1, 3, 2)}, {"factors": (1, 1)},
     {"factors": (1, math.nan)}, {"factors": (1, 2), "swap_rate": 0}, {"factors": (1, 2), "swap_rate": "x"},
     {"factors": "12x"}, {"factors": 3}, {"every": 0},
     {"every": 2.5}, {"every": True}],
    ids=str,
)  # fmt: skip
def test_ladders_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match="ladder"):
        ldam.Ladder(**arguments)


def test_a_kernel_without_a_stated_temperature_gets_no_ladder() -> None:
    with pytest.raises(ValueError, match="BAOAB"):
        climbing(LinearNeuron(WEIGHT), DIMENSIONS, Algorithm1(normalize="none"))
    s = climbing(LinearNeuron(WEIGHT), DIMENSIONS, BAOAB())
    with pytest.raises(ValueError, match="BAOAB"):
        s.use_kernel(Algorithm1(normalize="none"))
    assert isinstance(s.kernel, BAOAB)
    s.step(5)


@each_kernel
def test_what_is_shown_is_the_cold_rung(kernel: Any) -> None:
    """Shapes and types are those without a ladder, the activation is that of the pictures shown."""
    model = with_fixed_weights(lambda: nn.Linear(12, 2))
    s = climbing(model, 12, kernel, neurons=range(2), chains=3)
    frame = s.step(20)
    assert frame.images.shape == frame.average_images.shape == (2, 3, 12)
    assert frame.images.dtype == frame.average_images.dtype == frame.activation.dtype == torch.float32
    with torch.no_grad():
        expected = torch.einsum("nci,ni->nc", frame.images, model.weight) + model.bias[:, None]
    torch.testing.assert_close(frame.activation, expected)
    assert s.effective_temperature == 1.0
    assert NEURON in s.state.evaluation.values
    found = s.diagnostics()
    assert found["ladder"]["rounds"] == 20 // 3
    assert len(found["ladder"]["arrivals"]) == 6
