"""Whether the images of a batch are computed independently, and with the right gradient; checked before sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..network import memory

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


def check_batches(evaluate: Evaluate, x: Tensor, tolerance: float) -> Batches:
    """Evaluate images together, and some of them alone.

    Args:
        evaluate: images, their chains, whether to run the only image twice -> activations and gradients.
        x: different images, as many as are computed at once, of the first chains.
        tolerance: relative, for values and gradients.
    """
    count = len(x)
    some = sorted({0, count // 2, count - 1})  # a layer with a limited capacity fails for the last ones
    alone = [evaluate(x[i : i + 1], slice(i, i + 1), False) for i in some]
    try:
        values, grads = evaluate(x, slice(0, count), count == 1)  # a single chain runs twice here
    except Exception as error:
        if memory.is_out_of_memory(error):
            return Batches()
        return Batches(most=1, note="the model takes one image at a time" if count > 1 else "")
    for i, (value, grad) in zip(some, alone, strict=True):
        # an activation may be near zero by cancellation, where rounding shows
        floor = 1e-2 * float(grad.norm() * x[i].norm())
        if not _close(values[i : i + 1], value, tolerance, floor):
            return Batches(most=1, note=_MIXED if count > 1 else "")
        if not _close(grads[i], grad[0], tolerance):
            return _judged(evaluate, x[i : i + 1], slice(i, i + 1), grad, grads[i : i + 1], count)
    return Batches()


_MIXED = (
    "the images of a batch influence each other in this model (such as by a mean over the batch, or attention along "
    "the wrong axis): they are computed one at a time, so that every activation is that of its image alone"
)
_WRONG_ALONE = "torch gives a wrong gradient for a batch of one image in this model: every image is computed twice"


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


def _close(a: Tensor, b: Tensor, tolerance: float, floor: float = 0.0) -> bool:
    scale = max(float(a.norm()), float(b.norm()), floor)
    return float((a - b).norm()) <= tolerance * scale or not (a.isfinite().all() and b.isfinite().all())
