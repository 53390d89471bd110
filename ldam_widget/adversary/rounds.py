"""Statistics of discriminator updates, and whether they indicate a usable discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

JUDGED_BY = 100  # rounds that a verdict is based on
_SAME = 0.02  # spread of logits below which D gives the same answer for every image
_WINS = 0.995  # accuracy above which the sampler has no chance


class TrainingError(RuntimeError):
    """The discriminator cannot be used: it collapsed, or its loss is not finite."""


class Round(NamedTuple):
    """Statistics of one update; D is the sigmoid of the logit."""

    real: float  # mean D of the real half
    generated: float  # mean D of the sampled half
    accuracy: float  # share of both halves that D classifies correctly, 0…1
    gap: float  # mean logit, real minus sampled
    spread: float  # standard deviation of all logits


def mean_of(rounds: Sequence[Round]) -> Round:
    """Mean of each number over at least one round."""
    return Round(*(sum(column) / len(rounds) for column in zip(*rounds, strict=True)))


def trouble(rounds: Sequence[Round]) -> str:
    """Why a discriminator with these rounds must not be considered trained; empty if there is no reason."""
    if not rounds:
        return "it has not been trained for a single round"
    mean = mean_of(rounds[-JUDGED_BY:])
    if mean.spread < _SAME:
        return f"it gives every image the same output (logits within ± {mean.spread:.2g})"
    if mean.accuracy > _WINS:
        return (
            f"it classifies {mean.accuracy:.1%} of all images correctly (D {mean.real:.2g} on real ones, "
            f"{mean.generated:.2g} on samples): the sampler never comes near the real images"
        )
    if mean.accuracy < 0.5 and mean.gap < 0:
        return f"it rates samples as more real than real images (gap of logits {mean.gap:.2g})"
    return ""
