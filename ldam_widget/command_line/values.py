"""Texts given on the command line -> arguments of `Sampler`; ValueErrors name the option, and what would work."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from .. import demo as demos
from .. import kernels
from ..core.target import Kernel
from ..network.trace import Preprocess
from ..parametrizations import Natural
from ..pictures.display import Display, axes_of, checked_bands, checked_contrast
from ..sampling.ladder import Ladder

_IMAGENET = (0.485, 0.456, 0.406, 0.229, 0.224, 0.225)


def preprocess_of(text: str) -> Preprocess:
    """x -> (x − mean)/std, for all channels or per channel."""
    numbers = _IMAGENET if text == "imagenet" else numbers_of("--preprocess", text, float)
    half, wanted = len(numbers) // 2, f"--preprocess {text}: imagenet, or means and as many standard deviations"
    if not half or len(numbers) % 2 or not all(math.isfinite(n) for n in numbers):
        raise ValueError(f"{wanted}, finite numbers, e.g. 0.5,0.25")
    if not all(std > 0 for std in numbers[half:]):
        raise ValueError(f"{wanted} above 0, e.g. 0.5,0.25")
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (numbers[:half], numbers[half:]))
    return lambda x: (x - mean.to(x)) / std.to(x)


def display_of(contrast: str, bands: str | None, number: int | None, shape: tuple[int, ...]) -> Display:
    """What is shown of images of this shape."""
    count, depth, *_ = axes_of(shape)
    if number is not None and number >= depth:
        raise ValueError(f"--slice {number}: the images have {depth} slice{'s' if depth > 1 else ''}, from 0")
    chosen = None if bands is None else checked_bands(numbers_of("--bands", bands, int), count)
    return Display(checked_contrast(contrast), chosen, number)


def prior_of(text: str, model: str) -> Natural | str:
    """The `prior` argument of `Sampler`, a file, or the training images' prior for a network of the package."""
    shipped = model.partition(":")[0]
    if text == "natural" and shipped in ("mnist", "cifar"):
        return demos.mnist().prior if shipped == "mnist" else demos.cifar().prior
    return text if text in ("auto", "natural", "pixels") else Natural.load(text)


def start_of(text: str, shape: tuple[int, ...]) -> Any:
    """The `start` argument of `Sampler`, or a picture file as bytes (channels, height, width)."""
    if not Path(text).suffix:
        return text
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"--start {text}: images of shape {shape} cannot be read from a picture; use noise or grey")
    with Image.open(text) as picture:
        fitting = ImageOps.fit(picture.convert("L" if shape[0] == 1 else "RGB"), (shape[2], shape[1]))
    return torch.from_numpy(np.array(fitting)).view(shape[1], shape[2], shape[0]).permute(2, 0, 1)


def kernel_of(name: str | None, preset: str | None, normalize: str | None, mix: str | None) -> Kernel | None:
    """The kernel with that name, in any case; None: the sampler's own choice."""
    if preset is not None:
        if name is not None and name.lower() != "regularisedascent":
            raise ValueError(f"--preset belongs to RegularisedAscent; {name} has none")
        return kernels.RegularisedAscent.preset(preset.upper())  # type: ignore[arg-type]  # checked there
    if name is None and (normalize or mix):
        name = "Algorithm1"  # the only one that has them
    if name is None:
        return None
    known = {each.lower(): getattr(kernels, each) for each in kernels.__all__}
    if name.lower() not in known:
        raise ValueError(f"--kernel {name}: unknown kernel; choose one of {', '.join(kernels.__all__)}")
    options = {key: value for key, value in {"normalize": normalize, "mix": mix}.items() if value is not None}
    if options and known[name.lower()] is not kernels.Algorithm1:
        raise ValueError(f"--{next(iter(options))} applies only to Algorithm1, not to {name}")
    kernel: Kernel = known[name.lower()](**options)
    return kernel


def neurons_of(text: str) -> list[Any]:
    """ "0-9", "3,5,7", "5@3,4;6@3,4", "0-2;3 - 5" -> list of neurons; "3 - 5" with spaces is a difference."""
    found: list[Any] = []
    for part in text.split(";" if "@" in text or ";" in text else ","):
        low, dash, high = part.strip().partition("-")
        if dash and low.isdigit() and high.isdigit():
            found += range(int(low), int(high) + 1)
        elif part.strip():
            found.append(part.strip())
    return found


def assignments_of(texts: list[str]) -> dict[str, float]:
    """ "step_size=0.05" … -> live parameters."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"-p {text}: write name=number, e.g. -p step_size=0.05")
    return values


def numbers_of(option: str, text: str, kind: type) -> tuple[Any, ...]:
    """ "1,2,3" -> numbers."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{option} {text}: expected numbers separated by commas") from None


def ladder_of(text: str) -> Ladder:
    """ "1,2,4", "auto" or "auto:12" -> a ladder."""
    if text == "auto":
        return Ladder.auto()
    if not text.startswith("auto:"):
        return Ladder(numbers_of("--ladder", text, float))
    if not text[5:].isdecimal():
        raise ValueError(f"--ladder {text}: expected the number of rungs, e.g. auto:12")
    return Ladder.auto(int(text[5:]))
