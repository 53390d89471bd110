"""`Algorithm1` against two other implementations: the paper's ten lines, and the released program's step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from ldam_widget import L2, PolynomialDecay
from ldam_widget.core.parameters import Parameter
from ldam_widget.core.target import NEURON, Target
from ldam_widget.kernels import Algorithm1
from ldam_widget.parametrizations import Pixels

CHAINS, PIXELS = 3, 5
RANDOM = np.random.default_rng(7)
WEIGHT, CENTRE = RANDOM.normal(size=PIXELS), RANDOM.normal(size=PIXELS)
STIFFNESS = 0.3 * RANDOM.normal(size=(PIXELS, PIXELS))
STIFFNESS = STIFFNESS @ STIFFNESS.T  # symmetric, non-negative


def grad_neuron(x: np.ndarray) -> np.ndarray:
    """Of f(x) = w·x − ½ xᵀAx, which is linear and quadratic: ∇f changes with the place."""
    return WEIGHT - x @ STIFFNESS


def grad_learned(x: np.ndarray) -> np.ndarray:
    """Of R(x) = −log(1 + ½‖x − c‖²), in place of a discriminator's log D."""
    return -(x - CENTRE) / (1 + 0.5 * ((x - CENTRE) ** 2).sum(1, keepdims=True))


@dataclass(frozen=True)
class Formula:
    """A term given by its gradient; the kernel needs no values."""

    grad: Any
    weight: float = 1.0
    name: ClassVar[str] = "fake"
    learned: ClassVar[bool] = True
    parameter: ClassVar[Parameter] = Parameter("fake", 0, 1, 0.5, "")

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sum(1), torch.from_numpy(self.grad(x.numpy()))


@dataclass
class Given:
    """Noise that is the same for both implementations."""

    numbers: np.ndarray  # (step, chain, pixel)
    step: int = 0

    def normal(self) -> Tensor:
        self.step += 1
        return torch.from_numpy(self.numbers[self.step - 1])


def numbers(steps: int) -> np.ndarray:
    return np.random.default_rng(11).normal(size=(steps, CHAINS, PIXELS))


def run(kernel: Algorithm1, target: Target, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """(step, chain, pixel): where the kernel goes."""
    state, given, path = kernel.init(torch.from_numpy(x), target), Given(noise), []
    for _ in noise:
        state, _ = kernel.step(state, target, given)
        path.append(state.x.numpy())
    return np.stack(path)


def target(l2: float, learned: float, temperature: float, bounds: Any = None) -> Target:
    return Target(
        {NEURON: Formula(grad_neuron), "l2": L2(), "fake": Formula(grad_learned)},
        {NEURON: 1.0, "l2": l2, "fake": learned},
        temperature,
        Pixels(bounds),
        learned=frozenset({NEURON, "fake"}),
    )


def paper(x, noise, beta, sigma, gamma, temperature, l2, learned, normalize, mix, burst, bounds):  # type: ignore[no-untyped-def]
    """Algorithm 1 in ten lines of numpy."""
    v, rms, path = np.zeros_like(x), [0.0, 0.0], []
    for t, xi in enumerate(noise):
        grads, weights = [grad_neuron(x), grad_learned(x), -x], [1 - learned * (mix == "convex"), learned, l2]
        if normalize == "unit":
            grads = [g / np.sqrt((g**2).sum(1, keepdims=True)) for g in grads]
        if normalize == "rms":  # the networks' gradients only
            rms = [0.9 * r + 0.1 * g**2 for r, g in zip(rms, grads[:2], strict=True)]
            grads = [grads[0] / np.sqrt(rms[0] + 1e-8), grads[1] / np.sqrt(rms[1] + 1e-8), grads[2]]
        g = sum(w * g for w, g in zip(weights, grads, strict=True))
        g = g + sigma * temperature**0.5 / (1 + (t % burst) ** 2) * xi
        v = gamma * v + beta(t) * g
        x = np.clip(x + v, *bounds)
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-0.5, 0.5)], ids=["free", "clamped"])
@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("mix", ["add", "convex"])
@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
def test_equals_the_ten_lines_to_rounding(normalize: Any, mix: Any, burst: int, bounds: tuple[float, float]) -> None:
    x, noise = np.random.default_rng(5).normal(size=(CHAINS, PIXELS)), numbers(40)
    schedule = PolynomialDecay(a=0.2, b=3.0, mu=0.4)
    kernel = Algorithm1(schedule, 0.7, 0.6, normalize, mix, burst)
    ours = run(kernel, target(0.4, 0.35, 2.5, bounds), x, noise)
    theirs = paper(x, noise, lambda t: 0.2 * (3 + t) ** -0.4, 0.7, 0.6, 2.5, 0.4, 0.35, normalize, mix, burst, bounds)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    clamped = np.abs(ours) == 0.5
    assert clamped.any() == np.isfinite(bounds[0])
    assert not clamped.all()


def released_program(x, noise, lrate, langevin, l2lambda, d_weight, iterations, clipping):  # type: ignore[no-untyped-def]
    """The step of Synthesis.scala, lines 243 to 354, as reference/prior-systems.md lists it (section 1.4, 1 to 10).

    Left out: step 7 (a hook that is off) and step 11 (image 0 alone is box-smoothed).
    """
    acc_f = acc_d = momentum = np.zeros_like(x)
    path = []
    for call in range(0, len(noise), iterations):  # one `mcmc()` call a frame
        for t in range(iterations):
            g_f, g_d = grad_neuron(x), grad_learned(x)
            acc_f = 0.9 * acc_f + 0.1 * g_f**2
            acc_d = 0.9 * acc_d + 0.1 * g_d**2
            g = (1 - d_weight) * g_f / np.sqrt(acc_f + 1e-8) + d_weight * g_d / np.sqrt(acc_d + 1e-8)
            g = g + noise[call + t] * langevin / (1 + t**2)
            g = g - x * l2lambda * 2 / 256
            g = g * 0.1
            momentum = 0.9 * momentum + g
            x = x + momentum * lrate * 256
            if clipping:
                x = np.clip(x, 0, 255)
            path.append(x)
    return np.stack(path)


@pytest.mark.parametrize("d_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("clipping", [False, True])
def test_equals_the_released_program_to_rounding(clipping: bool, iterations: int, d_weight: float) -> None:
    """What the docstring of `Algorithm1` promises, over eight frames of pixels 0…255 from the program's own start."""
    lrate, langevin, l2lambda = 0.1, 2.0, 0.4
    x = np.random.default_rng(3).uniform(0, 256, size=(CHAINS, PIXELS))
    noise = numbers(8 * iterations)
    kernel = Algorithm1(25.6 * lrate, langevin, 0.9, normalize="rms", mix="convex", burst=iterations)
    bounds = (0.0, 255.0) if clipping else None
    ours = run(kernel, target(2 * l2lambda / 256, d_weight, 1.0, bounds), x, noise)
    theirs = released_program(x, noise, lrate, langevin, l2lambda, d_weight, iterations, clipping)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)  # of pixels up to 255: 4e-12 relative


@pytest.mark.parametrize("change", [{"lrate": 0.101}, {"langevin": 2.01}, {"l2lambda": 0.41}, {"d_weight": 0.31}])
def test_the_comparison_with_the_program_sees_every_control(change: dict[str, float]) -> None:
    x, noise = np.full((CHAINS, PIXELS), 128.0), numbers(6)
    settings = {"lrate": 0.1, "langevin": 2.0, "l2lambda": 0.4, "d_weight": 0.3, "iterations": 2, "clipping": False}
    one, other = released_program(x, noise, **settings), released_program(x, noise, **{**settings, **change})
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
def test_a_gradient_of_zero_stays_zero(normalize: Any) -> None:
    flat = Target({NEURON: Formula(np.zeros_like)}, {NEURON: 1.0}, 1.0, Pixels(None))
    x = np.random.default_rng(0).normal(size=(CHAINS, PIXELS))
    still = run(Algorithm1(0.5, 0.0, 0.9, normalize), flat, x, numbers(5))
    np.testing.assert_array_equal(still, np.broadcast_to(x, still.shape))
    walk = run(Algorithm1(0.5, 0.3, 0.0, normalize), flat, x, numbers(5))
    np.testing.assert_allclose(walk[-1], x + 0.5 * 0.3 * numbers(5).sum(0), atol=1e-12)


@pytest.mark.parametrize("tiny", [1e-12, 1e-300, 5e-324])
@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
def test_a_vanishing_gradient_stays_finite(normalize: Any, tiny: float) -> None:
    faint = Target({NEURON: Formula(lambda x: np.full_like(x, tiny))}, {NEURON: 1.0}, 1.0, Pixels(None))
    path = run(Algorithm1(0.5, 0.0, 0.9, normalize), faint, np.zeros((CHAINS, PIXELS)), numbers(20))
    assert np.isfinite(path).all()
    assert np.abs(path).max() <= 20 * 10 * 0.5


@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
def test_temperature_zero_is_deterministic_ascent(normalize: Any) -> None:
    x = np.zeros((CHAINS, PIXELS))
    kernel = Algorithm1(0.1, 5.0, 0.5, normalize)
    one, other = (run(kernel, target(0.4, 0.0, 0.0), x, scale * numbers(200)) for scale in (1.0, 3.0))
    np.testing.assert_array_equal(one, other)
    if normalize == "none":  # the maximum of f − ½λ‖x‖²: (A + λ) x = w
        top = np.linalg.solve(STIFFNESS + 0.4 * np.eye(PIXELS), WEIGHT)
        np.testing.assert_allclose(one[-1], np.broadcast_to(top, x.shape), atol=1e-6)


@pytest.mark.parametrize("normalize", ["unit", "none", "rms"])
def test_convex_weight_one_ignores_the_neuron(normalize: Any) -> None:
    """Fig. 1, last row: the slider at the end leaves the discriminator alone."""
    x, kernel = np.ones((CHAINS, PIXELS)), Algorithm1(0.1, 0.3, 0.5, normalize, mix="convex")
    with_f = target(0.1, 1.0, 1.0)
    without_f = Target({**with_f.terms, NEURON: Formula(lambda x: 1e6 * np.ones_like(x))}, with_f.weights,
                       with_f.temperature, with_f.coordinates, learned=with_f.learned)  # fmt: skip
    np.testing.assert_array_equal(run(kernel, with_f, x, numbers(20)), run(kernel, without_f, x, numbers(20)))
    added = Algorithm1(0.1, 0.3, 0.5, normalize, mix="add")
    assert np.abs(run(added, with_f, x, numbers(20)) - run(added, without_f, x, numbers(20))).max() > 1e-3


def test_convex_weight_zero_is_the_neuron_alone() -> None:
    x = np.ones((CHAINS, PIXELS))
    paths = [
        run(Algorithm1(0.1, 0.3, 0.5, "rms", mix), target(0.1, 0.0, 1.0), x, numbers(20)) for mix in ("add", "convex")
    ]
    np.testing.assert_array_equal(*paths)


def test_unit_normalisation_does_not_see_how_steep_a_term_is() -> None:
    x, kernel = np.ones((CHAINS, PIXELS)), Algorithm1(0.1, 0.3, 0.5, "unit")
    steep = Target({NEURON: Formula(lambda x: 1e4 * grad_neuron(x))}, {NEURON: 1.0}, 1.0, Pixels(None))
    plain = Target({NEURON: Formula(grad_neuron)}, {NEURON: 1.0}, 1.0, Pixels(None))
    np.testing.assert_allclose(run(kernel, steep, x, numbers(20)), run(kernel, plain, x, numbers(20)), atol=1e-12)


def test_a_weight_raised_from_zero_acts_at_the_next_step() -> None:
    """The state was evaluated without the term: `complete` must evaluate it at the same place."""
    x, noise = np.ones((CHAINS, PIXELS)), numbers(2)
    kernel, given = Algorithm1(0.1, 0.3, 0.0, "none"), Given(noise)
    state, _ = kernel.step(kernel.init(torch.from_numpy(x), target(0, 0, 1)), target(0, 0, 1), given)
    assert "l2" not in state.evaluation.grads
    before = state.x.numpy()
    state, _ = kernel.step(state, target(5.0, 0, 1), given)
    expected = before + 0.1 * (grad_neuron(before) - 5.0 * before + 0.3 * noise[1])
    np.testing.assert_allclose(state.x.numpy(), expected, atol=1e-12)
