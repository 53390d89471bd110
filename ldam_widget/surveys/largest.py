"""The k images that drive each unit most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# An entry is one integer, so that the largest ones are the same in whatever order they come: the value's bits, made to
# grow with the value, and below them the image's number, made to fall, so that the lower number wins a tie.
EMPTY = torch.iinfo(torch.int64).min
_LOW = 0xFFFFFFFF
_AT_ONCE = 2**20  # numbers of maps that are copied at once: few enough for a cache


class Entering(NamedTuple):
    """Changes that a batch makes to a `Largest`, not made yet."""

    units: Tensor  # whose entries change
    keys: Tensor  # their new entries, (units, k)
    places: Tensor


class Largest:
    """Per unit the k largest values with image and place, 12 bytes each; ties: the lowest image first.

    Attributes:
        keys: (units, k) int64, descending.
        places: (units, k) int32, flat; −1 where empty.
        last: (units,) float32, what a value of a later image must exceed to enter.
    """

    def __init__(self, keys: Tensor, places: Tensor) -> None:
        self.keys, self.places, self.last = keys, places, _last(keys)

    @classmethod
    def empty(cls, units: int, k: int) -> Largest:
        """Without any image."""
        return cls(torch.full((units, k), EMPTY), torch.full((units, k), -1, dtype=torch.int32))

    @classmethod
    def of_all(cls, parts: Sequence[Largest]) -> Largest:
        """The units of several, one after the other; from now on these share its memory."""
        whole = cls(torch.cat([part.keys for part in parts]), torch.cat([part.places for part in parts]))
        first = 0
        for part in parts:
            end = first + len(part.keys)
            part.keys, part.places, part.last = whole.keys[first:end], whole.places[first:end], whole.last[first:end]
            first = end
        return whole

    def find(self, values: Tensor, maps: Tensor) -> Tensor:
        """Where on the maps the values are that may enter, (n, units) int32, flat; −1: this one does not enter.

        Args:
            values: (n, units) float32 on the CPU, maxima of the maps; NaN never enters.
            maps: (n, units, *map), on any device.
        """
        new = values > self.last
        found = new.to(torch.int32) - 1
        if maps.ndim > 2:
            image, unit = new.nonzero(as_tuple=True)
            size = max(1, _AT_ONCE // max(1, maps[0, 0].numel()))
            for first in range(0, len(image), size):
                some, which = image[first : first + size], unit[first : first + size]
                best = maps[some.to(maps.device), which.to(maps.device)].flatten(1).argmax(1)
                found[some, which] = best.to("cpu", torch.int32)
        return found

    def entering(self, values: Tensor, images: Tensor, places: Tensor) -> Entering | None:
        """What a batch changes; None: nothing.

        Args:
            values: (n, units) float32.
            images: (n,) their numbers, higher than those of all images so far.
            places: from `find`.
        """
        new = places >= 0
        units = new.any(0).nonzero()[:, 0]
        if not len(units):
            return None
        fresh = _keys(values[:, units], images).masked_fill_(~new[:, units], EMPTY).T  # (units, n)
        keys, chosen = torch.cat([self.keys[units], fresh], 1).topk(self.keys.shape[1])
        return Entering(units, keys, torch.cat([self.places[units], places[:, units].T], 1).gather(1, chosen))

    def enter(self, entering: Entering | None) -> None:
        """Make the changes."""
        if entering is not None:
            self.keys[entering.units], self.places[entering.units] = entering.keys, entering.places
            self.last[entering.units] = _last(entering.keys)

    def merge(self, other: Largest) -> None:
        """The largest values of both."""
        self.keys, chosen = torch.cat([self.keys, other.keys], 1).topk(self.keys.shape[1])
        self.places = torch.cat([self.places, other.places], 1).gather(1, chosen)
        self.last = _last(self.keys)

    def tensors(self) -> dict[str, Tensor]:
        """value float32, image int32 and place int32, (units, k); NaN and −1 where empty."""
        empty = self.keys == EMPTY
        image = (_LOW - (self.keys & _LOW)).masked_fill(empty, -1)
        return {
            "value": _values(self.keys).masked_fill(empty, torch.nan),
            "image": image.to(torch.int32),
            "place": self.places,
        }

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Largest:
        """From what `tensors` gave."""
        value, image = tensors["value"], tensors["image"]
        return cls(_keys(value.T, image.T).T.masked_fill(image < 0, EMPTY).contiguous(), tensors["place"])


def _keys(values: Tensor, images: Tensor) -> Tensor:
    bits = (values + 0.0).contiguous().view(torch.int32)  # −0 is 0
    growing = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    images = images.long().view(-1, 1) if images.ndim == 1 else images.long()
    return (growing << 32) | (_LOW - images)


def _values(keys: Tensor) -> Tensor:
    growing = (keys >> 32).to(torch.int32)
    return (growing ^ ((growing >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _last(keys: Tensor) -> Tensor:
    last = keys[:, -1]
    return _values(last).masked_fill(last == EMPTY, -torch.inf)
