"""All settings of training by Algorithm 2, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How a discriminator is trained against the sampler (paper, Algorithm 2), including our additions.

    The paper's procedure starts every round from noise, so D sees only half-finished pictures. Here chains persist from
    round to round in a pool, and a few of them restart, so that D sees the sampler's final samples as well as the way
    there. A calibrated share of the pool is moved by `BAOAB` with frozen scales, the rest by `Algorithm1` with convex
    weights, each over a range of settings around the defaults.

    `Recipe.printed()` is the procedure as printed in the paper.

    Attributes:
        batch: images per update, half real, half sampled.
        steps: sampler steps per round; with `until`, the maximum.
        until: a round ends when the mean of D over its samples exceeds this; None: after `steps` steps.
        pool: number of persistent groups of chains; each round moves one group.
        renewed: share of a group's chains that restart, from the sampler's own x0, when its turn comes.
        calibrated: share of the groups moved by `BAOAB` with frozen scales.
        alone: share of the groups that follow the discriminator alone, at weight 1: nothing else constrains them, and
            they find whatever D has not yet learned to reject.
        weights: (low, high) of the discriminator's weight, drawn again for every round.
        strength: D's normalised pull during training, relative to that in use. With a weaker pull than it will have in
            use, D learns from samples that still show the neuron's influence.
        noises: (low, high) of Algorithm 1's σ, for the groups that it moves.
        temperatures: (low, high) as multiples of the default temperature, for the calibrated share.
        image_noise: largest standard deviation of the pixel noise added to both halves, in pixel ranges.
        shift: maximum random shift of both halves, in pixels.
        learning_rate, betas: of Adam.
        penalty: γ of the gradient penalty γ/2 ‖∇ logit‖² on real images (R1; Mescheder et al. 2018), in pixel ranges.
        denoising: weight of a loss, 1 − cos(∇ logit(x), real − x), that trains the gradient to point back to the real
            image at points x between it and the sampler's x0. Out there real and sampled images are so easily
            told apart that D's gradient would carry no information, and the way back is much the same for all real
            images, so that the neuron can choose among them (denoising score matching, Vincent 2011, for directions).
        label: D's target for real images, below 1 (one-sided label smoothing; Salimans et al. 2016).
        average: decay of the running mean of D's weights, which is the network in use; 0: the last weights.
        seed: of all random numbers.

    Raises:
        ValueError: a setting out of range.
    """

    batch: int = 120
    steps: int = 10
    until: float | None = None
    pool: int = 10
    renewed: float = 0.025
    calibrated: float = 0.3
    alone: float = 0.2
    weights: tuple[float, float] = (0.35, 1.0)
    strength: float = 2 / 3
    noises: tuple[float, float] = (0.05, 0.13)
    temperatures: tuple[float, float] = (0.1, 2.0)
    image_noise: float = 0.15
    shift: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    penalty: float = 0.2
    denoising: float = 1.0
    label: float = 0.9
    average: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("weights", "noises", "temperatures", "betas"):
            value = getattr(self, name)
            pair = isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_number(end) for end in value)
            _require(pair, name, value, "two numbers (low, high)")
            object.__setattr__(self, name, tuple(float(end) for end in value))  # JSON turns tuples into lists
        for name, least in (("batch", 2), ("steps", 1), ("pool", 1), ("shift", 0), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
            _require(whole, name, value, f"an integer ≥ {least}")
        numbers = (
            "renewed", "calibrated", "alone", "image_noise", "learning_rate", "penalty", "denoising", "strength",
            "label", "average",
        )  # fmt: skip
        for name in numbers:
            _require(_is_number(getattr(self, name)), name, getattr(self, name), "a number")
        until = self.until is None or (_is_number(self.until) and 0 < self.until < 1)
        _require(until, "until", self.until, "between 0 and 1, or None")
        for name in ("renewed", "calibrated", "alone"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        _require(self.calibrated + self.alone <= 1, "calibrated + alone", self.calibrated + self.alone, "at most 1")
        _require(0 < self.strength < math.inf, "strength", self.strength, "> 0")
        _require(0 <= self.penalty < math.inf, "penalty", self.penalty, "≥ 0")
        _require(0 <= self.denoising < math.inf, "denoising", self.denoising, "≥ 0")
        low, high = self.weights
        _require(0 <= low <= high <= 1, "weights", self.weights, "(low, high) with 0 ≤ low ≤ high ≤ 1")
        low, high = self.noises  # within the range of Algorithm1, or rounds would fail at random
        _require(1e-4 <= low <= high <= 100, "noises", self.noises, "(low, high) with 0.0001 ≤ low ≤ high ≤ 100")
        low, high = self.temperatures
        _require(0 < low <= high < math.inf, "temperatures", self.temperatures, "(low, high) with 0 < low ≤ high")
        _require(0 <= self.image_noise < math.inf, "image_noise", self.image_noise, "≥ 0")
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "> 0")
        _require(0 <= self.betas[0] < 1 and 0 <= self.betas[1] < 1, "betas", self.betas, "both in [0, 1)")
        _require(0.5 < self.label <= 1, "label", self.label, "above 0.5 and at most 1")
        _require(0 <= self.average < 1, "average", self.average, "in [0, 1)")

    @classmethod
    def printed(cls, weight: float = 0.5, noise: float = 0.03, **changes: Any) -> Recipe:
        """Algorithm 2 as printed: every round from noise until D > 0.9, one weight, no pool, no additions."""
        plain: dict[str, Any] = {
            "steps": 60, "until": 0.9, "pool": 1, "renewed": 1.0, "calibrated": 0.0, "alone": 0.0,
            "weights": (weight, weight),
            "noises": (noise, noise), "image_noise": 0.0, "shift": 0, "label": 1.0, "average": 0.0,
            "penalty": 0.0, "denoising": 0.0, "strength": 1.0,
        }  # fmt: skip
        return cls(**(plain | changes))

    def as_dict(self) -> dict[str, Any]:
        """JSON-safe; ``Recipe(**recipe.as_dict())`` is the same recipe."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} of a recipe must be {wanted}; got {value!r}")
