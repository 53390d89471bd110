"""The density that is sampled: p(z) ∝ base(z) exp(E(g(z)) / T), E = f_α + Σ λ_i R_i (paper, Eq. 2 and 6).

z are the chains' coordinates and x = g(z) the picture. In pixels g is the identity and the base measure is flat: the
paper's own density. In white coordinates (`parametrizations.natural`) the base measure is N(0, τ²I), and T does not
divide it. Kernels know one density only, exp(U(z) / Θ) with a temperature Θ that is also that of their velocities:

    pixels: U = E,   Θ = T;          white coordinates: U = τ² E(g(z)) / T − ½|z|²,   Θ = τ².

The prior alone then has curvature 1 whatever T is, so that one time step suits all temperatures.

Units, once for the whole package. Chains move in coordinates z, `State.x`, and the network sees the picture x = g(z),
which is z itself without a natural prior (see `parametrizations`). Pixels x are in the units of `pixel_range`
(unbounded if that is None). The energy E(x) = f(x) + Σ λ_i R_i(x) is in the neuron's own units, p(x) ∝ exp(E(x) / T),
so the temperature T is in the neuron's units too; λ_i converts the units of R_i into them. Axes of a batch of images
are always (chain, channel, height, width); "chain" counts neurons × chains, neuron first. Sums run over the batch,
never means: a mean would multiply the temperature by the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, overload

import torch
from torch import Tensor, nn

from .notes import Notes
from .parameters import Parameter

NEURON = "neuron"  # name of f_α among the terms; its weight is 1
Range = tuple[float, float] | None


class Evaluation(NamedTuple):
    """Every term at one x, unweighted and kept apart, so that a λ or T slider needs no new forward pass."""

    values: dict[str, Tensor]  # term name -> (chain,)
    grads: dict[str, Tensor]  # term name -> like x


class State(NamedTuple):
    """Where the chains are. Never changed in place: whoever holds a state may read it from another thread."""

    x: Tensor  # (chain, *image)
    evaluation: Evaluation  # at x
    step: int
    memory: tuple[Any, ...] = ()  # what the kernel carries along (velocity, running squares, …)


class Info(NamedTuple):
    """What a kernel reports of one step."""

    acceptance: Tensor | None = None  # (chain,) in [0, 1]; None: the kernel accepts everything


class Noise(Protocol):
    """The random numbers of one run, a stream of its own for every chain."""

    def normal(self) -> Tensor:
        """The next standard normal numbers, like x."""
        ...

    def uniform(self) -> Tensor:
        """The next numbers uniform on [0, 1), (chain,) float64."""
        ...


class Term(Protocol):
    """One scalar a chain and its gradient.

    A term whose gradient costs less without its value may also have `gradient(x)`; kernels that need no energy use it.

    A term that draws at random says how much: `numbers`, an int > 0. In a step it is then called
    `evaluate(x, numbers)` and `gradient(x, numbers)` with that many numbers for every chain, (chain, `numbers`)
    float64, uniform on [0, 1): fresh ones each step, from a stream that every chain has for every term. Outside of
    steps, where chains begin or somebody merely looks, it is called `evaluate(x)` and `gradient(x)`, and gives what it
    is without chance. Kernels that need energies, and ladders, sample one density: there it gets the same numbers all
    the time, equal for all chains.
    """

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> value (chain,), gradient like x."""
        ...


class BindContext(NamedTuple):
    """What a regulariser may have to know of the sampler that it serves."""

    model: nn.Module | None  # the classifier
    input_shape: tuple[int, ...]
    pixel_range: tuple[float, float] | None
    device: torch.device
    notes: Notes


class Regularizer(Term, Protocol):
    """A term with a weight of its own on a slider.

    One with a normalisation of its own has `pull(value) -> (chain,)`, the length that its gradient has where
    gradients are normalised. One that has to fit the images or the device has `bound(context) -> Regularizer`, called
    once by the sampler.
    """

    name: ClassVar[str]  # of its live parameter
    learned: ClassVar[bool]  # a network (mixed and RMS-normalised by Algorithm1), not a formula
    parameter: ClassVar[Parameter]

    @property
    def weight(self) -> float: ...


class Coordinates(Protocol):
    """x = g(z): z (chain, *image) is where the kernels move, x (chain, *image) is the picture.

    The density is p(z) ∝ base(z) · exp(E(g(z))/T). The base measure of `white` coordinates is N(0, τ²I), which the
    temperature does not divide; that of the others is flat within `bounds`.
    """

    white: ClassVar[bool]

    @property
    def bounds(self) -> Range:
        """Walls for the coordinates; None: there are none."""
        ...

    def picture(self, z: Tensor) -> Tensor:
        """x = g(z)."""
        ...

    def pulled_back(self, grad: Tensor, picture: Tensor) -> Tensor:
        """The gradient with respect to z from the one with respect to x = `picture`; like z."""
        ...

    def place(self, picture: Tensor) -> Tensor:
        """Coordinates of a picture, or of the nearest one that these coordinates can show."""
        ...

    def start(self, numbers: Tensor, prior_scale: float) -> Tensor:
        """Where chains begin, from standard normal numbers; like them."""
        ...


@dataclass(frozen=True)
class Target:
    """Terms, their weights and the temperature; a slider replaces the target, never the evaluations.

    Attributes:
        terms: name -> term; `NEURON` is f_α, the others are regularisers.
        weights: name -> λ; a term of weight 0 is not evaluated, but for the neuron, whose activation is shown anyway.
            A tensor (), whose number is not looked at, is not 0.
        temperature: T ≥ 0, in units of the activation; a tensor (chain,) gives every chain its own.
        coordinates: from z to the picture.
        prior_scale: τ > 0 of white coordinates.
        energy_needed: False lets terms that can give their gradient alone do so; `energy` is then not available.
        learned: names of the terms that are networks; only these are mixed convexly or RMS-normalised by `Algorithm1`.
        scales: name -> s > 0, (chain,): the density is that of f/s_f + Σ λ_i R_i/s_i. Empty: no scales.
        numbers: name -> (chain, numbers), for the terms that draw at random; one that has none here gives what it is
            without chance.
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
        """Walls of the coordinates, (lo, hi); None: there are none."""
        return self.coordinates.bounds

    @property
    def kinetic_temperature(self) -> float | Tensor:
        """Θ, the temperature of what kernels move and of their velocities; a number, or (chain,)."""
        if not self.coordinates.white:
            return self.temperature
        return self.temperature if is_zero(self.temperature) else self.prior_scale**2

    @property
    def pull(self) -> float | Tensor:
        """What E is multiplied by in U; a number, or (chain,). At T = 0 the prior is left out: U = E."""
        if not self.coordinates.white or is_zero(self.temperature):
            return 1.0
        return self.prior_scale**2 / self.temperature

    @property
    def has_prior(self) -> bool:
        """Is −½|z|² a part of U?"""
        return self.coordinates.white and not is_zero(self.temperature)

    @property
    def draws(self) -> dict[str, int]:
        """The terms that draw at random, and how many numbers a chain and step."""
        asked = {name: getattr(term, "numbers", 0) for name, term in self.terms.items()}
        return {name: count for name, count in asked.items() if count}

    def uses(self, name: str) -> bool:
        """Does a term count?"""
        return not is_zero(self.weights[name])

    def coefficient(self, name: str) -> float | Tensor:
        """What a term is multiplied by in E: its weight over its scale, a number or (chain,)."""
        weight = self.weights[name]
        return weight / self.scales[name] if name in self.scales else weight

    def evaluate(self, z: Tensor) -> Evaluation:
        """Unweighted value (chain,) and gradient (like z) of every term of non-zero weight."""
        return self.complete(Evaluation({}, {}), z)

    def complete(self, evaluation: Evaluation, z: Tensor) -> Evaluation:
        """Add the terms that had weight 0 when x was evaluated; the same object if there are none."""
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
        """Length, (chain,), that a term's own normalisation gives its gradient; None: 1 wherever it is."""
        own = getattr(self.terms[name], "pull", None)
        return None if own is None else own(evaluation.values[name])

    def terms_energy(self, evaluation: Evaluation) -> Tensor:
        """E, (chain,) float64: differences of energies decide on acceptance and must not be rounded."""
        energy = torch.zeros_like(evaluation.values[NEURON], dtype=torch.float64)
        for name, value in evaluation.values.items():
            if self.uses(name):
                energy = energy + self.coefficient(name) * value.double()
        return energy

    def energy(self, evaluation: Evaluation, z: Tensor) -> Tensor:
        """U(z), (chain,) float64."""
        energy = self.pull * self.terms_energy(evaluation)
        return energy - z.flatten(1).double().square().sum(1) / 2 if self.has_prior else energy

    def drift(self, evaluation: Evaluation, z: Tensor) -> Tensor:
        """∇U(z), like z."""
        pull = self.pull
        total: Tensor | None = None
        for name, grad in evaluation.grads.items():
            if not self.uses(name):  # times 0 would make NaN of an infinite gradient
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
    """A transition: a frozen dataclass of its parameters, whose fields named in `parameters` are live.

    A kernel whose `step_size` may be None finds it by itself; it then also has `adapt(state, info, count, target) ->
    State`, called after steps of the warm-up, `step_size_of(state)`, (chain,), and `rescaled(state, found, factor)`,
    which makes the time steps longer. One that weighs terms in a way of its own has `weight_of(name, target)`; a
    gradient of weight 0 may be anything, it is not used.
    """

    name: ClassVar[str]
    calibrated: ClassVar[bool]  # samples p ∝ exp(E/T) with the T and λ that are asked for
    parameters: ClassVar[tuple[Parameter, ...]]
    needs_energy: ClassVar[bool]  # of all terms, for acceptance; else only their gradients are computed

    def init(self, x: Tensor, target: Target) -> State: ...

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]: ...

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        """The temperature the chain has at `step`, in closed form; None where no closed form is known."""
        ...

    def note(self, target: Target, step: int = 0) -> str:
        """One line for the panel on what is known of the law of the samples."""
        ...


def weight_of(kernel: Any, name: str, target: Target) -> float | Tensor:
    """What a kernel multiplies a term's gradient by: λ, unless it has a way of its own."""
    own = getattr(kernel, "weight_of", None)
    weight: float | Tensor = target.weights[name] if own is None else own(name, target)
    return weight


def is_zero(number: float | Tensor) -> bool:
    """Is it 0, and nothing that is known only where tensors live?"""
    return not isinstance(number, Tensor) and number == 0


@overload
def per_image(value: Tensor, x: Tensor) -> Tensor: ...
@overload
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor: ...
def per_image(value: float | Tensor, x: Tensor) -> float | Tensor:
    """A number, or one number a chain (chain,) with axes added so that it multiplies images x (chain, *image)."""
    if not isinstance(value, Tensor):
        return value
    # a temperature in double precision must not make doubles of the images
    return (value.to(x.dtype) if value.is_floating_point() else value).view(-1, *(1,) * (x.ndim - 1))
