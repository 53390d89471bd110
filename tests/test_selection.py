"""Choosing other neurons: those that stay go on, and the others begin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1

KERNELS = {
    "Algorithm1": {"kernel": Algorithm1()},
    "Algorithm1 rms": {"kernel": Algorithm1(normalize="rms")},
    "BAOAB": {"kernel": BAOAB(step_size=0.05), "scale": "frozen", "warm_up": 10},
    "GHMC": {"kernel": GHMC(), "warm_up": 12},
    "MALA": {"kernel": MALA(), "scale": "frozen", "warm_up": 12},
    "ULA": {"kernel": ULA()},
    "ladder": {"kernel": BAOAB(step_size=0.05), "ladder": (1, 2, 4), "scale": "frozen", "warm_up": 10},
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 12), nn.Tanh(), nn.Linear(12, 8)).eval()


def made(neurons: list[int], **more: Any) -> ldam.Sampler:
    settings = {"pixel_range": (0, 1), "chains": 2, "execution": "plain", "temperature": 0.1} | more
    settings = {"kernel": Algorithm1(), "scale": "none"} | settings
    return ldam.Sampler(network(), input_shape=(1, 5, 5), neurons=neurons, seed=3, **settings)


def row(s: ldam.Sampler, unit: int) -> int:
    return [neuron.unit for neuron in s.neurons].index(unit)


def of(s: ldam.Sampler, unit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    at = row(s, unit)
    return s.images[at], s.average_images[at], s.activation[at], s.burned_in[at]


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_what_stays_goes_on_as_if_nothing_had_happened(name: str) -> None:
    """To rounding: other chains in the batch change no chain's law, noise, average or burn-in."""
    undisturbed, s = made([1, 2, 5], **KERNELS[name]), made([1, 2, 5], **KERNELS[name])
    for each in (undisturbed, s):
        each.step(300)
    s.select(neurons=[5, 7, 1])
    assert s.steps == 300
    for unit in (5, 1):
        for mine, its in zip(of(s, unit), of(undisturbed, unit), strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)
    for each in (undisturbed, s):
        each.step(20)
    for unit in (5, 1):
        for mine, its in zip(of(s, unit), of(undisturbed, unit), strict=True):
            torch.testing.assert_close(mine, its, rtol=2e-3, atol=2e-3)
    scales, before = s.scales, undisturbed.scales
    if scales is not None and before is not None:
        assert scales["neuron"][row(s, 1)] == pytest.approx(before["neuron"][0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_a_new_neuron_begins(name: str) -> None:
    s = made([1, 2], **KERNELS[name])
    s.step(300)
    s.select(neurons=[1, 7])
    assert not s.burned_in[row(s, 7)].any()
    torch.testing.assert_close(s.average_images[row(s, 7)], s.images[row(s, 7)])
    expected = network()(s.images[row(s, 7)])[:, 7].detach()
    torch.testing.assert_close(s.activation[row(s, 7)], expected, rtol=1e-4, atol=1e-5)
    s.step(2)
    expected = network()(s.images[row(s, 7)])[:, 7].detach()
    torch.testing.assert_close(s.activation[row(s, 7)], expected, rtol=1e-4, atol=1e-5)
    s.step(40)
    scales = s.scales
    if scales is not None:  # found in a warm-up of its own
        assert not s.warming_up
        fresh = made([7], **KERNELS[name])
        fresh.step(60)
        assert fresh.scales is not None
        assert scales["neuron"][row(s, 7)] == pytest.approx(fresh.scales["neuron"][0], rel=0.5)


@pytest.mark.parametrize("average", [ldam.EMA(0.9), ldam.Window(12)])
def test_an_average_counts_pictures_of_its_own_chain_alone(average: Any) -> None:
    s = made([1, 2], kernel=ULA(), average=average, steps_per_frame=1)
    s.step(30)
    s.select(neurons=[2, 4])
    seen = []
    for _ in range(20):
        seen.append(s.step(1).images[1])
        weights = torch.ones(len(seen))
        if isinstance(average, ldam.EMA):
            weights = 0.9 ** torch.arange(len(seen) - 1, -1, -1.0)
        else:
            weights[:-12] = 0
        expected = (torch.stack(seen) * (weights / weights.sum()).view(-1, 1, 1, 1, 1)).sum(0)
        torch.testing.assert_close(s.average_images[1], expected, rtol=1e-4, atol=1e-5)


def test_a_chain_that_comes_back_has_other_noise() -> None:
    s = made([1, 2], kernel=ULA())
    first = s.images[1].clone()
    s.step(10)
    s.select(neurons=[1])
    s.select(neurons=[1, 2])
    assert not torch.equal(s.images[1], first)
    s.restart()
    torch.testing.assert_close(s.images[1], first)


def mean_in_a_box(weights: Tensor, temperature: float) -> float:
    """⟨w·x⟩ of p ∝ exp(w·x/T) on the unit box: each pixel has the mean 1/(1 − e^(−w/T)) − T/w."""
    w = weights.double()
    return float((w * (1 / (1 - (-w / temperature).exp()) - temperature / w)).sum())


@pytest.mark.slow
def test_new_neurons_find_the_temperature_of_a_goal_and_others_keep_theirs() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 8, bias=False)).eval()
    goal = 0.7
    s = ldam.Sampler(
        model, input_shape=(1, 5, 5), pixel_range=(0, 1), neurons=[1, 2], chains=8, kernel=BAOAB(step_size=0.2),
        scale="frozen", temperature=1.0, goal=goal, warm_up=600, execution="plain",
    )  # fmt: skip
    s.step(620)
    kept = s.temperatures[1]
    s.select(neurons=[2, 6])
    assert s.temperatures[0] == pytest.approx(kept)
    s.step(620)
    assert s.temperatures[0] == pytest.approx(kept)
    assert s.scales is not None
    for unit, temperature, scale in zip((2, 6), s.temperatures, s.scales["neuron"], strict=True):
        assert mean_in_a_box(model[1].weight[unit].detach(), temperature * scale) == pytest.approx(goal, rel=0.15)


def test_another_layer_starts_over() -> None:
    s = made([1, 2], kernel=ULA())
    s.step(10)
    s.select("1", [1, 2])
    assert s.steps == 0


def natural(neurons: list[int], **more: Any) -> ldam.Sampler:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 6)).eval()
    return ldam.Sampler(
        model, input_shape=(3, 16, 16), pixel_range=(0, 1), neurons=neurons, transforms=None, execution="plain",
        prior="natural", **{"warm_up": 10} | more,
    )  # fmt: skip


def test_what_was_set_while_it_stood_still_is_followed_by_those_that_stay() -> None:
    """A choice of neurons between a slider and the next step is as one after that step."""
    changes: list[dict[str, Any]] = [{"temperature": 0.15}, {"natural": 0.3}, {"prior_scale": 0.6}, {"step_size": 0.1}]
    for change in changes:
        plain, s = natural([0, 1]), natural([0, 1])
        for each in (plain, s):
            each.step(12)
            each.set(**change)
        s.select(neurons=[0, 1, 2])
        for each in (plain, s):
            each.step(2)
        torch.testing.assert_close(s.images[:2], plain.images, rtol=1e-3, atol=1e-4, msg=str(change))


def test_a_goal_that_was_set_before_a_choice_is_sought_for_all() -> None:
    s = natural([0, 1])
    s.step(12)
    s.set(goal=5.0)
    s.select(neurons=[0, 2])
    s.step(1)
    assert s.warming_up
    s.step(20)
    assert len({round(t, 8) for t in s.temperatures}) == 2
    again = natural([0, 1])
    again.step(14)
    again.select(neurons=[0, 1, 2])
    again.step(2)
    again.set(goal=3.0)
    again.step(20)
    assert len({round(t, 8) for t in again.temperatures}) == 3


def test_choices_one_after_another_restart_no_neuron_that_stays() -> None:
    undisturbed, s = natural([0, 1], warm_up=20), natural([0, 1], warm_up=20)
    for each in (undisturbed, s):
        each.step(24)
    s.select(neurons=[0, 1, 2])
    s.step(4)
    s.select(neurons=[0, 1, 2, 3])
    s.step(4)
    s.select(neurons=[0, 1])
    assert not s.warming_up
    s.step(4)
    undisturbed.step(12)
    torch.testing.assert_close(s.average_images, undisturbed.average_images, rtol=2e-3, atol=1e-3)


def test_the_temperature_shown_is_the_mean_of_the_neurons_on_show() -> None:
    s = natural([0, 1], goal=2.0, warm_up=100)
    s.step(104)
    (_, kept) = s.temperatures
    s.select(neurons=[1])
    assert s.temperatures == [pytest.approx(kept)]
    assert s.params["temperature"] == pytest.approx(kept)
    s.set(goal=None)
    assert s.temperatures == [pytest.approx(kept)]


def test_a_choice_before_the_first_step_is_a_beginning() -> None:
    s = made([0, 1], kernel=ULA())
    s.select(neurons=[1, 2])
    first = s.step(5).images
    torch.testing.assert_close(made([1, 2], kernel=ULA()).step(5).images, first)
    s.restart()
    torch.testing.assert_close(s.step(5).images, first)


def test_a_missed_goal_is_reported_as_long_as_its_neuron_is_there() -> None:
    s = natural([0, 1], goal=1e5, warm_up=20)
    with pytest.warns(ldam.LDAMWarning, match="was not met by neuron"):
        s.step(24)

    def reported() -> list[int]:
        return [unit for unit in range(4) if any(f"by neuron {unit}, " in note for note in s.notes)]

    assert reported() == [0, 1]
    s.select(neurons=[1, 2])
    assert reported() == [1]
    with pytest.warns(ldam.LDAMWarning, match="was not met by neuron 2"):
        s.step(24)
    assert reported() == [1, 2]
