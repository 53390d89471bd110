"""The natural prior: coordinates in which natural images are white noise."""

from __future__ import annotations

import hashlib
import json
import math
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..core.parameters import Parameter
from ..core.target import Range
from ..data import RealImages
from . import measure
from .maps import Dense, Flat, Leading, LinearMap

NATURAL = Parameter(
    "natural", 0, 1, 1.0, "From white noise (0) to the statistics of natural images (1), at the same contrast.",
    group="image prior",
)  # fmt: skip
PRIOR_SCALE = Parameter(
    "prior_scale", 0.05, 2, 1.0, "τ: spread of the prior N(0, τ²I). 1 is as wide as real images; less is calmer.",
    group="image prior", log=True,
)  # fmt: skip
SHIPPED = ("photos",)
FORMAT = "ldam-natural-1"
_MOST_IMAGES = 10_000  # used for measuring
_STEEPNESS = 4.0  # of the squash: slope 1 in the middle of the range
_WILD, _RIDGES = 4.0, (0.01, 0.03, 0.1, 0.3, 1.0)  # mean square of z above which a picture is not natural
_LOGITS = (4.0, 6.0)  # search interval for the steepness


class Natural:
    """A Gaussian model of natural images, used as the base measure of a sampler.

        x = squash(μ + M z),    p(z) ∝ N(z; 0, τ²I) · exp(E(x) / T)

    M is a square root of the images' covariance, so that z ~ N(0, I) gives pictures with their mean, colours and
    spectrum. `squash` is the logistic function into `pixel_range`; without a pixel range there is no squash, and the
    density of the picture is N(x; μ, τ²MMᵀ) exp(E(x)/T). With one, the density is stated for z. Either way T divides E
    but not the prior: as T → ∞ the samples follow the prior, as T → 0 they maximise E.

    Live: `natural` w, 0…1, raises the covariance to the power w at the same mean variance (white noise … natural), and
    `prior_scale` is τ. Changing them leaves z unchanged.

    Args:
        name: "photos", measured on 204 photographs (see `card`): mean colour, colour covariance, and the radial
            spectrum in cycles per image, for RGB images of any size.

    Raises:
        ValueError: no shipped prior has that name.
    """

    def __init__(self, name: str = "photos") -> None:
        if name not in SHIPPED:
            raise ValueError(
                f"Natural({name!r}): the shipped prior is Natural('photos'). For your own images use "
                "Natural.of(images), for a file Natural.load(path)"
            )
        content = (files("ldam_widget.parametrizations") / f"{name}.safetensors").read_bytes()
        tensors, card = _parsed(content, f"{name}.safetensors")
        self._take(tensors, card)

    @classmethod
    def of(cls, images: Any, *, pixel_range: Range = None, input_shape: tuple[int, ...] | None = None) -> Natural:
        """Measure the user's own images, at most 10,000 of them.

        With few pixels (≤ 4,000, channels included) and many images, this takes their mean and full covariance, so
        spatial layout is kept. Otherwise it takes the mean colour, the colour covariance and the spectrum, plus the
        directions in which images vary more than these predict.

        Args:
            images: tensor, array or map-style Dataset (n, *image), channels first or last, any number of channels;
                (n, height, width) is greyscale. Bytes are scaled to 0…1.
            pixel_range: (lo, hi) of floating-point pixels; None: 0…1 if all lie within, else the images' own range.
            input_shape: of one image; required for signals, (channels, length), which are otherwise taken for
                greyscale images.

        Raises:
            TypeError, ValueError: as for `RealImages`; fewer than two images.
        """
        return cls.of_real(RealImages(images, input_shape, pixel_range), pixel_range)

    @classmethod
    def of_real(cls, real: RealImages, pixel_range: Range) -> Natural:
        """Like `of`, for images that have been validated."""
        if len(real) < 2:
            raise ValueError(f"Natural.of(images) needs at least two images; got {len(real)}")
        some = real.spread(_MOST_IMAGES)
        found_range: dict[str, Any] = {}
        if pixel_range is None:
            low, high = float(some.min()), float(some.max())
            pixel_range = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)
            found_range = {} if pixel_range == (0.0, 1.0) else {"range_found": pixel_range}
        unit = (some - pixel_range[0]) / (pixel_range[1] - pixel_range[0])
        if not bool((unit - unit[0]).any()):
            raise ValueError("Natural.of(images): all images are the same, so there is nothing to measure")
        tensors = _measured(unit)
        shape = tuple(unit.shape[1:])
        card = {"images": len(unit), "of": len(real), "shape": shape, "pixel_range": pixel_range} | found_range
        found = cls.__new__(cls)
        found._take(tensors, card)
        found.steepness = _steepness(found._map(shape), found._mean_of(shape), unit)
        return found

    def _take(self, tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        self._tensors = {name: tensor.float() for name, tensor in tensors.items()}
        self.card = card  # describes the measured images and their pixel range
        self.steepness = float(card.get("steepness", _STEEPNESS))  # of the squash; its slope is a quarter of that

    def __repr__(self) -> str:
        return f"Natural({self.source})"

    @property
    def source(self) -> str:
        """What was measured, in words."""
        return str(self.card.get("source") or f"{self.card.get('images')} images")

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The only image shape it supports; None: any."""
        return tuple(self.card["shape"]) if "directions" in self._tensors else None

    @property
    def fingerprint(self) -> str:
        """Hash of what was measured, 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.steepness, self.card.get("pixel_range"))).encode())
        for name, tensor in sorted(self._tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def from_user_images(self) -> bool:
        """Whether it was measured by `of`, in the pixel range of the user's own images."""
        return "of" in self.card

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write a safetensors file; `half` stores half precision (three digits) in half the space."""
        tensors = {name: (t.half() if half else t).contiguous() for name, t in self._tensors.items()}
        card = self.card | {"steepness": self.steepness}
        Path(path).write_bytes(save(tensors, {"format": FORMAT, "card": json.dumps(card)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Natural:
        """Read a file written by `save`. Raises FileNotFoundError; ValueError if it is damaged or of another kind."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        found = cls.__new__(cls)
        found._take(*_parsed(Path(path).read_bytes(), str(path)))
        return found

    def shortened(self, directions: int) -> Natural:
        """Keep the strongest `directions` of a full covariance and replace all others by their mean variance.

        Covariances are shipped this way: 200 directions of MNIST hold 97 % of its variance.

        Raises:
            ValueError: `directions` is not an integer ≥ 0.
        """
        if isinstance(directions, bool) or not isinstance(directions, int) or directions < 0:
            raise ValueError(f"directions must be an integer ≥ 0; got {directions!r}")
        tensors = dict(self._tensors)
        if "colour" in tensors or directions >= len(tensors["variances"]):
            return self
        variances = tensors["variances"]
        pixels = tensors["directions"].shape[1]
        left = float(variances[directions:].sum() + tensors["rest"] * (pixels - len(variances)))
        tensors |= {
            "variances": variances[:directions],
            "directions": tensors["directions"][:directions],
            "rest": torch.tensor(left / (pixels - directions)),
        }
        found = Natural.__new__(Natural)
        found._take(tensors, self.card | {"steepness": self.steepness})
        return found

    def coordinates(
        self, input_shape: tuple[int, ...], pixel_range: Range, device: torch.device, *, standardised: bool = False
    ) -> NaturalCoordinates:
        """The coordinates for a sampler.

        Args:
            input_shape: of one image.
            pixel_range: (lo, hi) to squash into; None: no squash.
            device: where chains live.
            standardised: without a pixel range, give every channel mean 0 and variance 1.

        Raises:
            ValueError: the prior was measured on images of another shape or number of channels.
        """
        self._check(input_shape)
        mean, linear = self._mean_of(input_shape), self._map(input_shape)
        low, high = self.card.get("pixel_range", (0.0, 1.0)) if pixel_range is None else pixel_range
        gain, offset = torch.tensor(high - low), torch.tensor(low)
        if pixel_range is None and standardised and "colour" in self._tensors:
            gain = 1 / self._tensors["colour"].square().sum(1).sqrt().view(-1, *(1,) * (len(input_shape) - 1))
            offset = -mean * gain
        squash = None if pixel_range is None else self.steepness
        return NaturalCoordinates(linear.to(device), mean.to(device), gain.to(device), offset.to(device), squash)

    def _check(self, shape: tuple[int, ...]) -> None:
        # a signal (length,) may also be (1, length)
        if self.shape is not None and [n for n in self.shape if n != 1] != [n for n in shape if n != 1]:
            raise ValueError(f"the prior was measured on images of shape {self.shape}; the model takes {tuple(shape)}")
        if self.shape is None and _channels(shape) != len(self._tensors["colour"]):
            raise ValueError(
                f"the prior has {len(self._tensors['colour'])} channels, images of shape {tuple(shape)} have "
                f"{_channels(shape)}: use Natural.of(images) with images like these, or prior=None"
            )

    def _mean_of(self, shape: tuple[int, ...]) -> Tensor:
        mean = self._tensors["mean"]
        if mean.numel() == math.prod(shape):
            return mean.reshape(shape)
        return mean.view(-1, *(1,) * (len(shape) - 1)).expand(shape).contiguous()

    def _map(self, shape: tuple[int, ...]) -> LinearMap:
        of = self._tensors
        if "colour" not in of:
            if len(of["variances"]) == of["directions"].shape[1]:
                return Dense(of["variances"], of["directions"])
            rest = max(float(of["rest"]), 1e-12)
            return Leading(Flat(rest**0.5), of["variances"] / rest, of["directions"])
        sides = shape[1:] if len(shape) > 1 else shape
        linear = measure.spectral(of["amplitude"], of["colour"], tuple(sides))
        return Leading(linear, of["variances"], of["directions"]) if "directions" in of else linear


class NaturalCoordinates:
    """z ⇄ x of a `Natural` for one sampler: x = offset + gain · squash(μ + M z)."""

    white: ClassVar[bool] = True
    bounds: ClassVar[Range] = None

    def __init__(
        self, linear: LinearMap, mean: Tensor, gain: Tensor, offset: Tensor, steepness: float | None,
        natural: float = 1.0,
    ) -> None:  # fmt: skip
        self._linear, self._mean, self._gain, self._offset = linear, mean, gain, offset
        self._steepness, self.natural = steepness, natural
        self._now = linear.at(natural)
        self._unit = bool((gain == 1).all() and (offset == 0).all())
        if steepness is not None:
            self._middle = steepness * (mean - 0.5)

    def at(self, natural: float) -> NaturalCoordinates:
        """The same coordinates with another `natural`."""
        if natural == self.natural:
            return self
        return NaturalCoordinates(self._linear, self._mean, self._gain, self._offset, self._steepness, natural)

    @property
    def squashed(self) -> bool:
        """Whether the picture passes through the logistic function."""
        return self._steepness is not None

    def picture(self, z: Tensor) -> Tensor:
        y = self._now.forward(z)
        steepness = self._steepness
        y = y + self._mean if steepness is None else torch.add(self._middle, y, alpha=steepness).sigmoid_()
        return y if self._unit else y.mul_(self._gain).add_(self._offset)

    def pulled_back(self, grad: Tensor, picture: Tensor) -> Tensor:
        if self._steepness is not None:
            p = picture if self._unit else (picture - self._offset) / self._gain
            grad = (p - p * p).mul_(grad).mul_(self._steepness)
        return self._now.adjoint(grad if self._unit else grad * self._gain)

    def place(self, picture: Tensor) -> Tensor:
        y = (picture - self._offset) / self._gain
        if self._steepness is not None:
            y = 0.5 + torch.logit(y, 0.02) / self._steepness
        y = y - self._mean
        z = self._now.inverse(y)
        # fine detail of an unnatural picture would be thousands of standard deviations out, so it is dropped
        for ridge in _RIDGES:
            wild = z.flatten(1).square().mean(1) > _WILD
            if not bool(wild.any()):
                break
            z = torch.where(wild.view(-1, *(1,) * (z.ndim - 1)), self._now.inverse(y, ridge), z)
        return z.clamp(-3, 3)

    def start(self, numbers: Tensor, prior_scale: float) -> Tensor:
        return numbers * prior_scale


def _channels(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) > 1 else 1


def _measured(unit: Tensor) -> dict[str, Tensor]:
    """Images (n, *image) in 0…1 -> the tensors of a prior."""
    pixels = unit[0].numel()
    if pixels <= measure.MOST_PIXELS and len(unit) >= pixels:
        mean, variances, directions = measure.covariance(unit)
        return {"mean": mean, "variances": variances, "directions": directions, "rest": torch.zeros(())}
    shaped = unit if unit.ndim > 2 else unit.unsqueeze(1)
    mean, colour = measure.colours(shaped)
    amplitude = measure.spectrum(shaped, colour)
    tensors = {"mean": mean, "colour": colour, "amplitude": amplitude}
    rest = measure.spectral(amplitude, colour, tuple(shaped.shape[2:]))
    average = shaped.mean(0)
    variances, directions = measure.leading(shaped, average, rest)
    if len(variances):
        tensors |= {"mean": average, "variances": variances, "directions": directions}
    return tensors


def _steepness(linear: LinearMap, mean: Tensor, unit: Tensor) -> float:
    """The squash steepness at which samples of the prior have the same variance as the images."""
    own = torch.Generator().manual_seed(0)
    y = mean + linear.forward(torch.randn(128, *unit.shape[1:], generator=own))
    wanted = float(unit[: _MOST_IMAGES // 5].var(0).mean())
    low, high = _LOGITS
    for _ in range(20):
        middle = (low + high) / 2
        if float(torch.sigmoid(middle * (y - 0.5)).var(0).mean()) < wanted:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 2)


def _parsed(content: bytes, path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of a file written by `Natural.save`."""
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header, whose metadata `load` does not return
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise ValueError(f"no {FORMAT!r} in its metadata")
        card = json.loads(metadata["card"])
        if "mean" not in tensors or not isinstance(card, dict):
            raise ValueError("its mean or its description is missing")
        names = tensors.keys()
        strongest = {"variances", "directions"} & names
        if len(strongest) == 1 or (strongest and "shape" not in card):
            raise ValueError("its directions are incomplete")
        if not ({"colour", "amplitude"} <= names or (strongest and "rest" in names and "colour" not in names)):
            raise ValueError("what is known of its images is incomplete")
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a natural prior that Natural.save wrote: {error}") from error
    return tensors, card
