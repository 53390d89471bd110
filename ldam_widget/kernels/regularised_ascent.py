"""RegularisedAscent: gradient ascent with the image regularisers of Yosinski et al. (2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..core.blur import blurred, spatial_axes
from ..core.parameters import Parameter
from ..core.target import NEURON, Info, Noise, State, Target, per_image

_LEARNING_RATE = Parameter(
    "learning_rate", 1e-3, 1e9, 100.0, "Grey levels (of 255) moved per unit of gradient; with a progress, at most.",
    log=True,
)  # fmt: skip
_PROGRESS = Parameter(
    "progress", 1e-3, 1e3, 0.0, "Gain in activation that each step aims at: the rate is progress/‖∇‖². 0: the rate as "
    "it stands.", log=True, zero=True,
)  # fmt: skip
_LATE_PROGRESS = Parameter(
    "late_progress", 1e-3, 1e3, 0.0, "For a probability: the progress is at most this times what is left to 1. 0: off.",
    log=True, zero=True,
)  # fmt: skip
_DECAY = Parameter(
    "decay", 1e-6, 1, 1e-4, "Part of its distance to the centre that a pixel loses every step.", log=True, zero=True
)
_BLUR_WIDTH = Parameter("blur_width", 0, 20, 1.0, "σ of the blur, in pixels; below 0.3 it hardly blurs. 0: none.")
_BLUR_EVERY = Parameter("blur_every", 1, 100, 4, "Steps from one blur to the next.", integer=True)
_NORM = Parameter(
    "norm_percentile",
    0,
    99,
    0.0,
    "Percentage of the pixels, those nearest to the centre, that are set to it each step.",
)
_CONTRIBUTION = Parameter(
    "contribution_percentile", 0, 99, 0.0, "Percentage of the pixels, those that matter least to the activation, that "
    "are set to the centre each step.",
)  # fmt: skip


@dataclass(frozen=True)
class RegularisedAscent:
    """The optimiser of the Deep Visualization Toolbox: climbs to one picture that a neuron likes. It samples nothing.

    One step, with x the distance of every pixel from `centre` and g = ∇E, which is that of the neuron alone unless
    other terms have a weight:

        x ← (x + rate · g) · (1 − decay)
        every `blur_every`-th step, the first included: Gaussian blur of each channel
        pixels whose norm over the channels is below the `norm_percentile` of the picture ← 0
        pixels whose |Σ_channels g·x| is below the `contribution_percentile` ← 0
        pixels are clipped to their range

    A chain whose gradient is exactly 0 stands still. Rates are stated for pixels 0…255 and are converted, by
    (width/255)², to the pixel range, which is needed. It works on pixels, not in the coordinates of a natural prior.

    The four presets, A to D, are those of the paper; C is the default. They were found for logits of CaffeNet at
    227 × 227 pixels. On small pictures a blur of 1 pixel wipes out strokes: `blur_for=227` shrinks it in proportion.
    Networks with smaller gradients need a higher rate: on the shipped LeNet-5, A to C leave pictures nearly grey.
    The toolbox stops after 500 (A), 750 (B) or 1,000 steps (C, D); here it goes on for as long as it is stepped.

    In double precision, pictures equal those of the program to 1e-5 over 200 steps. In the sampler's single precision
    every step does, but rounding, which rectifiers and percentiles amplify, drifts to a picture of its own.

    Cost: one gradient per step. Source: Yosinski et al., Understanding Neural Networks Through Deep Visualization,
    arXiv 1506.06579 (2015), section 4 and Table 1; the procedure is that of their program.

    Args:
        learning_rate: grey levels per unit of gradient, or the largest rate if there is a `progress`; live.
        progress: gain in activation that a step aims at, rate = min(learning_rate, progress/‖g‖²); 0: the rate is
            constant; live.
        late_progress: for a neuron that is a probability p, the progress is at most late_progress · (1 − p); 0: off;
            needs a progress; live.
        decay: 0…1; live.
        blur_width: σ ≥ 0 in pixels, truncated at 4σ, edges mirrored; live.
        blur_every: steps, ≥ 1; live.
        norm_percentile, contribution_percentile: 0…99; live.
        centre: the colour that everything decays to (the toolbox: the mean of the training images), a pixel value or
            one per channel; None: the middle of the pixel range.
        start_noise: standard deviation, in grey levels, of the normal noise around the centre from which chains start
            (with start="noise").
        blur_for: side in pixels of the pictures that `blur_width` is stated for; None: of those that are shown.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    learning_rate: float = _LEARNING_RATE.default
    progress: float = _PROGRESS.default
    late_progress: float = _LATE_PROGRESS.default
    decay: float = _DECAY.default
    blur_width: float = _BLUR_WIDTH.default
    blur_every: int = int(_BLUR_EVERY.default)
    norm_percentile: float = _NORM.default
    contribution_percentile: float = _CONTRIBUTION.default
    centre: float | Sequence[float] | None = None
    start_noise: float = 10.0
    blur_for: int | None = None

    name: ClassVar[str] = "RegularisedAscent"
    calibrated: ClassVar[bool] = False
    needs_energy: ClassVar[bool] = False
    needs_pixels: ClassVar[bool] = True
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _LEARNING_RATE, _PROGRESS, _LATE_PROGRESS, _DECAY, _BLUR_WIDTH, _BLUR_EVERY, _NORM, _CONTRIBUTION,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for parameter in self.parameters:
            parameter.check(getattr(self, parameter.name))
        if self.centre is not None:
            object.__setattr__(self, "centre", _colour(self.centre))
        noise = self.start_noise
        if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0 <= noise < math.inf:
            raise ValueError(f"start_noise must be a number of grey levels ≥ 0; got {noise!r}")
        side = self.blur_for
        if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
            raise ValueError(f"blur_for must be a side in pixels, an integer ≥ 1, or None; got {side!r}")

    @classmethod
    def preset(cls, name: Literal["A", "B", "C", "D"], **changes: Any) -> RegularisedAscent:
        """A row of the paper's Table 1.

        Args:
            name: "A" few pixels, "B" strong decay, "C" smooth (most of the paper's figures), "D" those that matter.
            changes: of other arguments of the class, such as ``centre`` or ``blur_for``.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in _PRESETS:
            raise ValueError(f"preset must be one of {', '.join(map(repr, _PRESETS))}; got {name!r}")
        return cls(**(_PRESETS[name] | changes))

    def start(self, numbers: Tensor, target: Target) -> Tensor:
        """Start images from standard normal numbers."""
        low, high = _range(target)
        noise = numbers * (self.start_noise * (high - low) / 255)
        return (noise + self._centre(numbers, low, high)).clamp_(low, high)

    def init(self, x: Tensor, target: Target) -> State:
        low, high = _range(target)
        self._centre(x, low, high)
        return State(x, target.evaluate(x), 0)

    def step(self, state: State, target: Target, noise: Noise) -> tuple[State, Info]:
        low, high = _range(target)
        evaluation = target.complete(state.evaluation, state.x)
        grad = target.drift(evaluation, state.x)
        squared = grad.flatten(1).square().sum(1)
        centre = self._centre(grad, low, high)
        rate = self._rate(squared, evaluation.values[NEURON], (high - low) / 255)
        x = (state.x - centre + per_image(rate, grad) * grad) * (1 - self.decay)
        if self.blur_width > 0 and state.step % self.blur_every == 0:
            x = blurred(x, self._sigma(x))
        has_channels = x.ndim > 2  # of a signal (chain, length), every number is a pixel
        if self.norm_percentile > 0:
            size = torch.linalg.vector_norm(x, dim=1, keepdim=True) if has_channels else x.abs()
            x = torch.where(size < percentile(size, self.norm_percentile), 0, x)
        if self.contribution_percentile > 0:
            gain = grad * x
            gain = (gain.sum(1, keepdim=True) if has_channels else gain).abs()
            x = torch.where(gain < percentile(gain, self.contribution_percentile), 0, x)
        x = torch.where(per_image(squared > 0, x), (x + centre).clamp_(low, high), state.x)
        return State(x, target.evaluate(x), state.step + 1), Info()

    def temperature(self, target: Target, step: int = 0) -> None:
        return None

    def note(self, target: Target, step: int = 0) -> str:
        return "an optimiser: climbs to one picture, no law"

    def _rate(self, squared: Tensor, activation: Tensor, grey: float) -> Tensor:
        """The rate of every chain, (chain,), for squared gradient norms and pixels of `grey` per grey level."""
        most = torch.full_like(squared, self.learning_rate * grey**2)
        if not self.progress:
            return most
        wanted: float | Tensor = self.progress
        if self.late_progress:
            wanted = (self.late_progress * (1 - activation)).clamp_max(self.progress)
        return torch.minimum(most, wanted / squared.clamp_min(torch.finfo(squared.dtype).tiny))

    def _sigma(self, x: Tensor) -> float:
        """σ in pixels of these pictures."""
        if self.blur_for is None:
            return self.blur_width
        return self.blur_width * min(x.shape[axis] for axis in spatial_axes(x.ndim)) / self.blur_for

    def _centre(self, x: Tensor, low: float, high: float) -> float | Tensor:
        centre = self.centre
        if centre is None:
            return (low + high) / 2
        if not isinstance(centre, Sequence):
            return centre
        if x.ndim < 3 or x.shape[1] != len(centre):
            raise ValueError(
                f"centre has {len(centre)} numbers, one per channel, and the pictures are of shape {tuple(x.shape[1:])}"
            )
        return torch.tensor(centre, dtype=x.dtype, device=x.device).view(-1, *(1,) * (x.ndim - 2))


_PRESETS: dict[str, dict[str, float]] = {
    "A": {"learning_rate": 100.0, "progress": 2.0, "decay": 0.0, "blur_width": 0.5, "norm_percentile": 50.0},
    "B": {"decay": 0.3, "blur_width": 0.0, "norm_percentile": 20.0},
    "C": {},
    "D": {"learning_rate": 1e8, "progress": 2.0, "decay": 0.0, "blur_width": 0.5, "contribution_percentile": 90.0},
}


def percentile(values: Tensor, percent: float) -> Tensor:
    """Of each image, with linear interpolation; (chain, 1, …). `torch.quantile` takes no more than 2²⁴ numbers."""
    ordered = values.flatten(1).sort(1).values
    place = percent / 100 * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    return per_image(torch.lerp(ordered[:, below], ordered[:, above], place - below), values)


def _range(target: Target) -> tuple[float, float]:
    if target.coordinates.white:
        raise ValueError("RegularisedAscent works on pixels, not in a natural prior's coordinates: give prior=None")
    if target.bounds is None:
        raise ValueError(
            "RegularisedAscent clips pixels and counts in grey levels, so it needs a pixel_range, such as (0, 1)"
        )
    return target.bounds


def _colour(centre: Any) -> float | tuple[float, ...]:
    try:
        if isinstance(centre, (str, bool)):
            raise TypeError
        colour = float(centre) if getattr(centre, "ndim", 0) == 0 and not isinstance(centre, Sequence) else None
        found = tuple(float(value) for value in centre) if colour is None else (colour,)
    except (TypeError, ValueError):
        raise TypeError(f"centre must be a pixel value, one per channel, or None; got {centre!r}") from None
    if not found or not all(map(math.isfinite, found)):
        raise ValueError(f"centre must be finite pixel values; got {centre!r}")
    return found if colour is None else colour
