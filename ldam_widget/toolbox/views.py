"""Views of a gradient at the pixels, as pictures with values from 0 to 1.

Those of the Deep Visualization Toolbox (Yosinski et al. 2015, arXiv 1506.06579). Each takes a tensor or an array,
(…, channels, height, width) or (height, width), and scales every image by its own maximum. Numbers that are not finite
count as 0; an image of zeros is grey in `raw` and `grey`, and black in the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.blur import blurred as _blurred

BLUR = 4.0  # pixels


def raw(gradient: Any) -> Tensor:
    """Every channel; 0.5 is no gradient: (…, channels, height, width)."""
    return _about_zero(_checked(gradient))


def grey(gradient: Any) -> Tensor:
    """The mean over channels; 0.5 is no gradient: (…, 1, height, width)."""
    return _about_zero(_checked(gradient).mean(-3, keepdim=True))


def norm(gradient: Any) -> Tensor:
    """The Euclidean norm over channels: (…, 1, height, width)."""
    return _from_zero(_norm(_checked(gradient)))


def blurred(gradient: Any, sigma: float = BLUR) -> Tensor:
    """`norm`, blurred by a Gaussian of standard deviation `sigma` ≥ 0, in pixels: (…, 1, height, width)."""
    if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma must be a number of pixels, 0 or more; got {sigma!r}")
    norms = _norm(_checked(gradient))
    return _from_zero(_blurred(norms.reshape(-1, *norms.shape[-3:]), float(sigma)).view_as(norms))


def positive(gradient: Any) -> Tensor:
    """The sum over channels where it is positive: (…, 1, height, width)."""
    return _from_zero(_checked(gradient).sum(-3, keepdim=True).clamp(min=0))


VIEWS: dict[str, Callable[[Any], Tensor]] = {
    "raw": raw, "grey": grey, "norm": norm, "blurred": blurred, "positive": positive,
}  # fmt: skip


def _checked(gradient: Any) -> Tensor:
    try:
        g = torch.as_tensor(gradient)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"gradient must be a tensor or an array; got {type(gradient).__name__}") from error
    if g.ndim < 2 or g.numel() == 0:
        raise ValueError(f"gradient must be (…, channels, height, width) or (height, width); got {tuple(g.shape)}")
    g = g.detach().float()
    return torch.nan_to_num(g if g.ndim > 2 else g[None], nan=0.0, posinf=0.0, neginf=0.0)


def _norm(g: Tensor) -> Tensor:
    return g.square().sum(-3, keepdim=True).sqrt()


def _about_zero(g: Tensor) -> Tensor:
    return 0.5 + 0.5 * g / _largest(g.abs())


def _from_zero(g: Tensor) -> Tensor:
    return g / _largest(g)


def _largest(g: Tensor) -> Tensor:
    largest = g.amax((-3, -2, -1), keepdim=True)
    return torch.where(largest > 0, largest, 1.0)
