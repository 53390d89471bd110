"""Constant, NaN or infinite activations and pictures are never judged good, and the verdict says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.analysis.ranking import by_change
from ldam_widget.data import RealImages
from ldam_widget.diagnostics import Samples, Thermometer, mixing, principal, report, switches
from ldam_widget.diagnostics.agreement import Agreement
from ldam_widget.pictures import images
from ldam_widget.sampling.standing import Standing, in_short

from .conftest import UNSCALED

Array = np.ndarray


def samples(chains: int = 4, draws: int = 600) -> Samples:
    """Two neurons whose chains agree: independent draws."""
    rng = np.random.default_rng(0)
    activation, pictures = rng.standard_normal((draws, 2, chains)), rng.standard_normal((draws, 2, chains, 9))
    return Samples(activation, pictures, np.arange(draws), 0.01, burned_in=True)


def changed(samples: Samples, name: str, at: tuple[object, ...], value: object) -> Samples:
    array = getattr(samples, name).copy()
    array[at] = value
    return samples._replace(**{name: array})


ALL = slice(None)
FAULTS = [
    ("activation", (ALL, 0), 0.0, "the activation never changes: the neuron is dead or saturated"),
    ("activation", (ALL, 0), [1.0, 2.0, 3.0, 4.0], "the activation never changes: the neuron is dead or saturated"),
    ("activation", (ALL, 0, 2), 0.0, "the activation never changes in 1 of 4 chains"),
    ("activation", (300, 0, 1), math.nan, "the activation is NaN or infinite"),
    ("activation", (ALL, 0), math.inf, "the activation is NaN or infinite"),
    ("thumbnails", (ALL, 0), 0.5, "the pictures never change: the chains stand still"),
    ("thumbnails", (ALL, 0, [0, 3]), 0.5, "the pictures never change in 2 of 4 chains"),
    ("thumbnails", (300, 0, 1, 4), math.nan, "the pictures have pixels that are NaN or infinite"),
]


@pytest.mark.parametrize("burned_in", [True, False])
@pytest.mark.parametrize(("name", "at", "value", "words"), FAULTS)
def test_what_carries_no_information_is_never_judged_good(
    name: str, at: tuple[object, ...], value: object, words: str, burned_in: bool
) -> None:
    found = report(changed(samples(), name, at, value)._replace(burned_in=burned_in))
    assert found["verdicts"][0].startswith(words)
    assert found["verdict"]["level"] == "warn"
    assert found["verdict"]["text"].startswith(f"1 of 2 neurons: {words}")
    assert found["verdicts"][1].startswith("chains agree" if burned_in else "burning in")


@pytest.mark.parametrize("chains", [1, 4])
def test_no_verdict_is_good_without_figures(chains: int) -> None:
    """Too short to be called dead; pictures without a single look; a temperature that ran off."""
    good = samples(chains, 3000)
    assert report(good)["verdict"]["level"] == "good"
    short = samples(chains, 20)
    for unknown in (
        changed(short, "activation", (ALL, ALL), 0.0),
        good._replace(thumbnails=np.empty((0, 2, chains, 9))),
        good._replace(thumbnails=np.empty((0, 0, 0))),
    ):
        found = report(unknown)
        assert found["verdict"] == {"level": "wait", "text": "too few pictures to tell"}
    assert report(good._replace(ratios=[math.inf, 1.0]))["verdict"]["level"] == "warn"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_figures_of_what_is_not_finite_are_nan(bad: float) -> None:
    """Ranks exist of infinite numbers, too, and R-hat was near 1."""
    found = mixing(changed(samples(), "activation", (5, 0, 1), bad).activation)
    for value in found.values():
        assert math.isnan(value[0])
        assert math.isfinite(value[1])
    along = principal(changed(samples(), "thumbnails", (5, 0, 1, 2), bad).thumbnails)
    assert np.isnan(along[:, 0]).all()
    np.testing.assert_allclose(along[:, 1], principal(samples().thumbnails)[:, 1])
    crossings = switches(along[..., 0])
    assert math.isnan(crossings[0])
    assert crossings[1] > 0


class Dead(nn.Module):
    """Unit 0 is a ReLU far below its threshold, unit 1 is alive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([torch.relu(total.tanh() - 5), total], 1)


def dead(**more: object) -> ldam.Sampler:
    arguments = {
        "input_shape": (1, 4, 4), "layer": "", "kernel": ldam.kernels.BAOAB(0.2, 1.0), "pixel_range": (0.0, 1.0),
        "chains": 3, **UNSCALED,
    }  # fmt: skip
    return ldam.Sampler(nn.Sequential(Dead()), **(arguments | {"layer": "0"} | more))


@pytest.mark.filterwarnings("ignore:the gradient of neuron 0 is exactly zero")
def test_a_dead_relu_is_reported_and_drawn_as_dead() -> None:
    s = dead()
    s.step(1200)
    found = s.diagnostics()
    assert found["verdict"]["level"] == "warn"
    assert found["verdict"]["text"].startswith("1 of 2 neurons: the activation never changes")
    assert "never changes" not in found["verdicts"][1]
    assert math.isnan(found["temperature"]["measured"][0]), "without a gradient there is no temperature"
    figure = ldam.figures.diagnostics(s)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[0].startswith("T unknown; the activation never changes")
    assert titles[1] == "autocorrelation time unknown"
    assert not any("nan" in title or "inf" in title for title in titles)
    assert not [line for line in figure.axes[2].lines if len(line.get_xdata()) == 20], "equal draws have no ranks"
    assert len([line for line in figure.axes[5].lines if len(line.get_xdata()) == 20]) == 3


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_without_a_gradient_no_temperature_is_read(bounds: tuple[float, float] | None) -> None:
    """It was 0, without an error."""
    thermometer = Thermometer(bounds, 1)
    for x in torch.rand(300, 2, 9, generator=torch.Generator().manual_seed(0)).square():
        thermometer.add(x, torch.zeros_like(x))
    assert math.isnan(thermometer.read()[0])


class Brightness:
    """Stands for a neuron: the sum of the pixels, or no more than `limit`."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def activations(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1).sum(1, keepdim=True).clamp_max(self.limit)


@pytest.mark.parametrize(
    ("limit", "value", "words", "short"),
    [
        (math.inf, math.nan, "not known: NaN or infinite", "NaN"),
        (math.inf, math.inf, "not known: NaN or infinite", "NaN"),
        (math.nan, 1.0, "not known: NaN or infinite", "NaN"),
        (0.0, 0.0, "as on every real image: dead or saturated", "dead?"),
        (0.0, 1.0, "stronger than every real image", "> max"),
        (math.inf, 4.5, "as strong as 50.0 % of real images", "p50.0"),
    ],
)
def test_standing_among_real_images(limit: float, value: float, words: str, short: str) -> None:
    """Ten images whose brightness is 0 … 9."""
    real = RealImages.checked(torch.arange(10.0).view(10, 1, 1, 1), (1, 1, 1), None)
    assert real is not None
    (said,) = Standing(real, Brightness(limit)).say(torch.tensor([value]))  # type: ignore[arg-type]
    assert (said, in_short(said)) == (words, short)


def agreement(key: str, difference: float) -> Agreement:
    return Agreement(key, "", (0.0, 1.0), 1.0, 0.5, difference, difference, 0.01, 0.02)


def test_unknown_differences_do_not_disturb_the_order() -> None:
    rows = [agreement(str(i), d) for i, d in enumerate([0.1, math.nan, 0.3, math.nan, 0.2])]
    assert [row.key for row in by_change(rows)] == ["2", "4", "0", "1", "3"]


def test_pixels_that_are_not_finite_spoil_no_other() -> None:
    ramp = np.linspace(-1, 1, 201, dtype=np.float32)
    spoiled = np.append(ramp, [np.nan, np.inf, -np.inf]).astype(np.float32)
    assert images.value_range(spoiled, None) == images.value_range(ramp, None)
    low, high = images.value_range(np.full(4, np.nan, np.float32), None)
    assert low < 0 < high < math.inf
    with np.errstate(all="raise"):
        levels = images.to_levels(spoiled, (-1, 1))
    assert levels[:201].tolist() == images.to_levels(ramp, (-1, 1)).tolist()
    assert levels[201:].tolist() == [0, 255, 0]
