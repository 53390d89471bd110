"""The actual temperature of samples, measured from their gradients: nearly free, without needing a closed form.

For any density p ∝ exp(E/T) and any vector field φ that vanishes at the walls (or fast enough at infinity), integration
by parts gives ⟨φ·∇E⟩ = −T ⟨∇·φ⟩, the virial theorem. The choice of field affects only the noise.

Unbounded pixels: φ = x − c, so that T = −⟨(x − c)·∇E⟩/D. Any constant c is valid; the mean of x gives the least noise.

In a box [a, b] with middle m: φ = (x − a)(b − x)(k + q (x − m)) with constants k, q for each pixel (the unbounded form
would read −T there; k = 0, q = 1 is the form of reference/algorithm.md, section 1.6). A pixel that fills its box
evenly carries no information about the temperature, so each gets the weights k = ⟨m − x⟩ and
q = ⟨(x − a)(b − x) − 2 (x − m)²⟩/w², which make every part of ⟨∇·φ⟩ a square: pixels that lean towards one wall count
through k, those that crowd in the middle or at both walls through q, and none cancel.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from ..core.precision import double

MEMORY = 1000  # pictures: a moving window, so the reading follows changes
LEARN = 50  # pictures used to estimate c, or k and q; the temperature is then measured on later pictures, and each
# chain uses constants estimated from the other chains: its own would make slow chains look cold
BLOCKS = 10  # blocks of pictures, whose means give the error

Field = tuple[Tensor | float, Tensor | float]  # (c, unused) for unbounded pixels; (k, q) in a box


def virial(x: Tensor, drift: Tensor, bounds: tuple[float, float] | None, field: Field) -> tuple[Tensor, Tensor]:
    """One picture's contributions to the two means whose ratio is the temperature.

    Args:
        x: samples (chain, *image).
        drift: ∇E at x, like x.
        bounds: of a pixel; None is unbounded.
        field: constants, like x or one number for all pixels: (c, unused), or (k, q).

    Returns:
        −φ·∇E and ∇·φ, each (chain,) float64, divided by the number of pixels; summed in the precision of x.
    """
    pixels = x[0].numel()
    if bounds is None:
        up = -_dot(x - field[0], drift) / pixels
        return up, torch.ones_like(up)
    low, high = bounds
    k, q = (torch.as_tensor(part, dtype=x.dtype, device=x.device).expand_as(x) for part in field)
    u = x - (low + high) / 2
    half = ((high - low) / 2) ** 2  # (x − a)(b − x) = half − u², whose derivative is −2u
    square = u * u
    up = -_dot(torch.addcmul(k, q, u).mul_(half - square), drift)
    divergence = half * double(q.flatten(1).sum(1)) - 3 * _dot(q, square) - 2 * _dot(k, u)
    return up / pixels, divergence / pixels


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """a·b per chain, (chain,) float64; a single call, since it runs for every picture."""
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return double(product)


class Thermometer:
    """The virial over the last `MEMORY` pictures.

    Args:
        bounds: of a pixel; None is unbounded.
        neurons: N; the chains of a neuron are pooled.
    """

    def __init__(self, bounds: tuple[float, float] | None, neurons: int) -> None:
        self._bounds, self._neurons = bounds, neurons
        self._field: Field = (0.0, 0.0) if bounds is None else (0.0, 1.0)
        self._learnt: list[Tensor] = []  # running sums over pictures
        self._left = LEARN
        self._parts: deque[Tensor] = deque(maxlen=MEMORY)  # (2, N) per picture
        self._before: tuple[Tensor, ...] = ()  # from the previous field, used until the new one has enough pictures

    def reset(self) -> None:
        """Discard measurements after a parameter change; the field stays, since any constants are valid."""
        self._parts.clear()
        self._before = ()

    def add(self, x: Tensor, drift: Tensor) -> None:
        """Add the next picture: samples and ∇E there, each (chain, *image)."""
        if self._left:
            self._learn(x)
            if not self._left:
                return  # this picture completed the field
        parts = torch.stack(virial(x, drift, self._bounds, self._field))
        self._parts.append(parts.view(2, self._neurons, -1).mean(2))

    def read(self) -> list[float]:
        """Temperature of each neuron; NaN while its relative standard error is a quarter or more.

        The error is estimated from block means, which account for autocorrelation up to the block length.
        """
        parts = tuple(self._parts)  # another thread may be adding
        if len(parts) < 2 * BLOCKS:
            parts = self._before
        if len(parts) < 2 * BLOCKS:
            return [float("nan")] * self._neurons
        up, divergence = torch.stack(parts).unbind(1)  # (pictures, N) each
        found = up.mean(0) / divergence.mean(0)
        length = len(parts) // BLOCKS
        residue = (up - found * divergence)[-length * BLOCKS :].view(BLOCKS, length, -1).mean(1)
        error = residue.std(0) / BLOCKS**0.5 / divergence.mean(0).abs()
        clear = (divergence.mean(0) > 0) & (error < found.abs() / 4)  # excludes 0 ± 0, if no picture has a gradient
        return [float(value) for value in torch.where(clear, found, float("nan")).cpu()]

    def _learn(self, x: Tensor) -> None:
        if self._bounds is None:
            parts = [x]
        else:
            low, high = self._bounds
            from_middle = x - (low + high) / 2
            parts = [-from_middle, ((x - low) * (high - x) - 2 * from_middle * from_middle) / (high - low) ** 2]
        self._learnt = [a + b for a, b in zip(self._learnt, parts, strict=True)] if self._learnt else parts
        self._left -= 1
        if not self._left:
            means = [self._of_the_others(total / LEARN) for total in self._learnt]
            if self._bounds is not None:
                self._field = (means[0], means[1])
            elif len(x) > self._neurons:
                self._field = (means[0], 0.0)
            self._learnt = []
            before = tuple(self._parts)
            self.reset()
            self._before = before

    def _of_the_others(self, means: Tensor) -> Tensor:
        """Mean over the neuron's other chains; a single chain keeps its own."""
        chains = means.view(self._neurons, -1, *means.shape[1:])
        if chains.shape[1] == 1:
            return means
        others = (chains.sum(1, keepdim=True) - chains) / (chains.shape[1] - 1)
        return others.reshape(means.shape)
