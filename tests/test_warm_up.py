"""Warm-up: scales and step sizes are found once, then frozen; heat pulses; starts whose gradient is dead."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.exact import LinearNeuron
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.objectives import L2
from ldam_widget.parametrizations import Pixels

from .conftest import TINY_SHAPE, UNSCALED, TinyCnn, run_seed, with_fixed_weights
from .law.harness import Departure, direction

KERNELS: list[Any] = [BAOAB(0.3), GHMC(0.2), MALA(0.02), LeimkuhlerMatthews(0.05), ULA(0.05)]


def sampler(kernel: Any = None, **arguments: Any) -> ldam.Sampler:
    defaults: dict[str, Any] = {
        "neurons": [0, 2], "input_shape": TINY_SHAPE, "chains": 2, "regularizers": [L2(0.5)], "seed": 3, "warm_up": 40,
        "kernel": BAOAB(0.3) if kernel is None else kernel, **UNSCALED,
    }  # fmt: skip
    return ldam.Sampler(arguments.pop("model", with_fixed_weights(TinyCnn)), **{**defaults, **arguments})


def norms(s: ldam.Sampler) -> dict[str, Tensor]:
    """Gradient norms (N, C) of the pictures shown, by autograd and by hand."""
    model = with_fixed_weights(TinyCnn)
    x = s.images.detach().clone().requires_grad_(True)
    logits = model(x.flatten(0, 1)).view(2, -1, 5)
    (grad,) = torch.autograd.grad(logits[0, :, 0].sum() + logits[1, :, 2].sum(), x)
    return {NEURON: grad.flatten(2).norm(dim=2), "l2": s.images.flatten(2).norm(dim=2)}


# ---- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("length", [20, 21])
def test_scales_are_the_mean_gradient_norms_of_the_second_half_then_frozen(kernel: Any, length: int) -> None:
    """Of the first chain, measured here on the way, step by step, by autograd."""
    s = sampler(kernel, scale="frozen", warm_up=length)
    start = {name: value[:, 0] for name, value in norms(s).items()}
    assert s.warming_up
    for name, value in start.items():  # a first guess, where the chains start
        assert s.scales[name] == pytest.approx(value.tolist(), rel=1e-4)
    seen: dict[str, list[Tensor]] = {NEURON: [], "l2": []}
    for step in range(1, length + 1):
        s.step(1)
        for name, value in norms(s).items():
            if 2 * step > length:
                seen[name].append(value[:, 0])
    assert not s.warming_up
    expected = {name: torch.stack(values).mean(0).tolist() for name, values in seen.items()}
    assert s.scales is not None
    for name, values in expected.items():
        assert s.scales[name] == pytest.approx(values, rel=1e-4), name
    before = s.scales
    s.step(30)
    s.set(l2=2.0, temperature=3.0)
    s.step(30)
    assert s.scales == before == s.diagnostics()["scales"]


def test_after_the_warm_up_the_chain_is_that_of_a_target_divided_by_hand() -> None:
    """Same noise, same place, f/s_f + λR/s_R written out without any scales: the same chain, for every kernel."""

    class Divided:
        def __init__(self, term: Any, scale: Tensor) -> None:
            self.term, self.scale = term, scale

        def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
            value, grad = self.term.evaluate(x)
            return value / self.scale, grad / self.scale.view(-1, 1, 1, 1)

    for kernel in KERNELS:
        s = sampler(kernel, scale="frozen", temperature=0.1)
        s.step(40)
        state = s.state
        by_hand = Target(
            {name: Divided(term, s.target.scales[name]) for name, term in s.target.terms.items()},
            {NEURON: 1.0, "l2": 0.5},
            0.1,
            Pixels(None),
        )
        noise = ChainNoise(3, 2, 2, TINY_SHAPE, torch.device("cpu"))
        noise.start()
        if kernel.needs_energy:
            for _ in range(40):
                noise.uniform()
        for _ in range(80 if isinstance(kernel, GHMC) else 40):
            noise.normal()
        mine = replace(kernel).init(state.x, by_hand)._replace(memory=state.memory)
        for _ in range(30):
            mine, _ = kernel.step(mine, by_hand, noise)
        s.step(30)
        torch.testing.assert_close(s.state.x, mine.x, rtol=1e-4, atol=1e-4, msg=kernel.name)


@pytest.mark.statistical
def test_the_law_is_that_of_the_scaled_energy() -> None:
    """N((w/s_f) s_R/λ, T s_R/λ) in every pixel. False alarm: 8e-8."""
    weight = direction(run_seed(), 60)
    s = ldam.Sampler(
        LinearNeuron(weight), input_shape=(60,), kernel=BAOAB(1.0, 1.0), regularizers=[L2(3.0)], temperature=0.2,
        chains=400, seed=run_seed(), scale="frozen", warm_up=100,
    )  # fmt: skip
    s.step(300)
    curvature = 3.0 / s.scales["l2"][0]
    assert s.scales[NEURON][0] == pytest.approx(float(weight.norm()), rel=1e-5)
    Departure.of(s.images[0], weight / s.scales[NEURON][0] / curvature, 0.2 / curvature).require_small()


def test_scales_are_measured_again_when_asked_and_not_before() -> None:
    s = sampler(scale="frozen")
    s.step(60)
    before = s.scales
    s.set(temperature=5.0)
    s.step(60)
    assert s.scales == before
    s.measure_scales()
    assert s.warming_up
    s.step(40)
    assert s.scales != before
    with pytest.raises(RuntimeError, match="frozen"):
        sampler().measure_scales()
    assert sampler().scales is None


def test_a_term_of_weight_zero_has_a_scale_for_when_its_slider_is_moved() -> None:
    s = sampler(scale="frozen", regularizers=[L2(0.0)], warm_up=30)
    s.step(31)
    assert s.scales["l2"][0] == pytest.approx(float(s.images[0, 0].norm()), rel=0.5)
    assert s.scales["l2"][0] != 1
    s.set(l2=1.0)
    s.step(5)


def test_scales_do_not_go_with_a_kernel_that_normalises() -> None:
    with pytest.raises(ValueError, match="normalize='none'"):
        sampler(Algorithm1(), scale="frozen")
    s = sampler(Algorithm1(normalize="none"), scale="frozen")
    s.step(60)
    assert s.scales is not None


def test_pictures_of_the_warm_up_do_not_count() -> None:
    """Averages, thermometer and burn-in begin when it is over."""
    s = sampler(scale="frozen", steps_per_frame=4, warm_up=40, average=ldam.Window(50))
    s.step(40)
    assert not s.warming_up
    assert torch.equal(s.average_images, s.images)
    seen = [s.step(4).images for _ in range(3)]
    torch.testing.assert_close(s.average_images, torch.stack(seen).mean(0))


# ---- step sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("kernel", "wanted", "scatter"), [(MALA(), 0.574, 0.2), (GHMC(), 0.9, 0.13)], ids=["MALA", "GHMC"]
)
@pytest.mark.parametrize("size", [100, 400])
def test_every_chain_finds_a_step_that_is_accepted_as_often_as_wanted(
    kernel: Any, wanted: float, scatter: float, size: int
) -> None:
    """Robbins and Monro's last gain g = 4/308^.6 = .13 leaves log h with a variance of gσ²/2a', where the acceptance
    has variance σ² and slope a': a standard deviation of .12 for MALA (σ² = .12, a' = .57) and .06 for GHMC (.016,
    .30), if the acceptances of successive steps were independent. Since they are not, it is .135 and .09 (over 40
    seeds, and 32 chains each); that of 200 chains is known to 1/√400: the bounds are eight standard errors away.

    The mean acceptance of 32 chains was .567 ± .016 and .570 ± .012 for MALA, .900 ± .005 for GHMC; that of 200 chains
    scatters by .0063 at most, and .574 − .04 is 5.3 of these below .567: false alarm 6e-8."""
    s = ldam.Sampler(
        LinearNeuron(direction(1, size)), input_shape=(size,), kernel=kernel, regularizers=[L2(0.5)], chains=200,
        seed=run_seed(), warm_up=300, steps_per_frame=50, **UNSCALED,
    )  # fmt: skip
    s.step(300)
    found = s.kernel.step_size_of(s.state).clone()
    assert s.params["step_size"] == pytest.approx(float(found.mean()))
    s.step(300)
    assert torch.equal(s.kernel.step_size_of(s.state), found)
    accepted, scattered = float(s.acceptance.mean()), float(found.log().std())
    print(f"seed {run_seed()}: accepted {accepted:.4f}, log h scatters by {scattered:.4f}")
    assert accepted == pytest.approx(wanted, abs=0.04)
    assert len(found.unique()) > 100
    assert scattered < scatter


@pytest.mark.parametrize("kernel", [MALA(0.003), GHMC(0.05)], ids=["MALA", "GHMC"])
def test_a_step_size_that_is_given_is_never_adapted(kernel: Any) -> None:
    s = sampler(kernel)
    assert not s.warming_up
    own = s.kernel.step_size_of(s.state)
    s.step(60)
    assert s.params["step_size"] == kernel.step_size
    assert torch.equal(s.kernel.step_size_of(s.state), own)
    with_scales = sampler(kernel, scale="frozen")
    with_scales.step(60)
    assert torch.equal(with_scales.kernel.step_size_of(with_scales.state), own)


def test_a_slider_takes_over_from_what_was_found() -> None:
    s = sampler(MALA())
    s.step(60)
    s.set(step_size=0.001)
    assert s.params["step_size"] == 0.001
    assert s.kernel.step_size == 0.001
    s.step(5)


# ---- heat ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [(5, 3, 8), (0, 3, 8), (5, 0, 8), (5, 3, 0), (0, 0, 4), (1, 1, 1)])
def test_a_pulse_is_its_definition(times: tuple[int, int, int]) -> None:
    """Geometric: log heat rises by equal parts to log peak, stays, and falls by equal parts to 0."""
    rise, hold, cool = times
    pulse = ldam.HeatPulse(8.0, rise, hold, cool)
    up = [math.log(8) * (i + 1) / rise for i in range(rise)]
    down = [math.log(8) * (cool - 1 - i) / cool for i in range(cool)]
    expected = [*up, *[math.log(8)] * hold, *down, 0.0, 0.0]
    assert [math.log(pulse.at(i)) for i in range(pulse.length + 2)] == pytest.approx(expected, abs=1e-12)
    assert pulse.length == sum(times)


@pytest.mark.parametrize("wrong", [(0.5, 1, 1, 1), (101, 1, 1, 1), (2, -1, 1, 1), (2, 0, 0, 0), (2, 1.5, 1, 1)])
def test_pulses_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"peak|rise"):
        ldam.HeatPulse(*wrong)
    with pytest.raises(TypeError, match="HeatPulse"):
        sampler().heat_pulse(20)


class Watching(BAOAB):
    """Notes the temperature of every step."""

    seen: list[Any] = []  # noqa: RUF012

    def step(self, state: Any, target: Target, noise: Any) -> Any:
        self.seen.append(target.temperature)
        return super().step(state, target, noise)


@pytest.mark.parametrize("before", [1.0, 5.0], ids=["cold before", "heat on the slider before"])
@pytest.mark.parametrize("steps_per_frame", [1, 4])
def test_the_temperature_follows_a_pulse_step_by_step_and_comes_back(steps_per_frame: int, before: float) -> None:
    Watching.seen.clear()
    s = sampler(Watching(0.1), temperature=0.7, steps_per_frame=steps_per_frame)
    s.set(heat=before)
    s.step(3)
    assert Watching.seen == pytest.approx([0.7 * before] * 3)
    pulse = ldam.HeatPulse(10.0, 3, 4, 6)
    s.heat_pulse(pulse)
    Watching.seen.clear()
    shown = []
    for _ in range(20):
        shown.append(s.params["heat"])
        s.step(1)
    expected = [pulse.at(i) for i in range(20)]
    assert Watching.seen == pytest.approx([0.7 * heat for heat in expected])
    assert shown == pytest.approx(expected)
    assert s.heat == s.params["heat"] == 1.0
    assert s.temperature_asked == 0.7
    assert s.params["temperature"] == 0.7


def test_heat_in_a_long_step_is_the_same_as_step_by_step() -> None:
    at_once, one_by_one = (sampler(steps_per_frame=7) for _ in range(2))
    for s in (at_once, one_by_one):
        s.step(5)
        s.heat_pulse(ldam.HeatPulse(10.0, 3, 4, 6))
    at_once.step(40)
    for _ in range(40):
        one_by_one.step(1)
    assert torch.equal(at_once.images, one_by_one.images)


def test_averages_and_thermometer_start_over_after_a_pulse() -> None:
    s = sampler(average=ldam.Window(300), steps_per_frame=1)
    s.step(300)
    assert not math.isnan(s.measured_temperature[0])
    s.heat_pulse(ldam.HeatPulse(10.0, 3, 4, 13))
    s.step(20)
    assert math.isnan(s.measured_temperature[0])
    assert torch.equal(s.average_images, s.images)
    seen = [s.step(1).images for _ in range(3)]
    torch.testing.assert_close(s.average_images, torch.stack(seen).mean(0))


@pytest.mark.statistical
def test_heat_on_the_slider_multiplies_the_temperature_and_ends_a_pulse() -> None:
    """With heat 4 at T = ½ the law is that of T = 2. False alarm: 8e-8."""
    weight = direction(run_seed(), 60)
    s = ldam.Sampler(
        LinearNeuron(weight), input_shape=(60,), kernel=BAOAB(1.0, 1.0), regularizers=[L2(0.5)], temperature=0.5,
        scale="none", chains=300, seed=run_seed(),
    )  # fmt: skip
    s.heat_pulse(ldam.HeatPulse(50.0, 20, 100, 100))
    s.step(50)
    s.set(heat=4.0)
    assert s.heat == 4.0
    s.step(150)
    Departure.of(s.images[0], weight / 0.5, 4 * 0.5 / 0.5).require_small()
    s.restart()
    assert s.heat == 4.0


def test_a_pulse_heats_every_rung_of_a_ladder() -> None:
    s = sampler(Watching(0.1), temperature=0.5, ladder=(1, 3), chains=1)
    s.heat_pulse(ldam.HeatPulse(10.0, 0, 2, 0))
    Watching.seen.clear()
    s.step(3)
    assert Watching.seen[0].tolist() == pytest.approx([5, 15, 5, 15])
    assert Watching.seen[2].tolist() == pytest.approx([0.5, 1.5, 0.5, 1.5])


# ---- dead gradients --------------------------------------------------------------------------------------------------


class Gate(nn.Module):
    """relu(w·x − threshold): dead wherever w·x is below it."""

    def __init__(self, thresholds: tuple[float, ...]) -> None:
        super().__init__()
        self.fc = nn.Linear(9, len(thresholds))
        with torch.no_grad():
            self.fc.weight.copy_(direction(2, 9).expand(len(thresholds), 9) / direction(2, 9).norm())
            self.fc.bias.copy_(-torch.tensor(thresholds))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.fc(x))


def gated(*thresholds: float, **arguments: Any) -> ldam.Sampler:
    return sampler(
        model=Gate(thresholds), input_shape=(9,), layer="", neurons=range(len(thresholds)),
        class_names=[f"gate {i}" for i in range(len(thresholds))], **arguments,
    )  # fmt: skip


def test_a_neuron_that_is_dead_everywhere_is_named() -> None:
    with pytest.warns(ldam.LDAMWarning, match="gate 1") as caught:
        s = gated(-1e3, 1e3, chains=3)
    (message,) = {str(one.message) for one in caught}
    assert "gate 0" not in message
    assert "3 of 6 chains" in message
    assert "leaky" in message
    assert message in s.notes
    s.step(3)  # noise and priors move it all the same


def test_a_start_that_is_dead_is_drawn_again() -> None:
    """relu(z), z standard normal: half of the starts are dead, 2⁻⁶ of them after five more. With 40 chains some are
    left: of the others each is alive, and those that were alive at once are as they would have been anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ldam.LDAMWarning)
        s = gated(0.0, chains=40)
    first = ChainNoise(3, 1, 40, (9,), torch.device("cpu")).start()
    alive = first @ direction(2, 9) > 0
    assert 5 < int(alive.sum()) < 35
    assert torch.equal(s.images[0][alive], first[alive])
    assert not (s.images[0][~alive] == first[~alive]).all(1).any()
    dead = int((s.activation == 0).sum())
    assert dead <= 6  # 40 chains, of which (½)⁶ each: .6 expected
    assert bool(s.notes) == bool(dead)


def test_a_dead_start_of_another_chain_changes_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ldam.LDAMWarning)
        few, many = gated(0.0, chains=4), gated(0.0, chains=40)
        few.step(20)
        many.step(20)
    torch.testing.assert_close(few.images, many.images[:, :4])


def test_a_living_network_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ldam.LDAMWarning)
        gated(-1e3, chains=3)
        sampler()


@pytest.mark.statistical
def test_a_term_that_comes_in_on_the_way_has_the_mean_of_its_own_steps() -> None:
    """L2 switched on a few steps before the end of the warm-up: its scale is ‖x‖ over these, not over all."""
    s = ldam.Sampler(
        LinearNeuron(direction(1, 50)), input_shape=(50,), kernel=BAOAB(0.1), scale="frozen", warm_up=40,
        temperature=0.01, steps_per_frame=1, seed=run_seed(),
    )  # fmt: skip
    s.step(36)
    s.set(l2=0.5)
    norms = [float(s.step(1).images[0, 0].norm()) for _ in range(4)]
    assert not s.warming_up
    assert s.scales is not None
    assert s.scales["l2"] == pytest.approx([sum(norms) / 4], rel=1e-5)
