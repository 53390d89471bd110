"""Expressions beside everything else that a sampler can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import ldam_widget as ldam
from ldam_widget.cli import app
from ldam_widget.command_line.values import neurons_of
from ldam_widget.kernels import BAOAB, GHMC, MALA
from ldam_widget.sampling.follower import Follower, taken

from .conftest import TINY_SHAPE, UNSCALED, TinyCnn, with_fixed_weights

NAMES = ("cat", "dog", "hen", "pig", "cow")
ASKED: list[Any] = ["cat - 0.5*conv2:2@1,1", "-3", ldam.cosine(torch.arange(4.0) - 1, layer="conv2"), "1 -> 4 - 2"]
LABELS = ["cat - 0.5·conv2:2@1,1", "-pig", "cosine(conv2, ", "dog → cow - hen"]
DATA = torch.rand(60, *TINY_SHAPE, generator=torch.Generator().manual_seed(2))


def sampler(*neurons: Any, model: nn.Module | None = None, **settings: Any) -> ldam.Sampler:
    settings = {"kernel": BAOAB(0.05), "pixel_range": (0, 1), "prior": None, "class_names": NAMES, **settings}
    model = with_fixed_weights(TinyCnn) if model is None else model
    return ldam.Sampler(model, neurons=list(neurons or ASKED), input_shape=TINY_SHAPE, **settings)


@torch.no_grad()
def values(model: nn.Module, x: Tensor, t: float) -> Tensor:
    """The four of `ASKED` on images, (images, 4)."""
    conv2 = model.conv2(model.layer1(x))
    logits = model(x)
    cosine = torch.nn.functional.cosine_similarity(conv2[:, :, 2, 3], (torch.arange(4.0) - 1)[None], dim=1)
    moved = (1 - t) * logits[:, 1] + t * (logits[:, 4] - logits[:, 2])
    return torch.stack([logits[:, 0] - 0.5 * conv2[:, 2, 1, 1], -logits[:, 3], cosine, moved], 1)


def assert_right(s: ldam.Sampler, model: nn.Module, t: float) -> None:
    """Activations belong to the pictures."""
    for n, images in enumerate(s.images):
        torch.testing.assert_close(s.activation[n], values(model, images, t)[:, n], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [
    {}, {"chains": 3}, {"kernel": MALA(), "scale": "none"}, {"kernel": GHMC(), "ladder": (1, 2, 4), "chains": 2},
    {"goal": 0.4}, {"scale": "frozen", "warm_up": 5}, {"dataset": DATA, "prior": "auto", "transforms": None},
], ids=str)  # fmt: skip
def test_activations_belong_to_the_pictures(settings: dict[str, Any]) -> None:
    model = with_fixed_weights(TinyCnn)
    s = sampler(model=model, **settings)
    s.step(12)
    assert_right(s, model, 0.0)
    s.set(interpolation=0.6)
    s.step(3)
    assert_right(s, model, 0.6)
    assert all(label.startswith(begin) for label, begin in zip(s.diagnostics().neurons, LABELS, strict=True))


def test_recorded_or_not_the_chains_are_the_same() -> None:
    def chains(execution: str) -> tuple[Tensor, str]:
        s = sampler(execution=execution, **UNSCALED)
        for t in (0.0, 0.3, 1.0):
            s.set(interpolation=t)
            s.step(10)
        return s.images, s.execution

    (plain, one), (recorded, other) = chains("plain"), chains("recorded")
    assert (one, other) == ("plain", "recorded")
    torch.testing.assert_close(recorded, plain, rtol=1e-5, atol=1e-5)


def test_the_same_seed_repeats_the_chains() -> None:
    s = sampler()
    first = s.step(20).images
    s.restart()
    torch.testing.assert_close(s.step(20).images, first, rtol=0, atol=0)


def test_a_neuron_beside_expressions_has_the_chains_that_it_has_without() -> None:
    alone = sampler("cat", **UNSCALED).step(20).images[0]
    beside = sampler("cat", *ASKED, **UNSCALED).step(20).images[0]
    torch.testing.assert_close(beside, alone, rtol=1e-6, atol=1e-6)


# ---- interpolation ---------------------------------------------------------------------------------------------------


def test_interpolation_changes_the_law_as_any_parameter_that_does() -> None:
    s, other = (
        sampler(kernel=MALA(0.2), regularizers=[ldam.L2(1.0)], pixel_range=None, chains=4, **UNSCALED) for _ in range(2)
    )
    for each, change in ((s, {"interpolation": 0.5}), (other, {"temperature": 0.5})):
        each.step(400)
        assert each.acceptance is not None
        assert not any(np.isnan(each.measured_temperature))
        before = each.burned_in.clone(), each.average_images.clone(), len(each.history.draws())
        each.set(**change)
        assert torch.equal(each.burned_in, before[0])
        torch.testing.assert_close(each.average_images, before[1], rtol=0, atol=0)  # kept: it forgets by itself
        assert len(each.history.draws()) == before[2]
        assert each.acceptance is None  # what was measured was of the former law
        assert all(np.isnan(each.measured_temperature))


def test_interpolation_is_there_where_it_is_needed() -> None:
    s = sampler("cat")
    assert "interpolation" not in s.params
    assert s.interpolation is None
    with pytest.raises(ValueError, match="unknown parameter 'interpolation'"):
        s.set(interpolation=0.5)
    s.step(4)
    s.select(neurons=["cat", "cat -> dog"])
    assert (s.params["interpolation"], s.interpolation) == (0.0, 0.0)
    s.set(interpolation=0.75)
    s.step(4)
    s.select(neurons=["hen -> dog", "cat"])
    assert s.params["interpolation"] == 0.75
    s.use_kernel("GHMC")
    s.step(2)
    assert s.interpolation == 0.75
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="interpolation must be between 0 and 1"):
            s.set(interpolation=wrong)
    s.select(neurons=["cat"])
    assert "interpolation" not in s.params
    assert "interpolation" not in {p.name for p in s.parameters}


def test_percentiles_follow_the_interpolation() -> None:
    model = with_fixed_weights(TinyCnn)
    s = sampler(model=model, dataset=DATA, goal="p80", warm_up=10)
    expected = torch.quantile(values(model, DATA, 0.0).double(), 0.8, dim=0)
    assert s.params["goal"] == pytest.approx(max(float(expected.mean()), 1e-6), rel=1e-4)
    s.set(interpolation=0.5)
    s.step(2)
    words = s.standing()
    assert words is not None
    real, now = values(model, DATA, 0.5), s.activation[:, 0]
    for n, text in enumerate(words):
        share = 100 * float((real[:, n] < now[n]).float().mean())
        assert text.startswith("as strong as") == (now[n] <= real[:, n].max())
        if text.startswith("as strong"):
            assert float(text.split()[3]) == pytest.approx(share, abs=0.1)


# ---- selection -------------------------------------------------------------------------------------------------------


def test_what_stays_keeps_its_chains() -> None:
    s = sampler("cat", "cat - dog", ASKED[2], **UNSCALED)
    s.step(10)
    before = s.images
    s.select(neurons=["-dog + cat", *[n.key for n in s.neurons][2:], "hen"])
    assert s.steps == 10
    torch.testing.assert_close(s.images[:2], before[1:], rtol=0, atol=0)
    assert s.neurons[0].label == "-dog + cat"
    s.select("conv2", ["1 - 2"])
    assert (s.layer, s.steps) == ("conv2", 0)


def test_keys_bring_back_directions_and_objects() -> None:
    asked = [ldam.neuron(torch.eye(5)[1]) - ldam.neuron("conv2:1"), torch.eye(5)[2], ldam.neuron("conv2:3"), 4]
    s = sampler(*asked)
    s.step(2)
    keys = [n.key for n in s.neurons]
    s.select(neurons=keys)
    assert [n.key for n in s.neurons] == keys
    assert s.steps == 2


def test_a_choice_that_fails_changes_nothing() -> None:
    s = sampler()
    s.step(3)
    before = s.neurons
    for wrong in (["cat -"], ["cat", "cat + hen - hen"], ["cat - conv9:1"]):
        with pytest.raises(ValueError, match="neuron"):
            s.select(neurons=wrong)
    assert s.neurons is before
    s.step(1)


def test_a_single_unit_is_needed_for_wiring() -> None:
    with pytest.raises(ValueError, match="cat - dog"):
        sampler().wired_to("cat - dog")


def test_scales_follow_the_factor() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 5)))  # the same gradient everywhere
    found = sampler("3", "-2.0*3", "0.5*3 -> 3", model=model, scale="frozen", warm_up=3)
    found.step(4)
    scales = found.scales
    assert scales is not None
    one, two, half = scales["neuron"]
    assert (two / one, half / one) == pytest.approx((2, 0.5), rel=1e-5)


# ---- several models, and models that change --------------------------------------------------------------------------


def test_every_model_finds_its_own_neurons() -> None:
    one, two = (with_fixed_weights(TinyCnn, seed) for seed in (1, 2))
    order = [4, 2, 0, 3, 1]
    c = ldam.Comparison(
        {"a": one, "b": two}, neurons=["cat - 2*dog", "conv2:1 + hen", "pig -> cow"], input_shape=TINY_SHAPE,
        class_names={"a": NAMES, "b": [NAMES[i] for i in order]}, prior=None, pixel_range=(0, 1),
    )  # fmt: skip
    c.step(3)
    c.set(interpolation=0.5)
    c.step(1)
    where = [order.index(i) for i in range(5)]
    for s, model, unit in ((c.samplers[0], one, range(5)), (c.samplers[1], two, where)):
        with torch.no_grad():
            x = s.images[:, 0]
            o, conv2 = model(x), model.conv2(model.layer1(x))
        expected = [
            o[0, unit[0]] - 2 * o[0, unit[1]], conv2[1, 1, 2, 3] + o[1, unit[2]], (o[2, unit[3]] + o[2, unit[4]]) / 2
        ]  # fmt: skip
        torch.testing.assert_close(s.activation[:, 0], torch.stack(expected))
    assert c.params["interpolation"] == 0.5
    c.set_for("b", interpolation=0.25)
    assert [s.interpolation for s in c.samplers] == [0.5, 0.25]
    assert c.agreement()[0].label == "0 - 2.0*1 cat - 2·dog"
    fresh = c.fresh(["0", "1"])
    fresh.step(2)
    c.select(neurons=["cat"])
    assert "interpolation" not in c.params
    with pytest.raises(ValueError, match="model 'b': there is no class 'dog'"):
        ldam.Comparison(
            {"a": one, "b": two}, neurons=["cat - dog"], input_shape=TINY_SHAPE, prior=None,
            class_names={"a": NAMES, "b": ["cat", "x", "y", "z", "w"]},
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"model 'b': .*unknown layer 'conv2'"):
        ldam.Comparison(
            {"a": one, "b": nn.Sequential(nn.Flatten(), nn.Linear(144, 5))}, neurons=["conv2:1 + 2"],
            input_shape=TINY_SHAPE, prior=None,
        )  # fmt: skip


def test_a_comparison_takes_the_layer_that_expressions_name() -> None:
    models = {name: with_fixed_weights(TinyCnn, seed) for seed, name in enumerate("ab")}
    c = ldam.Comparison(models, neurons=["conv2:1 - conv2:2"], input_shape=TINY_SHAPE, prior=None)
    assert set(c.layers.values()) == {"conv2"}


def test_weights_that_change() -> None:
    """The activation of another image is that of the present weights."""
    image = torch.rand(TINY_SHAPE, generator=torch.Generator().manual_seed(5))
    old, new = (with_fixed_weights(TinyCnn, seed) for seed in (1, 2))
    asked: list[Any] = [ldam.cosine(image=image, layer="conv2"), "1 - conv2:2"]
    settings: dict[str, Any] = {"input_shape": TINY_SHAPE, "prior": None, "pixel_range": (0, 1)}
    s = Follower(old, neurons=asked, **settings)
    for model in (old, new):
        s.follow(1, taken(model))
        s.step(3)
        with torch.no_grad():
            x = torch.cat([s.images[:, 0], image[None]])
            conv2, logits = model.conv2(model.layer1(x)), model(x)
        cosine = torch.nn.functional.cosine_similarity(conv2[0].flatten(), conv2[2].flatten(), dim=0)
        torch.testing.assert_close(s.activation[:, 0], torch.stack([cosine, logits[1, 1] - conv2[1, 2, 2, 3]]))


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_takes_expressions(tmp_path: Path) -> None:
    out = tmp_path / "s.npz"
    asked = ["--neurons", "three - 5, -5, 3 -> 5, 0-1", "-p", "interpolation=0.5", "--steps", "3"]
    result = CliRunner().invoke(app, ["sample", "-o", str(out), *asked])
    assert result.exit_code == 0, result.output
    labels = np.load(out)["neurons"].tolist()
    assert labels == ["three - five", "-five", "three → five", "0 zero", "1 one"]
    result = CliRunner().invoke(app, ["sample", "-o", str(out), "--neurons", "conv2:5@3,4 + fc3:1;-2", "--steps", "1"])
    assert np.load(out)["neurons"].tolist() == ["conv2:5@3,4 + one", "-two"]
    result = CliRunner().invoke(app, ["sample", "-o", str(out), "--neurons", "3 - thre", "--steps", "1"])
    assert result.exit_code != 0
    assert "did you mean 'three'" in " ".join((result.output + str(result.exception)).split())


@pytest.mark.parametrize(
    ("text", "neurons"),
    [("0-2", [0, 1, 2]), ("0-2; 3 - 5", [0, 1, 2, "3 - 5"]), ("3 - 5", ["3 - 5"]), ("5@3,4; 7", ["5@3,4", "7"])],
)
def test_ranges_and_differences_on_the_command_line(text: str, neurons: list[object]) -> None:
    assert neurons_of(text) == neurons
