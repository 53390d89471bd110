"""The prior, goals and standings through `LDAM` and `compare`, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldam_widget import LDAM, Jitter, Natural, compare, watch
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.sampling.defaults import (
    KERNELS,
    NATURAL_FRICTION,
    default_kernel,
    kernel_called,
    natural_kernel,
    natural_temperature,
    size_of,
)
from ldam_widget.sampling.standing import in_short

from ..conftest import with_fixed_weights
from .page import SettlingPage as Page

RGB = (3, 16, 16)
GREY = (1, 16, 16)


def network(channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, 6), nn.Tanh(), nn.Linear(6, 5))


def images(channels: int = 3, count: int = 40) -> Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def show() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(channels: int = 3, **options: Any) -> Page:
        model = options.pop("model", None) or with_fixed_weights(lambda: network(channels))
        settings = {"input_shape": (channels, 16, 16), "pixel_range": (0, 1), "play": False} | options
        pages.append(Page(LDAM(model, **settings)))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()


@pytest.fixture
def both() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def make(**options: Any) -> Page:
        models = {"a": with_fixed_weights(network, 1), "b": with_fixed_weights(network, 2)}
        settings = {"input_shape": RGB, "pixel_range": (0, 1), "play": False} | options
        pages.append(Page(compare(models, **settings)))
        return pages[-1]

    yield make
    for page in pages:
        page.widget.close()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images priors were measured on, one number a time."""
    seen: list[int] = []
    plain = Natural.of_real.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Natural], real: Any, pixel_range: Any) -> Natural:
        seen.append(len(real))
        found: Natural = plain(cls, real, pixel_range)
        return found

    monkeypatch.setattr(Natural, "of_real", classmethod(counted))
    return seen


# ---- defaults ------------------------------------------------------------------------------------------------------


def test_colour_images_have_the_natural_prior_and_what_suits_it(show: Callable[..., Page]) -> None:
    w = show().widget
    assert w.prior.source == "204 photographs"
    assert w.kernel == natural_kernel()
    assert w.sampler.scale == "frozen"
    assert w.temperature == natural_temperature(3 * 256)
    assert (w.goal, w.transforms) == (None, None)
    w.step(5)
    assert w.prior_scale == 0.4
    assert w.natural == 1


def test_other_images_have_pixels_as_before(show: Callable[..., Page]) -> None:
    page = show(1)
    w = page.widget
    assert w.prior is None
    assert w.kernel == BAOAB(step_size=0.15, friction=1.0)  # 0.2 √(16/28)
    assert w.temperature == 0.0063  # 0.1/16, to two digits
    assert "natural" not in w.params
    page.receive(kind="hello", view="a")
    assert page.last("setup")["prior"] is None  # there is no choice
    with pytest.raises(ValueError, match=r"natural prior for images of shape .* must be measured"):
        w.prior = "natural"


@pytest.mark.parametrize("prior", [None, "pixels"])
def test_pixels_can_be_asked_for(show: Callable[..., Page], prior: Any) -> None:
    w = show(prior=prior).widget
    assert w.prior is None
    assert isinstance(w.kernel.step_size, float)


def test_what_is_given_counts_with_the_natural_prior_too(show: Callable[..., Page]) -> None:
    w = show(kernel=GHMC(0.1), temperature=0.5, scale="none", transforms=Jitter(2), goal=0.25).widget
    assert w.kernel == GHMC(0.1)
    assert w.sampler.scale == "none"
    assert str(w.transforms) == str(Jitter(2))
    assert w.goal == w.params["goal"] == 0.25
    with pytest.raises(AttributeError):
        w.transforms = None


def test_a_data_set_is_measured_once(show: Callable[..., Page], both: Callable[..., Page], measured: list[int]) -> None:
    w = show(1, dataset=images(1)).widget
    assert w.prior.source == "40 images"
    assert measured == [40]
    w.prior = None
    w.prior = "natural"
    assert w.prior.source == "40 images"
    assert measured == [40]
    pair = both(dataset=images()).widget
    assert measured == [40, 40]
    first, second = pair.samplers.values()
    assert first.prior is second.prior is pair.prior
    assert first.dataset is second.dataset


def test_a_training_that_is_watched_has_the_prior(measured: list[int]) -> None:
    w = watch(
        with_fixed_weights(network), display=False, input_shape=RGB, pixel_range=(0, 1), dataset=images(), play=False
    )
    try:
        assert w.prior is not None
        assert w.prior.source == "40 images"
        assert measured == [40]
    finally:
        w.close()


# ---- kernels that suit ---------------------------------------------------------------------------------------------


def test_kernels_chosen_by_name_suit_the_prior(show: Callable[..., Page]) -> None:
    wanted = [
        natural_kernel(), GHMC(None, NATURAL_FRICTION), MALA(None), LeimkuhlerMatthews(0.02), ULA(0.01), Algorithm1(),
    ]  # fmt: skip
    assert {kernel.name for kernel in wanted} == set(KERNELS) - {"RegularisedAscent"}
    page = show()
    w = page.widget
    temperature = w.temperature
    for kernel in wanted:
        page.receive(kind="select", kernel=kernel.name)
        assert w.kernel == kernel
        assert w.temperature == temperature
        assert w.sampler.scale == ("none" if kernel.name == "Algorithm 1" else "frozen")
        w.step(30)
        assert w.error is None
    w.prior = None
    size = size_of(w.sampler.input_shape, w.sampler.pixel_range)
    for name, kind in KERNELS.items():
        page.receive(kind="select", kernel=name)
        assert w.kernel == (default_kernel(*size) if name == "BAOAB" else kind())
    for natural in (True, False):
        with pytest.raises(ValueError, match="unknown kernel 'x'; there are: BAOAB"):
            kernel_called("x", size, natural=natural)


# ---- switching -----------------------------------------------------------------------------------------------------


def test_the_page_switches_the_prior_and_back(show: Callable[..., Page]) -> None:
    page = show()
    w = page.widget
    page.receive(kind="hello", view="a")
    before = page.last("setup")
    assert before["prior"] == {
        "name": "natural", "choices": [["natural", "natural: 204 photographs"], ["pixels", "pixels"]],
    }  # fmt: skip
    w.step(4)
    prior = w.prior
    page.receive(kind="select", prior="pixels")
    after = page.last("setup")
    assert w.prior is None
    assert after["prior"] == before["prior"] | {"name": "pixels"}
    assert after["gen"] == before["gen"] + 1
    assert "prior_scale" not in after["params"]
    assert after["params"]["step_size"] == w.step_size == 0.2
    homes = {p["name"]: p["default"] for p in after["parameters"]}
    assert homes["temperature"] == w.temperature == 0.0036  # a reset leads to what suits pixels
    assert w.sampler.steps == 4
    page.receive(kind="select", prior="natural")
    assert w.prior is prior
    assert page.last("setup")["kernel"]["name"] == "BAOAB"
    page.receive(kind="select", prior="unheard of")
    assert w.prior is prior
    assert "unheard of" in page.last("error")["error"]["message"]


def test_python_switches_the_prior(show: Callable[..., Page]) -> None:
    page = show(1, dataset=images(1))
    w = page.widget
    own = Natural.of(images(1, 30))
    w.prior = own
    assert w.prior is own
    assert page.last("setup")["prior"]["choices"][0] == ["natural", "natural: 30 images"]
    w.prior = "pixels"
    w.prior = "natural"
    assert w.prior is own  # the one used last
    w.prior = "auto"
    assert w.prior.source == "40 images"
    with pytest.raises(TypeError, match="prior must be"):
        w.prior = 3
    assert w.prior.source == "40 images"
    w.step(3)


def test_models_that_are_compared_switch_together(both: Callable[..., Page]) -> None:
    page = both()
    w = page.widget
    w.free("natural")
    w.set_for("b", prior_scale=0.7)
    page.receive(kind="select", prior="pixels")
    assert [sampler.prior for sampler in w.samplers.values()] == [None, None]
    assert not w.freed
    w.step(2)
    page.receive(kind="select", prior="natural")
    first, second = w.samplers.values()
    assert first.prior is second.prior is not None
    w.step(2)
    # what begins later, for a ranking of the layer, has the prior of now
    w.prior = None
    assert w.comparison.fresh(["1"], chains=1).prior is None


# ---- the law -------------------------------------------------------------------------------------------------------


def test_the_badge_follows_the_law(show: Callable[..., Page]) -> None:
    page = show(1, pixel_range=None)
    page.receive(kind="hello", view="a")
    setup = page.last("setup")
    assert setup["kernel"]["calibrated"] is setup["calibrated"] is False
    assert setup["kernel"]["note"].startswith("no law: ")
    page.receive(kind="set", view="a", rev=1, params={"l2": 0.1})
    assert page.last("state")["calibrated"] is True
    assert page.last("state")["kernel_note"].startswith("samples p")
    page.receive(kind="set", view="a", rev=2, params={"temperature": 0})
    assert page.last("state")["calibrated"] is False
    assert page.last("state")["kernel_note"].startswith("no law at T = 0")


# ---- goals ---------------------------------------------------------------------------------------------------------


def test_a_goal_is_set_and_taken_back(show: Callable[..., Page]) -> None:
    page = show()
    w = page.widget
    w.goal = 0.25
    assert w.goal == w.sampler.goal == 0.25
    assert page.last("state")["params"]["goal"] == 0.25
    w.goal = None
    assert w.goal is w.sampler.goal is None
    assert page.last("state")["params"]["goal"] == 0
    page.receive(kind="set", view="a", rev=1, params={"goal": 0.5})
    assert w.goal == 0.5
    page.receive(kind="set", view="a", rev=1, params={"temperature": 0.1})  # the last setting of T counts
    assert w.goal is None
    assert page.last("state")["params"]["goal"] == 0
    w.set(goal=0.75, l2=0.5)
    assert (w.goal, w.l2) == (0.75, 0.5)


@pytest.mark.parametrize("goal", ["p99", "most", -1, 1e9, float("nan"), [1]])
def test_goals_that_cannot_be_leave_all_as_it_was(show: Callable[..., Page], goal: Any) -> None:
    w = show(goal=0.5).widget
    with pytest.raises((ValueError, TypeError), match="goal"):
        w.goal = goal
    with pytest.raises((ValueError, TypeError), match="goal"):
        w.set(l2=1, goal=goal)
    assert (w.goal, w.l2) == (0.5, 0)


def test_a_percentile_of_real_images(show: Callable[..., Page]) -> None:
    model = with_fixed_weights(network)
    with torch.no_grad():
        model[3].bias += 1  # type: ignore[index,operator]  # positive on all images
    page = show(dataset=images(), model=model)
    w = page.widget
    w.goal = "p90"
    assert w.goal == "p90"
    assert page.last("state")["goal"] == "p90"
    before = w.temperature
    w.step(602)
    real = w.sampler.view(images()).quantile(0.9, dim=0)
    assert w.params["goal"] == pytest.approx(float(real.mean()), rel=1e-4)
    assert not w.sampler.warming_up
    assert w.temperature != before
    assert page.last("state")["params"]["temperature"] == w.temperature  # the slider follows what was found
    w.set(goal=None)
    assert w.goal is None
    assert page.last("state")["goal"] is None


def test_a_goal_that_the_kernel_cannot_follow_is_dropped(show: Callable[..., Page]) -> None:
    w = show(goal=0.5).widget
    w.prior = None
    assert w.goal == 0.5
    w.kernel = Algorithm1()
    assert w.sampler.goal is None
    with pytest.raises(ValueError, match="unknown parameter 'goal'"):
        w.goal = 0.5


def test_models_that_are_compared_share_a_goal(both: Callable[..., Page]) -> None:
    w = both(dataset=images()).widget
    w.goal = "p90"
    assert [sampler.goal for sampler in w.samplers.values()] == ["p90", "p90"]
    assert w.goal == "p90"
    assert w.comparison.fresh(["1"], chains=1).samplers[1].goal == "p90"
    w.set_for("b", temperature=0.5)
    assert [sampler.goal for sampler in w.samplers.values()] == ["p90", None]
    with pytest.raises(ValueError, match="goal"):
        w.set(l2=1, goal="strong")
    assert w.l2 == 0
    w.goal = None
    assert [sampler.goal for sampler in w.samplers.values()] == [None, None]


# ---- standings -----------------------------------------------------------------------------------------------------


def test_frames_say_how_strong_neurons_are(show: Callable[..., Page]) -> None:
    page = show(dataset=images(), neurons=[0, 3])
    w = page.widget
    page.receive(kind="hello", view="a")
    assert page.last("setup")["real_images"] is True
    w.step(2)
    page.settle()
    (standing,) = page.last("frame")["standing"]
    real = w.sampler.view(images())[:, [0, 3]]
    for told, column, value in zip(standing, real.T, w.sampler.activation.mean(1), strict=True):
        share = 100 * float((column < value).float().mean())
        if value <= column.max():
            assert told["text"] == f"as strong as {share:.1f} % of real images"
            assert told["short"] == f"p{share:.1f}"
        else:
            assert told["text"].endswith(("× the strongest real image", "every real image"))


def test_without_real_images_frames_say_nothing(show: Callable[..., Page]) -> None:
    page = show()
    page.receive(kind="hello", view="a")
    assert page.last("setup")["real_images"] is False
    assert page.last("frame")["standing"] is None


def test_every_model_has_its_own_standing(both: Callable[..., Page]) -> None:
    page = both(dataset=images())
    page.receive(kind="hello", view="a")
    standing = page.last("frame")["standing"]
    assert [len(row) for row in standing] == [5, 5]
    for row, sampler in zip(standing, page.widget.samplers.values(), strict=True):
        assert [told["text"] for told in row] == sampler.standing()


def test_many_images_are_looked_at_a_few_at_a_time(show: Callable[..., Page], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldam_widget.sampling.standing._BATCH_PIXELS", 3 * 256 * 10)  # four batches
    sampler = show(dataset=images()).widget.sampler
    assert [sampler.standing(0.0) is None for _ in range(5)] == [True, True, True, False, False]
    sampler.weights_changed()  # what was found was of others
    assert sampler.standing(0.0) is None


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("as strong as 99.1 % of real images", "p99.1"),
        ("2.3 × the strongest real image", "2.3 × max"),
        ("stronger than every real image", "> max"),
    ],
)
def test_a_standing_in_short(words: str, short: str) -> None:
    assert in_short(words) == short
