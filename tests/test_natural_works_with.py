"""The natural prior beside everything else that a sampler can do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import Kernel
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews

from .conftest import with_fixed_weights

SHAPE = (3, 16, 16)


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Softplus(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 64, 4)
    )  # fmt: skip


NET = with_fixed_weights(build)
KERNELS: list[Kernel] = [
    BAOAB(None, 0.4), BAOAB(0.3, 1.0), GHMC(), MALA(), LeimkuhlerMatthews(0.1), ULA(0.1), Algorithm1(),
    Algorithm1(normalize="none"), Algorithm1(normalize="rms"), Algorithm1(mix="convex"),
]  # fmt: skip
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=str)


def centred(x: Tensor) -> Tensor:
    return (x - 0.45) / 0.25


SETTINGS: dict[str, Any] = {
    "neurons": range(2), "input_shape": SHAPE, "pixel_range": (0.0, 1.0), "preprocess": centred, "chains": 2,
    "seed": 3, "warm_up": 10, "execution": "plain",
}  # fmt: skip


def sampler(**settings: Any) -> ldam.Sampler:
    return ldam.Sampler(NET, **(SETTINGS | settings))


WITH: dict[str, dict[str, Any]] = {
    "L2": {"regularizers": [ldam.L2(1.0)]},
    "a ladder": {"ladder": ldam.Ladder((1, 2, 4), every=3)},
    "a ladder and a goal": {"ladder": ldam.Ladder((1, 2), every=3), "goal": 0.5},
    "a window": {"average": ldam.Window(5)},
    "jitter": {"transforms": ldam.Jitter(2)},
    "fixed changes": {"transforms": ldam.Robust(), "kernel": GHMC()},
    "a ladder with fixed changes": {"transforms": ldam.Robust(), "ladder": ldam.Ladder((1, 2))},
    "a goal": {"goal": 0.5},
    "a goal and an exact kernel": {"goal": 0.5, "kernel": GHMC()},
    "a goal and Algorithm 1": {"goal": 0.5, "kernel": Algorithm1()},
    "no scales": {"scale": "none"},
    "a leak": {"leaky": 0.1},
    "unbounded pixels": {"pixel_range": None},
    "a discriminator": {"regularizers": [ldam.Discriminator(ldam.build_discriminator(NET, SHAPE, small=True), 0.5)]},
    "recorded passes": {"execution": "recorded"},
    "recorded passes and jitter": {"execution": "recorded", "transforms": ldam.Jitter(2)},
    "trials of all ways": {"execution": "auto"},
}


@each_kernel
def test_every_kernel_runs(kernel: Kernel) -> None:
    s = sampler(kernel=kernel)
    before = s.activation
    s.step(40)
    assert not s.warming_up
    assert s.activation.mean() > before.mean()  # chains are noisy, one alone may be lower
    assert s.images.min() >= 0
    assert s.images.max() <= 1
    assert s.has_law == kernel.calibrated


@pytest.mark.filterwarnings("ignore:without a pixel_range")
@pytest.mark.parametrize("what", WITH)
def test_it_goes_with(what: str) -> None:
    s = sampler(**WITH[what])
    s.step(24)
    first = s.images
    assert bool(first.isfinite().all())
    s.restart()
    s.step(24)
    assert torch.equal(s.images, first), "a restart repeats to the last bit"


@pytest.mark.parametrize("more", [{}, {"transforms": ldam.Jitter(2)}, {"goal": 0.5}, {"kernel": MALA()}], ids=str)
def test_chains_do_not_depend_on_how_they_are_stepped(more: dict[str, Any]) -> None:
    at_once, piece_by_piece = sampler(**more), sampler(**more)
    at_once.step(24)
    for n in (1, 2, 3, 5, 6, 7):
        piece_by_piece.step(n)
    assert torch.equal(at_once.images, piece_by_piece.images)


@pytest.mark.parametrize("more", [{}, {"transforms": ldam.Jitter(2)}, {"kernel": GHMC()}], ids=str)
def test_chains_do_not_depend_on_how_many_there_are(more: dict[str, Any]) -> None:
    few, many = sampler(chains=2, **more), sampler(chains=5, **more)
    few.step(16)
    many.step(16)
    torch.testing.assert_close(many.images[:, :2], few.images, rtol=0, atol=1e-4)


def test_two_equal_models_differ_by_nothing() -> None:
    compared = ldam.Comparison({"one": NET, "other": with_fixed_weights(build)}, **SETTINGS)
    compared.step(20)
    one, other = (s.images for s in compared.samplers)
    assert torch.equal(one, other)


@each_kernel
def test_a_picture_goes_on_exactly_in_pixels_and_comes_back(kernel: Kernel) -> None:
    """Back in coordinates that cannot show the noise of pixels, what is coarse has to stay."""
    s = sampler(kernel=kernel)
    s.step(20)
    before = s.images.clone()
    s.use_prior("pixels")
    assert torch.equal(s.images, before)
    s.step(12)
    assert s.prior is None
    before = s.images.clone()
    s.use_prior("natural")
    coarse = [F.avg_pool2d(images.flatten(0, 1), 4).flatten() for images in (s.images, before)]
    assert float(torch.corrcoef(torch.stack(coarse))[0, 1]) > 0.5
    s.step(12)
    assert s.prior is not None
    assert bool(s.images.isfinite().all())


def test_live_settings_may_change_at_any_step() -> None:
    s = sampler()
    s.step(15)
    z = s.state.x.clone()
    s.set(natural=0.3)
    assert torch.equal(s.state.x, z), "z stays where it is"
    for change in ({"natural": 0.0}, {"prior_scale": 1.0}, {"temperature": 1.0}, {"natural": 1.0, "prior_scale": 0.1}):
        s.set(**change)
        s.step(6)
        assert bool(s.images.isfinite().all())
    for value in (-0.1, 1.1):
        with pytest.raises(ValueError, match="natural must be"):
            s.set(natural=value)


@pytest.mark.parametrize("kernel", [BAOAB(None, 0.4), GHMC(), MALA()], ids=str)
def test_a_step_that_was_found_goes_with_the_temperature_and_comes_back(kernel: Kernel) -> None:
    """The prior's part of the curvature stays what it is: at any T an exact kernel goes on accepting."""
    s = sampler(kernel=kernel, warm_up=60)
    s.step(60)
    temperature, found = s.params["temperature"], s.params["step_size"]
    s.set(temperature=1000 * temperature)
    s.step(40)
    assert s.params["step_size"] > found
    if kernel.needs_energy:
        assert float(s.acceptance.mean()) > 0.4  # type: ignore[union-attr]
    s.set(temperature=temperature)
    s.step(1)
    assert s.params["step_size"] == pytest.approx(found)
    s.set(prior_scale=2 * s.params["prior_scale"])  # pulls four times as strongly
    s.step(1)
    assert s.params["step_size"] < 0.8 * found


def test_without_a_temperature_the_chains_climb() -> None:
    s = sampler(temperature=0, warm_up=20)
    heights = [float(s.activation.mean())]
    for _ in range(3):
        s.step(40)
        heights.append(float(s.activation.mean()))
    assert heights == sorted(heights)
    assert s.params["step_size"] == pytest.approx(0.15)  # no thermometer reveals a step that is too long
    assert "climb" in s.kernel_note


def test_where_no_step_can_be_found_one_is_chosen() -> None:
    s = sampler(prior=None, kernel=BAOAB(0.3))
    s.use_kernel(BAOAB(None, 0.5))
    assert s.kernel.step_size is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("more", [{}, {"goal": 0.5}], ids=str)
def test_heat_quench_and_exploration(more: dict[str, Any]) -> None:
    s = sampler(**more)
    s.step(20)
    s.heat_pulse(ldam.HeatPulse(5, 4, 4, 4))
    s.step(14)
    assert not s.heating
    highest = NET(centred(s.quenched(60).flatten(0, 1)))[:, :2].view(2, 2, 2).diagonal(dim1=0, dim2=2).T
    assert bool((highest > s.activation).all())
    found = ldam.explore(s, looks=2, every=4, quench=10)
    assert [f.pictures.shape[1:] for f in found] == [SHAPE, SHAPE]


def test_the_thermometer_is_right_in_z() -> None:
    s = sampler(chains=8, warm_up=60)
    s.step(60)
    s.step(1200)  # it starts over once it has learnt the mean
    assert s.measured_temperature == pytest.approx(s.temperatures, rel=0.15)
