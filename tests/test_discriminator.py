"""`Discriminator` as a term: what R is, what it makes of networks and files, and how the sampler uses it."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import L2, Discriminator, LDAMWarning, Sampler, build_discriminator, load_discriminator
from ldam_widget.core.notes import Notes
from ldam_widget.core.target import BindContext
from ldam_widget.kernels import BAOAB, GHMC, MALA, Algorithm1
from ldam_widget.objectives.discriminator_file import save_discriminator
from ldam_widget.objectives.discriminator_net import DiscriminatorNet

from .conftest import TINY_SHAPE, UNSCALED, TinyCnn, with_fixed_weights
from .test_untouched import look, look_around

NAN = float("nan")
SHAPE = (1, 4, 4)
FORMS = ("logit", "log", "probability")
each_form = pytest.mark.parametrize("form", FORMS)

Logit = partial(Discriminator, form="logit")  # whose values are easiest to compare


class Net(nn.Module):
    """(N, 1, 4, 4) -> (N, outputs), smooth; `logits` is the same in double precision, by the formula."""

    def __init__(self, outputs: int = 1, end: nn.Module | None = None) -> None:
        super().__init__()
        self.hidden, self.out, self.end = nn.Linear(16, 12), nn.Linear(12, outputs), end

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(torch.tanh(self.hidden(x.flatten(1))))
        return z if self.end is None else self.end(z)

    def logits(self, x: Tensor) -> Tensor:
        w, b, v, c = (p.detach().double() for p in (*self.hidden.parameters(), *self.out.parameters()))
        z = torch.tanh(x.double().flatten(1) @ w.T + b) @ v.T + c
        return z[:, 0] if z.shape[1] == 1 else z[:, 1] - z[:, 0]


def net(outputs: int = 1, end: nn.Module | None = None, seed: int = 5) -> Net:
    made = with_fixed_weights(lambda: Net(outputs, end), seed)
    assert isinstance(made, Net)
    with torch.no_grad():
        made.out.weight.mul_(8)  # beyond [0, 1] on both sides
    return made


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def classifier(seed: int = 1) -> nn.Module:
    return with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)), seed)


def sampler(term: Any, model: nn.Module | None = None, **options: Any) -> Sampler:
    defaults = {"input_shape": SHAPE, "neurons": [0, 2], "chains": 3, "kernel": Algorithm1(), **UNSCALED}
    return Sampler(classifier() if model is None else model, **{**defaults, "regularizers": [L2(0.3), term], **options})


def bound(term: Discriminator, pixel_range: tuple[float, float] | None = None) -> tuple[Discriminator, Notes]:
    notes = Notes()
    return term.bound(BindContext(None, SHAPE, pixel_range, torch.device("cpu"), notes)), notes


# ---- R and its gradient ----------------------------------------------------------------------------------------------

R_OF: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda z: z,
    "log": lambda z: torch.log(1 / (1 + torch.exp(-z))),
    "probability": lambda z: 1 / (1 + torch.exp(-z)),
}


@each_form
@pytest.mark.parametrize("outputs", [1, 2])
def test_value_and_gradient_against_the_formula_and_its_differences(form: Any, outputs: int) -> None:
    """In double precision and without autograd: (R(x + h) − R(x − h))/2h in every pixel."""
    network, x = net(outputs), images()
    value, grad = Discriminator(network, form=form).evaluate(x)
    assert value.shape == (6,)
    assert grad.shape == x.shape
    assert not value.requires_grad
    assert not grad.requires_grad
    expected = R_OF[form](network.logits(x))
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    h, steps = 1e-5, 1e-5 * torch.eye(16, dtype=torch.float64)
    for i in range(6):
        flat = x[i].double().flatten()
        high, low = (R_OF[form](network.logits((flat + sign * steps).view(16, *SHAPE))) for sign in (1, -1))
        torch.testing.assert_close(grad[i].double().flatten(), (high - low) / (2 * h), rtol=1e-4, atol=1e-5)


def test_gradients_of_all_forms_point_the_same_way() -> None:
    x, network = images(), net()
    grads = [Discriminator(network, form=form).evaluate(x)[1].flatten(1) for form in FORMS]  # type: ignore[arg-type]
    for other in grads[1:]:
        torch.testing.assert_close(torch.cosine_similarity(grads[0], other), torch.ones(6), rtol=0, atol=1e-5)
    lengths = [grad.norm(dim=1) for grad in grads]
    assert bool((lengths[0] > lengths[1]).all())  # 1 > 1 − D
    assert bool((lengths[1] > lengths[2]).all())  # 1 − D > D(1 − D)


@each_form
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_a_discriminator_that_is_sure_gives_finite_numbers(form: Any, logit: float) -> None:
    layer = nn.Linear(16, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(logit)
    value, grad = Discriminator(nn.Sequential(nn.Flatten(), layer), form=form).evaluate(torch.zeros(2, *SHAPE))
    expected = {"logit": logit, "log": min(0.0, logit), "probability": float(logit > 0)}[form]
    assert value.tolist() == [expected] * 2
    slope = {"logit": 1.0, "log": float(logit < 0), "probability": 0.0}[form]
    assert torch.unique(grad).tolist() == [slope]


@each_form
def test_score_is_what_its_sigmoid_says(form: Any) -> None:
    network, x = net(), images()
    term = Discriminator(network, form=form)
    expected = 1 / (1 + torch.exp(-network.logits(x)))
    torch.testing.assert_close(term.score(x).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(term.score_of(term.evaluate(x)[0]).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_the_modes_of_the_caller_do_not_matter(mode: Any) -> None:
    x, network, model = images(), net(), classifier()
    expected = Logit(network).evaluate(x)
    with mode():
        found = Logit(network).evaluate(x)
        s = sampler(Logit(network, 0.5), model)
        s.step(3)
        s.discriminator_changed()
        s.step(3)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    straight = sampler(Logit(network, 0.5))
    assert torch.equal(straight.step(6).images, s.images)


class Shapes(nn.Module):
    """The same logit in another shape."""

    def __init__(self, inside: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inside, self.shape = inside, shape

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.inside(x).view(len(x), *self.shape)
        return z


@pytest.mark.parametrize(("outputs", "shape"), [(1, ()), (1, (1, 1, 1)), (2, (2, 1, 1)), (2, (1, 2))])
def test_outputs_of_any_shape_with_one_or_two_numbers_an_image(outputs: int, shape: tuple[int, ...]) -> None:
    network, x = net(outputs), images()
    found = Logit(Shapes(network, shape)).evaluate(x)
    torch.testing.assert_close(found[0].double(), network.logits(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(found[1], Logit(network).evaluate(x)[1])
    assert Logit(Shapes(network, shape)).evaluate(x[:1])[0].shape == (1,)


def test_networks_of_other_precision_give_float32() -> None:
    network, x = net().double(), images()
    value, grad = Logit(network).evaluate(x)
    assert (value.dtype, grad.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(value.double(), network.logits(x), rtol=1e-6, atol=1e-6)


def test_a_network_that_writes_into_its_input() -> None:
    """x is a leaf of autograd, and the sampler's own."""
    inside = net()
    writing = nn.Sequential(nn.Hardtanh(-0.5, 0.5, inplace=True), inside)
    x = images()
    before = x.clone()
    value, grad = Logit(writing).evaluate(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(value.double(), inside.logits(x.clamp(-0.5, 0.5)), rtol=1e-5, atol=1e-5)
    assert bool((grad[x.abs() > 0.5] == 0).all())


# ---- sigmoids at the end ---------------------------------------------------------------------------------------------


class Squeezed(nn.Module):
    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.inside, self.sigmoid = net(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.sigmoid(self.inside(x).squeeze(1))
        return z


class SumInside(nn.Module):
    """What goes into the sigmoid is no module's output."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.other, self.sigmoid = net(), net(seed=6), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.sigmoid(self.inside(x) + self.other(x))
        return z

    def logits(self, x: Tensor) -> Tensor:
        return self.inside.logits(x) + self.other.logits(x)


class Gated(SumInside):
    """A sigmoid runs last, and is not the end."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.inside(x) * self.sigmoid(self.other(x))
        return z

    def logits(self, x: Tensor) -> Tensor:
        return self.inside.logits(x) / (1 + torch.exp(-self.other.logits(x)))


class SameSigmoid(SumInside):
    """One module, inside and at the end."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.sigmoid(self.sigmoid(self.other(x)) * self.inside(x))
        return z

    def logits(self, x: Tensor) -> Tensor:
        return self.inside.logits(x) / (1 + torch.exp(-self.other.logits(x)))


class ShiftedInPlace(SumInside):
    """A logarithm of a sigmoid runs last, and something is added in its memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = nn.LogSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.inside(x)
        z: Tensor = self.sigmoid(self.other(x)).add_(inside)
        return z

    def logits(self, x: Tensor) -> Tensor:
        return self.inside.logits(x) - torch.log1p(torch.exp(-self.other.logits(x)))


ENDS: dict[str, tuple[nn.Module, Any]] = {
    "Sigmoid": (net(1, nn.Sigmoid()), net()),
    "LogSigmoid": (net(1, nn.LogSigmoid()), net()),
    "Softmax": (net(2, nn.Softmax(1)), net(2)),
    "LogSoftmax": (net(2, nn.LogSoftmax(1)), net(2)),
    "Sigmoid, then flattened": (nn.Sequential(net(1, nn.Sigmoid()), nn.Flatten(0)), net()),
    "Sigmoid of one number": (Squeezed(), net()),
    "Sigmoid of a sum": (SumInside(), SumInside()),
    "Sigmoid that is a gate": (Gated(), Gated()),
    "LogSigmoid that is written into": (ShiftedInPlace(), ShiftedInPlace()),
    "the same Sigmoid twice": (SameSigmoid(), SameSigmoid()),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS.keys())
def test_a_sigmoid_or_softmax_at_the_end_is_left_out(case: tuple[nn.Module, Any], recwarn: Any) -> None:
    network, expected = case
    x = images()
    value, grad = Logit(network).evaluate(x)
    torch.testing.assert_close(value.double(), expected.logits(x), rtol=1e-4, atol=1e-5)
    leaf = x.double().requires_grad_()
    (by_formula,) = torch.autograd.grad(expected.logits(leaf).sum(), leaf)
    torch.testing.assert_close(grad.double(), by_formula, rtol=1e-4, atol=1e-5)
    assert not recwarn.list
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Functional(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inside = net(outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = self.inside(x)
        return torch.sigmoid(z) if z.shape[1] == 1 else F.softmax(z, 1)


@pytest.mark.parametrize("outputs", [1, 2])
def test_probabilities_by_a_function_are_noticed(outputs: int) -> None:
    with pytest.warns(LDAMWarning, match="between 0 and 1 but are read as logits"):
        s = sampler(Logit(Functional(outputs)))
    assert any("read as logits" in note for note in s.notes)


def test_logits_that_are_small_are_not_taken_for_probabilities(recwarn: Any) -> None:
    """As of networks at the beginning of their training: near 0.3 wherever the image is tame."""
    layer = with_fixed_weights(lambda: nn.Linear(16, 1))
    with torch.no_grad():
        layer.weight.mul_(0.2)  # type: ignore[operator]
        layer.bias.fill_(0.3)  # type: ignore[operator]
    sampler(Logit(nn.Sequential(nn.Flatten(), layer)))
    for seed in range(10):
        fresh = build_discriminator(classifier(), SHAPE, seed=seed)
        sampler(Logit(fresh))
    assert not recwarn.list


# ---- pixels ----------------------------------------------------------------------------------------------------------


def test_another_pixel_range_is_converted_and_reported() -> None:
    network = net()
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with pytest.warns(LDAMWarning, match=r"trained on pixels in \[-1, 1\], the sampler's are in \[0, 1\]"):
        s = sampler(Logit(network, pixel_range=(-1, 1)), pixel_range=(0, 1))
    assert s.discriminator is not None
    value, grad = s.discriminator.evaluate(x)
    torch.testing.assert_close(value.double(), network.logits(2 * x.double() - 1), rtol=1e-5, atol=1e-5)
    leaf = x.double().requires_grad_()
    (by_formula,) = torch.autograd.grad(network.logits(2 * leaf - 1).sum(), leaf)
    torch.testing.assert_close(grad.double(), by_formula, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-2.0, 3.0), (0.5, 0.75)])
def test_the_conversion_by_hand_from_other_ranges(low: float, high: float) -> None:
    network = net()
    x = low + (high - low) * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with pytest.warns(LDAMWarning, match="converted"):
        term, _ = bound(Logit(network, pixel_range=(-0.5, 1.5)), (low, high))
    by_hand = network.logits(-0.5 + (x.double() - low) / (high - low) * 2.0)
    torch.testing.assert_close(term.evaluate(x)[0].double(), by_hand, rtol=1e-4, atol=1e-4)


def test_the_argument_overrides_the_pixel_range_of_the_network() -> None:
    network = build_discriminator(classifier(), SHAPE)
    network.pixel_range = (-1.0, 1.0)
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    direct = network(x)[:, 0].detach()
    term, notes = bound(Logit(network), (-1.0, 1.0))
    assert notes == []
    torch.testing.assert_close(term.evaluate(x)[0], direct)
    with pytest.warns(LDAMWarning, match="converted"):
        term, notes = bound(Logit(network), (0.0, 1.0))
    torch.testing.assert_close(term.evaluate((x + 1) / 2)[0], direct, rtol=1e-4, atol=1e-5)
    term, notes = bound(Logit(network, pixel_range=(0, 1)), (0.0, 1.0))
    assert notes == []
    torch.testing.assert_close(term.evaluate(x)[0], direct)


def test_an_unbounded_sampler_gets_a_note_and_nothing_is_converted() -> None:
    network, x = net(), images()
    with pytest.warns(LDAMWarning, match="unbounded"):
        s = sampler(Logit(network, pixel_range=(-1, 1)))
    assert s.discriminator is not None
    torch.testing.assert_close(s.discriminator.evaluate(x)[0].double(), network.logits(x), rtol=1e-5, atol=1e-5)


def test_preprocess_comes_after_the_conversion() -> None:
    network = net()
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with pytest.warns(LDAMWarning, match="converted"):
        term, _ = bound(Logit(network, pixel_range=(0, 255), preprocess=lambda x: x / 100 - 1), (0.0, 1.0))
    expected = network.logits(x.double() * 255 / 100 - 1)
    torch.testing.assert_close(term.evaluate(x)[0].double(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="preprocess"):
        bound(Logit(network, preprocess=lambda x: x[:, :, 1:]))


# ---- the user's network ----------------------------------------------------------------------------------------------


class Touchy(nn.Module):
    """Everything that a careless sampler would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop, self.fc = (
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(12, 1),
        )  # fmt: skip
        self.conv.bias.requires_grad_(False)  # type: ignore[union-attr]
        self.fc.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(self.drop(self.norm(self.conv(x)).tanh()).flatten(1))
        return z


def test_a_network_in_training_mode_is_used_in_eval_mode_and_comes_back_untouched(recwarn: Any) -> None:
    network = with_fixed_weights(Touchy)
    network(images())
    network.train()
    network.conv.eval()  # type: ignore[union-attr]
    before, around = look(network), look_around()
    s = sampler(Logit(network, 0.5))
    s.step(6)
    s.discriminator_changed()
    s.set(discriminator=0.2)
    s.step(2)
    assert s.discriminator_score is not None
    assert look_around() == around
    assert look(network) == before
    assert not recwarn.list  # it is meant to be in training mode
    assert s.discriminator is not None
    found = s.discriminator.evaluate(images())[0]
    torch.testing.assert_close(found, network.eval()(images())[:, 0].detach())


def test_weights_are_shared_and_a_step_of_the_optimizer_is_followed() -> None:
    network, x = net(), images()
    s = sampler(Discriminator(network, 0.5))
    s.step(4)
    before = s.discriminator_score
    network(x).sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    s.discriminator_changed()
    now = s.discriminator_score
    assert before is not None
    assert now is not None
    expected = torch.sigmoid(network.logits(s.images.flatten(0, 1))).view(2, 3)
    torch.testing.assert_close(now.double(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(now, before)
    assert s.steps == 4  # and the chains stand where they were
    s.step(2)
    after = s.discriminator_score
    assert after is not None
    expected = torch.sigmoid(network.logits(s.images.flatten(0, 1))).view(2, 3)
    torch.testing.assert_close(after.double(), expected, rtol=1e-4, atol=1e-5)


def test_one_term_serves_several_samplers() -> None:
    term = Discriminator(net(), 0.5)
    first, second = sampler(term), sampler(term, pixel_range=(0, 1))
    first.set(discriminator=0.1)
    assert (second.params["discriminator"], term.weight) == (0.5, 0.5)
    alone = sampler(Discriminator(net(), 0.5), pixel_range=(0, 1))
    assert torch.equal(second.step(4).images, alone.step(4).images)


# ---- Algorithm 1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
@pytest.mark.parametrize("form", ["logit", "log"])
def test_convex_weight_1_ignores_the_classifier_exactly(normalize: Any, form: Any) -> None:
    kernel = Algorithm1(0.1, 0.2, 0.5, normalize=normalize, mix="convex")
    runs = [
        sampler(Discriminator(net(), 1.0, form=form), classifier(seed), kernel=kernel).step(20).images
        for seed in (1, 2)
    ]
    assert torch.equal(*runs)
    less = [
        sampler(Discriminator(net(), 0.999, form=form), classifier(seed), kernel=kernel).step(20).images
        for seed in (1, 2)
    ]
    assert not torch.equal(*less)  # the control


class Steep(nn.Module):
    """Its activation is finite, its gradient is not: that of √0 is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.end = nn.Linear(16, 3), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.end(self.fc(x.flatten(1)) + x.flatten(1).mul(0).sqrt().sum(1, keepdim=True))
        return z


def test_convex_weight_1_ignores_a_classifier_without_finite_gradients() -> None:
    s = sampler(Discriminator(net(), 1.0), with_fixed_weights(Steep), layer="end", kernel=Algorithm1(mix="convex"))
    assert bool(s.step(4).images.isfinite().all())


def direction_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(function(leaf).sum(), leaf)
    unit: Tensor = grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return unit


@each_form
@pytest.mark.parametrize(("mix", "neuron"), [("add", 1.0), ("convex", 0.4)])
def test_a_step_of_algorithm_1_by_hand(form: Any, mix: Any, neuron: float) -> None:
    """x' = x + β ((1 or 1 − λ) ∇f/‖∇f‖ + λ r ∇z/‖∇z‖ − μ x/‖x‖) without noise, z the logit and r = dR/dz."""
    model, network = classifier(), net()
    kernel = Algorithm1(0.5, 0.0, 0.0, mix=mix)
    s = sampler(Discriminator(network, 0.6, form=form), model, kernel=kernel, neurons=[1])
    x = s.images[0]
    d = network.logits(x).sigmoid().float()
    length = {"logit": torch.ones_like(d), "log": 1.5 * (1 - d), "probability": 4 * d * (1 - d)}[form].view(-1, 1, 1, 1)
    expected = x + 0.5 * (
        neuron * direction_of(lambda x: model(x)[:, 1], x) + 0.6 * length * direction_of(network, x)
        - 0.3 * x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    )  # fmt: skip
    torch.testing.assert_close(s.step(1).images[0], expected, rtol=1e-4, atol=1e-5)


# ---- the sampler -----------------------------------------------------------------------------------------------------

KERNELS = [Algorithm1(), Algorithm1(mix="convex"), BAOAB(0.3), MALA(0.05), GHMC(0.3)]


@each_form
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("kernel", [Algorithm1(), MALA(0.05)], ids=lambda kernel: kernel.name)
def test_discriminator_score_is_d_of_the_present_samples(form: Any, weight: float, kernel: Any) -> None:
    network = net()
    s = sampler(Discriminator(network, weight, form=form), kernel=kernel)
    for _ in range(3):
        score = s.discriminator_score
        assert score is not None
        assert score.shape == (2, 3)
        expected = torch.sigmoid(network.logits(s.images.flatten(0, 1))).view(2, 3)
        torch.testing.assert_close(score.double(), expected, rtol=1e-4, atol=1e-5)
        s.step(5)
    s.set(discriminator=0.7 - weight)
    s.step(2)
    score = s.discriminator_score
    assert score is not None
    expected = torch.sigmoid(network.logits(s.images.flatten(0, 1))).view(2, 3)
    torch.testing.assert_close(score.double(), expected, rtol=1e-4, atol=1e-5)


def test_without_a_discriminator_there_is_none() -> None:
    s = sampler(Discriminator(net()), regularizers=[L2(0.1)])
    assert s.discriminator is None
    assert s.discriminator_score is None
    assert s.discriminator_only is False
    s.discriminator_changed()
    s.step(2)
    for only in (lambda: setattr(s, "discriminator_only", True), lambda: sampler(L2(), regularizers=[],
                                                                                 discriminator_only=True)):  # fmt: skip
        with pytest.raises(ValueError, match="discriminator_only needs a Discriminator among the regularizers"):
            only()
    s.discriminator_only = False
    assert s.discriminator_only is False


@pytest.mark.parametrize("value", [1.1, -0.1, NAN, "a", None, True])
def test_a_live_weight_out_of_range_changes_nothing(value: Any) -> None:
    s = sampler(Discriminator(net(), 0.5))
    params = s.params
    with pytest.raises((ValueError, TypeError), match="discriminator must be"):
        s.set(discriminator=value)
    assert s.params == params
    s.set(discriminator=1)
    assert s.params["discriminator"] == 1.0


def test_the_weight_is_a_declared_parameter_of_the_image_prior() -> None:
    s = sampler(Discriminator(net(), 0.25))
    (declared,) = [p for p in s.parameters if p.name == "discriminator"]
    assert (declared.low, declared.high, declared.group) == (0, 1, "image prior")
    assert json.loads(json.dumps(s.params))["discriminator"] == 0.25


@pytest.mark.parametrize(
    ("kernel", "scale"), [*((kernel, "none") for kernel in KERNELS), *((kernel, "frozen") for kernel in KERNELS[2:])]
)
def test_a_chain_does_not_depend_on_how_many_others_there_are(kernel: Any, scale: Any) -> None:
    """Bit by bit, with networks whose own sums do not depend on the size of the batch."""
    options: dict[str, Any] = {"kernel": kernel, "scale": scale, "warm_up": 10, "seed": 3}
    model, network = Elementwise(), Elementwise(0.5)
    few = sampler(Discriminator(network, 0.5), model, **options, chains=2, neurons=[0])
    many = sampler(Discriminator(network, 0.5), model, **options, chains=5, neurons=[0])
    few.step(30)
    many.step(30)
    assert torch.equal(few.images, many.images[:, :2])
    assert few.discriminator_score is not None
    assert many.discriminator_score is not None
    assert torch.equal(few.discriminator_score, many.discriminator_score[:, :2])


class Elementwise(nn.Module):
    """(N, 1, 4, 4) -> (N, 1) without a matrix product."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(-1, 1.5, 16).view(SHAPE))
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(self.scale * x + self.shift)).flatten(1).sum(1, keepdim=True)


class Counting(nn.Module):
    """How often it runs, also as a copy."""

    runs: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.inside = net()

    def forward(self, x: Tensor) -> Tensor:
        self.runs.append(len(x))
        z: Tensor = self.inside(x)
        return z


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_weight_0_costs_nothing_and_any_other_one_pass_a_step(kernel: Any) -> None:
    s = sampler(Logit(Counting(), 0.0), kernel=kernel)
    Counting.runs.clear()
    s.step(5)
    assert Counting.runs == []
    s.set(discriminator=0.5)
    s.step(5)
    assert Counting.runs == [6] * 6  # the first for where the chains stood
    s.set(discriminator=0.0)
    s.step(5)
    assert len(Counting.runs) == 6


class Offset(nn.Module):
    """u·x + b for a b that changes without changing any gradient."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.fc = with_fixed_weights(lambda: nn.Linear(16, 1, bias=False))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.fc(x.flatten(1)) + self.offset
        return z


@pytest.mark.parametrize("kernel", [MALA(0.05), GHMC(0.3)], ids=lambda kernel: kernel.name)
def test_metropolis_kernels_do_not_mix_energies_of_two_discriminators(kernel: Any) -> None:
    """D is sure of everything, then of nothing: with the old energy of x and the new one of x*, none would move."""

    def run(offset: float, tell: bool) -> tuple[Tensor, float]:
        network = Offset(offset)
        s = sampler(Logit(network, 1.0), kernel=kernel, chains=20, temperature=0.2, steps_per_frame=1)
        s.step(10)
        with torch.no_grad():
            network.offset.zero_()
        if tell:
            s.discriminator_changed()
        before = s.images
        s.step(1)
        moved = (s.images != before).flatten(2).any(2).float().mean()
        s.step(10)
        return s.images, float(moved)

    announced, moved = run(64.0, True)
    straight, expected = run(0.0, True)
    assert expected > 0.5
    assert moved == expected
    torch.testing.assert_close(announced, straight, rtol=1e-3, atol=1e-3)
    assert run(64.0, False)[1] == 0  # the control


def test_frozen_scales_follow_a_discriminator_that_changes() -> None:
    """A fifth of the way at every change; of a linear D the scale is the length of its gradient."""
    layer = with_fixed_weights(lambda: nn.Linear(16, 1))
    s = sampler(Logit(nn.Sequential(nn.Flatten(), layer), 0.5), kernel=BAOAB(), scale="frozen", warm_up=20)
    s.step(30)
    length = float(layer.weight.detach().norm())  # type: ignore[operator]
    before = s.scales
    assert before is not None
    assert before["discriminator"] == pytest.approx([length] * 2, rel=1e-5)
    with torch.no_grad():
        layer.weight.mul_(3)  # type: ignore[operator]
    s.discriminator_changed()
    now = s.scales
    assert now is not None
    assert now["discriminator"] == pytest.approx([length * (0.8 + 0.2 * 3)] * 2, rel=1e-5)
    assert (now["neuron"], now["l2"]) == (before["neuron"], before["l2"])
    for _ in range(60):
        s.discriminator_changed()
    assert s.scales is not None
    assert s.scales["discriminator"] == pytest.approx([3 * length] * 2, rel=1e-4)


@pytest.mark.slow
def test_a_change_of_the_discriminator_is_of_no_other_consequence() -> None:
    """Announcing a change where there is none leaves the run as it was, bit by bit."""
    for kernel in KERNELS:
        announced, straight = (sampler(Discriminator(net(), 0.5), kernel=kernel) for _ in range(2))
        for _ in range(4):
            announced.step(5)
            announced.discriminator_changed()
        straight.step(20)
        assert torch.equal(announced.images, straight.images)
        assert torch.equal(announced.average_images, straight.average_images)


# ---- bad input -------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Networks that are no discriminators."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.fc, self.what = nn.Linear(16, 3), what

    def forward(self, x: Tensor) -> Any:
        z = self.fc(x.flatten(1))
        outputs: dict[str, Callable[[], Any]] = {
            "three": lambda: z,
            "map": lambda: x,
            "mean": lambda: z[:, :1].mean(),
            "tuple": lambda: (z[:, :1], z),
            "detached": lambda: z[:, :1].detach(),
            "argmax": lambda: z.argmax(1),
            "constant": lambda: torch.zeros(len(x), 1) + 0 * self.fc.bias.sum(),
        }
        return outputs[self.what]()


def odd(what: str) -> Callable[[], Any]:
    return lambda: sampler(Discriminator(Odd(what)))


def spoiled() -> nn.Module:
    network = net()
    with torch.no_grad():
        network.out.weight[0, 0] = NAN
    return network


Case = tuple[Callable[[], Any], type[Exception], str, str]
BAD: dict[str, Case] = {
    "three outputs": (odd("three"), ValueError, "one output per image", "(3,)"),
    "a map": (odd("map"), ValueError, "one output per image", "(1, 4, 4)"),
    "one for the batch": (odd("mean"), ValueError, "one output per image", "()"),
    "a tuple": (odd("tuple"), ValueError, "one tensor", "tuple"),
    "detached": (odd("detached"), ValueError, "no gradient", "path is cut"),
    "integers": (odd("argmax"), ValueError, "no gradient", "path is cut"),
    "constant": (odd("constant"), ValueError, "no gradient", "path is cut"),
    "shape": (lambda: sampler(Discriminator(nn.Linear(7, 1))), ValueError, "does not take images", "(1, 4, 4)"),
    "NaN weight": (lambda: sampler(Discriminator(spoiled())), ValueError, "'out.weight'", "NaN"),
    "weight < 0": (lambda: Discriminator(net(), -0.1), ValueError, "discriminator", "between 0 and 1"),
    "weight > 1": (lambda: Discriminator(net(), 1.1), ValueError, "discriminator", "between 0 and 1"),
    "weight NaN": (lambda: Discriminator(net(), NAN), ValueError, "discriminator", "between 0 and 1"),
    "weight type": (lambda: Discriminator(net(), "a"), TypeError, "discriminator", "'a'"),  # type: ignore[arg-type]
    "form": (lambda: Discriminator(net(), form="odds"), ValueError, "form", "'odds'"),  # type: ignore[arg-type]
    "no module": (lambda: Discriminator(3), TypeError, "net_or_path", "3"),  # type: ignore[arg-type]
    "class": (lambda: Discriminator(Net), TypeError, "net_or_path", "Net"),  # type: ignore[arg-type]
    "preprocess": (lambda: Discriminator(net(), preprocess=3), TypeError, "preprocess", "3"),  # type: ignore[arg-type]
    "range": (lambda: Discriminator(net(), pixel_range=(1, 0)), ValueError, "pixel_range", "(1, 0)"),
    "range of three": (lambda: Discriminator(net(), pixel_range=(0, 1, 2)), ValueError, "pixel_range", "(0, 1, 2)"),  # type: ignore[arg-type]
    "range of one": (lambda: Discriminator(net(), pixel_range=255), ValueError, "pixel_range", "255"),  # type: ignore[arg-type]
    "range NaN": (lambda: Discriminator(net(), pixel_range=(0, NAN)), ValueError, "pixel_range", "nan"),
    "missing": (lambda: Discriminator("/nowhere/d.safetensors"), FileNotFoundError, "no discriminator file", "nowhere"),
    "folder": (lambda: Discriminator(Path(__file__).parent), FileNotFoundError, "no discriminator file", "tests"),
    "two": (
        lambda: sampler(0, regularizers=[Discriminator(net()), Discriminator(net())]),
        ValueError,
        "regularizers",
        "discriminator, discriminator",
    ),
    "class for a term": (lambda: sampler(Discriminator), TypeError, "regularizers", "Discriminator"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(case: Case) -> None:
    call, error, argument, came = case
    with pytest.raises(error) as raised:
        call()
    assert raised.type is error
    assert argument in str(raised.value)
    assert came in str(raised.value)


# ---- files -----------------------------------------------------------------------------------------------------------


def written(folder: Path, *, small: bool = False, model: nn.Module | None = None) -> tuple[Path, DiscriminatorNet]:
    network = build_discriminator(classifier() if model is None else model, SHAPE, seed=4, small=small)
    network.standardize(torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(1)))
    network.pixel_range = (0.0, 1.0)
    path = folder / "d.safetensors"
    save_discriminator(network, path, {"rounds": 3})
    return path, network.eval()


@pytest.mark.parametrize("small", [False, True])
def test_a_file_is_the_network_that_was_written(tmp_path: Path, small: bool) -> None:
    path, network = written(tmp_path, small=small)
    x = torch.rand(5, *SHAPE)
    again = load_discriminator(path, None if small else classifier(seed=9))
    assert torch.equal(again(x), network(x))
    assert again.pixel_range == (0.0, 1.0)
    assert again.design == network.design
    assert not again.training
    runs = [
        sampler(Discriminator(given, 0.5), pixel_range=(0, 1), scale="frozen", kernel=BAOAB(0.2), warm_up=5).step(8)
        for given in (str(path), path, network)
    ]
    assert torch.equal(runs[0].images, runs[2].images)
    assert torch.equal(runs[1].images, runs[2].images)


def test_a_copy_of_the_classifier_needs_the_classifier(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    with pytest.raises(ValueError, match=r"needs the classifier.*load_discriminator\('.*d\.safetensors', model\)"):
        load_discriminator(path)
    with pytest.raises(ValueError, match="needs the classifier"):
        Discriminator(path).evaluate(images())
    other = with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3)))
    for use in (lambda: load_discriminator(path, other), lambda: sampler(Discriminator(path), other)):
        with pytest.raises(ValueError, match="does not fit the network"):
            use()
    with pytest.raises(ValueError, match="does not fit"):
        load_discriminator(path, with_fixed_weights(TinyCnn))  # takes no such images


def changed(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def drop_a_weight(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    del tensors[next(name for name in tensors if name.endswith("weight"))]


def another_shape(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    metadata["design"] = json.dumps({"kind": "small", "input_shape": [3, 9, 9]})


def describe(**entries: str) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    return lambda tensors, metadata: metadata.update(entries)


def forget(name: str) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    return lambda tensors, metadata: metadata.__delitem__(name)


MENDED: dict[str, tuple[Any, str]] = {
    "a weight is missing": (drop_a_weight, "does not fit the network that it describes"),
    "another shape": (another_shape, "does not fit the network that it describes"),
    "unknown kind": (describe(design='{"kind": "vit", "input_shape": [1, 4, 4]}'), "unknown kind of discriminator"),
    "no shape": (describe(design='{"kind": "small"}'), "input_shape"),
    "no object": (describe(design="[1]"), "description cannot be read"),
    "no JSON": (describe(card="{"), "description cannot be read"),
    "half a range": (describe(pixel_range="[1]"), "description cannot be read"),
    "range of no numbers": (describe(pixel_range='{"a": 1}'), "description cannot be read"),
    "no design": (forget("design"), "description cannot be read"),
    "another format": (describe(format="ldam-discriminator-9"), "not a discriminator that train_discriminator wrote"),
}


@pytest.mark.parametrize("case", MENDED.values(), ids=MENDED.keys())
def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path, case: tuple[Any, str]) -> None:
    path, _ = written(tmp_path, small=True)
    change, message = case
    changed(path, change)
    with pytest.raises(ValueError, match=message) as raised:
        load_discriminator(path)
    assert "d.safetensors" in str(raised.value)


def test_weights_of_something_else_are_no_discriminator(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"that train_discriminator wrote.*Discriminator\(net, weight\)"):
        Discriminator(tmp_path / "other.safetensors")


@pytest.mark.parametrize("length", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: float) -> None:
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(length * len(whole)) if 0 < length < 1 else int(length)])
    for use in (Discriminator, load_discriminator):
        with pytest.raises(ValueError, match="damaged"):
            use(path)


def test_rubbish_is_refused(tmp_path: Path) -> None:
    for i, rubbish in enumerate((b"\xff" * 200, random.Random(1).randbytes(300), b"{}" * 50)):
        path = tmp_path / f"{i}.safetensors"
        path.write_bytes(rubbish)
        with pytest.raises(ValueError, match="damaged"):
            Discriminator(path)


class Hostile:
    """Unpickling this runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_pickle_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    torch.save({"weight": Hostile(marker)}, tmp_path / "zip.pt")
    torch.save({"weight": Hostile(marker)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Hostile(marker)))
    for name in ("zip.pt", "old.pt", "plain.pkl"):
        for use in (Discriminator, load_discriminator, lambda path: sampler(Discriminator(path))):
            with pytest.raises(ValueError, match="damaged or not a safetensors file"):
                use(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "plain.pkl").read_bytes())
    assert marker.exists()  # the control


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, network = written(tmp_path)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        save_discriminator(network, path, {"rounds": 4})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["d.safetensors"]


class Tied(nn.Module):
    """One layer used twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = self.first
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(self.second(self.first(x.flatten(1)).tanh()).tanh())
        return z


def test_weights_that_are_used_twice_can_be_written(tmp_path: Path) -> None:
    model = with_fixed_weights(Tied)
    path, network = written(tmp_path, model=model)
    assert network.design["kind"] == "like the classifier"
    again = load_discriminator(path, model)
    x = torch.rand(3, *SHAPE)
    assert torch.equal(again(x), network(x))


def test_colour_and_layers_that_are_no_rectangles(tmp_path: Path) -> None:
    model = with_fixed_weights(TinyCnn)
    network = build_discriminator(model, TINY_SHAPE)
    save_discriminator(network, tmp_path / "d", {})
    s = sampler(Discriminator(tmp_path / "d", 1.0), model, input_shape=TINY_SHAPE, chains=2)
    s.step(4)
    assert s.discriminator_score is not None
    assert bool(((s.discriminator_score > 0) & (s.discriminator_score < 1)).all())


def test_all_is_exported() -> None:
    for name in ("Discriminator", "Recipe", "Trainer", "TrainingError", "build_discriminator", "load_discriminator",
                 "train_discriminator"):  # fmt: skip
        assert name in ldam.__all__
        assert hasattr(ldam, name)
