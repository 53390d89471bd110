"""One set of defaults: samplers and widgets that are given the same sample the same law, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, MALA, Algorithm1

from .conftest import with_fixed_weights

GREY: dict[str, Any] = {"input_shape": (1, 28, 28), "pixel_range": (0, 1)}
COLOUR: dict[str, Any] = {"input_shape": (3, 32, 32), "pixel_range": (0, 1)}
OWN = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))

# What is given, and what has to come of it: (kernel, scale, T, whether there is a natural prior, steps of the warm-up).
# T of 0.1/28 or 0.4/(1.5·√pixels), and the step size √(side/28)/5 times √range, are written to two digits.
CASES: dict[str, tuple[dict[str, Any], tuple[Any, str, float, bool, int]]] = {
    "grey": (GREY, (BAOAB(0.2, 1.0), "frozen", 0.0036, False, 200)),
    "grey, unbounded": (GREY | {"pixel_range": None}, (BAOAB(0.2, 1.0), "frozen", 0.0036, False, 200)),
    "0 to 255": (GREY | {"pixel_range": (0, 255)}, (BAOAB(3.2, 1.0), "frozen", 0.91, False, 200)),
    "grey, a goal": (GREY | {"goal": 0.8}, (BAOAB(0.2, 1.0), "frozen", 0.0036, False, 600)),
    "grey, with images": (GREY | {"dataset": OWN}, (BAOAB(None, 1.0), "frozen", 0.0095, True, 100)),
    "colour": (COLOUR, (BAOAB(None, 1.0), "frozen", 0.0048, True, 100)),
    "small and colour, a goal": (
        COLOUR | {"input_shape": (3, 16, 16), "goal": 0.8}, (BAOAB(None, 1.0), "frozen", 0.0096, True, 600),
    ),
    "colour, no scale": (COLOUR | {"scale": "none"}, (BAOAB(None, 1.0), "none", 1.0, True, 100)),
    "colour, pixels": (COLOUR | {"prior": None}, (BAOAB(0.28, 1.0), "frozen", 0.0018, False, 200)),
    "Algorithm 1": (GREY | {"kernel": Algorithm1()}, (Algorithm1(), "none", 1.0, False, 0)),
    "Algorithm 1, plain": (
        GREY | {"kernel": Algorithm1(normalize="none")}, (Algorithm1(normalize="none"), "none", 1.0, False, 0),
    ),
    "Algorithm 1, colour": (COLOUR | {"kernel": Algorithm1()}, (Algorithm1(), "none", 0.0048, True, 0)),
    "GHMC": (GREY | {"kernel": GHMC()}, (GHMC(), "frozen", 0.0036, False, 200)),
    "no scale": (GREY | {"scale": "none"}, (BAOAB(0.2, 1.0), "none", 1.0, False, 0)),
    "all is given": (
        GREY | {"kernel": MALA(0.1), "scale": "none", "temperature": 0.3, "warm_up": 20},
        (MALA(0.1), "none", 0.3, False, 0),
    ),
    "a temperature and a warm-up": (
        GREY | {"temperature": 0.3, "warm_up": 20}, (BAOAB(0.2, 1.0), "frozen", 0.3, False, 20),
    ),
}  # fmt: skip


def network(shape: tuple[int, ...], seed: int = 1) -> nn.Module:
    """Smooth, with two units."""
    pixels = shape[0] * shape[1] * shape[2]
    return with_fixed_weights(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.Softplus(), nn.Linear(8, 2)), seed
    )


def steps_of_warm_up(s: ldam.Sampler, runner: Any) -> int:
    """To a multiple of 20, from where it is."""
    while s.warming_up:
        runner.step(20 - s.steps % 20)
    return s.steps


def held(s: ldam.Sampler) -> dict[str, Any]:
    """All that the law depends on, as far as no tensor."""
    return {
        "kernel": s.kernel,
        "scale": s.scale,
        "prior": None if s.prior is None else s.prior.card,
        "transforms": s.transforms,
        "goal": s.goal,
        "note": s.kernel_note,
        "params": s.params,
        "parameters": [p for p in s.parameters if p.name != "discriminator"],
    }


def chains(s: ldam.Sampler) -> Iterable[Tensor]:
    return s.images, s.average_images, s.activation


def check_equal(one: ldam.Sampler, other: ldam.Sampler) -> None:
    a, b = held(one), held(other)
    b["params"] = {name: value for name, value in b["params"].items() if name in a["params"]}
    assert a == b
    for x, y in zip(chains(one), chains(other), strict=True):
        assert torch.equal(x, y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the goal")
@pytest.mark.parametrize("name", CASES)
def test_a_sampler_and_a_widget_have_the_same_law(name: str) -> None:
    given, (kernel, scale, temperature, natural, warm_up) = CASES[name]
    settings = given | {"neurons": [1], "seed": 5, "execution": "plain"}
    model = network(given["input_shape"])
    s = ldam.Sampler(model, **settings)
    assert (s.kernel, s.scale, s.prior is not None) == (kernel, scale, natural)
    assert s.params["temperature"] == temperature
    w = ldam.LDAM(model, play=False, **settings)
    watching = ldam.watch(model, play=False, display=False, **settings)
    try:
        for each in (w, watching):
            check_equal(s, each.sampler)
        for runner in (s, w, watching):
            runner.step(7)
        for each in (w, watching):
            check_equal(s, each.sampler)
        ends = warm_up or 7
        assert steps_of_warm_up(s, s) == steps_of_warm_up(w.sampler, w) == ends
        check_equal(s, w.sampler)
    finally:
        w.close()
        watching.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_models_compared_have_the_same_law_with_and_without_a_widget(name: str) -> None:
    given, (kernel, scale, temperature, natural, _) = CASES[name]
    settings = given | {"chains": 2, "seed": 5, "execution": "plain"}
    models = {"one": network(given["input_shape"]), "two": network(given["input_shape"], seed=2)}
    comparison, w = ldam.Comparison(models, **settings), ldam.compare(models, play=False, **settings)
    try:
        for s in comparison.samplers:
            assert (s.kernel, s.scale, s.prior is not None) == (kernel, scale, natural)
            assert s.params["temperature"] == temperature
        for runner in (comparison, w):
            runner.step(7)
        for one, other in zip(comparison.samplers, w.samplers.values(), strict=True):
            check_equal(one, other)
    finally:
        w.close()


def test_the_lead_of_a_comparison_is_a_sampler_of_its_own() -> None:
    settings = GREY | {"seed": 5, "execution": "plain"}
    models = {"one": network((1, 28, 28)), "two": network((1, 28, 28), seed=2)}
    s, comparison = ldam.Sampler(models["one"], **settings), ldam.Comparison(models, **settings)
    s.step(20)
    comparison.step(20)
    check_equal(s, comparison.lead)


# ---- other kernels and priors later on -------------------------------------------------------------------------------


def test_another_kernel_has_the_scale_that_suits_it() -> None:
    s = ldam.Sampler(network((1, 28, 28)), **GREY)
    w = ldam.LDAM(network((1, 28, 28)), play=False, **GREY)
    try:
        for kernel, scale in [
            ("Algorithm 1", "none"), (GHMC(0.1), "frozen"), (Algorithm1(normalize="none"), "none"), ("BAOAB", "frozen"),
        ]:  # fmt: skip
            s.use_kernel(kernel)
            w.use_kernel(kernel)
            assert s.scale == w.sampler.scale == scale
            assert s.kernel == w.kernel
            assert s.params == w.params
        assert s.kernel == BAOAB(0.2, 1.0)
    finally:
        w.close()


def test_a_scale_that_was_asked_for_stays() -> None:
    s = ldam.Sampler(network((3, 32, 32)), scale="none", **COLOUR)
    s.use_kernel("GHMC")
    assert s.scale == "none"
    s.use_prior(None)
    assert (s.scale, s.params["temperature"]) == ("none", 1.0)
    s.use_kernel("BAOAB", scale="frozen")  # from here on
    s.use_prior("natural")
    s.use_kernel("MALA")
    assert s.scale == "frozen"
    with pytest.raises(ValueError, match="scale='frozen' cannot be combined with"):
        s.use_kernel(Algorithm1())
    assert s.kernel.name == "MALA"


def test_another_prior_brings_what_a_sampler_with_it_begins_with() -> None:
    s = ldam.Sampler(network((3, 32, 32)), **COLOUR)
    s.use_prior(None)
    begun = ldam.Sampler(network((3, 32, 32)), prior=None, **COLOUR)
    assert held(s) == held(begun)
    s.use_prior("natural")
    assert held(s) == held(ldam.Sampler(network((3, 32, 32)), **COLOUR))
