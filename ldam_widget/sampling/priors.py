"""Choice of coordinates, and the defaults that go with them."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ..core.notes import Notes
from ..core.target import Coordinates, Kernel
from ..data import RealImages
from ..parametrizations import Natural, Pixels, Robust, Transforms
from . import defaults

PriorChoice = Natural | Literal["auto", "pixels"] | None
_LEAST_CHANGED, _LEAST_CHANGED_OF_MEASURED = 32, 64  # pixels per side


def resolved(
    prior: Any,
    input_shape: tuple[int, ...],
    pixel_range: tuple[float, float] | None,
    real: RealImages | None,
    kernel: Kernel | None = None,
) -> Natural | None:
    """The natural prior for an argument; None for pixels.

    Args:
        prior: a `Natural`; "auto": measured on the images if there are any, else photographs for RGB images, else
            pixels; "natural": the same, but never pixels; None or "pixels".
        input_shape, pixel_range: of the sampler.
        real: the user's own images.
        kernel: one that works on pixels makes "auto" mean pixels.

    Raises:
        TypeError, ValueError: anything else; "natural" without a dataset, for images that are not RGB.
    """
    if prior is None or prior == "pixels":
        return None
    if isinstance(prior, Natural):
        return prior
    if prior not in ("auto", "natural"):
        raise TypeError(
            'prior must be "auto", None (plain pixels), Natural("photos"), Natural.of(images) or Natural.load(path); '
            f"got {prior!r}"
        )
    if prior == "auto" and getattr(kernel, "needs_pixels", False):
        return None
    if real is not None:
        if len(real) < 2:
            raise ValueError("dataset holds one image; a natural prior needs at least two: give more, or prior=None")
        return Natural.of_real(real, pixel_range)
    if defaults.looks_like_photographs(input_shape):
        return Natural("photos")
    if prior == "natural":
        raise ValueError(
            f"a natural prior for images of shape {input_shape} must be measured: give Natural.of(images), or "
            "dataset=images"
        )
    return None


def coordinates_of(
    prior: Natural | None,
    input_shape: tuple[int, ...],
    pixel_range: tuple[float, float] | None,
    device: torch.device,
    has_preprocess: bool,
    notes: Notes,
) -> Coordinates:
    """The coordinates of a prior for a sampler; adds a note about anything that has to be guessed."""
    if prior is None:
        return Pixels(pixel_range)
    guessed = pixel_range is None and not prior.from_user_images
    found = tuple(prior.card.get("range_found", ()))
    if pixel_range is not None and found and found != tuple(pixel_range):
        notes.tell(
            f"the natural prior was measured on pixels from {found[0]:g} to {found[1]:g}, which are stretched to "
            f"pixel_range={pixel_range}: give Natural.of(images, pixel_range=…) the range that they come from"
        )
    if guessed:
        notes.tell(
            "without a pixel_range, the natural prior takes the model's pixels to be "
            + ("about 0…1, unbounded" if has_preprocess else "standardised: mean 0, variance 1 in every channel")
            + "; give pixel_range=(0, 1) and preprocess= if they are not"
        )
    return prior.coordinates(input_shape, pixel_range, device, standardised=guessed and not has_preprocess)


def default_transforms(input_shape: tuple[int, ...], prior: Natural) -> Transforms | None:
    """Transforms that make pictures easier to read (benchmarks/RESULTS.md, "The natural prior's defaults").

    A prior measured on images of this size already knows where things are in the picture; small images need no more.
    """
    least = _LEAST_CHANGED if prior.shape is None else _LEAST_CHANGED_OF_MEASURED
    changed = defaults.looks_like_photographs(input_shape) and min(input_shape[1:]) >= least
    return Robust() if changed else None


def checked_transforms(transforms: Any, input_shape: tuple[int, ...]) -> Transforms | Literal["auto"] | None:
    """`Jitter`, `Robust`, `Blur`, "auto" or None.

    Raises TypeError for anything else, ValueError if the transforms do not apply to the images.
    """
    if transforms is None or transforms == "auto":
        return transforms  # type: ignore[no-any-return]  # one of the two
    if isinstance(transforms, type) or not hasattr(transforms, "apply"):
        raise TypeError(f'transforms must be "auto", None, Jitter(pixels), Robust() or Blur(sigma); got {transforms!r}')
    transforms.check(input_shape)
    checked: Transforms = transforms
    return checked
