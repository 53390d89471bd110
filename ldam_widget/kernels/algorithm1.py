"""Algorithm 1 of the paper, as printed, with options where the paper and the released program disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.parameters import TEMPERATURE, Parameter
from ..core.schedules import PolynomialDecay
from ..core.target import NEURON, Evaluation, Info, Noise, State, Target, is_zero, per_image
from .moves import add, add_quotient, root

_RMS_DECAY, _RMS_EPSILON = 0.9, 1e-8  # Synthesis.scala, lines 296 to 299

_STEP_SIZE = Parameter("step_size", 1e-4, 1e3, 0.1, "β: pixels moved per unit of (normalised) gradient.", log=True)
_NOISE = Parameter("noise", 1e-4, 1e2, 0.1, "σ: standard deviation of the noise added to the gradient.",
                   log=True, zero=True)  # fmt: skip
_MOMENTUM = Parameter("momentum", 0, 0.99, 0.8, "γ: share of the last move that is kept.")
_TEMPERATURE = TEMPERATURE._replace(
    help="Multiplies σ by √T: 1 is the procedure as printed, 0 is plain activation maximisation."
)


@dataclass(frozen=True)
class Algorithm1:
    """Langevin dynamics activation maximisation as printed in the paper (Jiang et al. 2018, Algorithm 1).

        g_t     = ∇f/‖∇f‖ + Σ λ_i ∇R_i/‖∇R_i‖ + N(0, σ²)
        v_{t+1} = γ v_t + β_t g_t
        x_{t+1} = x_t + v_{t+1}

    This is a heuristic. What is known about its distribution:

    * ``normalize="none"`` samples Eq. 2 at a hidden temperature, βσ²/(2(1 − γ)) (to first order in β; exact on
      quadratics up to the factor 1/(1 − βΛ/(2(1 + γ))) for curvature Λ). `temperature` returns that number.
    * ``normalize="unit"`` (as printed, all terms) has no stationary distribution of the form of Eq. 2: temperature and
      λ depend on x, T = T_hidden ‖∇f(x)‖. For a first-layer filter w the averaged image still points along w.
    * ``normalize="rms"`` (the released program, Synthesis.scala) divides every pixel's gradient by its running root
      mean square. A constant gradient w then becomes sign(w): averages of a first-layer neuron show the sign of the
      filter, not the filter, so the check of paper section 4.1 cannot succeed with it.

    A `Discriminator` has its own normalisation: with "unit", ∇ log D has the length 1.5(1 − D), not 1.

    Cost: one gradient per step. Bounded pixels are clamped, as in the original; `λ` with ``normalize="unit"`` is a
    constant pull, which below 1 cannot confine an unbounded image.

    Args:
        step_size: β > 0, a number or a `PolynomialDecay`; live.
        noise: σ ≥ 0, standard deviation (the paper leaves open whether it is the variance); live.
        momentum: γ in [0, 0.99]; live.
        normalize: "unit", "none" or "rms" (which does not normalise formula terms such as L2, as in the program).
        mix: "add" is Σ λ_i as printed; "convex" is (1 − w) ∇f + w ∇R for learned R (the program): w = 1 ignores f.
        burst: steps between the program's noise kicks: σ/(1 + t²), t counted within a burst; 1 is constant noise. The
            original program's step is ``Algorithm1(25.6 * lrate, noise, 0.9, normalize="rms", mix="convex",
            burst=steps_per_frame)`` on pixels 0…255 with ``L2(2 * lambda / 256)``.

    Raises:
        TypeError, ValueError: a parameter out of range; unknown normalize or mix.
    """

    step_size: float | PolynomialDecay = 0.1
    noise: float = 0.1
    momentum: float = 0.8
    normalize: Literal["unit", "none", "rms"] = "unit"
    mix: Literal["add", "convex"] = "add"
    burst: int = 1

    name: ClassVar[str] = "Algorithm 1"
    calibrated: ClassVar[bool] = False
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[tuple[Parameter, ...]] = (_STEP_SIZE, _TEMPERATURE, _NOISE, _MOMENTUM)

    def __post_init__(self) -> None:
        if not isinstance(self.step_size, PolynomialDecay):
            _STEP_SIZE.check(self.step_size)
        _NOISE.check(self.noise)
        _MOMENTUM.check(self.momentum)
        if self.normalize not in ("unit", "none", "rms"):
            raise ValueError(f"normalize must be 'unit', 'none' or 'rms'; got {self.normalize!r}")
        if self.mix not in ("add", "convex"):
            raise ValueError(f"mix must be 'add' or 'convex'; got {self.mix!r}")
        if not isinstance(self.burst, int) or self.burst < 1:
            raise ValueError(f"burst must be an integer ≥ 1; got {self.burst!r}")

    def init(self, x: Tensor, target: Target) -> State:
        return State(x, target.evaluate(x), 0, (torch.zeros_like(x), {}))

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        x, evaluation, t, (velocity, squares) = state
        beta = self.beta(t)
        sigma = self.noise * root(target.kinetic_temperature) / (1 + (t % self.burst) ** 2)
        # v' = γ v + β g, accumulated in one new tensor: on a small network every extra operation costs.
        # The noise is drawn even if sigma is 0, so that a step's noise depends only on (seed, chain, step).
        velocity = add(velocity * self.momentum, beta * sigma, noise.normal())
        squares = self._add_gradients(velocity, beta, target.complete(evaluation, x), target, squares)
        if target.has_prior:  # a formula, not normalised
            velocity = add(velocity, -beta, x)
        x = x + velocity
        if target.bounds is not None:
            x.clamp_(*target.bounds)
        return State(x, target.evaluate(x), t + 1, (velocity, squares)), Info()

    def beta(self, step: int) -> float | Tensor:
        """β_t."""
        return self.step_size.at(step) if isinstance(self.step_size, PolynomialDecay) else self.step_size

    def weight_of(self, name: str, target: Target) -> float | Tensor:
        """Factor of a term's gradient: λ; for the neuron under convex mixing, its weight minus Σ λ of learned terms."""
        weight = target.weights[name]
        if not is_zero(weight) and name == NEURON and self.mix == "convex":
            for other in target.learned - {NEURON}:
                weight = weight - target.weights[other]  # out of place: the weights belong to the target
        return weight

    def temperature(self, target: Target, step: int = 0) -> float | Tensor | None:
        """The hidden temperature T βσ²/(2(1 − γ)) with plain gradients; None where no distribution is known."""
        if self.normalize != "none" or self.mix != "add" or self.burst != 1:
            return None
        return target.temperature * self.beta(step) * self.noise**2 / (2 * (1 - self.momentum))

    def note(self, target: Target, step: int = 0) -> str:
        hidden = self.temperature(target, step)
        if hidden is not None:
            where = "" if target.bounds is None else " away from the walls"
            where = " for neuron and prior alike" if target.has_prior else where
            return f"plain gradients: runs at T = {hidden:.3g}{where}"
        return f"heuristic ({self.normalize}-normalised gradients): no known law"

    def _add_gradients(
        self, velocity: Tensor, beta: float | Tensor, evaluation: Evaluation, target: Target, squares: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add β times every term's gradient, normalised and weighted, to the velocity; returns the new squares."""
        updated = {}
        for name, grad in evaluation.grads.items():
            weight = self.weight_of(name, target)
            if is_zero(weight):  # 0 times an infinite gradient would be NaN
                continue
            weight = weight * target.pull
            if self.normalize == "unit":
                norm = torch.linalg.vector_norm(grad, dim=tuple(range(1, grad.ndim)), keepdim=True)
                length = target.own_length(name, evaluation)
                if length is not None:
                    grad = grad * per_image(length, grad)
                add_quotient(velocity, beta * weight, grad, norm.clamp_min_(1e-20))  # a gradient of 0 stays 0
            elif self.normalize == "rms" and name in target.learned:
                last = squares[name] * _RMS_DECAY if name in squares else torch.zeros_like(grad)
                updated[name] = last.addcmul_(grad, grad, value=1 - _RMS_DECAY)
                add_quotient(velocity, beta * weight, grad, (last + _RMS_EPSILON).sqrt_())
            elif name in target.scales:
                add_quotient(velocity, beta * weight, grad, per_image(target.scales[name], grad).clone())
            else:
                add(velocity, beta * weight, grad)
        return updated
