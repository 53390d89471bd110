"""What the rooms hand to each other: evaluations, states, frames, and the protocols of terms and kernels.

Units, once for the whole package. Chains move in coordinates z, `State.x`, and the network sees the picture x = g(z),
which is z itself without a natural prior (see `parametrizations`). Pixels x are in the units of `pixel_range`
(unbounded if that is None). The energy E(x) = f(x) + Σ λ_i R_i(x) is in the neuron's own units, p(x) ∝ exp(E(x) / T),
so the temperature T is in the neuron's units too; λ_i converts the units of R_i into them. Axes of a batch of images
are always (chain, channel, height, width); "chain" counts neurons × chains, neuron first. Sums run over the batch,
never means: a mean would multiply the temperature by the batch size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .models import Notes
from .parameters import Parameter

if TYPE_CHECKING:
    from .target import Target


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


class Frame(NamedTuple):
    """One picture of the run, safe to keep. N neurons, C chains a neuron."""

    images: Tensor  # (N, C, *image) float32, current samples
    average_images: Tensor  # same shape
    activation: Tensor  # (N, C), f_α of the current samples
    burned_in: Tensor  # (N, C) bool
    steps: int
    params: dict[str, float]  # every live parameter, JSON-safe


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
    """

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> value (chain,), gradient like x."""
        ...


class Setting(NamedTuple):
    """What a regulariser may have to know of the sampler that it serves."""

    model: nn.Module | None  # the classifier
    input_shape: tuple[int, ...]
    pixel_range: tuple[float, float] | None
    device: torch.device
    notes: Notes


class Regularizer(Term, Protocol):
    """A term with a weight of its own on a slider.

    One with a normalisation of its own has `pull(value) -> (chain,)`, the length that its gradient has where
    gradients are normalised. One that has to fit the images or the device has `bound(setting) -> Regularizer`, called
    once by the sampler.
    """

    name: ClassVar[str]  # of its live parameter
    learned: ClassVar[bool]  # a network (mixed and RMS-normalised by Algorithm1), not a formula
    parameter: ClassVar[Parameter]

    @property
    def weight(self) -> float: ...


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
