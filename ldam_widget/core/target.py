"""The density that is sampled: p(z) ∝ base(z) exp(E(g(z)) / T), E = f_α + Σ λ_i R_i (paper, Eq. 2 and 6).

z are the chains' coordinates and x = g(z) the picture. In pixels g is the identity and the base measure is flat: the
paper's own density. In white coordinates (`parametrizations.natural`) the base measure is N(0, τ²I), and T does not
divide it. Kernels sample exp(U(z) / Θ), where Θ is also the temperature of their velocities:

    pixels: U = E,   Θ = T;          white coordinates: U = τ² E(g(z)) / T − ½|z|²,   Θ = τ².

The prior alone then has curvature 1 at every T, so one time step suits all temperatures.

Units, for the whole package. Chains move in coordinates z (`State.x`); the network sees the picture x = g(z), which is
z itself without a natural prior (see `parametrizations`). Pixels x are in the units of `pixel_range` (unbounded if that
is None). The energy E(x) = f(x) + Σ λ_i R_i(x) is in the neuron's own units, p(x) ∝ exp(E(x) / T), so the temperature T
is in the neuron's units too; λ_i converts the units of R_i into them. Axes of a batch of images are always (chain,
channel, height, width); "chain" is neurons × chains, neuron-major. Energies are summed over the batch, never averaged:
a mean would multiply the temperature by the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, overload

import torch
from torch import Tensor, nn

from .notes import Notes
from .parameters import Parameter
from .precision import double

NEURON = "neuron"  # name of f_α among the terms; its weight is 1
Range = tuple[float, float] | None


class Evaluation(NamedTuple):
    """Every term at one x, unweighted and kept apart, so that a λ or T slider needs no new forward pass."""

    values: dict[str, Tensor]  # term name -> (chain,)
    grads: dict[str, Tensor]  # term name -> like x


class State(NamedTuple):
    """State of the chains. Never modified in place, so it can be read from another thread."""

    x: Tensor  # (chain, *image)
    evaluation: Evaluation  # at x
    step: int
    memory: tuple[Any, ...] = ()  # kernel state (velocity, running squares, …)


class Info(NamedTuple):
    """What a kernel reports about one step."""

    acceptance: Tensor | None = None  # (chain,) in [0, 1]; None: the kernel accepts everything


class Noise(Protocol):
    """The random numbers of one run, with a separate stream per chain."""

    def normal(self) -> Tensor:
        """The next standard normal numbers, like x."""
        ...

    def uniform(self) -> Tensor:
        """The next numbers uniform on [0, 1), (chain,) float64."""
        ...


class Term(Protocol):
    """One scalar per chain, and its gradient.

    A term whose gradient is cheaper without its value may also have `gradient(x)`; kernels that need no energy use it.

    A stochastic term declares how many random numbers it needs: `numbers`, an int > 0. During a step it is called as
    `evaluate(x, numbers)` and `gradient(x, numbers)` with that many numbers for every chain, (chain, `numbers`)
    float64, uniform on [0, 1), fresh each step, from a stream per chain and term. Outside of steps (at the start of
    chains, or for display) it is called as `evaluate(x)` and `gradient(x)`, and returns its deterministic version.
    Kernels that need energies, and ladders, sample a fixed density: there it gets the same numbers at every step,
    equal for all chains.
    """

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> value (chain,), gradient like x."""
        ...


class BindContext(NamedTuple):
    """What a regulariser may need to know about its sampler."""

    model: nn.Module | None  # the classifier; the sampler's private view of it
    input_shape: tuple[int, ...]
    pixel_range: tuple[float, float] | None
    device: torch.device
    notes: Notes
    preprocess: Callable[[Tensor], Tensor] | None = None  # pixels -> input of the model


class Regularizer(Term, Protocol):
    """A term with its own weight slider.

    A regulariser with its own normalisation has `pull(value) -> (chain,)`, the length of its gradient where gradients
    are normalised. One that must adapt to the images or the device has `bound(context) -> Regularizer`, called once by
    the sampler. One that makes exp(E/T) normalisable for unbounded pixels has `confines = True`, one that depends on
    the weights of the model `reads_model = True`, and one whose gradient is that of no known energy, which `evaluate`
    then refuses, `has_energy = False`.
    """

    name: ClassVar[str]  # of its live parameter
    learned: ClassVar[bool]  # a network (mixed and RMS-normalised by Algorithm1), not a formula
    parameter: ClassVar[Parameter]

    @property
    def weight(self) -> float: ...


class Coordinates(Protocol):
    """x = g(z): kernels move z (chain, *image); x (chain, *image) is the picture.

    The density is p(z) ∝ base(z) · exp(E(g(z))/T). The base measure of `white` coordinates is N(0, τ²I), which is not
    divided by the temperature; for other coordinates it is flat within `bounds`.
    """

    white: ClassVar[bool]

    @property
    def bounds(self) -> Range:
        """Bounds of the coordinates; None: unbounded."""
        ...

    def picture(self, z: Tensor) -> Tensor:
        """x = g(z)."""
        ...

    def pulled_back(self, grad: Tensor, picture: Tensor) -> Tensor:
        """Pull a gradient with respect to x = `picture` back to z; like z."""
        ...

    def place(self, picture: Tensor) -> Tensor:
        """Coordinates of a picture, or of the nearest one they can represent."""
        ...

    def start(self, numbers: Tensor, prior_scale: float) -> Tensor:
        """Start positions of chains, from standard normal numbers; same shape."""
        ...


@dataclass(frozen=True)
class Target:
    """Terms, their weights and the temperature; moving a slider replaces the target but keeps the evaluations.

    Attributes:
        terms: name -> term; `NEURON` is f_α, the others are regularisers.
        weights: name -> λ; a term of weight 0 is not evaluated, except the neuron, whose activation is always shown.
            A tensor () counts as non-zero; its value is not read.
        temperature: T ≥ 0, in units of the activation; a tensor (chain,) gives every chain its own.
        coordinates: from z to the picture.
        prior_scale: τ > 0 of white coordinates.
        energy_needed: False lets terms return only their gradient where they can; `energy` is then unavailable.
        learned: names of the terms that are networks; only these are mixed convexly or RMS-normalised by `Algorithm1`.
        scales: name -> s > 0, (chain,): the density is that of f/s_f + Σ λ_i R_i/s_i. Empty: no scales.
        numbers: name -> (chain, numbers), for stochastic terms; a term without an entry is evaluated
            deterministically.
    """

    terms: Mapping[str, Term]
    weights: Mapping[str, float | Tensor]
    temperature: float | Tensor
    coordinates: Coordinates
    prior_scale: float = 1.0
    learned: frozenset[str] = frozenset({NEURON})
    energy_needed: bool = True
    scales: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Bounds of the coordinates, (lo, hi); None: unbounded."""
        return self.coordinates.bounds

    @property
    def kinetic_temperature(self) -> float | Tensor:
        """Θ, the temperature of the coordinates and velocities; a number, or (chain,)."""
        if not self.coordinates.white:
            return self.temperature
        return self.temperature if is_zero(self.temperature) else self.prior_scale**2

    @property
    def pull(self) -> float | Tensor:
        """Factor of E in U; a number, or (chain,). At T = 0 the prior is left out: U = E."""
        if not self.coordinates.white or is_zero(self.temperature):
            return 1.0
        return self.prior_scale**2 / self.temperature

    @property
    def has_prior(self) -> bool:
        """Whether U contains −½|z|²."""
        return self.coordinates.white and not is_zero(self.temperature)

    @property
    def draws(self) -> dict[str, int]:
        """The stochastic terms, with how many numbers each needs per chain and step."""
        asked = {name: getattr(term, "numbers", 0) for name, term in self.terms.items()}
        return {name: count for name, count in asked.items() if count}

    def uses(self, name: str) -> bool:
        """Whether a term has non-zero weight."""
        return not is_zero(self.weights[name])

    def coefficient(self, name: str) -> float | Tensor:
        """Coefficient of a term in E: weight / scale, a number or (chain,)."""
        weight = self.weights[name]
        return weight / self.scales[name] if name in self.scales else weight

    def evaluate(self, z: Tensor) -> Evaluation:
        """Unweighted value (chain,) and gradient (like z) of every term of non-zero weight."""
        return self.complete(Evaluation({}, {}), z)

    def complete(self, evaluation: Evaluation, z: Tensor) -> Evaluation:
        """Add terms that had weight 0 when x was evaluated; returns the same object if none are missing."""
        wanted = [name for name in self.terms if self.uses(name) or name == NEURON]
        missing = [name for name in wanted if name not in evaluation.grads]
        if not missing:
            return evaluation
        values, grads = dict(evaluation.values), dict(evaluation.grads)
        x = self.coordinates.picture(z)
        for name in missing:
            term: Any = self.terms[name]
            gradient = None if self.energy_needed else getattr(term, "gradient", None)
            drawn = (self.numbers[name],) if name in self.numbers else ()
            if gradient is None:
                values[name], grad = term.evaluate(x, *drawn)
            else:
                grad = gradient(x, *drawn)
            grads[name] = self.coordinates.pulled_back(grad, x)
        return Evaluation(values, grads)

    def own_length(self, name: str, evaluation: Evaluation) -> Tensor | None:
        """Gradient length, (chain,), set by a term's own normalisation; None: always 1."""
        own = getattr(self.terms[name], "pull", None)
        return None if own is None else own(evaluation.values[name])

    def terms_energy(self, evaluation: Evaluation) -> Tensor:
        """E, (chain,) float64: acceptance depends on energy differences, which must not be rounded."""
        energy = double(torch.zeros_like(evaluation.values[NEURON]))
        for name, value in evaluation.values.items():
            if self.uses(name):
                energy = energy + self.coefficient(name) * double(value)
        return energy

    def energy(self, evaluation: Evaluation, z: Tensor) -> Tensor:
        """U(z), (chain,) float64."""
        energy = self.pull * self.terms_energy(evaluation)
        return energy - double(z.flatten(1)).square().sum(1) / 2 if self.has_prior else energy

    def drift(self, evaluation: Evaluation, z: Tensor) -> Tensor:
        """∇U(z), like z."""
        pull = self.pull
        total: Tensor | None = None
        for name, grad in evaluation.grads.items():
            if not self.uses(name):  # 0 times an infinite gradient would be NaN
                continue
            factor = per_image(pull * self.coefficient(name), grad)
            weighted = grad if isinstance(factor, (int, float)) and factor == 1 else factor * grad
            total = weighted if total is None else total + weighted
        if self.has_prior:
            return -z if total is None else total - z
        return torch.zeros_like(evaluation.grads[NEURON]) if total is None else total

    def law(self) -> str:
        """The density in words, for the panel."""
        at = (
            f"T = {self.temperature:.3g}" if isinstance(self.temperature, (int, float)) else "temperatures of their own"
        )
        if not self.coordinates.white:
            return f"p ∝ exp(E/T) at {at}"
        scale = f"{self.prior_scale:.3g}²·" if self.prior_scale != 1 else ""
        return f"p(z) ∝ N(z; 0, {scale}I) · exp(E/T) at {at}"


class Kernel(Protocol):
    """A transition: a frozen dataclass of its parameters; the fields named in `parameters` are live.

    A kernel whose `step_size` may be None tunes it itself; it then also has `adapt(state, info, count, target) ->
    State`, called after warm-up steps, `step_size_of(state)`, (chain,), and `rescaled(state, found, factor)`, which
    lengthens the time steps. One that moves pixels in a range, and nothing else, has `needs_pixels = True`; one with
    start images of its own has `start(numbers, target)`, from standard normal numbers. A kernel with its own weighting
    of terms has `weight_of(name, target)`; a gradient of weight 0 is unused and may be anything.
    """

    name: ClassVar[str]
    calibrated: ClassVar[bool]  # samples p ∝ exp(E/T) with the requested T and λ
    parameters: ClassVar[tuple[Parameter, ...]]
    needs_energy: ClassVar[bool]  # of all terms, for acceptance; otherwise only gradients are computed

    def init(self, x: Tensor, target: Target) -> State: ...

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]: ...

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        """The chain's temperature at `step`; None where no closed form is known."""
        ...

    def note(self, target: Target, step: int = 0) -> str:
        """One line for the panel on what is known about the distribution of the samples."""
        ...


def weight_of(kernel: Any, name: str, target: Target) -> float | Tensor:
    """A kernel's factor of a term's gradient: λ, unless the kernel defines its own weighting."""
    own = getattr(kernel, "weight_of", None)
    weight: float | Tensor = target.weights[name] if own is None else own(name, target)
    return weight


def is_zero(number: float | Tensor) -> bool:
    """Whether it is the number 0; False for any tensor, whose value is not read."""
    return not isinstance(number, Tensor) and number == 0


@overload
def per_image(value: Tensor, x: Tensor) -> Tensor: ...
@overload
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor: ...
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor:
    """A number unchanged, or one number per chain (chain,) reshaped to broadcast over images x (chain, *image)."""
    if not isinstance(value, Tensor):
        return value
    # a double-precision temperature must not promote the images to double
    return (value.to(x.dtype) if value.is_floating_point() else value).view(-1, *(1,) * (x.ndim - 1))
