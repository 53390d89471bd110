"""Accept or reject, chain by chain; and the step size that is accepted as often as one wants."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.target import Evaluation, Noise, per_image

# Robbins and Monro: the gain is 4/(8 + n)^0.6; with an exponent above 1/2 it settles, below 1 it can get anywhere; the
# first steps, on the way from the start images, may not weigh more than 1, the last ones must still be felt
_GAIN, _GAIN_OFFSET, _GAIN_EXPONENT = 4.0, 8, 0.6


def accepted(gain: Tensor, temperature: float | Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Metropolis' rule for a gain of T · log(ratio), (chain,) float64.

    Written without a division by T, so that T = 0 accepts what goes up. A gain that is not a number is refused.

    Returns:
        which chains move, (chain,) bool, and the probability they had, (chain,) in [0, 1].
    """
    gain = torch.nan_to_num(gain, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    moves = noise.uniform().log() * temperature <= gain
    if isinstance(temperature, Tensor):
        probability = (gain / temperature).clamp_max(0).exp()
    else:
        probability = (gain / temperature).clamp_max(0).exp() if temperature > 0 else (gain >= 0).double()
    return moves, probability


def choose(moves: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """New where a chain moves, else old."""
    return torch.where(per_image(moves, new), new, old)


def choose_evaluation(moves: Tensor, new: Evaluation, old: Evaluation) -> Evaluation:
    """The same of an evaluation; both hold the same terms."""
    return Evaluation(
        {name: choose(moves, value, old.values[name]) for name, value in new.values.items()},
        {name: choose(moves, grad, old.grads[name]) for name, grad in new.grads.items()},
    )


def adapted(step_size: Tensor, acceptance: Tensor, wanted: float, count: int) -> Tensor:
    """Step sizes (chain,) after the `count`-th step of a warm-up: longer if accepted more often than wanted.

    Robbins and Monro (1951) on the logarithm. Every chain finds its own, so that a chain does not depend on how many
    others there are; frozen afterwards, each is a valid Metropolis chain.
    """
    gain = _GAIN / (_GAIN_OFFSET + count) ** _GAIN_EXPONENT
    new: Tensor = step_size * ((acceptance - wanted) * gain).exp().to(step_size.dtype)
    return new
