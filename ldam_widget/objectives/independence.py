"""Whether the images of a batch are computed independently, and with the right gradient; checked before sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..network import memory

Values = Callable[[Tensor, slice], Tensor]
Evaluate = Callable[[Tensor, slice, bool], tuple[Tensor, Tensor]]


class Batches(NamedTuple):
    """Which batches of images a network can be given.

    Attributes:
        most: images at once; None: any number.
        least: 2 if the gradient of a single image is wrong; it then runs twice.
        note: for the user; "" if there is nothing to report.
    """

    most: int | None = None
    least: int = 1
    note: str = ""


def check_batches(values: Values, evaluate: Evaluate, x: Tensor, tolerance: float) -> Batches:
    """Compare activations of all images together with those of some alone, and the gradient of one alone with that
    of the same one among two.

    Args:
        values: images and their chains -> activations, by a forward pass alone.
        evaluate: images, their chains, whether to run the only image twice -> activations and gradients.
        x: different images, as many as are computed at once, of the first chains.
        tolerance: relative, for values.
    """
    count, first = len(x), x[:1]
    value, grad = evaluate(first, slice(0, 1), False)
    # an activation may be near zero by cancellation, where rounding shows
    floor = 1e-2 * float(grad.norm() * first.norm())
    try:
        together = values(x, slice(0, count)) if count > 1 else value
        _, grads = evaluate(x[:2], slice(0, min(2, count)), count == 1)  # a single chain runs twice here
    except Exception as error:
        if memory.is_out_of_memory(error):
            return Batches()
        return Batches(most=1, note="the model takes one image at a time" if count > 1 else "")
    for i in sorted({0, count // 2, count - 1}):  # a layer with a limited capacity fails for the last ones
        alone = value if i == 0 else values(x[i : i + 1], slice(i, i + 1))
        if not _close(together[i : i + 1], alone, tolerance, floor):
            return Batches(most=1, note=_MIXED if count > 1 else "")
    if not _close(grads[0], grad[0], max(_KINKS, 2 * tolerance)):
        if _by_rounding(evaluate, first, grad, grads[:1]):
            return Batches(most=1, note=_UNSTABLE)
        return _judged(evaluate, first, slice(0, 1), grad, grads[:1], count)
    return Batches()


# Rounding flips rectifiers: values off by 1e-6 change a gradient by their square root, several times in deep networks.
_KINKS = 0.05

_MIXED = (
    "the images of a batch influence each other in this model (such as by a mean over the batch, or attention along "
    "the wrong axis): they are computed one at a time, so that every activation is that of its image alone"
)
_UNSTABLE = (
    "single precision is not enough for the gradient of this model: it changes with the last bits of the image. Images "
    "are computed one at a time, so that every activation is that of its image alone, down to the bit"
)
_WRONG_ALONE = "torch gives a wrong gradient for a batch of one image in this model: every image is computed twice"


def _by_rounding(evaluate: Evaluate, x: Tensor, alone: Tensor, together: Tensor) -> bool:
    """Whether the gradient differs no more than it does between images that are equal but for the last bits: where it
    explodes, single precision is not enough for it, in a batch or alone."""
    own = torch.Generator().manual_seed(0)
    moved = []
    for _ in range(4):
        bits = (torch.rand(x.shape, generator=own, device="cpu") - 0.5).to(x) * 2.0**-18
        moved.append(_off(evaluate(x * (1 + bits), slice(0, 1), False)[1], alone))
    return 2 * max(moved) >= _off(together, alone)


def _judged(evaluate: Evaluate, x: Tensor, part: slice, alone: Tensor, together: Tensor, count: int) -> Batches:
    """Decide by a finite difference which of two gradients is right, along the direction in which they differ."""
    direction = together - alone
    size = float(direction.norm())
    direction = direction / size
    best = None
    for step in (1e-1, 3e-2, 1e-2):
        ahead, _ = evaluate(x + step * direction, part, False)
        behind, _ = evaluate(x - step * direction, part, False)
        slope = float((ahead - behind).sum()) / (2 * step)
        errors = abs(slope - float((alone * direction).sum())), abs(slope - float((together * direction).sum()))
        if best is None or min(errors) < min(best):
            best = errors
    assert best is not None
    if best[0] <= best[1]:
        return Batches(most=1, note=_MIXED if count > 1 else "")
    return Batches(least=2, note=_WRONG_ALONE)


def _off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm()) / max(float(a.norm()), float(b.norm()), 1e-30)


def _close(a: Tensor, b: Tensor, tolerance: float, floor: float = 0.0) -> bool:
    scale = max(float(a.norm()), float(b.norm()), floor)
    return float((a - b).norm()) <= tolerance * scale or not (a.isfinite().all() and b.isfinite().all())
