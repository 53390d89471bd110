"""What the pictures and numbers of an atlas follow from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from ..core.target import Kernel
from ..network.trace import Preprocess
from ..parametrizations import Natural, Transforms
from ..sampling import checks, defaults, priors

VERSION = 1  # of how units are rendered; blocks of another one are not the same pictures
PICTURES_EVERY = 2  # steps
_PIXELS, _MOST_IMAGES, _FEWEST_IMAGES = 2**18, 256, 16  # numbers in a batch of images, and images
TILE = 112  # pixels, longest side of a tile


@dataclass(frozen=True)
class UnitRecipe:
    """How every unit is rendered; checked by `checked`.

    Attributes:
        input_shape, kernel, prior, transforms, temperature, goal, warm_up, pixel_range, preprocess, at: as for
            `Sampler`.
        steps: after the warm-up.
        chains: for each unit.
        seed: with layer and unit, it gives the unit's random numbers.
        batch: images in a forward pass.
        threads: CPU threads of a worker; results depend on it, by rounding.
        execution: as for `Sampler`, not "auto".
        tile: longest side of a tile, in pixels.
    """

    input_shape: tuple[int, ...]
    steps: int
    chains: int
    seed: int
    kernel: Kernel | None = None
    prior: Natural | None = None
    transforms: Transforms | Literal["auto"] | None = "auto"
    temperature: float | None = None
    goal: float | None = None
    warm_up: int | None = None
    pixel_range: tuple[float, float] | None = None
    preprocess: Preprocess | None = None
    at: Literal["center", "mean"] = "center"
    batch: int = _FEWEST_IMAGES
    threads: int = 1
    execution: str = "plain"
    tile: int = TILE

    @property
    def units_at_once(self) -> int:
        """Units of a batch; it divides the 64 units of a block, or is larger."""
        return max(1, self.batch // self.chains)

    def sampler_settings(self) -> dict[str, Any]:
        """Arguments of `Sampler`."""
        return {
            "input_shape": self.input_shape, "chains": self.chains, "seed": self.seed, "kernel": self.kernel,
            "prior": self.prior, "transforms": self.transforms, "temperature": self.temperature, "goal": self.goal,
            "warm_up": self.warm_up, "pixel_range": self.pixel_range, "preprocess": self.preprocess, "at": self.at,
            "execution": self.execution, "steps_per_frame": PICTURES_EVERY,
        }  # fmt: skip

    def card(self, weights: str, survey: str | None, judge: str | None) -> dict[str, Any]:
        """All of it, JSON-safe, for atlas.json and the hash.

        Args:
            weights: hash of the model.
            survey: fingerprint of the survey; None: there is none.
            judge: hash of the judge; None: the model itself.
        """
        return {
            "version": VERSION,
            "model": weights,
            "survey": survey,
            "judge": judge,
            "steps": self.steps,
            "warm_up": None if self.warm_up is None else int(self.warm_up),
            "chains": self.chains,
            "seed": self.seed,
            "kernel": _written("kernel", self.kernel),
            "prior": None if self.prior is None else f"{self.prior.source} ({self.prior.fingerprint})",
            "transforms": _written("transforms", self.transforms),
            "temperature": None if self.temperature is None else float(self.temperature),
            "goal": self.goal,
            "pixel_range": None if self.pixel_range is None else list(self.pixel_range),
            "at": self.at,
            "batch": self.batch,
            "threads": self.threads,
            "execution": self.execution,
            "tile": self.tile,
        }


def checked(
    *,
    input_shape: tuple[int, ...],
    steps: Any,
    chains: Any,
    seed: Any,
    kernel: Any,
    prior: Any,
    pixel_range: Any,
    goal: Any,
    batch: Any,
    threads: Any,
    execution: str,
    tile: Any,
    **others: Any,
) -> UnitRecipe:
    """A recipe in which nothing is left to chance or to the machine.

    Raises:
        ValueError, TypeError: the message names the argument, what came, and what would work. What only a sampler can
            check is checked when the first one is made.
    """
    chains, pixels = checks.count("chains", chains), checks.pixel_range(pixel_range)
    if execution == "auto":
        raise ValueError(
            'execution="auto" depends on a trial, so that blocks would differ in rounding; give "plain", or what '
            "Sampler(…).execution has found"
        )
    if goal is not None and (isinstance(goal, bool) or not isinstance(goal, Real) or not math.isfinite(goal)):
        raise ValueError(f"goal must be a finite number, the same for all units, or None; got {goal!r}")
    found = priors.resolved(prior, input_shape, pixels, None, kernel)
    if kernel is None:
        kernel = defaults.kernel_for(defaults.size_of(input_shape, pixels), natural=found is not None)
    return UnitRecipe(
        input_shape=input_shape, steps=checks.count("steps", steps), chains=chains, seed=checks.seed(seed),
        kernel=checks.kernel(kernel), prior=found, pixel_range=pixels, goal=None if goal is None else float(goal),
        batch=_batch(input_shape) if batch is None else checks.count("batch", batch),
        threads=checks.count("threads", threads), execution=execution,
        tile=checks.count("tile", tile), **others,
    )  # fmt: skip


def hash_of_card(card: dict[str, Any], answers: Sequence[float]) -> str:
    """16 hexadecimal digits.

    Args:
        card: of `UnitRecipe.card`.
        answers: of the model, which tell another code or preprocessing.
    """
    content = json.dumps([card, list(answers)], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first entry in which two recipes differ, in words; None: they are the same."""
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            return f"{key} {one.get(key)!r} instead of {other.get(key)!r}"
    return None


def stream_of(layer: str, unit: int) -> int:
    """The number of a unit's stream of random numbers."""
    return int.from_bytes(hashlib.sha256(f"{layer}\0{unit}".encode()).digest()[:8], "big")


def same_answers(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether these are answers of one model, on machines that round differently."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6) for a, b in zip(one, other, strict=True)
    )


def _batch(shape: tuple[int, ...]) -> int:
    """Independent of the machine: rounding depends on it."""
    wanted = 1 << max(0, round(math.log2(_PIXELS / math.prod(shape))))
    return max(_FEWEST_IMAGES, min(_MOST_IMAGES, wanted))


def _written(name: str, value: Any) -> str | None:
    """An argument as text that is the same in every process."""
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(
            f"{name}={text} has no text of its own, by which an atlas could know it again: make its class a dataclass"
        )
    return None if value is None else text
