"""With a discriminator, samples follow the product law p ∝ exp((f + λR)/T): closed forms, and a quadrature.

The neuron is linear with L2, D is logistic, D(x) = σ(u·x + b). In the form "logit" R = u·x + b, and the product is the
Gaussian N((w + λu)/Λ, T/Λ): every kernel of `LAWS` has its own closed form there. In the forms "log" and "probability"
pixels across u stay Gaussian, and the one number along u has a density that is integrated on a grid.

All through the public sampler; the states of independent chains at the last step only. See `harness` for tolerances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import L2, Discriminator
from ldam_widget.kernels import BAOAB, GHMC, MALA

from ..conftest import run_seed
from .harness import CURVATURE, LAWS, Departure, Law, direction, normal_score, within_bounds

pytestmark = pytest.mark.statistical

SOME = ["GHMC", "MALA", "BAOAB", "Algorithm1, no momentum"]
some_laws = pytest.mark.parametrize("law", [LAWS[name] for name in SOME], ids=SOME)
CHAINS = 64
Logit = partial(Discriminator, form="logit")
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def linear(*rows: Tensor, bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows))
    with torch.no_grad():
        layer.weight.copy_(torch.stack(rows))
        layer.bias.fill_(bias)
    return layer.eval()


def vectors(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of two neurons, and u."""
    return direction(run_seed(), size), direction(run_seed() + 1, size), direction(run_seed() + 2, size)


def sampler(law: Law, term: Discriminator, temperature: float, size: int, **options: Any) -> ldam.Sampler:
    w0, w1, _ = vectors(size)
    return ldam.Sampler(
        linear(w0, w1), input_shape=(size,), kernel=law.kernel, regularizers=[L2(CURVATURE), term], chains=CHAINS,
        temperature=temperature, seed=run_seed(), **{"warm_up": max(1, law.warm_up), "scale": "none", **options},
    )  # fmt: skip


def require_product(s: ldam.Sampler, law: Law, pull: float, temperature: float, neuron: float = 1.0) -> None:
    """Both neurons: N((neuron · w + pull · u)/Λ, the kernel's own variance)."""
    size = math.prod(s.input_shape)
    *weights, u = vectors(size)
    for images, w in zip(s.images, weights, strict=True):
        mean = (neuron * w + pull * u) / CURVATURE
        found = Departure.of(images, mean, law.variance(CURVATURE, temperature))
        print(f"seed {run_seed()}: {found}")
        found.require_small()


def size_of(law: Law) -> int:
    return min(100, law.dimensions)


# ---- the logit: Gaussians --------------------------------------------------------------------------------------------


COMBINATIONS = {f"{name}, λ = 0.25": (law, 0.25, 1.0) for name, law in LAWS.items()} | {
    f"{name}, λ = 1, hot": (law, 1.0, 2.5) for name, law in LAWS.items() if law.steps < 150
}


@pytest.mark.parametrize(("law", "weight", "heat"), COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_the_product_with_a_logistic_discriminator_is_the_gaussian_it_should_be(
    law: Law, weight: float, heat: float
) -> None:
    """False alarm: 8e-8 a neuron."""
    size, temperature = size_of(law), heat * law.temperature
    s = sampler(law, Logit(linear(vectors(size)[2], bias=1.5), weight), temperature, size)
    s.step(law.steps)
    assert not s.warming_up
    require_product(s, law, weight, temperature)


@some_laws
def test_weight_0_is_the_neuron_alone(law: Law) -> None:
    """False alarm: 8e-8 a neuron."""
    size = size_of(law)
    s = sampler(law, Logit(linear(vectors(size)[2]), 0.0), law.temperature, size)
    s.step(law.steps)
    require_product(s, law, 0.0, law.temperature)


def two_outputs(u: Tensor) -> nn.Module:
    """("sampled", "real"): its softmax is the logistic function of the difference, u·x + 0.7."""
    other = direction(run_seed() + 3, len(u))
    layer = linear(other, other + u)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.3, 1.0]))
    return layer


@some_laws
def test_two_outputs_are_the_logistic_function_of_their_difference(law: Law) -> None:
    """False alarm: 8e-8 a neuron."""
    size = size_of(law)
    s = sampler(law, Logit(two_outputs(vectors(size)[2]), 0.5), law.temperature, size)
    s.step(law.steps)
    require_product(s, law, 0.5, law.temperature)


@some_laws
@pytest.mark.parametrize("weights", [(0.0, 0.8), (0.9, 0.1, 0.0)])
def test_the_law_follows_a_weight_that_is_changed_on_the_way(law: Law, weights: tuple[float, ...]) -> None:
    """False alarm: 8e-8 a neuron."""
    size = size_of(law)
    s = sampler(law, Logit(linear(vectors(size)[2], bias=-2.0), weights[0]), law.temperature, size)
    for weight in weights:
        s.set(discriminator=weight)
        s.step(17)
    s.step(law.steps)
    require_product(s, law, weights[-1], law.temperature)


@some_laws
def test_discriminator_only_leaves_the_neuron_out(law: Law) -> None:
    """N(λu/Λ, T/Λ) for every neuron; then with the neuron again. False alarm: 8e-8 a neuron, twice."""
    size = size_of(law)
    term = Logit(linear(vectors(size)[2]), 0.6)
    s = sampler(law, term, law.temperature, size, discriminator_only=True)
    s.step(law.steps)
    require_product(s, law, 0.6, law.temperature, neuron=0.0)
    assert "left out" in s.kernel_note
    s.discriminator_only = False
    s.step(law.steps)
    require_product(s, law, 0.6, law.temperature)


@pytest.mark.parametrize("kernel", [BAOAB(1.0, 1.0), GHMC(friction=1.0)], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("only", [False, True])
def test_frozen_scales_divide_every_term(kernel: Any, only: bool) -> None:
    """p ∝ exp((f/s_f + λR/s_R − ½Λ‖x‖²/s_L)/T). Of linear terms the scale is the length of the gradient, w and u; that
    of L2 is read from the sampler. False alarm: 8e-8 a neuron."""
    size, weight, temperature = 200, 0.7, 0.8
    *weights, u = vectors(size)
    s = ldam.Sampler(
        linear(*weights), input_shape=(size,), kernel=kernel, chains=CHAINS, temperature=temperature, warm_up=150,
        regularizers=[L2(10.0), Logit(linear(u, bias=0.4), weight)], scale="frozen", seed=run_seed(),
        discriminator_only=only,
    )  # fmt: skip
    s.step(400)
    assert not s.warming_up
    scales = s.scales
    assert scales is not None
    assert scales["neuron"] == pytest.approx([float(w.norm()) for w in weights], rel=1e-5)
    assert scales["discriminator"] == pytest.approx([float(u.norm())] * 2, rel=1e-5)
    for images, w, s_l2 in zip(s.images, weights, scales["l2"], strict=True):
        curvature = 10.0 / s_l2
        pull = w / w.norm() * (not only) + weight * u / u.norm()
        Departure.of(images, pull / curvature, temperature / curvature).require_small()


# ---- log D and D: one dimension that is not Gaussian -----------------------------------------------------------------

R_OF: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda z: z,
    "log": lambda z: -torch.log1p(torch.exp(-z)),
    "probability": lambda z: 1 / (1 + torch.exp(-z)),
}


class Logistic:
    """A linear neuron in 8 dimensions, D(x) = σ(u·x + b), and the law of both at T by quadrature."""

    def __init__(self, form: Any, weight: float, temperature: float, length: float = 3.0, bias: float = -1.0) -> None:
        self.weight, self.temperature, self.bias, self.form = weight, temperature, bias, form
        generator = torch.Generator().manual_seed(3)
        self.w, u = torch.randn(2, 8, generator=generator, dtype=torch.float64)
        self.axis = u / u.norm()
        self.u = length * self.axis
        along = float(self.w @ self.axis)
        room = 14 * math.sqrt(temperature / CURVATURE)
        s = torch.linspace(along / CURVATURE - room, along / CURVATURE + room + 6, 100_001, dtype=torch.float64)
        self.d = 1 / (1 + torch.exp(-(length * s + bias)))
        energy = along * s - CURVATURE * s.square() / 2 + weight * R_OF[form](length * s + bias)
        self.s, self.density = s, torch.softmax(energy / temperature, 0)
        self.across = self.w - along * self.axis

    def sampler(self, kernel: Any, chains: int = 1000, change: Change | None = None) -> ldam.Sampler:
        term = Discriminator(linear(self.u.float(), bias=self.bias), self.weight, form=self.form)
        if change is not None:
            term = Mistaken(linear(self.u.float(), bias=self.bias), self.weight, form=self.form)
            term.change = change
        return ldam.Sampler(
            linear(self.w.float()), input_shape=(8,), kernel=kernel, regularizers=[L2(CURVATURE), term],
            scale="none", temperature=self.temperature, chains=chains, seed=run_seed(), steps_per_frame=100,
        )  # fmt: skip

    def scores(self, states: Tensor, judged: Tensor | None = None) -> dict[str, float]:
        """Five or six statements, false alarm 4e-8 each (central limit theorem for 1,000 chains)."""
        x, n = states.double(), len(states)
        s = x @ self.axis

        def score(found: Tensor, expected: Tensor) -> float:
            mean = float(self.density @ expected)
            variance = float(self.density @ (expected - mean).square())
            return (float(found.mean()) - mean) / math.sqrt(variance / n)

        mean = float(self.density @ self.s)
        rest = x - s[:, None] * self.axis - self.across / CURVATURE
        spread = self.temperature / CURVATURE
        found = {
            "mean along": score(s, self.s),
            "variance along": score((s - mean).square(), (self.s - mean).square()),
            "mean of D": score(1 / (1 + torch.exp(-(x @ self.u + self.bias))), self.d),
            "mean across": normal_score(float(rest.mean(0).square().sum()) * n / spread, 7),
            "variance across": normal_score(float(rest.square().sum()) / spread, 7 * n),
        }
        return found if judged is None else found | {"mean of the score": score(judged.double(), self.d)}


@pytest.mark.parametrize("form", ["logit", "log", "probability"])
@pytest.mark.parametrize(
    ("weight", "temperature", "kernel"),
    [(1.0, 0.4, MALA(0.4)), (0.4, 1.5, MALA(0.4)), (1.0, 0.4, GHMC(0.9, 0.7)), (1.0, 0.4, BAOAB(0.15, 1.0)),
     (0.4, 1.5, BAOAB(0.15, 1.0))],
)  # fmt: skip
def test_every_form_has_the_law_of_the_quadrature(kernel: Any, form: str, weight: float, temperature: float) -> None:
    """Six statements, false alarm 4e-8 each; BAOAB is wrong by O(h²), which 1,000 chains cannot see at this step."""
    law = Logistic(form, weight, temperature)
    s = law.sampler(kernel)
    s.step(120)
    if s.acceptance is not None:
        assert 0.2 < float(s.acceptance.mean()) < 0.97  # or there was nothing to test
    judged = s.discriminator_score
    assert judged is not None
    found = law.scores(s.images[0], judged[0])
    print(f"seed {run_seed()}: {found}")
    within_bounds(found)


def test_the_quadrature_agrees_with_the_gaussian() -> None:
    """The grid against the closed form where there is one."""
    law = Logistic("logit", 0.8, 0.7)
    mean = float(law.density @ law.s)
    assert mean == pytest.approx(float((law.w + 0.8 * law.u) @ law.axis) / CURVATURE, abs=1e-6)
    assert float(law.density @ (law.s - mean).square()) == pytest.approx(0.7 / CURVATURE, rel=1e-6)


@pytest.mark.parametrize(("asked", "law"), [("log", "logit"), ("probability", "log"), ("log", "probability")])
def test_the_forms_are_different_laws(asked: str, law: str) -> None:
    """The control: one form's samples are not another's."""
    s = Logistic(asked, 1.0, 0.4).sampler(MALA(0.4))
    s.step(150)
    with pytest.raises(AssertionError):
        within_bounds(Logistic(law, 1.0, 0.4).scores(s.images[0]))


# ---- planted mistakes ------------------------------------------------------------------------------------------------


class Mistaken(Discriminator):
    change: Change

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.change(*super().evaluate(x))


T, WEIGHT, MANY = 0.4, 0.5, 3000  # chains: every mistake departs by twelve standard errors or more
MISTAKES: dict[str, Change] = {
    "the weight applied twice": lambda value, grad: (WEIGHT * value, WEIGHT * grad),
    "the weight forgotten": lambda value, grad: (value / WEIGHT, grad / WEIGHT),
    "the temperature ignored": lambda value, grad: (T * value, T * grad),
    "the sign flipped": lambda value, grad: (-value, -grad),
    "mean over the batch for the sum": lambda value, grad: (value, grad / len(grad)),
    "one gradient for all chains": lambda value, grad: (value, grad.mean(0, keepdim=True).expand_as(grad)),
    "no gradient at all": lambda value, grad: (value, torch.zeros_like(grad)),
}


@pytest.mark.parametrize("form", ["logit", "log", "probability"])
def test_nothing_planted(form: str) -> None:
    """The control: the same path without a mistake passes. False alarm: 2e-7."""
    law = Logistic(form, WEIGHT, T)
    s = law.sampler(BAOAB(0.15, 1.0), MANY, change=lambda value, grad: (value, grad))
    s.step(120)
    within_bounds(law.scores(s.images[0]))


# of a logit all chains have the same gradient; of D it differs too little for 3,000 chains
PLANTED = [(mistake, form) for mistake in MISTAKES for form in R_OF if "all chains" not in mistake or form == "log"]


@pytest.mark.parametrize(("mistake", "form"), PLANTED)
def test_a_planted_mistake_is_caught(mistake: str, form: str) -> None:
    law = Logistic(form, WEIGHT, T)
    s = law.sampler(BAOAB(0.15, 1.0), MANY, change=MISTAKES[mistake])
    s.step(120)
    found = law.scores(s.images[0])
    print(mistake, found)
    with pytest.raises(AssertionError):
        within_bounds(found)


@pytest.mark.parametrize("kernel", [MALA(0.4), GHMC(0.9, 0.7)], ids=lambda kernel: kernel.name)
def test_an_energy_that_does_not_belong_to_its_gradient_is_caught(kernel: Any) -> None:
    """Metropolis' rule goes by the value: with that of another form, the law is another one."""
    law = Logistic("log", 1.0, T)
    s = law.sampler(kernel, change=lambda value, grad: (0.5 * value, grad))
    s.step(150)
    with pytest.raises(AssertionError):
        within_bounds(law.scores(s.images[0]))


def planted_in_the_gaussian(**wrong: Any) -> None:
    law = LAWS["BAOAB"]
    s = sampler(law, Logit(linear(vectors(200)[2]), 0.6), law.temperature, 200, discriminator_only=True)
    s.step(law.steps)
    require_product(s, law, **{"pull": 0.6, "temperature": law.temperature, "neuron": 0.0, **wrong})


@pytest.mark.parametrize("wrong", [{"neuron": 1.0}, {"pull": 0.36}, {"pull": 0.0}, {"temperature": 1.2}])
def test_the_gaussian_reveals_a_neuron_left_in_and_another_weight(wrong: dict[str, float]) -> None:
    planted_in_the_gaussian()
    with pytest.raises(AssertionError):
        planted_in_the_gaussian(**wrong)
