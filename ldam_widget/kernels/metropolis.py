"""Metropolis acceptance per chain, and step-size adaptation towards a target acceptance."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.precision import double
from ..core.target import Evaluation, Noise, per_image

# Robbins–Monro gain 4/(8 + n)^0.6: an exponent above 1/2 makes it converge, below 1 it can reach any value; the first
# steps, away from the start images, must not weigh more than about 1, and the last ones must still count
_GAIN, _GAIN_OFFSET, _GAIN_EXPONENT = 4.0, 8, 0.6


def accepted(gain: Tensor, temperature: float | Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """The Metropolis rule for a gain of T · log(ratio), (chain,) float64.

    Written without a division by T, so that T = 0 accepts uphill moves. A NaN gain is rejected.

    Returns:
        which chains move, (chain,) bool, and their acceptance probabilities, (chain,) in [0, 1].
    """
    gain = torch.nan_to_num(gain, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    moves = noise.uniform().log() * temperature <= gain
    if isinstance(temperature, Tensor):
        probability = (gain / temperature).clamp_max(0).exp()
    else:
        probability = (gain / temperature).clamp_max(0).exp() if temperature > 0 else double(gain >= 0)
    return moves, probability


def choose(moves: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` where a chain moves, else `old`."""
    return torch.where(per_image(moves, new), new, old)


def choose_evaluation(moves: Tensor, new: Evaluation, old: Evaluation) -> Evaluation:
    """`choose` for evaluations; both must hold the same terms."""
    return Evaluation(
        {name: choose(moves, value, old.values[name]) for name, value in new.values.items()},
        {name: choose(moves, grad, old.grads[name]) for name, grad in new.grads.items()},
    )


def adapted(step_size: Tensor, acceptance: Tensor, wanted: float, count: int) -> Tensor:
    """Step sizes (chain,) after warm-up step `count`: longer if acceptance exceeds the target.

    Robbins–Monro (1951) on the logarithm. Every chain tunes its own, so that it does not depend on the number of
    chains; frozen afterwards, each is a valid Metropolis chain.
    """
    gain = _GAIN / (_GAIN_OFFSET + count) ** _GAIN_EXPONENT
    new: Tensor = step_size * ((acceptance - wanted) * gain).exp().to(step_size.dtype)
    return new
