"""Discriminators built for a classifier, real images, and Algorithm 2 on a problem of 8×8 pixels."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import IterableDataset, TensorDataset

from ldam_widget import (
    Discriminator,
    Recipe,
    Sampler,
    Trainer,
    TrainingError,
    build_discriminator,
    load_discriminator,
    train_discriminator,
)
from ldam_widget.adversary.rounds import Round
from ldam_widget.data import RealImages
from ldam_widget.demo.lenet import LeNet5
from ldam_widget.kernels import BAOAB, Algorithm1
from ldam_widget.objectives.discriminator_file import read
from ldam_widget.objectives.discriminator_net import DiscriminatorNet

from .conftest import SIGMAS, TINY_SHAPE, TinyCnn, run_seed, with_fixed_weights
from .law.harness import normal_score
from .test_untouched import look, look_around

SHAPE = (1, 8, 8)
RANGE = (0.0, 1.0)
TINY = Recipe(batch=16, steps=3, pool=2, penalty=0.0, denoising=0.0)


def templates() -> Tensor:
    """Two blobs, (2, 1, 8, 8): one at the top left, one at the bottom right."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    blobs = [torch.exp(-((y - at) ** 2 + (x - at) ** 2) / 3) for at in (2.0, 5.0)]
    return torch.stack(blobs).unsqueeze(1)


def blobs(count: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 2
    bright = 0.8 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = 0.03 * torch.randn(count, *SHAPE, generator=generator)
    return (templates()[label] * bright + noise).clamp(0, 1), label


class Tiny(nn.Module):
    """A classifier (N, 1, 8, 8) -> (N, 2), with whatever a test wants in the middle."""

    def __init__(self, middle: nn.Module | None = None, end: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.middle = nn.Identity() if middle is None else middle
        self.fc1, self.fc2 = nn.Linear(64, 16), nn.Linear(16, 2)
        self.end = nn.Identity() if end is None else end

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.middle(self.conv(x)), 0.2).flatten(1)
        z: Tensor = self.end(self.fc2(F.leaky_relu(self.fc1(h), 0.2)))
        return z


def tiny(middle: Callable[[], nn.Module] | None = None, end: nn.Module | None = None) -> nn.Module:
    return with_fixed_weights(lambda: Tiny(None if middle is None else middle(), end))


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """Trained, so that its neurons have something to climb."""
    model = tiny()
    images, label = blobs(128, 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(images), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    assert float((model(images).argmax(1) == label).float().mean()) > 0.98
    return model


def trainer(model: nn.Module | None = None, dataset: Any = None, recipe: Recipe = TINY, **options: Any) -> Trainer:
    dataset = blobs()[0] if dataset is None else dataset
    return Trainer(tiny() if model is None else model, dataset, recipe=recipe, **{"pixel_range": RANGE, **options})


def same(one: Trainer, other: Trainer) -> None:
    """Everything that a training consists of, bit by bit."""
    for net, theirs in ((one._raw, other._raw), (one.net, other.net)):
        for name, value in net.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert torch.equal(one.samples(), other.samples())
    assert one.round == other.round
    assert one.rounds[-3:] == other.rounds[-3:]


# ---- building --------------------------------------------------------------------------------------------------------


def kinds(net: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Layers with weights, and the shapes of those."""
    found = []
    for module in net.modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            found.append((type(module).__name__, tuple(weight.shape)))
    return found


def test_lenet_becomes_a_lenet_with_one_output() -> None:
    model = with_fixed_weights(LeNet5).train()
    before, around = look(model), look_around()
    net = build_discriminator(model, (1, 28, 28), seed=3)
    assert look_around() == around
    assert look(model) == before
    assert net.design == {"kind": "like the classifier", "input_shape": [1, 28, 28]}
    assert kinds(net)[:-1] == kinds(model)[:-1]
    assert kinds(net)[-1] == ("Linear", (1, 84))
    assert net(torch.rand(5, 1, 28, 28)).shape == (5, 1)
    theirs = {p.data_ptr() for p in [*model.parameters(), *model.buffers()]}
    assert not theirs & {p.data_ptr() for p in [*net.parameters(), *net.buffers()]}
    shared = {name.removeprefix("body.network."): p for name, p in net.named_parameters()}
    for name, parameter in model.named_parameters():
        if not name.startswith("fc3"):
            assert not torch.isclose(shared[name], parameter, rtol=1e-3).float().mean() > 0.1, name
    assert all(p.requires_grad for p in net.parameters())


def test_the_seed_decides_the_weights() -> None:
    model = tiny()
    one, again, other = (build_discriminator(model, SHAPE, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one["body.network.conv.weight"], other["body.network.conv.weight"])


def test_weights_are_of_the_size_that_pytorch_begins_with(classifier: nn.Module) -> None:
    """Uniform in ±1/√(inputs), as a fresh layer's; those of a trained one are not."""
    net = build_discriminator(classifier, SHAPE)
    for name, inputs in (("conv", 9), ("fc1", 64), ("fc2", 16)):
        weight = net.get_submodule(f"body.network.{name}").weight
        assert isinstance(weight, Tensor)
        assert float(weight.detach().abs().max()) <= 1 / math.sqrt(inputs) + 1e-6
        assert float(weight.detach().std()) == pytest.approx(1 / math.sqrt(3 * inputs), rel=0.5)


class RawParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.randn(64)), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(x.flatten(1) * self.scale)
        return z


class Forgetful(RawParameter):
    """Its rule leaves the trained weight where it is."""

    def reset_parameters(self) -> None:
        pass


class Demanding(RawParameter):
    def reset_parameters(self, std: float) -> None:
        self.scale.data.normal_(0, std)


class Stochastic(nn.Module):
    """No module's output depends on x."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(x.flatten(1).detach()) + x.flatten(1).mean(1, keepdim=True)
        return z


def weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.Flatten(), torch.nn.utils.weight_norm(nn.Linear(64, 8)), nn.ReLU(), nn.Linear(8, 2))


def parametrized() -> nn.Module:
    spectral = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(64, 8))
    return nn.Sequential(nn.Flatten(), spectral, nn.ReLU(), nn.Linear(8, 2))


def pruned() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    prune.l1_unstructured(model[1], "weight", 0.5)  # type: ignore[no-untyped-call]
    return model


def used_twice() -> nn.Module:
    same = nn.Linear(64, 64)
    return nn.Sequential(nn.Flatten(), same, nn.Tanh(), same)


NOT_DERIVED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a raw parameter": (RawParameter, "RawParameter '' has weights and no reset_parameters"),
    "a rule that forgets": (Forgetful, "does not reset all"),
    "a rule with arguments": (Demanding, "reset_parameters of Demanding '' raised TypeError"),
    "weight norm": (weight_norm, "does not reset all"),
    "parametrised": (parametrized, "no reset_parameters"),
    "pruned": (pruned, "does not reset all"),
    "no layer with weights": (lambda: nn.Sequential(nn.Flatten(), nn.Softmax(1)), "no linear layer or convolution"),
    "last layer runs twice": (used_twice, "runs several times"),
    "no gradient to its last layer": (Stochastic, "does not run"),
    "convolution in groups": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 6, groups=2)),
        "in groups",
    ),
}


@pytest.mark.parametrize("case", NOT_DERIVED.values(), ids=NOT_DERIVED.keys())
def test_what_cannot_be_derived_gets_a_small_network_and_says_why(case: tuple[Callable[[], nn.Module], str]) -> None:
    build, why = case
    model = with_fixed_weights(build)
    net = build_discriminator(model, SHAPE, seed=7)
    assert net.design["kind"] == "small"
    assert why in net.design["why"]
    json.dumps(net.design)
    fresh = build_discriminator(model, SHAPE, seed=7, small=True)
    assert kinds(net) == kinds(fresh)
    assert net(torch.rand(3, *SHAPE)).shape == (3, 1)
    assert all(bool(p.isfinite().all()) for p in model.parameters())  # filled with NaN was the copy


class Convolutional(nn.Module):
    """A convolution as last layer, and its mean over places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head, self.pool = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.pool(self.head(self.conv(x).tanh())).flatten(1)
        return z


class Transformer(nn.Module):
    """Attention and layer norm have rules of their own, and the embedding is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))
        return z


DERIVED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, tuple[int, ...]]]] = {
    "batch norm": (lambda: Tiny(nn.BatchNorm2d(4)), SHAPE, ("Linear", (1, 16))),
    "softmax": (lambda: Tiny(end=nn.Softmax(1)), SHAPE, ("Linear", (1, 16))),
    "log-softmax": (lambda: Tiny(end=nn.LogSoftmax(1)), SHAPE, ("Linear", (1, 16))),
    "convolutional": (Convolutional, SHAPE, ("Conv2d", (1, 4, 1, 1))),
    "vector": (lambda: nn.Sequential(nn.Linear(30, 9), nn.ReLU(), nn.Linear(9, 4)), (30,), ("Linear", (1, 9))),
    "linear": (lambda: nn.Linear(30, 4), (30,), ("Linear", (1, 30))),
    "no bias": (lambda: nn.Linear(30, 4, bias=False), (30,), ("Linear", (1, 30))),
    "colour": (TinyCnn, TINY_SHAPE, ("Linear", (1, 96))),
    "attention": (Transformer, SHAPE, ("Linear", (1, 8))),
    "signal": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(36, 4)),
        (2, 16),
        ("Linear", (1, 36)),
    ),
}


@pytest.mark.parametrize("case", DERIVED.values(), ids=DERIVED.keys())
def test_networks_of_many_kinds_become_discriminators(case: tuple[Callable[[], nn.Module], Any, Any]) -> None:
    build, shape, last = case
    model = with_fixed_weights(build).train()
    before = look(model)
    net = build_discriminator(model, shape)
    assert look(model) == before
    assert net.design["kind"] == "like the classifier", net.design
    assert len(kinds(net)) == len(kinds(model))
    assert last in kinds(net)
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (grad,) = torch.autograd.grad(net.eval()(x).sum(), x)
    assert bool((grad.flatten(1).norm(dim=1) > 0).all())
    assert net(x).shape == (4, 1)


def test_statistics_of_batch_norm_start_over() -> None:
    model = tiny(lambda: nn.BatchNorm2d(4)).train()
    model(5 + torch.rand(20, *SHAPE))
    norm = build_discriminator(model, SHAPE).get_submodule("body.network.middle")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.tolist() == [0] * 4
    assert norm.running_var.tolist() == [1] * 4


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (1, 4, 64), (3, 17, 33), (2, 1, 9), (4, 4, 4), (7,), (3, 50), (1, 2, 6, 6)]
)
def test_the_small_network_takes_any_shape(shape: tuple[int, ...]) -> None:
    net = build_discriminator(nn.Identity(), shape, small=True)
    x = torch.rand(2, *shape, requires_grad=True)
    logit = net(x)
    assert logit.shape == (2, 1)
    (grad,) = torch.autograd.grad(logit.sum(), x)
    assert bool((grad != 0).flatten(1).float().mean() > 0.95)  # it looks at all of the image
    assert sum(p.numel() for p in net.parameters()) < 3e6


def test_pixels_are_standardised_within() -> None:
    """By each channel's mean and deviation; a plain vector has one of each, as its numbers are pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(50, 3, 6, 8, generator=generator) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1)
    net = build_discriminator(with_fixed_weights(TinyCnn), TINY_SHAPE).eval()
    net.standardize(images)
    mean, std = images.numpy().mean((0, 2, 3)), images.numpy().std((0, 2, 3))
    np.testing.assert_allclose(net.mean.flatten(), mean, rtol=1e-5)
    np.testing.assert_allclose(net.std.flatten(), std, rtol=1e-5)
    by_hand = net.body((images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
    torch.testing.assert_close(net(images), by_hand, rtol=1e-4, atol=1e-5)
    vector = build_discriminator(nn.Linear(30, 4), (30,))
    flat = torch.rand(50, 30, generator=generator)
    flat[:, :10] = 0  # the black margin of a data set: noise there may not become enormous
    vector.standardize(flat)
    np.testing.assert_allclose(vector.std, [flat.numpy().std()], rtol=1e-5)
    assert float(((torch.rand(9, 30) - vector.mean) / vector.std).abs().max()) < 10


def test_images_of_one_colour_do_not_divide_by_zero() -> None:
    net = build_discriminator(tiny(), SHAPE)
    net.standardize(torch.full((10, *SHAPE), 0.5))
    assert bool(net(torch.rand(3, *SHAPE)).isfinite().all())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_modes_of_the_caller_do_not_reach_the_weights(mode: Any, classifier: nn.Module) -> None:
    with mode():
        t = trainer(classifier)
        t.train_round()
    t.train_round()
    straight = trainer(classifier)
    straight.train_round()
    straight.train_round()
    same(t, straight)


def test_double_precision_by_default_does_not_reach_the_training(classifier: nn.Module) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        t = trainer(classifier, recipe=replace(TINY, denoising=0.1, penalty=0.1))
        t.train_round()
    finally:
        torch.set_default_dtype(torch.float32)
    assert t.net.design["kind"] == "like the classifier"
    assert t.samples().dtype == torch.float32
    assert {p.dtype for p in [*t.net.parameters(), t.net.mean, t.net.std]} == {torch.float32}
    t.train_round()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: build_discriminator("LeNet", SHAPE), TypeError, "'LeNet'"),  # type: ignore[arg-type]
        (lambda: build_discriminator(Tiny, SHAPE), TypeError, "Tiny"),  # type: ignore[arg-type]
        (lambda: build_discriminator(tiny(), (1, 9, 9)), ValueError, "(1, 9, 9)"),
        (lambda: build_discriminator(tiny(), 28), ValueError, "28"),  # type: ignore[arg-type]
        (lambda: build_discriminator(tiny(), (1, 8.5, 8), small=True), ValueError, "8.5"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_of_the_builder(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)


# ---- real images -----------------------------------------------------------------------------------------------------


class Pairs:
    """A map-style data set by duck typing: (image, label)."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.images[i], 7


BYTES = torch.randint(0, 256, (20, 1, 8, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
FLOATS = BYTES.float() / 255
COLOUR = torch.randint(0, 256, (20, 8, 6, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def pictures(array: Tensor) -> list[Image.Image]:
    return [Image.fromarray(image) for image in array.numpy()]


SOURCES: dict[str, tuple[Any, Tensor]] = {
    "bytes": (BYTES, FLOATS),
    "bytes without a channel": (BYTES[:, 0], FLOATS),
    "floats": (FLOATS, FLOATS),
    "doubles": (FLOATS.double(), FLOATS),
    "floats that require a gradient": (FLOATS.clone().requires_grad_(), FLOATS),
    "numpy": (BYTES.numpy(), FLOATS),
    "numpy without a channel": (FLOATS[:, 0].numpy(), FLOATS),
    "numpy, upside down": (FLOATS.numpy()[::-1, :, ::-1], FLOATS.flip(0).flip(2)),
    "numpy, channels last": (COLOUR.numpy(), COLOUR.permute(0, 3, 1, 2).float() / 255),
    "numpy, one channel last": (BYTES.permute(0, 2, 3, 1).numpy(), FLOATS),
    "PIL": (pictures(BYTES[:, 0]), FLOATS),
    "PIL in colour, with labels": (Pairs(pictures(COLOUR)), COLOUR.permute(0, 3, 1, 2).float() / 255),
    "tensors with labels": (Pairs(FLOATS), FLOATS),
    "TensorDataset": (TensorDataset(FLOATS, torch.arange(20)), FLOATS),
    "a list of arrays": (list(FLOATS.numpy()), FLOATS),
    "vectors": (FLOATS.flatten(1), FLOATS.flatten(1)),
}


@pytest.mark.parametrize("case", SOURCES.values(), ids=SOURCES.keys())
def test_images_from_many_sources(case: tuple[Any, Tensor], recwarn: Any) -> None:
    source, expected = case
    real = RealImages(source, None, RANGE)
    assert real.input_shape == tuple(expected.shape[1:])
    assert len(real) == 20
    drawn = real.draw(200, torch.Generator().manual_seed(3))
    assert drawn.dtype == torch.float32
    assert not drawn.requires_grad
    which = (drawn.flatten(1)[:, None] - expected.flatten(1)).abs().amax(2)
    assert float(which.amin(1).max()) < 1e-6  # each is one of them
    assert len(set(which.argmin(1).tolist())) > 15  # and no few are preferred
    assert torch.equal(drawn, real.draw(200, torch.Generator().manual_seed(3)))
    assert not recwarn.list


def test_bytes_fill_the_pixel_range_and_floats_are_in_it() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 6)
    for pixel_range in ((-1.0, 1.0), (0.0, 255.0), (-2.0, 3.0)):
        drawn = RealImages(ends, None, pixel_range).draw(30, torch.Generator().manual_seed(0))
        assert sorted(set(drawn.flatten().tolist())) == pytest.approx(pixel_range, abs=1e-6)
    assert float(RealImages(ends, None, None).draw(30, torch.Generator().manual_seed(0)).max()) == 1
    low = RealImages(2 * FLOATS - 1, None, (-1.0, 1.0)).draw(9, torch.Generator().manual_seed(0))
    assert float(low.min()) < -0.9


def test_the_shape_asked_for_settles_what_is_ambiguous() -> None:
    """(4, 8, 3) may be four channels, or rows of RGB."""
    array = np.random.default_rng(0).random((6, 4, 8, 3), np.float32)
    assert RealImages(array, (4, 8, 3), RANGE).input_shape == (4, 8, 3)
    turned = RealImages(array, (3, 4, 8), RANGE).draw(1, torch.Generator().manual_seed(0))[0]
    assert any(np.array_equal(turned, image.transpose(2, 0, 1)) for image in array)


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Tensor]:
        return iter(FLOATS)


def with_value(value: float) -> Tensor:
    images = FLOATS.clone()
    images[0, 0, 3, 3] = value
    return images


REAL: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "labels": (lambda: torch.arange(20), ValueError, "look like labels"),
    "labels, floats": (lambda: torch.arange(20.0) / 20, ValueError, "look like labels"),
    "labels, list": (lambda: [1.0, 0.5], ValueError, "look like labels"),
    "labels, numpy": (lambda: np.arange(20), ValueError, "look like labels"),
    "integers": (lambda: BYTES.long(), ValueError, "torch.int64 numbers"),
    "integers in a list": (lambda: list(BYTES.long()), ValueError, "torch.int64 numbers"),
    "booleans": (lambda: BYTES > 9, ValueError, "torch.bool numbers"),
    "another shape": (lambda: torch.rand(9, 1, 7, 7), ValueError, "(1, 7, 7), but the model takes (1, 8, 6)"),
    "sizes that differ": (lambda: [torch.rand(1, 8, 6), torch.rand(1, 9, 6)], ValueError, "different shapes"),
    "too bright": (lambda: FLOATS * 255, ValueError, "outside of pixel_range=(0, 1)"),
    "standardised": (lambda: (FLOATS - 0.5) / 0.3, ValueError, "before any normalisation"),
    "NaN": (lambda: with_value(math.nan), ValueError, "NaN or infinite"),
    "infinite": (lambda: with_value(math.inf), ValueError, "NaN or infinite"),
    "empty": (lambda: torch.zeros(0, 1, 8, 6), ValueError, "no images"),
    "empty list": (list, ValueError, "no images"),
    "a number": (lambda: torch.tensor(3.0), ValueError, "no images"),
    "a stream": (Stream, TypeError, "Stream, which has no length and items"),
    "a generator": (lambda: (image for image in FLOATS), TypeError, "generator"),
    "a path": (lambda: "mnist/", TypeError, "str"),
    "None": (lambda: None, TypeError, "NoneType"),
    "dicts": (lambda: [{"image": 3}], ValueError, "images or (image, label); got dict"),
    "text": (lambda: ["a.png", "b.png"], ValueError, "images or (image, label); got str"),
}


@pytest.mark.parametrize("case", REAL.values(), ids=REAL.keys())
def test_bad_images_are_named(case: tuple[Callable[[], Any], type[Exception], str]) -> None:
    source, error, message = case
    with pytest.raises(error) as raised:
        RealImages(source(), (1, 8, 6), RANGE)
    assert message in str(raised.value)
    assert "dataset" in str(raised.value)


def test_the_images_may_not_be_fewer_than_half_a_batch() -> None:
    with pytest.raises(ValueError, match=r"holds 7 images, fewer than the 8 .* Recipe\(batch=14\)"):
        trainer(dataset=blobs(7)[0])
    trainer(dataset=blobs(8)[0]).train_round()


def test_bad_input_of_the_trainer() -> None:
    net = build_discriminator(tiny(), SHAPE)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"recipe": {"batch": 3}}, TypeError, "recipe"),
        ({"net": nn.Linear(64, 1)}, TypeError, "build_discriminator"),
        ({"net": build_discriminator(nn.Linear(30, 2), (30,))}, ValueError, "(30,)"),
        ({"pixel_range": 5}, ValueError, "pixel_range"),
        ({"pixel_range": (1, 0)}, ValueError, "pixel_range"),
        ({"input_shape": 28}, ValueError, "input_shape"),
        ({"input_shape": (1, 7, 7)}, ValueError, "(1, 7, 7)"),
        ({"neurons": [5]}, ValueError, "neuron"),
        ({"layer": "nowhere"}, ValueError, "layer"),
        ({"device": "gpu"}, ValueError, "device"),
        ({"model": 3}, TypeError, "model"),
        ({"net": net, "dataset": blobs(2)[0]}, ValueError, "fewer than"),
    ]
    for options, error, message in cases:
        with pytest.raises(error) as raised:
            trainer(**options)
        assert message in str(raised.value), options


# ---- the recipe ------------------------------------------------------------------------------------------------------

WRONG: dict[str, list[Any]] = {
    "batch": [1, 2.5, "a", True, None],
    "steps": [0, 1.5, None],
    "until": [0, 1, -0.5, math.nan, "a"],
    "pool": [0, 2.0],
    "renewed": [-0.1, 1.1, math.nan, "a", None],
    "calibrated": [-0.1, 1.1, math.nan, None],
    "weights": [(0.5, 0.4), (-0.1, 1), (0, 1.1), 0.5, (0, 0.5, 1), ("a", 1), (math.nan, 1)],
    "noises": [(0, 1), (0.2, 0.1), (1e-9, 0.1), (0.1, math.inf), (math.nan, 1), 0.1],
    "temperatures": [(0, 1), (2, 1), (0.1, math.inf), (math.nan, 1), None],
    "image_noise": [-1, math.inf, math.nan, "a"],
    "shift": [-1, 0.5, None],
    "learning_rate": [0, -1, math.inf, math.nan, "a"],
    "betas": [(1, 0.5), (0.5, 1), (-0.1, 0.5), 0.9, (math.nan, 0.9)],
    "label": [0.5, 1.1, math.nan, None],
    "average": [-0.1, 1, math.nan, None],
    "seed": [-1, 0.5, None],
}


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_setting_of_a_recipe_is_checked(name: str) -> None:
    for value in WRONG.get(name, [-1, math.inf, math.nan, "a", None]):
        with pytest.raises(ValueError, match=name) as raised:
            Recipe(**{name: value})
        assert "recipe must be" in str(raised.value), value


def test_a_recipe_survives_json() -> None:
    for recipe in (Recipe(), Recipe.printed(0.7), Recipe(weights=(0, 1), until=0.8, batch=4, seed=2)):
        assert Recipe(**json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert Recipe(weights=[0, 1]) == Recipe(weights=(0.0, 1.0))  # type: ignore[arg-type]


def test_as_printed_every_round_begins_from_noise_and_ends_where_d_believes_it(classifier: nn.Module) -> None:
    """Algorithm 2: while D(x) ≤ 0.9, step; here at most 12 times. The start is the sampler's own: of N(0, 1) cut off at
    ±1, Φ(−1) are black and as many white. 5 σ, three times: false alarm 4e-6."""
    recipe = Recipe.printed(0.6, steps=12, batch=32)
    t = trainer(classifier, recipe=recipe)
    first: list[Tensor] = []
    begin = t._replay.turn

    def turn_from() -> Any:
        turn = begin()
        first.append(turn.group.x)
        return turn

    t._replay.turn = turn_from  # type: ignore[method-assign]
    for round_ in range(3):
        t.work()
        turn = t._turn
        assert turn is not None
        x = first[-1]
        for end in (0.25, 0.75):  # uniform
            assert abs(float((x < end).float().mean()) - end) < 5 * math.sqrt(0.25 * 0.75 / x.numel())
        assert not any(torch.equal(image, other) for before in first[:-1] for image in x for other in before)
        assert t._left == 11
        assert turn._target.weights == {"neuron": 1.0, "discriminator": 0.6}
        assert isinstance(turn._kernel, Algorithm1)
        assert turn._kernel.noise == pytest.approx(0.03)
        assert replace(turn._kernel, noise=0.03) == Algorithm1(0.1, 0.03, 0.8, mix="convex")
        while not t.work():
            pass
        assert t.round == round_ + 1
    with torch.no_grad():  # D that believes nothing, then everything
        for bias, steps in ((-9.0, 12), (9.0, 1)):
            t._raw.get_submodule("body.network.fc2").bias.fill_(bias)  # type: ignore[operator]
            count = 1
            while not t.work():
                count += 1
            assert count == steps + 1  # steps, and the update


def test_until_is_a_bound_on_the_mean(classifier: nn.Module) -> None:
    """A net that says 0.95 of bright images ends the round at the first step that makes the mean exceed 0.9."""
    t = trainer(classifier, recipe=replace(Recipe.printed(1.0), steps=50, until=0.9, batch=32))
    net = t._raw.body
    seen = []
    while True:
        ended = t.work()
        if ended:
            break
        with torch.no_grad():
            seen.append(float(torch.sigmoid(t._raw(t.samples())).mean()))
        if len(seen) == 5:  # sure from now on
            with torch.no_grad():
                net.get_submodule("network.fc2").bias.fill_(9.0)  # type: ignore[operator]
    assert len(seen) == 6
    assert max(seen[:5]) <= 0.9 < seen[5]


# ---- training --------------------------------------------------------------------------------------------------------


def variants() -> dict[str, tuple[Callable[[], nn.Module], Recipe]]:
    return {
        "plain": (tiny, TINY),
        "batch norm": (lambda: tiny(lambda: nn.BatchNorm2d(4)), TINY),
        "dropout": (lambda: tiny(lambda: nn.Dropout(0.5)), TINY),
        "last weights": (tiny, replace(TINY, average=0.0)),
        "a layer that is not used": (lambda: tiny(lambda: Unused()), TINY),
        "all calibrated": (tiny, replace(TINY, calibrated=1.0, alone=0.0)),
        "until": (tiny, replace(TINY, until=0.5, steps=8)),
        "a penalty": (tiny, replace(TINY, penalty=0.1)),
        "denoising": (tiny, replace(TINY, denoising=0.1)),
    }


class Unused(nn.Module):
    """A weight in front of others that never has a gradient, nor a state of the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("variant", variants())
def test_a_resumed_training_goes_on_bit_by_bit(variant: str, tmp_path: Path) -> None:
    build, recipe = variants()[variant]
    straight = trainer(build(), recipe=recipe)
    for _ in range(4):
        straight.train_round()
    broken = trainer(build(), recipe=recipe)
    broken.train_round()
    broken.train_round()
    broken.save(tmp_path / "training")
    torch.rand(3)  # whatever happened in between
    resumed = trainer(build(), recipe=recipe)
    resumed.resume(tmp_path / "training")
    same(resumed, broken)
    assert resumed.round == 2
    for _ in range(2):
        broken.train_round()
        resumed.train_round()
    same(resumed, straight)
    same(broken, straight)


@pytest.mark.parametrize("works", [1, 2, 3, 5])
def test_a_file_from_the_middle_of_a_round_begins_that_round_again(works: int, tmp_path: Path) -> None:
    """As a panel may save that trains between two pictures."""
    straight, broken, resumed = trainer(), trainer(), trainer()
    for _ in range(works):
        broken.work()
    broken.save(tmp_path / "training")
    resumed.resume(tmp_path / "training")
    for t in (straight, broken, resumed):
        while t.round < 3:
            t.work()
    same(broken, straight)
    same(resumed, straight)


class Interrupted:
    """Real images; the n-th one asked for is interrupted."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.left = images, math.inf

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        self.left -= 1
        if self.left < 0:
            self.left = math.inf
            raise KeyboardInterrupt
        return self.images[i], 0


def test_an_interruption_costs_nothing(tmp_path: Path) -> None:
    images = blobs()[0]
    straight = trainer(dataset=images)
    dataset = Interrupted(images)
    t = trainer(dataset=dataset)
    t.train_round()
    dataset.left = 4
    with pytest.raises(KeyboardInterrupt):
        t.train_round()
    assert t.round == 1
    t.save(tmp_path / "training")
    resumed = trainer(dataset=images)
    resumed.resume(tmp_path / "training")
    for goes_on in (t, resumed, straight):
        while goes_on.round < 4:
            goes_on.work()
    same(t, straight)
    same(resumed, straight)


def test_training_headless_is_resumed_after_an_interruption(tmp_path: Path, classifier: nn.Module) -> None:
    images = blobs()[0]
    options: dict[str, Any] = {"recipe": TINY, "pixel_range": RANGE, "progress": False}
    dataset = Interrupted(images)
    out = tmp_path / "deep" / "d.safetensors"
    dataset.left = 1 + 64 + 64 + 64 + 40 * 8  # shape, check, mean and deviation, doubts, and some rounds
    with pytest.raises(KeyboardInterrupt):
        train_discriminator(classifier, dataset, rounds=300, out=out, save_every=0.0, **options)
    assert not out.exists()
    kept = read(out.with_name("d.safetensors.training"))
    assert kept.card["rounds"] == 40
    straight = trainer(classifier)
    while straight.round < 45:
        straight.train_round()
    with contextlib.suppress(TrainingError):  # of so few rounds nothing is asked but that they are the same
        train_discriminator(classifier, images, rounds=45, out=out, resume=True, **options)
    weights = read(out.with_name("d.safetensors.training")).weights
    for name, value in straight.net.state_dict().items():
        assert torch.equal(weights[name], value)


def test_resuming_something_else_is_refused(tmp_path: Path, classifier: nn.Module) -> None:
    t = trainer(classifier)
    t.train_round()
    t.save(tmp_path / "training")
    t.save(tmp_path / "finished", resumable=False)
    assert read(tmp_path / "finished").more == {}
    others: list[tuple[Trainer, str]] = [
        (trainer(classifier, recipe=replace(TINY, label=0.8)), "another recipe: label 0.9 there, 0.8 here"),
        (trainer(classifier, 2 * blobs()[0] - 1, pixel_range=(-1, 1)), "pixel_range"),
        (trainer(classifier, blobs(32)[0]), "another dataset, of 64 images; here are 32"),
        (trainer(Convolutional()), "does not fit"),
        (trainer(classifier, neurons=[1]), "does not fit"),
    ]
    for other, message in others:
        with pytest.raises(ValueError, match=message):
            other.resume(tmp_path / "training")
    with pytest.raises(ValueError, match="finished discriminator, not a training"):
        trainer(classifier).resume(tmp_path / "finished")
    with pytest.raises(FileNotFoundError):
        trainer(classifier).resume(tmp_path / "nothing")
    with pytest.raises(ValueError, match="resume=True needs out="):
        train_discriminator(classifier, blobs()[0], resume=True, recipe=TINY)


@pytest.mark.parametrize("middle", [None, lambda: nn.BatchNorm2d(4)])
def test_the_running_mean_is_what_its_rule_says(middle: Any) -> None:
    """d_k = min(average, (1 + k)/(10 + k)), m = d m + (1 − d) w, from the weights of every round and by hand."""
    t = trainer(tiny(middle), recipe=replace(TINY, average=0.5))
    expected: dict[str, Tensor] = {}
    for k in range(12):
        t.train_round()
        raw = {name: v.double().clone() for name, v in t._raw.state_dict().items() if v.is_floating_point()}
        decay = min(0.5, (1 + k) / (10 + k))
        expected = raw if k == 0 else {n: decay * expected[n] + (1 - decay) * v for n, v in raw.items()}
    for name, value in expected.items():
        torch.testing.assert_close(t.net.state_dict()[name].double(), value, rtol=1e-5, atol=1e-6)
    assert not t.net.training
    plain = trainer(recipe=replace(TINY, average=0.0))
    plain.train_round()
    assert plain.net is plain._raw


def test_an_update_disturbs_either_half() -> None:
    """Real and sampled images all grey: what D is shown has the noise of `Losses.disturbed` in both halves. 5 σ for
    each: false alarm 1.2e-6."""
    t = trainer(dataset=torch.full((20, *SHAPE), 0.5), recipe=replace(TINY, image_noise=0.1))
    shown: list[Tensor] = []
    t._raw.register_forward_pre_hook(lambda _module, given: shown.append(given[0].detach().double()))
    t._update(torch.full((2000, *SHAPE), 0.5))
    (both,) = shown
    assert both.shape == (4000, *SHAPE)
    for half in (both[:2000], both[2000:]):
        power = (half - 0.5).square().flatten(1).mean(1)
        assert abs(float(power.mean()) - 0.01 / 3) < 5 * float(power.std()) / math.sqrt(2000)


@pytest.mark.filterwarnings("ignore:the discriminator was trained on pixels in")
def test_a_network_is_trained_on_what_it_is_given_when_it_is_used(classifier: nn.Module) -> None:
    """By a term with pixels of its own range, [-1, 1], and a preprocess: both halves, on the way to x0 as well."""
    net = build_discriminator(classifier, SHAPE)
    term = Discriminator(net, 0.5, preprocess=lambda x: 10 + x, pixel_range=(-1, 1))
    s = Sampler(classifier, input_shape=SHAPE, kernel=Algorithm1(), pixel_range=RANGE, regularizers=[term])
    t = Trainer.for_sampler(s, blobs()[0], replace(TINY, denoising=1.0), net)
    shown: list[Tensor] = []
    t._raw.register_forward_pre_hook(lambda _module, given: shown.append(given[0].detach()))
    t.train_round()
    assert len(shown) == 2
    for x in shown:
        assert 9 <= float(x.min()) < 9.2
        assert 10.8 < float(x.max()) <= 11
    assert t.discriminator(0.5).pixel_range == net.pixel_range == (-1, 1)


def test_a_preprocess_to_another_size_is_trained_through(classifier: nn.Module) -> None:
    net = build_discriminator(nn.Identity(), (1, 4, 4), small=True)
    term = Discriminator(net, 0.5, preprocess=lambda x: F.avg_pool2d(x, 2))
    s = Sampler(classifier, input_shape=SHAPE, kernel=Algorithm1(), pixel_range=RANGE, regularizers=[term])
    t = Trainer.for_sampler(s, blobs()[0], TINY, net)
    t.train_round()
    s.use_discriminator(t.discriminator(0.5))
    expected = torch.sigmoid(t.net(F.avg_pool2d(s.images.flatten(0, 1), 2))[:, 0])
    assert s.discriminator_score is not None
    torch.testing.assert_close(s.discriminator_score.flatten(), expected.detach())


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_one_update_by_hand(penalty: float, classifier: nn.Module) -> None:
    """Binary cross-entropy with one label smoothed, γ/2 ‖∇ logit‖² on real images, and Adam's first step, which is the
    sign of the gradient."""
    recipe = replace(TINY, image_noise=0.0, shift=0, average=0.0, label=0.8, penalty=penalty)
    t = trainer(classifier, recipe=recipe)
    for _ in range(3):
        t.work()
    fake = t._turn.group.x  # type: ignore[union-attr]
    state = t._choose.get_state()
    real = t._real.draw(8, t._choose).requires_grad_()
    t._choose.set_state(state)
    before = {name: p.detach().clone() for name, p in t._raw.named_parameters()}
    z, y = t._raw(real)[:, 0], t._raw(fake)[:, 0]
    d, d_of_fake = 1 / (1 + torch.exp(-z)), 1 / (1 + torch.exp(-y))
    loss = -(0.8 * d.log() + 0.2 * (1 - d).log()).sum() / 16 - (1 - d_of_fake).log().sum() / 16
    slope = torch.autograd.grad(z.sum(), real, create_graph=True)[0]
    loss = loss + penalty / 2 * slope.square().sum() / 8
    grads = torch.autograd.grad(loss, list(t._raw.parameters()))
    z, y = z.detach(), y.detach()
    seen = t.train_round()
    for (name, p), grad in zip(t._raw.named_parameters(), grads, strict=True):
        step = -recipe.learning_rate * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), before[name] + step, rtol=1e-3, atol=2e-6)
    assert seen.real == pytest.approx(float(torch.sigmoid(z).mean()), abs=1e-5)
    assert seen.generated == pytest.approx(float(torch.sigmoid(y).mean()), abs=1e-5)
    assert seen.accuracy == pytest.approx((int((z > 0).sum()) + int((y < 0).sum())) / 16)
    assert seen.gap == pytest.approx(float(z.mean() - y.mean()), abs=1e-5)
    assert seen.spread == pytest.approx(float(torch.cat([z, y]).std()), abs=1e-5)


def test_both_halves_are_disturbed_by_the_same_law() -> None:
    """The same images through either half: mean and variance of every pixel agree. The two samples are independent;
    z-scores of 128 statements below 5.5: false alarm 5e-6. Without shifts the noise is √(1/3) of the largest."""
    t = trainer(recipe=replace(TINY, image_noise=0.1, shift=1))
    image = 0.5 + 0.2 * templates()[:1].expand(8, *SHAPE)
    one, other = (torch.cat([t._losses.disturbed(image)[:1] for _ in range(1500)]).double() for _ in range(2))
    z = (one.mean(0) - other.mean(0)) / ((one.var(0) + other.var(0)) / 1500).sqrt()
    squares = [(half - half.mean(0)).square() for half in (one, other)]
    y = (squares[0].mean(0) - squares[1].mean(0)) / ((squares[0].var(0) + squares[1].var(0)) / 1500).sqrt()
    assert float(z.abs().max()) < 5.5
    assert float(y.abs().max()) < 5.5
    still = trainer(recipe=replace(TINY, image_noise=0.1, shift=0))
    noise = (still._losses.disturbed(torch.full((4000, *SHAPE), 0.5)) - 0.5).double()
    # a strength uniform in [0, 0.1] a picture: E s² = 0.01/3, Var s² = 1e-4 (1/5 − 1/9)
    power = noise.square().flatten(1).mean(1)
    expected, spread = 0.01 / 3, math.sqrt(1e-4 * (1 / 5 - 1 / 9) + 2 * 1e-4 / 5 / 64)
    assert abs(float(power.mean()) - expected) < 5 * spread / math.sqrt(4000)
    assert (
        float(still._losses.disturbed(torch.ones(9, *SHAPE)).max()) == 1
    )  # what leaves the box would give itself away
    assert float(still._losses.disturbed(torch.zeros(9, *SHAPE)).min()) == 0
    off = trainer(recipe=replace(TINY, image_noise=0.0, shift=0))
    assert torch.equal(off._losses.disturbed(image), image)
    wide = trainer(dataset=(255 * blobs()[0]), pixel_range=(0, 255), recipe=replace(TINY, image_noise=0.1, shift=0))
    assert float((wide._losses.disturbed(torch.full((400, *SHAPE), 127.0)) - 127).std()) == pytest.approx(14.7, rel=0.1)


def test_each_group_is_moved_as_the_recipe_says(classifier: nn.Module) -> None:
    """Three of ten groups by BAOAB with scales, two by D alone, the others with weights that share the range."""
    recipe = Recipe(batch=8, steps=1, pool=10, weights=(0.2, 0.9), noises=(0.05, 0.1), temperatures=(0.5, 3.0))
    t = trainer(classifier, recipe=recipe)
    normal = 0.1 / 8  # the default temperature of 8×8 pixels in [0, 1]: a tenth of a pixel range over √pixels
    weights: dict[int, set[float]] = {}
    kinds = {"BAOAB": set(), "Algorithm 1": set(), "alone": set()}  # type: dict[str, set[int]]
    for _ in range(150):
        turn = t._replay.turn()
        number = next(i for i, group in enumerate(t._replay.groups) if group is turn.group)
        target, kernel = turn._target, turn._kernel
        weight = target.weights["discriminator"]
        weights.setdefault(number, set()).add(weight)
        if isinstance(kernel, BAOAB):
            kinds["BAOAB"].add(number)
            assert 0.5 * 0.99 * normal <= float(target.temperature) <= 3 * 1.02 * normal
            assert target.scales.keys() == {"neuron", "discriminator"}
        else:
            assert isinstance(kernel, Algorithm1)
            assert 0.05 * 0.999 <= kernel.noise <= 0.1 * 1.001
            assert kernel.mix == "convex"
            kinds["alone" if weight == 1 else "Algorithm 1"].add(number)
            assert target.scales == {}
        if weight != 1:
            assert 0.2 <= weight <= 0.9
    assert [len(kinds[kind]) for kind in ("BAOAB", "Algorithm 1", "alone")] == [3, 5, 2]
    spans = sorted((min(weights[i]), max(weights[i])) for i in kinds["Algorithm 1"])
    assert all(high - low < 0.14 + 1e-6 for low, high in spans)  # a fifth of 0.7 each
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_shifts_go_every_way_by_as_much_as_asked() -> None:
    t = trainer(recipe=replace(TINY, image_noise=0.0, shift=1))
    image = torch.zeros(1, *SHAPE)
    image[0, 0, 4, 4] = 1
    places = {tuple(t._losses.disturbed(image)[0, 0].nonzero()[0].tolist()) for _ in range(200)}
    assert places == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}  # one missing: 9 · (8/9)^200 = 5e-10


def test_only_the_renewed_share_of_the_pool_begins_anew(classifier: nn.Module) -> None:
    """Each chain with probability 0.2 at its group's turn; the others stay where they were. 5 σ: false alarm 6e-7."""
    recipe = Recipe(batch=80, steps=1, pool=3, renewed=0.2)
    t = trainer(classifier, blobs()[0], recipe)
    renewed = total = 0
    while t.round < 60:
        before = [group.x for group in t._replay.groups]
        velocity = [group.velocity for group in t._replay.groups]
        turn = t._replay.turn()
        (moved,) = [i for i, group in enumerate(t._replay.groups) if group is turn.group]
        for i, group in enumerate(t._replay.groups):
            if i != moved:
                assert group.x is before[i]
        new = (turn.group.x != before[moved]).flatten(1).any(1)
        assert torch.equal(turn.group.velocity[~new], velocity[moved][~new])
        assert not bool(turn.group.velocity[new].any())
        renewed, total = renewed + int(new.sum()), total + len(new)
        t.train_round()
    assert abs(renewed / total - 0.2) < 5 * math.sqrt(0.2 * 0.8 / total)
    none = trainer(classifier, recipe=replace(TINY, renewed=0.0))
    before = [group.x for group in none._replay.groups]
    turn = none._replay.turn()
    assert any(turn.group.x is x for x in before)


@pytest.mark.statistical
@pytest.mark.parametrize("pixel_range", [None, (0.0, 1.0), (-1.0, 3.0)])
def test_chains_begin_as_those_of_the_sampler(pixel_range: Any, classifier: nn.Module) -> None:
    """Pool and sampler, each 64,000 pixels: mean, variance, and that no pixel begins on a wall. Two-sample:
    false alarm 2e-7; and for unbounded pixels, which are N(0, 1), χ² of the sampler's and the pool's squares."""
    t = trainer(classifier, torch.rand(1000, *SHAPE), Recipe(batch=2000, pool=1), pixel_range=pixel_range)
    s = Sampler(classifier, input_shape=SHAPE, neurons=[0], chains=1000, pixel_range=pixel_range, seed=run_seed())
    pool, first = (x.double().flatten() for x in (t.samples(), s.images[0]))
    assert t.samples().shape == (1000, *SHAPE)
    low, high = pixel_range or (-1e9, 1e9)
    for statement in (lambda x: x, torch.square, lambda x: (x <= low).double(), lambda x: (x >= high).double()):
        a, b = statement(pool), statement(first)
        if float(a.var() + b.var()):
            assert abs(float((a.mean() - b.mean()) / ((a.var() + b.var()) / 64_000).sqrt())) < SIGMAS
        else:
            assert torch.equal(a, b)
    if pixel_range is None:
        for x in (pool, first):
            assert abs(normal_score(float(x.square().sum()), 64_000)) < SIGMAS
    else:
        share = float((pool < low + (high - low) / 4).double().mean())
        assert abs(share - 0.25) < SIGMAS * math.sqrt(0.25 * 0.75 / 64_000)  # uniform


def test_every_neuron_has_its_chains(classifier: nn.Module) -> None:
    t = trainer(classifier, recipe=replace(TINY, batch=22))
    assert [group.units for group in t._replay.groups] == [[0, 1]] * 2
    assert [len(group.x) for group in t._replay.groups] == [10, 10]  # 11 is odd
    many = trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 30)), recipe=replace(TINY, pool=6))
    assert [len(group.units) for group in many._replay.groups] == [8] * 6
    assert len({unit for group in many._replay.groups for unit in group.units}) > 15
    assert all(len(set(group.units)) == 8 for group in many._replay.groups)
    one = trainer(classifier, neurons=[1])
    assert [len(group.x) for group in one._replay.groups] == [8, 8]


def test_samples_stay_in_the_box(classifier: nn.Module) -> None:
    t = trainer(classifier, recipe=replace(TINY, pool=6, calibrated=0.5, alone=0.0))
    for _ in range(12):
        t.train_round()
        assert float(t.samples().min()) >= 0
        assert float(t.samples().max()) <= 1


class Everything(nn.Module):
    """Batch norm, dropout, a hook, a frozen weight, modes that differ."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop, self.fc = (
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(3 * 36, 4),
        )  # fmt: skip
        self.conv.weight.requires_grad_(False)
        self.fc.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(self.drop(self.norm(self.conv(x)).tanh()).flatten(1))
        return z


@pytest.mark.filterwarnings("ignore:model was in training mode .norm and 1 more")
def test_the_classifier_and_all_that_is_global_come_back_untouched(tmp_path: Path) -> None:
    model = with_fixed_weights(Everything)
    model(torch.rand(9, *SHAPE))
    model.train()
    model.get_submodule("conv").eval()
    images = blobs()[0].requires_grad_()
    before, around = look(model), look_around()
    t = trainer(model, images, replace(TINY, until=0.9))
    for _ in range(4):
        t.train_round()
    t.save(tmp_path / "training")
    t.resume(tmp_path / "training")
    t.train_round()
    _ = t.trouble(), t.card(), t.samples()
    assert t.net.design["kind"] == "like the classifier"
    assert look_around() == around
    assert look(model) == before
    assert images.grad is None


def test_a_discriminator_in_training_mode_is_not_reported(recwarn: Any) -> None:
    t = trainer(tiny(lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.1))))
    t.train_round()
    assert t.notes == []
    assert not recwarn.list


def test_a_sampler_follows_the_training(classifier: nn.Module) -> None:
    """What is returned is one object all the time, and shares its weights with a sampler's term."""
    t = trainer(classifier, recipe=replace(TINY, learning_rate=0.01))
    net = t.net
    terms = [Discriminator(net, 0.5)]
    s = Sampler(classifier, input_shape=SHAPE, kernel=Algorithm1(), chains=2, pixel_range=RANGE, regularizers=terms)
    before = s.discriminator_score
    for _ in range(3):
        t.train_round()
    assert t.net is net
    s.discriminator_changed()
    assert s.discriminator_score is not None
    assert before is not None
    assert not torch.allclose(s.discriminator_score, before)
    expected = torch.sigmoid(net(s.images.flatten(0, 1)))[:, 0].view(2, 2)
    torch.testing.assert_close(s.discriminator_score, expected.detach())


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def constant_net(logit: float = 0.0) -> DiscriminatorNet:
    net = build_discriminator(tiny(), SHAPE)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "fc2" in name:
                parameter.fill_(logit if name.endswith("bias") else 1e-8)
    return net


def test_a_discriminator_that_says_the_same_of_everything_is_not_called_trained(
    tmp_path: Path, classifier: nn.Module
) -> None:
    out = tmp_path / "d.safetensors"
    options: dict[str, Any] = {"pixel_range": RANGE, "progress": False, "out": out, "net": constant_net(),
                               "recipe": replace(TINY, learning_rate=1e-9)}  # fmt: skip
    with pytest.raises(TrainingError, match=r"gives every image the same output.*d\.safetensors\.training"):
        train_discriminator(classifier, blobs()[0], rounds=4, **options)
    assert not out.exists()
    assert (tmp_path / "d.safetensors.training").exists()
    assert "every image the same output" in read(tmp_path / "d.safetensors.training").card["trouble"]
    # no way around it: resuming what is finished does not make it good
    with pytest.raises(TrainingError, match="gives every image the same output"):
        train_discriminator(classifier, blobs()[0], rounds=4, resume=True, **options)
    assert not out.exists()


def test_a_discriminator_that_always_wins_is_not_called_trained(tmp_path: Path, classifier: nn.Module) -> None:
    """Real images that no sampler reaches: white ones, at once distinguished from its noise."""
    recipe = replace(TINY, learning_rate=0.03, steps=1, renewed=1.0, image_noise=0.0, noises=(1e-4, 1e-4))
    white = torch.ones(20, *SHAPE)
    with pytest.raises(TrainingError, match=r"classifies .*% of all images correctly.*sampler never comes near"):
        train_discriminator(
            classifier, white, rounds=130, out=tmp_path / "d", recipe=recipe, pixel_range=RANGE, progress=False
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.training"]


def test_the_verdicts(classifier: nn.Module) -> None:
    t = trainer(classifier)
    assert "not been trained" in t.trouble()
    good = Round(0.6, 0.4, 0.7, 1.0, 1.5)
    t.rounds = [good] * 100
    assert t.trouble() == ""
    t.rounds = [good._replace(spread=0.01)] * 100
    assert "every image the same output" in t.trouble()
    t.rounds = [good._replace(accuracy=0.999)] * 100
    assert "never comes near" in t.trouble()
    t.rounds = [good._replace(accuracy=0.3, gap=-1.0)] * 100
    assert "more real than real images" in t.trouble()
    t.rounds = [good._replace(spread=0.0)] * 500 + [good] * 100
    assert t.trouble() == ""  # by what it is now
    t.rounds = [good] * 500 + [good._replace(accuracy=1.0)] * 100
    assert t.trouble() != ""


@pytest.mark.parametrize("middle", [None, lambda: nn.BatchNorm2d(4), lambda: nn.Dropout(0.5)])
def test_an_image_that_is_no_number_leaves_the_discriminator_as_it_was(middle: Any) -> None:
    images = torch.cat([blobs(200)[0]])
    t = trainer(tiny(middle), images)
    t.train_round()
    before = {name: value.clone() for net in (t._raw, t.net) for name, value in net.state_dict().items()}
    kept = images.clone()
    images.fill_(math.nan)  # beyond those that were looked at
    with pytest.raises(TrainingError, match=r"became .*nan.* in round 2"):
        t.train_round()
    after = {name: value for net in (t._raw, t.net) for name, value in net.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert t.round == 1
    images.copy_(kept)
    t.train_round()
    assert t.round == 2
    assert all(bool(value.isfinite().all()) for value in t._raw.state_dict().values())


class Root(nn.Module):
    """A finite output whose gradient is not: that of √0 is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(x.flatten(1))
        return z + self.fc.weight.sub(self.fc.weight.detach()).square().sum().sqrt()


def test_a_gradient_that_is_no_number_leaves_the_discriminator_as_it_was() -> None:
    net = DiscriminatorNet(with_fixed_weights(Root), {"kind": "by hand"}, SHAPE)
    t = trainer(net=net)
    with pytest.raises(TrainingError, match="gradient of length nan"):
        t.train_round()
    assert all(bool(value.isfinite().all()) for value in t._raw.state_dict().values())


def test_a_learning_rate_that_is_too_large_is_reported(classifier: nn.Module) -> None:
    t = trainer(classifier, recipe=replace(TINY, learning_rate=1e20))
    with pytest.raises(TrainingError, match="lower the learning_rate"):
        _ = [t.train_round() for _ in range(5)]
    assert all(bool(value.isfinite().all()) for value in t._raw.state_dict().values())


class NeverRead:
    def __len__(self) -> int:
        return 100

    def __getitem__(self, i: int) -> Any:
        raise AssertionError("an hour of training would have been lost")


def test_a_place_that_cannot_be_written_is_found_before_the_training(tmp_path: Path, classifier: nn.Module) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        train_discriminator(classifier, NeverRead(), out=tmp_path / "file" / "d", recipe=TINY, progress=False)
    with pytest.raises(ValueError, match="cannot be written"):
        train_discriminator(classifier, NeverRead(), out=tmp_path, recipe=TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, "a"])
def test_rounds_are_counted(rounds: Any, classifier: nn.Module) -> None:
    with pytest.raises(ValueError, match="rounds must be an integer ≥ 1"):
        train_discriminator(classifier, NeverRead(), rounds=rounds)


# ---- and it works ----------------------------------------------------------------------------------------------------


def nearest(images: Tensor) -> float:
    """Mean distance of a pixel to the nearest template."""
    flat = images.flatten(0, 1).flatten(1)
    return float((flat[:, None] - 0.9 * templates().flatten(1)).abs().mean(2).amin(1).mean())


@pytest.mark.statistical
def test_training_makes_pictures_that_look_real(tmp_path: Path, classifier: nn.Module) -> None:
    """Two blobs. After some rounds D separates samples from them, and chains that follow it are nearer to a blob.

    In the mean of 32 chains, a pixel is off by less than 0.7 times as much as without D; over a dozen seeds it was
    between 0.28 and 0.48 times as much.
    """
    recipe = Recipe(batch=64, steps=15, pool=3, learning_rate=4e-3, average=0.9, renewed=0.2, seed=run_seed())
    out = tmp_path / "d.safetensors"
    net = train_discriminator(
        classifier, blobs(200)[0], rounds=60, out=out, recipe=recipe, pixel_range=RANGE, progress=False
    )
    card = read(out).card
    assert card["last_rounds"]["gap"] > 0
    assert card["trouble"] == ""
    assert card["rounds"] == 60
    again = load_discriminator(out, classifier)
    x = torch.rand(4, *SHAPE)
    assert torch.equal(again(x), net(x))

    def sampled(weight: float) -> float:
        s = Sampler(
            classifier, input_shape=SHAPE, chains=16, pixel_range=RANGE, seed=run_seed(),
            kernel=Algorithm1(0.1, 0.05, 0.8, mix="convex"), regularizers=[Discriminator(out, weight)],
        )  # fmt: skip
        s.step(80)
        return nearest(s.images)

    without, alone = sampled(0.0), sampled(1.0)
    print(f"seed {run_seed()}: {without:.3f} without D, {alone:.3f} with it")
    assert alone < 0.7 * without
