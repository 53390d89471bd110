"""Texts given on the command line -> arguments of `Sampler`; ValueErrors name the option, and what would work."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .. import demo as demos
from .. import kernels
from ..core.target import Kernel
from ..network.trace import Preprocess
from ..parametrizations import Natural
from ..pictures.display import Display, axes_of, checked_bands, checked_contrast
from ..sampling.ladder import Ladder

_IMAGENET = (0.485, 0.456, 0.406, 0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Standardise:
    """x -> (x − mean)/std; can be sent to other processes."""

    mean: Tensor
    std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x)) / self.std.to(x)


def preprocess_of(text: str, shape: tuple[int, ...]) -> Preprocess:
    """x -> (x − mean)/std of images of this shape, for all channels or per channel."""
    numbers = _IMAGENET if text == "imagenet" else numbers_of("--preprocess", text, float)
    half, wanted = len(numbers) // 2, f"--preprocess {text}: imagenet, or means and as many standard deviations"
    if not half or len(numbers) % 2 or not all(math.isfinite(n) for n in numbers):
        raise ValueError(f"{wanted}, finite numbers, e.g. 0.5,0.25")
    if not all(std > 0 for std in numbers[half:]):
        raise ValueError(f"{wanted} above 0, e.g. 0.5,0.25")
    if half > 1 and (len(shape) != 3 or shape[0] != half):
        raise ValueError(f"--preprocess {text}: numbers for {half} channels, and images of shape {shape}")
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (numbers[:half], numbers[half:]))
    return Standardise(mean, std)


def display_of(contrast: str, bands: str | None, number: int | None, shape: tuple[int, ...]) -> Display:
    """What is shown of images of this shape."""
    count, depth, *_ = axes_of(shape)
    if number is not None and number >= depth:
        raise ValueError(f"--slice {number}: the images have {depth} slice{'s' if depth > 1 else ''}, from 0")
    chosen = None if bands is None else checked_bands(numbers_of("--bands", bands, int), count)
    return Display(checked_contrast(contrast), chosen, number)


def prior_of(text: str, model: str, *, auto: str = "auto") -> Natural | str:
    """The `prior` argument of `Sampler`, a file, or the training images' prior for a network of the package.

    `auto`: what "auto" stands for with a network of the package: "auto" or "natural".
    """
    shipped = model.partition(":")[0]
    if (auto if text == "auto" else text) == "natural" and shipped in ("mnist", "cifar"):
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
    options = {key: value for key, value in {"normalize": normalize, "mix": mix}.items() if value is not None}
    if preset is not None:
        if name is not None and name.lower() != "regularisedascent":
            raise ValueError(f"--preset belongs to RegularisedAscent; {name} has none")
        if options:
            raise ValueError(f"--{next(iter(options))} applies only to Algorithm1, and --preset to RegularisedAscent")
        return kernels.RegularisedAscent.preset(preset.upper())  # type: ignore[arg-type]  # checked there
    if name is None and options:
        name = "Algorithm1"  # the only one that has them
    if name is None:
        return None
    known = {each.lower(): getattr(kernels, each) for each in kernels.__all__}
    if name.lower() not in known:
        raise ValueError(f"--kernel {name}: unknown kernel; choose one of {', '.join(kernels.__all__)}")
    if options and known[name.lower()] is not kernels.Algorithm1:
        raise ValueError(f"--{next(iter(options))} applies only to Algorithm1, not to {name}")
    kernel: Kernel = known[name.lower()](**options)
    return kernel


def neurons_of(text: str) -> list[Any]:
    """ "0-9", "3,5,7", "5@3,4;6@3,4", "0-2;3 - 5" -> list of neurons; "3 - 5" with spaces is a difference.

    Places hold a comma, so beside them neurons are separated by semicolons.
    """
    found: list[Any] = []
    if "@" in text and ";" not in text and (parts := _separated_by_commas(text)):
        raise ValueError(
            f"--neurons {text!r}: where a place is given, such as 5@3,4, separate neurons by ';', "
            f"for instance --neurons {';'.join(parts)!r}"
        )
    for part in text.split(";" if "@" in text or ";" in text else ","):
        low, dash, high = part.strip().partition("-")
        if dash and low.isdigit() and high.isdigit():
            found += range(int(low), int(high) + 1)
        elif part.strip():
            found.append(part.strip())
    return found


def _separated_by_commas(text: str) -> list[str]:
    """Neurons that commas separate beside places, "0,3@2,2" -> ["0", "3@2,2"]; [] if there is one neuron."""
    places = re.sub(r"@-?\d+(,-?\d+)*", lambda place: place[0].replace(",", "\0"), text)
    parts = [part.strip().replace("\0", ",") for part in places.split(",") if part.strip()]
    return parts if len(parts) > 1 else []


def class_names_of(file: Path) -> list[str]:
    """Class names from a file: one a line; or JSON, a list or an object index -> name (or names, as ImageNet's)."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--class-names {file}: not a text file in UTF-8") from error
    if file.suffix != ".json":
        return [line.strip() for line in text.strip().splitlines()]
    wanted = 'expected a list of names, or an object such as {"0": "cat", "1": "dog"}'
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--class-names {file}: not JSON ({error}); {wanted}") from error
    if isinstance(content, dict) and content:
        if all(type(value) is int for value in content.values()):  # name -> index
            content = {str(index): name for name, index in content.items()}
        missing = next((i for i in range(len(content)) if str(i) not in content), None)
        if missing is not None:
            raise ValueError(f"--class-names {file}: {wanted}, with every index from 0; {missing} is missing")
        content = [content[str(i)] for i in range(len(content))]
        content = [each[-1] if isinstance(each, list) and each else each for each in content]
    if not isinstance(content, list) or not content or not all(isinstance(each, str) for each in content):
        raise ValueError(f"--class-names {file}: {wanted}")
    return content


def at_of(text: str) -> Literal["center", "mean"]:
    """The `at` argument of `Sampler`."""
    for place in ("center", "mean"):
        if text == place:
            return place
    raise ValueError(f"--at {text}: center (the unit at the centre of a channel) or mean (of the whole channel)")


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
