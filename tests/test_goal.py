"""A goal is live, is refused where it makes no sense, and gives way to a temperature that is set."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ldam_widget as ldam
from ldam_widget.core.target import NEURON
from ldam_widget.kernels import BAOAB, GHMC

from .test_natural_works_with import sampler

REAL = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_a_goal_that_moves_is_followed() -> None:
    s = sampler(goal=0.4, chains=6, warm_up=300)
    assert s.params["goal"] == 0.4
    s.step(300)
    assert not s.warming_up
    first, scales = s.temperatures, s.scales
    s.set(goal=0.8)
    s.step(1)
    assert s.warming_up
    s.step(299)
    assert not s.warming_up
    assert (s.goal, s.params["goal"]) == (0.8, 0.8)
    assert all(after < before for after, before in zip(s.temperatures, first, strict=True)), "colder, to rise"
    assert s.scales == scales, "scales stay as they are"
    met = torch.stack([s.step(5).activation.mean(1) for _ in range(40)]).mean(0)
    assert met.tolist() == pytest.approx([0.8, 0.8], rel=0.15)


def test_a_temperature_that_is_set_ends_the_goal() -> None:
    s = sampler(goal=0.5)
    s.step(20)
    s.set(temperature=0.1)
    assert (s.goal, s.params["goal"], s.temperatures) == (None, 0.0, [0.1, 0.1])
    s.step(4)
    assert s.temperatures == [0.1, 0.1]


def test_a_temperature_that_is_set_while_a_goal_is_sought_stays_when_the_warm_up_is_over() -> None:
    s = sampler(goal=0.3, warm_up=100)
    s.step(30)
    s.set(temperature=0.05)
    assert s.params["temperature"] == 0.05
    s.step(130)
    assert not s.warming_up
    assert (s.goal, s.temperatures, s.params["temperature"]) == (None, [0.05, 0.05], 0.05)
    assert s.notes == []


def test_a_goal_that_is_dropped_while_it_is_sought_leaves_the_temperature_of_that_moment() -> None:
    s = sampler(goal=0.3, warm_up=100)
    s.step(30)
    found = s.params["temperature"]
    s.set(goal=0)
    s.step(130)
    assert (s.temperatures, s.notes) == ([found, found], [])


def test_heat_in_all_of_the_warm_up_is_reported() -> None:
    s = sampler(goal=0.3, warm_up=50)
    s.set(heat=2.0)
    with pytest.warns(ldam.LDAMWarning, match="goal was not sought, because heat was on"):
        s.step(60)
    s.set(heat=1.0, goal=0.4)
    s.step(60)
    assert not any("not sought" in note for note in s.notes)
    assert s.temperatures[0] != s.temperatures[1]


def test_a_missed_goal_is_forgotten_with_its_neurons() -> None:
    s = sampler(goal=1e4, warm_up=40)
    with pytest.warns(ldam.LDAMWarning, match="not met"):
        s.step(40)
    s.select(neurons=[2, 3])
    assert s.notes == []


def test_a_goal_of_none_keeps_the_temperature_that_was_found() -> None:
    s = sampler(goal=0.5)
    s.step(20)
    found = s.params["temperature"]
    s.set(goal=None)
    s.step(2)
    assert (s.goal, s.params["temperature"]) == (None, found)
    s.restart()
    assert s.params["temperature"] == found


def test_while_it_is_sought_the_panel_sees_the_temperature_move() -> None:
    s = sampler(goal=0.5, warm_up=40)
    seen = {s.step(5).params["temperature"] for _ in range(4)}
    assert len(seen) == 4


@pytest.mark.parametrize("heated", [
    lambda s: s.set(heat=30.0), lambda s: s.heat_pulse(ldam.HeatPulse(30.0, rise=0, hold=100, cool=10)),
], ids=["slider", "pulse"])  # fmt: skip
def test_heat_moves_the_chains_while_a_goal_is_sought_and_does_not_enter_the_search(heated: Any) -> None:
    s, twin = sampler(goal=0.8, chains=6, warm_up=300), sampler(goal=0.8, chains=6, warm_up=300)
    s.step(150)
    twin.step(150)
    heated(s)
    s.step(60)
    twin.step(60)
    assert float(s.activation.mean()) < 0.5 * float(twin.activation.mean())
    before = s.params["temperature"]
    s.step(20)
    assert s.params["temperature"] == before
    s.set(heat=1.0)
    s.step(20)
    assert s.params["temperature"] != before


def test_a_percentile_of_real_images_is_a_goal() -> None:
    s = sampler(goal="p90", dataset=REAL, warm_up=20)
    s.step(20)
    expected = torch.quantile(real_activations(s), 0.9, dim=0)
    assert s.goal == "p90"
    assert s.params["goal"] == pytest.approx(float(expected.mean()), rel=1e-4)
    s.set(goal="p50")
    s.step(2)
    assert s.params["goal"] == pytest.approx(max(1e-6, float(real_activations(s).median(0).values.mean())), rel=0.05)
    said = s.standing()
    assert said is not None
    assert all("real image" in words for words in said)


def real_activations(s: ldam.Sampler) -> torch.Tensor:
    return s.target.terms[NEURON].activations(REAL).double()


def test_percentiles_follow_to_other_neurons() -> None:
    s = sampler(goal="p90", dataset=REAL)
    s.step(12)
    before = s.params["goal"]
    s.select(neurons=[2, 3])
    s.step(12)
    assert s.params["goal"] != before
    assert len(s.temperatures) == 2


@pytest.mark.parametrize(("goal", "why"), [(1e4, "set a lower goal"), (1e-5, "set a higher goal")])
@pytest.mark.filterwarnings("ignore:the goal")
def test_a_goal_out_of_reach_is_reported(goal: float, why: str) -> None:
    s = sampler(goal=goal, warm_up=60)
    s.step(60)
    found = [note for note in s.notes if note.startswith("the goal ")]
    assert found
    assert any(why in note for note in found)
    s.set(goal=0.5)
    s.step(60)
    assert not any(note in s.notes for note in found), "of the present goal alone"


@pytest.mark.parametrize(("goal", "error", "message"), [
    ("q90", ValueError, "percentile"), ("p101", ValueError, "percentile"), (float("nan"), ValueError, "finite"),
    ([1], TypeError, "must be a number"), (-1.0, ValueError, "goal must be"), ("p90", ValueError, "dataset="),
])  # fmt: skip
def test_no_goals(goal: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sampler(goal=goal)
    s = sampler()
    with pytest.raises(error, match=message):
        s.set(goal=goal)
    assert s.goal is None


def test_a_kernel_without_a_law_in_pixels_takes_no_goal() -> None:
    with pytest.raises(ValueError, match="Algorithm 1 has no temperature"):
        sampler(prior=None, kernel=ldam.kernels.Algorithm1(), goal=1.0)


@pytest.mark.parametrize("kernel", [BAOAB(0.3), GHMC()], ids=str)
def test_goals_are_for_pixels_too(kernel: Any) -> None:
    s = sampler(prior=None, kernel=kernel, scale="frozen", temperature=1.0, goal=0.5, warm_up=30)
    s.step(40)
    assert s.temperatures[0] != s.temperatures[1]


def test_a_ladder_s_goal_is_that_of_its_coldest_rung() -> None:
    s = sampler(goal=0.5, ladder=ldam.Ladder((1, 2, 4)), warm_up=40)
    s.step(40)
    temperatures = s.target.temperature.view(2, 2, 3)  # type: ignore[union-attr]
    torch.testing.assert_close(temperatures / temperatures[..., :1], torch.tensor([1, 2, 4]).double().expand(2, 2, 3))
    assert temperatures[:, 0, 0].tolist() == pytest.approx(s.temperatures)
