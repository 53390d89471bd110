"""`Natural`: what it measures, keeps, and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.parametrizations import measure

CPU = torch.device("cpu")


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(4))


def one_of_many(number: float) -> Tensor:
    images = rand(300, 1, 8, 8)
    images[5, 0, 0, 0] = number
    return images


class Pictures(torch.utils.data.Dataset[Any]):
    """Pairs of a picture and a label."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], index


BYTES = (rand(200, 3, 6, 5) * 255).to(torch.uint8)
WAYS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: BYTES,
    "floats": lambda: BYTES.float() / 255,
    "channels last": lambda: BYTES.permute(0, 2, 3, 1),
    "an array": lambda: BYTES.numpy(),
    "an array, channels last": lambda: np.ascontiguousarray(BYTES.permute(0, 2, 3, 1).numpy()),
    "a data set": lambda: Pictures(BYTES),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_images_make_the_same_prior_however_they_come(way: str) -> None:
    found = ldam.Natural.of(WAYS[way]())
    flat = BYTES.flatten(1).double() / 255
    assert found.shape == (3, 6, 5)
    z = torch.eye(90).view(-1, 3, 6, 5)
    coordinates = found.coordinates((3, 6, 5), None, CPU)
    middle = coordinates.picture(torch.zeros(1, 3, 6, 5)).flatten().double()
    torch.testing.assert_close(middle, flat.mean(0), rtol=0, atol=1e-5)
    root = coordinates.picture(z).flatten(1).double() - middle
    torch.testing.assert_close(root.T @ root, flat.T.cov(correction=0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("shape", "count"), [
    ((1, 6, 6), 100), ((13, 4, 4), 20), ((3, 7, 9), 2), ((2, 40), 30), ((1, 25), 100), ((2, 40), 200), ((30,), 10),
    ((30,), 100),
])  # fmt: skip
@pytest.mark.parametrize("pixel_range", [None, (0.0, 1.0)])
def test_images_of_every_kind_have_a_prior(
    shape: tuple[int, ...], count: int, pixel_range: tuple[float, float] | None
) -> None:
    images = rand(count, *shape)
    prior = ldam.Natural.of(images, input_shape=shape)
    coordinates = prior.coordinates(shape, pixel_range, CPU)
    pictures = coordinates.picture(torch.randn(400, *shape))
    assert pictures.shape == (400, *shape)
    assert float(pictures.var(0).mean()) == pytest.approx(float(images.var(0).mean()), rel=0.35)
    assert float(pictures.mean()) == pytest.approx(0.5, abs=0.05)


def test_a_smooth_signal_has_a_smooth_prior() -> None:
    """Channels and length are not height and width: the spectrum is that of the time axis."""
    time = torch.arange(128) / 128
    phases, slow = 2 * math.pi * rand(20, 2, 1), torch.tensor([1.0, 2.0]).view(1, 2, 1)
    prior = ldam.Natural.of(0.5 + 0.2 * torch.sin(2 * math.pi * slow * time + phases), input_shape=(2, 128))
    signals = prior.coordinates((2, 128), None, CPU).picture(torch.randn(200, 2, 128)) - 0.5
    jumps = signals.diff(dim=-1).square().mean() / signals.square().mean()
    assert float(jumps) < 0.1


def test_the_spectrum_of_images_is_measured_without_their_edges() -> None:
    """A known power law is found again, by rings."""
    sides = (64, 64)
    amplitude = torch.arange(1, 33).double() ** -1.3
    images = 0.5 + 0.1 * measure.spectral(amplitude.float(), torch.eye(2), sides).forward(torch.randn(60, 2, *sides))
    _, colour = measure.colours(images)
    found = measure.spectrum(images, colour).log()[2:28]
    log = torch.arange(3, 29).float().log()
    slope = float(((log - log.mean()) * (found - found.mean())).sum() / (log - log.mean()).square().sum())
    assert slope == pytest.approx(-1.3, abs=0.1)


def test_strong_directions_are_found_and_noise_is_not_taken_for_one() -> None:
    own = torch.linalg.qr(torch.randn(3 * 24 * 24, 2)).Q.T.view(2, 3, 24, 24)
    noise = 0.02 * torch.randn(80, 3, 24, 24)
    assert len(ldam.Natural.of(0.5 + noise)._tensors.get("directions", ())) <= 2
    strong = noise + torch.einsum("nk,k...->n...", torch.randn(80, 2), own)
    found = ldam.Natural.of(0.5 + strong, pixel_range=(-2.0, 3.0)).coordinates((3, 24, 24), None, CPU)
    samples = (found.picture(torch.randn(300, 3, 24, 24)) - 0.5).flatten(1)
    along = (samples @ own.flatten(1).T).var(0)
    assert (along > 0.5).all()
    assert (along < 2).all()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("images", [rand(20, 3, 16, 16), rand(300, 1, 6, 6), rand(5, 3, 8, 8)])
def test_a_prior_can_be_saved_and_loaded(tmp_path: Path, images: Tensor, half: bool) -> None:
    shape = tuple(images.shape[1:])
    saved = ldam.Natural.of(images)
    saved.save(tmp_path / "own.safetensors", half=half)
    found = ldam.Natural.load(tmp_path / "own.safetensors")
    assert (found.source, found.shape, found.steepness) == (saved.source, saved.shape, saved.steepness)
    z = torch.randn(4, *shape)
    before, after = (each.coordinates(shape, (0.0, 1.0), CPU).picture(z) for each in (saved, found))
    torch.testing.assert_close(after, before, rtol=0, atol=2e-3 if half else 0)


def test_half_takes_half_the_space(tmp_path: Path) -> None:
    prior = ldam.Natural.of(rand(300, 1, 10, 10))
    prior.save(tmp_path / "whole")
    prior.save(tmp_path / "half", half=True)
    assert (tmp_path / "half").stat().st_size < 0.55 * (tmp_path / "whole").stat().st_size


@pytest.mark.parametrize("directions", [0, 1, 12, 64, 100])
@pytest.mark.parametrize("natural", [1.0, 0.5])
def test_a_shortened_prior_keeps_the_mean_variance(directions: int, natural: float) -> None:
    prior = ldam.Natural.of(rand(300, 1, 8, 8))
    short = prior.shortened(directions)
    z = torch.randn(2000, 1, 8, 8)
    whole, part = (
        each.coordinates((1, 8, 8), None, CPU).at(natural).picture(z).var(0).mean() for each in (prior, short)
    )
    assert float(part) == pytest.approx(float(whole), rel=0.03)
    assert (part == whole) == (directions >= 64)  # of 64 pixels
    assert short.shortened(directions)._tensors["variances"].shape == short._tensors["variances"].shape


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a name": (lambda: ldam.Natural("cats"), r"Natural\('cats'\).*Natural\('photos'\)"),
    "one image": (lambda: ldam.Natural.of(rand(1, 3, 8, 8)), "at least two images; got 1"),
    "no images": (lambda: ldam.Natural.of(rand(0, 3, 8, 8)), "no images"),
    "numbers that are none": (lambda: ldam.Natural.of(rand(5, 3, 8, 8) / 0), "infinite"),
    "labels": (lambda: ldam.Natural.of(torch.arange(9)), "labels"),
    "other channels": (
        lambda: ldam.Natural("photos").coordinates((1, 8, 8), None, CPU), r"3 channels.*\(1, 8, 8\) have 1.*Natural.of"
    ),
    "another shape": (
        lambda: ldam.Natural.of(rand(99, 1, 4, 4)).coordinates((1, 5, 5), None, CPU), r"\(1, 4, 4\).*\(1, 5, 5\)"
    ),
    "as many pixels in another shape": (
        lambda: ldam.Natural.of(rand(99, 1, 8, 4)).coordinates((1, 4, 8), None, CPU), r"\(1, 8, 4\).*\(1, 4, 8\)"
    ),
    "one number among many that is none": (lambda: ldam.Natural.of(one_of_many(math.nan)), "dataset.*NaN"),
    "a few images in another range": (
        lambda: sampler(dataset=one_of_many(200.0), pixel_range=(0, 1)), r"dataset holds pixels from .* to 200, outside"
    ),
    "the same image again and again": (lambda: ldam.Natural.of(rand(1, 1, 8, 8).repeat(9, 1, 1, 1)), "are the same"),
    "a data set of one": (lambda: sampler(dataset=rand(1, 1, 8, 8)), "dataset holds one image.*prior=None"),
    "a range in words": (lambda: ldam.Natural.of(rand(9, 1, 8, 8), pixel_range="ab"), "pixel_range must be.*'ab'"),
    "a range that falls": (lambda: ldam.Natural.of(rand(9, 1, 8, 8), pixel_range=(1, 0)), r"lo < hi.*\(1, 0\)"),
    "a class of changes": (lambda: sampler(transforms=ldam.Robust), "transforms must be.*Robust"),
    "fewer than no directions": (lambda: ldam.Natural.of(rand(99, 1, 4, 4)).shortened(-1), "≥ 0; got -1"),
    "a prior of that name": (lambda: sampler(prior="cats"), "prior must be.*'cats'"),
    "a class": (lambda: sampler(prior=ldam.Natural), "prior must be.*Natural"),
    "natural without images": (lambda: sampler(prior="natural"), r"\(1, 8, 8\).*dataset=images"),
    "photos in grey": (lambda: sampler(prior=ldam.Natural("photos")), "3 channels"),
    "images of another size": (lambda: sampler(dataset=rand(40, 1, 5, 5)), r"\(1, 5, 5\).*\(1, 8, 8\)"),
    "goal without images": (lambda: sampler(goal="p90", kernel=ldam.kernels.BAOAB()), "give dataset="),
}  # fmt: skip


def sampler(**settings: Any) -> ldam.Sampler:
    return ldam.Sampler(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), input_shape=(1, 8, 8), **settings)


@pytest.mark.filterwarnings("ignore:without a pixel_range")
@pytest.mark.parametrize("what", REFUSED)
def test_invalid_arguments_are_refused(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_damaged_file_is_refused_and_never_half_read(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    ldam.Natural.of(rand(30, 3, 8, 8)).save(path)
    whole = path.read_bytes()
    for cut in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a natural prior"):
            ldam.Natural.load(path)
    path.write_bytes(whole.replace(b"ldam-natural-1", b"ldam-natural-9"))
    with pytest.raises(ValueError, match="ldam-natural-1"):
        ldam.Natural.load(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        ldam.Natural.load(tmp_path / "nothing")


@pytest.mark.parametrize("left_out", ["amplitude", "variances", "directions", "rest"])
def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path, left_out: str) -> None:
    for number, images in enumerate([rand(30, 3, 8, 8), rand(99, 1, 4, 4)]):
        prior = ldam.Natural.of(images)
        if prior._tensors.pop(left_out, None) is None:
            continue
        path = tmp_path / f"{number}.safetensors"
        prior.save(path)
        with pytest.raises(ValueError, match="incomplete"):
            ldam.Natural.load(path)


@pytest.mark.parametrize("count", [150, 2000])  # fewer images than pixels: a spectrum; more: a whole covariance
def test_without_a_pixel_range_pictures_are_in_the_pixels_of_the_images(count: int) -> None:
    images = 5 + 2 * rand(count, 3, 8, 8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    s = ldam.Sampler(net, input_shape=(3, 8, 8), dataset=images, temperature=1e3)
    assert s.notes == []
    assert float(s.step(200).average_images.mean()) == pytest.approx(6, abs=0.1)


def test_pixels_that_a_prior_stretches_are_reported() -> None:
    images = 20 + 80 * rand(99, 1, 8, 8)
    with pytest.warns(ldam.LDAMWarning, match=r"from 20(\.\d+)? to (99\.\d+|100).*stretched.*pixel_range="):
        sampler(prior=ldam.Natural.of(images), pixel_range=(0, 255))
    told = sampler(prior=ldam.Natural.of(images, pixel_range=(0, 255)), pixel_range=(0, 255))
    assert told.notes == []
    unit = sampler(prior=ldam.Natural.of(rand(99, 1, 8, 8)), pixel_range=(-1, 1))
    assert unit.notes == []


def test_a_prior_that_cannot_be_taken_leaves_the_sampler_as_it_was() -> None:
    fails = [False]

    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            if fails[0]:
                raise RuntimeError("no memory left")
            out: Tensor = self.layer(x.flatten(1))
            return out

    model = Moody()
    prior = ldam.Natural.of(rand(99, 1, 8, 8))
    twins = [
        ldam.Sampler(model, input_shape=(1, 8, 8), pixel_range=(0, 1), prior=prior, execution="plain") for _ in range(2)
    ]
    s, twin = twins
    for each in twins:
        each.step(5)
    fails[0] = True
    with pytest.raises(RuntimeError, match="no memory left"):
        s.use_prior(None)
    fails[0] = False
    assert (s.prior, s.kernel, s.params) == (twin.prior, twin.kernel, twin.params)
    assert torch.equal(s.step(20).images, twin.step(20).images)


def test_a_dataset_or_colour_makes_a_prior_by_itself() -> None:
    rgb = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    photos = ldam.Sampler(rgb, input_shape=(3, 16, 16), pixel_range=(0, 1))
    assert photos.prior is not None
    assert photos.prior.source == "204 photographs"
    own = ldam.Sampler(rgb, input_shape=(3, 16, 16), pixel_range=(0, 1), dataset=rand(20, 3, 16, 16))
    assert own.prior is not None
    assert own.prior.source == "20 images"
    assert sampler().prior is None
    assert sampler(dataset=rand(40, 1, 8, 8)).prior is not None
    assert sampler(dataset=rand(40, 1, 8, 8), prior=None).prior is None


@pytest.mark.parametrize("demo", [ldam.demo.mnist, ldam.demo.cifar])
def test_a_prior_comes_with_each_demo(demo: Any) -> None:
    """Before the squash its pictures vary as the demo's images do: 0.0673 a pixel in MNIST, as numpy says; 0.0612 in
    CIFAR-10, whose channels have the deviations .247, .243 and .262, less the variance of the mean image."""
    d = demo()
    shape = d.settings["input_shape"]
    coordinates = d.prior.coordinates(shape, None, torch.device("cpu"))
    pictures = coordinates.picture(torch.randn(1000, *shape, generator=torch.Generator().manual_seed(0)))
    wanted = 0.0673 if demo is ldam.demo.mnist else 0.0612
    assert float(pictures.var(0).mean()) == pytest.approx(wanted, rel=0.05)
