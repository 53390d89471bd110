"""Real images that the classifier cannot have been trained on: what gives them away, and what to check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..network.capture import Call, listen
from ..network.trace import Preprocess, run

IMAGES = 128  # looked at, at most; fewer if they are large
_PIXELS = 2**21  # of all of them together
_LEAST = 8  # images below which nothing is said of their distribution
_NARROW = 0.05  # of the pixel range
_ONE_CLASS = 0.9  # share of the images in one class
_CLASSES = 3  # two may well be this unbalanced
# Measured on CIFAR-10 networks, spread of the first batch norm's input relative to that in training: right pixels
# 0.87 to 1.0, even of one class; not normalised 0.2 to 0.35, normalised twice 3.8, 0…255 for 0…1 more than 50.
_SPREAD = 2.0
_OFFSET = 1.0  # root mean square over channels, in standard deviations; at most 0.45 with right pixels of one class
_MEAN, _LEAST_STD, _MOST_STD = 3.0, 0.1, 5.0  # of the network's input, where there is no batch norm


def how_many(shape: Sequence[int]) -> int:
    """Number of images to look at."""
    return max(_LEAST, min(IMAGES, _PIXELS // math.prod(shape)))


def doubt_about(
    view: nn.Module, images: Tensor, preprocess: Preprocess | None, pixel_range: tuple[float, float] | None
) -> str:
    """Why a network may not have been trained on images like these, and what to check; empty if nothing is striking.

    Constant or identical images, pixels that use little of their range; and, run through the network, a first batch
    norm whose input differs from its running statistics, an input far from mean 0 and standard deviation 1 (without
    batch norm), or nearly all images in one class.

    Args:
        view: the classifier as a private view.
        images: real images, (n, *input_shape), in the pixel range.
        preprocess, pixel_range: as for `Sampler`.
    """
    found = _of_pixels(images, pixel_range)
    if found or len(images) < _LEAST:
        return found
    seen = _of_network(view, images, preprocess)
    if not seen:
        return ""
    return (
        f"the network may not have been trained on images like the real ones: {', and '.join(seen)}. Check preprocess= "
        "(the network's own normalisation, applied once) and the unit of the pixels (0…1 or 0…255)"
    )


def _of_pixels(images: Tensor, pixel_range: tuple[float, float] | None) -> str:
    low, high = float(images.min()), float(images.max())
    width = max(abs(low), abs(high)) if pixel_range is None else pixel_range[1] - pixel_range[0]
    flat = images.flatten(1).cpu().double()
    constant = int((flat.std(1, correction=0) <= 1e-6 * width).sum())
    if 2 * constant > len(images):
        return f"{constant} of {len(images)} real images have one value in all pixels: check how they are loaded"
    if len(images) > 1 and float((flat - flat[0]).abs().max()) <= 1e-6 * width:
        return f"the {len(images)} real images looked at are all the same: check how they are loaded"
    if pixel_range is not None and high - low < _NARROW * width:
        return (
            f"pixels of the real images lie between {low:.3g} and {high:.3g}, a small part of pixel_range="
            f"({pixel_range[0]:g}, {pixel_range[1]:g}): check that both have the same unit"
        )
    return ""


@torch.no_grad()
def _of_network(view: nn.Module, images: Tensor, preprocess: Preprocess | None) -> list[str]:
    inputs: list[Tensor] = []

    def prepared(x: Tensor) -> Tensor:
        inputs.append(x if preprocess is None else preprocess(x.clone()))
        return inputs[-1].clone()  # a network may write into its input

    norms = {name: module for name, module in view.named_modules() if isinstance(module, _BatchNorm)}
    first: list[tuple[str, float, float]] = []

    def look(call: Call) -> None:
        if not first and _knows(call.module) and call.inputs:
            first.append((call.address.module, *_compared(call.module, call.inputs[0])))

    try:
        output = listen(norms, look, lambda: run(view, images, prepared, tuple(images.shape[1:])))
    except Exception:
        return []  # layers after the one that is sampled may not take such images
    mean, std = float(inputs[0].cpu().double().mean()), float(inputs[0].cpu().double().std(correction=0))
    given = f"mean {mean:.3g} and standard deviation {std:.3g}"
    seen: list[str] = []
    if first:
        name, offset, spread = first[0]
        if offset > _OFFSET or not 1 / _SPREAD <= spread <= _SPREAD:
            seen.append(
                f"the input of its batch norm {name!r} spreads {spread:.2g} times as much as in its training and is "
                f"shifted by {offset:.2g} standard deviations (input of the network: {given})"
            )
    elif abs(mean) > _MEAN or not _LEAST_STD <= std <= _MOST_STD:
        seen.append(
            f"the network's input has {given}, while most networks, unlike perhaps yours, take numbers near 0 and 1"
        )
    if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] >= _CLASSES:
        counts = output.argmax(1).bincount(minlength=output.shape[1])
        share, top = float(counts.max()) / len(images), int(counts.argmax())
        if share >= _ONE_CLASS:
            seen.append(
                f"it puts {share:.0%} of {len(images)} images into class {top}, which is right only if all are of it"
            )
    return seen


def _knows(norm: Any) -> bool:
    """Whether batch norm has running statistics that are not the initial ones."""
    mean, var = norm.running_mean, norm.running_var
    return mean is not None and not (bool((mean == 0).all()) and bool((var == 1).all()))


def _compared(norm: Any, given: Tensor) -> tuple[float, float]:
    """Shift of the input from the running mean (root mean square over channels) and its relative spread (median)."""
    channels = given.cpu().double().transpose(0, 1).flatten(1)
    std = (norm.running_var.cpu().double() + norm.eps).sqrt()
    offset = (channels.mean(1) - norm.running_mean.cpu().double()) / std
    spread = (channels.var(1, correction=0) + norm.eps).sqrt() / std
    return float(offset.square().mean().sqrt()), float(spread.median())
