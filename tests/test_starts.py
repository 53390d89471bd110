"""Where chains start: noise, grey, real images, or pictures of the user's; of samplers, comparisons and widgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, ULA, Algorithm1

from .conftest import TINY_SHAPE, TinyCnn, run_seed, with_fixed_weights

DATA = torch.rand(50, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
PICTURE = torch.rand(TINY_SHAPE, generator=torch.Generator().manual_seed(1))
PICTURES = torch.rand(3, *TINY_SHAPE, generator=torch.Generator().manual_seed(2))


def sampler(start: Any = "noise", **more: Any) -> ldam.Sampler:
    settings = {"pixel_range": (0, 1), "neurons": [0, 2], "chains": 3, "execution": "plain", "prior": None, "seed": 4}
    return ldam.Sampler(with_fixed_weights(TinyCnn), input_shape=TINY_SHAPE, start=start, **(settings | more))


def in_data(images: Tensor) -> Tensor:
    """The index of every image in the data, −1 for others."""
    same = (images.flatten(0, 1)[:, None] == DATA).flatten(2).all(2)
    return torch.where(same.any(1), same.int().argmax(1), -1)


def test_one_picture_for_all_or_one_for_each_chain() -> None:
    assert torch.equal(sampler(PICTURE).images, PICTURE.expand(2, 3, *TINY_SHAPE))
    assert torch.equal(sampler(PICTURES).images, PICTURES.expand(2, 3, *TINY_SHAPE))
    assert torch.equal(sampler(PICTURES.numpy()).images, PICTURES.expand(2, 3, *TINY_SHAPE))
    s = sampler(PICTURES, ladder=(1, 2), kernel=BAOAB(0.1))
    assert torch.equal(s.state.x, PICTURES.repeat_interleave(2, 0).repeat(2, 1, 1, 1)), "all rungs"


def test_grey_is_the_middle_of_the_range() -> None:
    assert torch.equal(sampler("grey").images, torch.full((2, 3, *TINY_SHAPE), 0.5))
    assert torch.equal(sampler("grey", pixel_range=(-1, 5)).images, torch.full((2, 3, *TINY_SHAPE), 2.0))
    assert not sampler("grey", pixel_range=None).images.any()


def test_bytes_are_scaled_and_the_user_s_tensor_is_not_kept() -> None:
    levels = (PICTURE * 255).byte()
    torch.testing.assert_close(sampler(levels, pixel_range=(-1, 1)).images[0, 0], levels.float() / 127.5 - 1)
    own = PICTURE.clone()
    s = sampler(own)
    own.zero_()
    s.restart()
    assert torch.equal(s.images[0, 0], PICTURE)


def test_data_are_real_images_of_each_chain_s_own_choice() -> None:
    chosen = in_data(sampler("data", dataset=DATA).images)
    assert (chosen >= 0).all()
    assert len(chosen.unique()) > 1
    assert torch.equal(in_data(sampler("data", dataset=DATA).images), chosen), "the same seed"
    assert not torch.equal(in_data(sampler("data", dataset=DATA, seed=5).images), chosen)
    fewer = in_data(sampler("data", dataset=DATA, neurons=[0], chains=2).images)
    assert torch.equal(fewer, chosen.view(2, 3)[0, :2]), "whatever other chains there are"


@pytest.mark.statistical
def test_all_real_images_are_equally_likely() -> None:
    """χ² of 6,000 choices among 50 images, 49 degrees of freedom; above 134 with probability 4e-10."""
    chosen = in_data(sampler("data", dataset=DATA, chains=3000, seed=run_seed()).images)
    counts = torch.bincount(chosen, minlength=50).double()
    assert float((counts - 120).square().sum() / 120) < 134


def test_the_noise_of_the_steps_does_not_depend_on_the_start() -> None:
    """ULA on a linear neuron: whatever the start, what is left of it after 60 steps is 0.7⁶⁰ = 5e-10."""
    net = with_fixed_weights(lambda: nn.Linear(6, 2))
    more: dict[str, Any] = {
        "input_shape": (6,), "kernel": ULA(0.3), "scale": "none", "temperature": 1.0, "regularizers": [ldam.L2(1.0)],
        "execution": "plain", "dataset": torch.randn(20, 6), "prior": None,
    }  # fmt: skip
    found = [ldam.Sampler(net, start=start, **more) for start in ("noise", "grey", "data", torch.ones(6))]
    for s in found:
        s.step(60)
    for s in found[1:]:
        torch.testing.assert_close(s.images, found[0].images, atol=1e-5, rtol=0)


def test_restarts_keep_the_start_until_told_otherwise() -> None:
    s = sampler("grey", dataset=DATA)
    s.step(4)
    s.restart()
    assert torch.equal(s.images, torch.full_like(s.images, 0.5))
    s.restart(start=PICTURE)
    assert torch.equal(s.images[1, 2], PICTURE)
    s.step(3)
    s.restart(seed=9)
    assert torch.equal(s.images[1, 2], PICTURE)
    s.restart(start="data")
    assert (in_data(s.images) >= 0).all()
    s.restart(seed=4, start="noise")
    assert torch.equal(s.images, sampler().images)
    with pytest.raises(ValueError, match="start must be one picture"):
        s.restart(start=PICTURE[:2])
    assert torch.equal(s.images, sampler().images), "nothing has changed"


def test_new_neurons_start_like_the_others() -> None:
    s = sampler(PICTURES)
    s.step(5)
    before = s.images
    s.select(neurons=[4, 2])
    assert torch.equal(s.images[0], PICTURES)
    assert torch.equal(s.images[1], before[1])


def test_with_a_natural_prior_pictures_are_placed_in_its_coordinates() -> None:
    """Behind a squash, and without one: as near as they can be represented."""
    images = (
        ldam.demo.cifar()
        .prior.coordinates((3, 32, 32), (0, 1), torch.device("cpu"))
        .picture(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5)
    )
    net = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)))
    more: dict[str, Any] = {"input_shape": (3, 32, 32), "execution": "plain", "preprocess": lambda x: x}
    for pixel_range in ((0, 1), None):
        s = ldam.Sampler(
            net, prior=ldam.demo.cifar().prior, pixel_range=pixel_range, chains=4, start=images, dataset=images, **more
        )
        torch.testing.assert_close(s.images[0], images, atol=0.02, rtol=0)
        s.step(2)
        s.restart(start="data")
        nearest = (s.images[0][:, None] - images).abs().flatten(2).amax(2).min(1).values
        assert float(nearest.max()) < 0.02
        s.restart(start="grey")
        grey = 0.5 if pixel_range else 0.0
        assert float((s.images - grey).abs().max()) < 0.05
        s.restart(start="noise")
        assert float(s.images.std()) > 0.05


def test_a_comparison_starts_all_models_alike() -> None:
    models = {name: with_fixed_weights(TinyCnn, seed) for seed, name in enumerate("ab", 1)}
    more: dict[str, Any] = {"input_shape": TINY_SHAPE, "pixel_range": (0, 1), "prior": None, "execution": "plain"}
    c = ldam.Comparison(models, start="data", dataset=DATA, chains=2, **more)
    one, other = (s.images for s in c.samplers)
    assert (in_data(one) >= 0).all()
    assert torch.equal(one, other)
    c.step(3)
    c.restart(start=PICTURE)
    assert all(torch.equal(s.images[0, 1], PICTURE) for s in c.samplers)
    with pytest.raises(ValueError, match="start holds pixels from"):
        c.restart(start=PICTURE + 3)
    assert all(torch.equal(s.images[0, 1], PICTURE) for s in c.samplers)


def test_a_widget_and_its_restart() -> None:
    w = ldam.LDAM(with_fixed_weights(TinyCnn), input_shape=TINY_SHAPE, pixel_range=(0, 1), start="grey", play=False)
    assert torch.equal(w.sampler.images, torch.full_like(w.sampler.images, 0.5))
    w.restart(start=PICTURE)
    assert torch.equal(w.sampler.images[0, 0], PICTURE)
    w.step(2)
    w.close()


class Off(nn.Module):
    """A ReLU that no picture turns on."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).sum(1, keepdim=True) - 1000).relu()


def test_the_note_on_a_dead_neuron_mentions_other_starts_only_if_there_were_any() -> None:
    more: dict[str, Any] = {"input_shape": (1, 3, 3), "pixel_range": (0, 1), "execution": "plain", "layer": ""}
    with pytest.warns(ldam.LDAMWarning, match=r"zero at the start of 1 of 1 chains \(a dead ReLU"):
        ldam.Sampler(Off(), start="grey", **more)
    with pytest.warns(ldam.LDAMWarning, match=r"of 1 chains, even after 5 other starts"):
        ldam.Sampler(Off(), start="data", dataset=torch.rand(9, 1, 3, 3), kernel=Algorithm1(), prior=None, **more)


@pytest.mark.parametrize(("start", "error", "message"), [
    ("gray", ValueError, "start must be 'noise', 'grey', 'data' or a picture; got 'gray'"),
    ("data", ValueError, "give dataset="),
    (3, TypeError, "or a tensor of pixels; got 3"),
    (PICTURE[None, None], ValueError, r"shape \(3, 6, 8\) .*, \(3, 3, 6, 8\); got shape \(1, 1, 3, 6, 8\)"),
    (torch.rand(2, *TINY_SHAPE), ValueError, r"got shape \(2, 3, 6, 8\)"),
    (PICTURE + 0.5, ValueError, r"start holds pixels from .* outside of pixel_range=\(0, 1\)"),
    (PICTURE * float("nan"), ValueError, "start holds numbers that are NaN"),
    (torch.ones(TINY_SHAPE, dtype=torch.int64), ValueError, "start must hold bytes .* got torch.int64"),
    (np.array(["x"]), TypeError, "or a tensor of pixels"),
])  # fmt: skip
def test_invalid_arguments_are_refused(start: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sampler(start)
