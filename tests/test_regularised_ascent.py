"""`RegularisedAscent` against a second implementation, in numpy and scipy alone, and what goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.blur import blurred
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Target
from ldam_widget.kernels import BAOAB, RegularisedAscent
from ldam_widget.kernels.regularised_ascent import percentile
from ldam_widget.parametrizations import Natural, Pixels

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights
from .test_third_party import NETWORKS, load

Array = npt.NDArray[np.float64]
Gradient = Callable[[Array], tuple[float, Array]]  # image in pixels -> activation, its gradient

# Table 1 of the paper, and its program's learning rates
TABLE: dict[str, dict[str, Any]] = {
    "A": {"decay": 0, "width": 0.5, "every": 4, "norm": 50, "contribution": 0, "most": 100, "progress": 2},
    "B": {"decay": 0.3, "width": 0, "every": 0, "norm": 20, "contribution": 0, "rate": 100},
    "C": {"decay": 0.0001, "width": 1.0, "every": 4, "norm": 0, "contribution": 0, "rate": 100},
    "D": {"decay": 0, "width": 0.5, "every": 4, "norm": 0, "contribution": 90, "most": 1e8, "progress": 2},
}


def toolbox_step(seen: Array, i: int, activation: float, per_pixel: Array, row: dict[str, Any]) -> Array:
    """Iteration i, from one picture (channel, height, width) of pixels 0…1 to the next that the network sees.

    In grey levels, as the toolbox has them: x = image − mean, with a mean of 127.5.
    """
    x, g = seen * 255 - 127.5, per_pixel / 255
    length = np.linalg.norm(g)
    if length == 0:
        return seen
    rate = row.get("rate")
    if rate is None:
        wanted = row["progress"]
        if "late" in row:
            wanted = min(wanted, row["late"] * (1 - activation))
        rate = min(row["most"], wanted / length**2)
    x = (x + rate * g) * (1 - row["decay"])
    if row["width"] and i % row["every"] == 0:
        x = np.stack([ndimage.gaussian_filter(channel, row["width"]) for channel in x])
    if row["norm"]:
        size = np.sqrt((x**2).sum(0))
        x = x * (size >= np.percentile(size, row["norm"]))
    if row["contribution"]:
        gain = np.abs((-g * x).sum(0))
        x = x * (gain >= np.percentile(gain, row["contribution"]))
    return np.asarray(np.clip(x + 127.5, 0, 255) / 255)


class Activation:
    """A neuron of a module, as a term of a target: in the precision of the pixels."""

    def __init__(self, model: nn.Module, preprocess: Callable[[Tensor], Tensor], neurons: list[int]) -> None:
        self.model, self.preprocess, self.neurons = model.double(), preprocess, torch.tensor(neurons)

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            value = self.model(self.preprocess(leaf)).gather(1, self.neurons[:, None])[:, 0]
            (grad,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), grad

    def of_one(self, neuron: int) -> Gradient:
        one = Activation(self.model, self.preprocess, [neuron])

        def gradient(image: Array) -> tuple[float, Array]:
            value, grad = one.evaluate(torch.from_numpy(image)[None])
            return float(value), grad[0].numpy()

        return gradient


def climbed(term: Any, kernel: RegularisedAscent, start: Tensor, steps: int) -> list[Tensor]:
    """The pictures of every step."""
    target = Target({NEURON: term}, {NEURON: 1.0}, 1.0, Pixels((0.0, 1.0)), energy_needed=False)
    noise = ChainNoise(0, len(start), 1, tuple(start.shape[1:]), torch.device("cpu"))
    state, seen = kernel.init(start, target), []
    for _ in range(steps + 1):
        seen.append(state.x)
        state, _ = kernel.step(state, target, noise)
    return seen


def require_toolbox(term: Activation, neurons: list[int], shape: tuple[int, ...], preset: Any, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    start = 0.5 + 10 / 255 * torch.randn(len(neurons), *shape, generator=generator, dtype=torch.float64)
    found = climbed(term, RegularisedAscent.preset(preset), start, steps)
    for chain, neuron in enumerate(neurons):
        gradient, expected = term.of_one(neuron), start[chain].numpy()
        for i, picture in enumerate(found):
            assert float(np.abs(picture[chain].numpy() - expected).max()) < 1e-5, (neuron, i)
            expected = toolbox_step(expected, i, *gradient(expected), TABLE[preset])
        assert float(np.abs(expected - start[chain].numpy()).max()) > 0.05, "the control: it goes somewhere"


@pytest.mark.slow
@pytest.mark.parametrize("preset", TABLE)
def test_a_preset_is_the_toolbox_on_the_shipped_lenet(preset: str) -> None:
    """200 steps, every pixel of every step to 1e-5."""
    digits = ldam.demo.mnist("final")
    term = Activation(digits.model, digits.settings["preprocess"], [3, 7])
    require_toolbox(term, [3, 7], (1, 28, 28), preset, 200)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("preset", TABLE)
def test_a_preset_is_the_toolbox_on_a_resnet(preset: str, data_folder: Any) -> None:
    model: Any = load(NETWORKS["ResNet-20"], data_folder)
    mean, std = (torch.tensor(numbers).double().view(3, 1, 1) for numbers in (model.mean, model.std))
    term = Activation(model, lambda x: (x - mean) / std, [1, 8])
    require_toolbox(term, [1, 8], (3, 32, 32), preset, 200)


@pytest.mark.slow
@pytest.mark.parametrize("preset", TABLE)
def test_a_sampler_takes_the_toolbox_s_steps(preset: str) -> None:
    """200 steps in single precision, each from where the last one ended: rounding, which rectifiers and percentiles
    would amplify, does not add up."""
    s = digits(preset, neurons=[3, 7], chains=2, start="noise")
    for i in range(200):
        before = s.state
        s.step(1)
        grads, values = before.evaluation.grads[NEURON].double(), before.evaluation.values[NEURON]
        for chain in range(4):
            expected = toolbox_step(
                before.x[chain].double().numpy(), i, float(values[chain]), grads[chain].numpy(), TABLE[preset]
            )
            assert float(np.abs(s.state.x[chain].numpy() - expected).max()) < 1e-5, (i, chain)


def digits(preset: Any = "C", **more: Any) -> ldam.Sampler:
    d = ldam.demo.mnist("final")
    settings = {"kernel": RegularisedAscent.preset(preset), "execution": "plain", "steps_per_frame": 1, **d.settings}
    return ldam.Sampler(d.model, **(settings | more))


def tiny(kernel: Any = None, **more: Any) -> ldam.Sampler:
    settings = {"pixel_range": (0, 1), "execution": "plain", "kernel": kernel or RegularisedAscent()}
    return ldam.Sampler(with_fixed_weights(TinyCnn), input_shape=TINY_SHAPE, **(settings | more))


class Slope:
    """f(x) = w·x + b, whose values can be taken for probabilities."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        self.weight, self.bias = weight, bias

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x * self.weight).flatten(1).sum(1) + self.bias, self.weight.expand_as(x).clone()


@pytest.mark.parametrize("late", [0.0, 0.3, 30.0])
def test_the_rate_of_a_probability(late: float) -> None:
    """A step gains what is wanted: the progress, or its late share of what is left to 1."""
    weight = torch.randn(1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = torch.full((1, 1, 5, 5), 0.5, dtype=torch.float64)
    term = Slope(weight, bias=0.9 - 0.5 * float(weight.sum()))  # 0.9 at the start
    kernel = RegularisedAscent(1e9, progress=0.02, late_progress=late, decay=0, blur_width=0)
    seen = climbed(term, kernel, start, 1)
    before, after = (float(term.evaluate(x)[0]) for x in seen[:2])
    assert before == pytest.approx(0.9)
    assert after - before == pytest.approx(min(0.02, late * 0.1) if late else 0.02)


def test_a_chain_without_a_gradient_stands_still_and_its_neighbours_go_on() -> None:
    weight = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    weight[1] = 1
    start = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    seen = climbed(Slope(weight), RegularisedAscent.preset("B"), start, 3)
    assert all(torch.equal(x[0], start[0]) for x in seen)
    assert not (seen[1][1] == start[1]).any()


@pytest.mark.parametrize("shape", [(24,), (2, 24), (3, 9, 7), (1, 6, 5, 7)], ids=str)
def test_pictures_of_every_dimension(shape: tuple[int, ...]) -> None:
    """One step of everything at once, against numpy and scipy."""
    w, x0 = (torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    kernel = RegularisedAscent(
        300.0, decay=0.1, blur_width=0.8, norm_percentile=30.0, contribution_percentile=20.0, centre=0.4
    )
    found = climbed(Slope(w), kernel, x0, 1)[1].numpy()
    has_channels = len(shape) > 1
    for chain in range(2):
        g = w[chain].numpy()
        x = (x0[chain].numpy() - 0.4 + 300 / 255**2 * g) * 0.9
        x = ndimage.gaussian_filter(x, [0, *[0.8] * (len(shape) - 1)] if has_channels else 0.8)
        size = np.sqrt((x**2).sum(0)) if has_channels else np.abs(x)
        x = x * (size >= np.percentile(size, 30))
        gain = np.abs((g * x).sum(0) if has_channels else g * x)
        x = x * (gain >= np.percentile(gain, 20))
        np.testing.assert_allclose(found[chain], np.clip(x + 0.4, 0, 1), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.3, 9.0])
@pytest.mark.parametrize("shape", [(2, 16), (2, 3, 5), (2, 3, 9, 11), (1, 2, 6, 7, 8)], ids=str)
def test_the_blur_is_scipy_s(shape: tuple[int, ...], sigma: float) -> None:
    """Mirrored at the edges, more than once where the blur is wider than the picture."""
    x = torch.rand(shape, dtype=torch.float64)
    flat = min(2, len(shape) - 1)
    expected = ndimage.gaussian_filter(x.numpy(), [0] * flat + [sigma] * (len(shape) - flat))
    np.testing.assert_allclose(blurred(x, sigma).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("percent", [0.0, 20.0, 50.0, 90.0, 98.7])
def test_percentiles_are_numpy_s(percent: float) -> None:
    values = torch.rand(3, 1, 7, 5, dtype=torch.float64)
    expected = [np.percentile(image.numpy(), percent) for image in values]
    np.testing.assert_allclose(percentile(values, percent).flatten().numpy(), expected, atol=1e-14)


def test_it_starts_near_the_centre_and_comes_back_to_it() -> None:
    """Normal noise of 10 grey levels around the centre; with decay alone, pixels go there."""
    colour = (0.2, 0.5, 0.7)
    s = tiny(RegularisedAscent(1e-3, decay=1.0, blur_width=0, centre=colour), chains=40)
    apart = (s.images - torch.tensor(colour).view(3, 1, 1)) * 255
    assert float(apart.std()) == pytest.approx(10, rel=0.05)  # 28,800 numbers: ±0.6 % are four standard errors
    s.step(1)
    torch.testing.assert_close(s.images.mean((0, 1, 3, 4)), torch.tensor(colour), atol=1e-4, rtol=0)
    wide = tiny(RegularisedAscent(start_noise=0), pixel_range=(-3, 5))
    assert torch.equal(wide.images, torch.ones_like(wide.images)), "the middle, without a centre of its own"


def test_rates_suit_the_pixel_range() -> None:
    """The same picture whether its pixels are 0…1, 0…255 or −1…1."""

    def found(low: float, high: float) -> Tensor:
        net = with_fixed_weights(TinyCnn)
        s = ldam.Sampler(
            net, input_shape=TINY_SHAPE, kernel=RegularisedAscent.preset("C"), pixel_range=(low, high),
            preprocess=lambda x: (x - low) / (high - low), execution="plain",
        )  # fmt: skip
        s.step(20)
        return (s.images - low) / (high - low)

    for pixel_range in [(0.0, 255.0), (-1.0, 1.0)]:
        torch.testing.assert_close(found(*pixel_range), found(0.0, 1.0), atol=1e-4, rtol=0)


def test_the_blur_can_be_that_of_larger_pictures() -> None:
    """On 14 × 14 of 28 pixels, σ = 2 is one pixel."""
    start = torch.rand(1, 1, 14, 14, dtype=torch.float64)
    term = Slope(torch.ones(1, 14, 14, dtype=torch.float64))
    small, other = (
        climbed(term, RegularisedAscent(blur_width=width, blur_for=side), start, 4)
        for width, side in ((2.0, 28), (1.0, None))
    )
    assert torch.equal(small[-1], other[-1])


def test_in_the_panel_s_box_and_live() -> None:
    d = ldam.demo.mnist("final")
    w = ldam.LDAM(d.model, neurons=[3], play=False, **d.settings)
    w.use_kernel("RegularisedAscent")
    assert w.sampler.kernel == RegularisedAscent()
    w.decay, w.norm_percentile, w.blur_every = 0.01, 20, 2
    w.step(4)
    assert w.sampler.kernel == RegularisedAscent(decay=0.01, norm_percentile=20.0, blur_every=2)
    assert not w.sampler.has_law
    assert "temperature" not in w.params
    with pytest.raises(ValueError, match="decay"):
        w.decay = 2
    w.use_kernel("BAOAB")
    w.step(2)
    w.use_kernel("RegularisedAscent")
    assert w.decay == 0.01, "as last used"
    assert w.error is None
    w.close()


def test_it_has_no_temperature_and_that_of_the_kernel_before_comes_back() -> None:
    s = tiny(BAOAB(0.1))
    s.set(temperature=0.02)
    s.heat_pulse()
    s.use_kernel("RegularisedAscent")
    assert not {"temperature", "heat", "goal"} & s.params.keys()
    s.step(4)
    with pytest.raises(ValueError, match="no temperature that a heat pulse could raise"):
        s.heat_pulse()
    assert all(math.isnan(value) for value in s.measured_temperature)
    s.use_kernel("BAOAB")
    assert (s.params["temperature"], s.params["heat"]) == (0.02, 1.0)
    fresh = tiny()
    fresh.use_kernel("BAOAB")
    assert fresh.params["temperature"] == tiny(BAOAB()).params["temperature"], "the usual one"


def test_auto_means_pixels_and_a_natural_prior_is_refused() -> None:
    """An RGB network, for which "auto" is photographs with any other kernel."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    more: dict[str, Any] = {"input_shape": (3, 16, 16), "pixel_range": (0, 1), "execution": "plain"}
    s = ldam.Sampler(net, kernel=RegularisedAscent(), **more)
    assert s.prior is None
    both = ldam.Comparison({"a": net, "b": net}, kernel=RegularisedAscent(), **more)
    assert both.prior is None
    natural = ldam.Sampler(net, **more)
    assert natural.prior is not None
    for refused in (
        lambda: ldam.Sampler(net, kernel=RegularisedAscent(), prior=Natural("photos"), **more),
        lambda: natural.use_kernel("RegularisedAscent"),
        lambda: s.use_prior("natural"),
    ):
        with pytest.raises(ValueError, match=r"RegularisedAscent works on pixels.* prior=None"):
            refused()
    assert isinstance(natural.kernel, BAOAB), "it goes on as before"
    natural.step(2)
    natural.use_prior(None)
    natural.use_kernel("RegularisedAscent")
    natural.step(2)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: RegularisedAscent.preset("E"), ValueError, "'A', 'B', 'C', 'D'; got 'E'"),  # type: ignore[arg-type]
    (lambda: RegularisedAscent(decay=1.5), ValueError, "decay must be 0 or between 1e-06 and 1; got 1.5"),
    (lambda: RegularisedAscent(blur_every=0), ValueError, "blur_every must be between 1 and 100"),
    (lambda: RegularisedAscent(blur_every=1.5), ValueError, "blur_every must be an integer"),  # type: ignore[arg-type]
    (lambda: RegularisedAscent(norm_percentile=100), ValueError, "norm_percentile"),
    (lambda: RegularisedAscent(centre="grey"), TypeError, "centre must be a pixel value"),
    (lambda: RegularisedAscent(centre=(0.1, math.nan)), ValueError, "centre must be finite"),
    (lambda: RegularisedAscent(start_noise=-1), ValueError, "start_noise"),
    (lambda: RegularisedAscent(blur_for=0), ValueError, "blur_for"),
    (lambda: tiny(RegularisedAscent(centre=(0.1, 0.2))), ValueError, r"centre has 2 numbers.*\(3, 6, 8\)"),
    (lambda: tiny(pixel_range=None), ValueError, "give a pixel_range"),
    (lambda: tiny(goal=3.0), ValueError, "no temperature"),
    (lambda: tiny(temperature=3.0), ValueError, "has no temperature"),
    (lambda: tiny(ladder=(1, 2)), ValueError, "ladder needs a kernel that samples"),
])  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_presets_take_changes() -> None:
    assert RegularisedAscent.preset("D", centre=0.3) == replace(RegularisedAscent.preset("D"), centre=0.3)
    assert RegularisedAscent(centre=torch.tensor([0.25, 0.5])).centre == (0.25, 0.5)  # type: ignore[arg-type]
    assert RegularisedAscent(centre=np.array([0.25, 0.5])).centre == (0.25, 0.5)  # type: ignore[arg-type]
