"""All that a survey keeps of one layer.

Everything is a maximum, a minimum or a sum of integers, so the order of the images, and how they were shared out among
several runs, make no difference to a single bit. What is added up is rounded to integers first, in units that follow
from the first 1,024 images: values to 2^-26 of the largest of these, which is less than float32 rounds; for the
correlations to 1/32768 of their range.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .largest import Largest

BINS = 64  # of a histogram, and one more at each end for what lies outside
_VALUE_BITS, _VALUE_LIMIT = 26, 2.0**40  # sums of 2^23 such numbers fit into int64
_RANGE_BITS, _RANGE_LIMIT = 14, 2.0**20  # those of 2^23 products, too, and of 2^13 into float64
_TOGETHER = 1024  # images that are counted at once
MOST_IMAGES = 2**23
MOST_CORRELATED = 4096  # channels


class Tally:
    """One layer, so far.

    Args:
        units, k: of the layer, and how many images are kept of each.
        correlated: whether to correlate its units.
    """

    def __init__(self, units: int, k: int, correlated: bool = False) -> None:
        self.units, self.correlated = units, torch.tensor(correlated)
        self.largest = Largest.empty(units, k)
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # values, images and labels, not counted yet
        self.low = torch.full((units,), torch.inf)
        self.counts = torch.zeros(units, 3, dtype=torch.int64)  # finite values, values that are not, exact zeros
        self.edges = torch.empty(0)
        self.bins = torch.empty(0)
        self.sums = torch.empty(0)
        self.class_sums = torch.zeros(0, units, dtype=torch.int64)
        self.class_counts = torch.zeros(0, units, dtype=torch.int64)
        self.products = torch.empty(0)
        self.product_sums = torch.empty(0)
        self.complete = torch.zeros(1, dtype=torch.int64)  # images for which the whole layer is finite

    @property
    def settled(self) -> bool:
        """Whether the first images have been seen."""
        return len(self.edges) > 0

    def add(self, values: Tensor, images: Tensor, labels: Tensor) -> None:
        """Values (n, units) float32 of some images, NaN where they are not finite; counted later."""
        self._waiting.append((values, images, labels))
        if self.settled and sum(len(each[0]) for each in self._waiting) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Count what is waiting, unless the first images have not been seen yet."""
        if self.settled and self._waiting:
            values, _, labels = map(torch.cat, zip(*self._waiting, strict=True))
            self._waiting.clear()
            for first in range(0, len(values), _TOGETHER):
                self._count(values[first : first + _TOGETHER], labels[first : first + _TOGETHER])

    def settle(self, first: int, end: int) -> None:
        """All of the first images have been added: choose edges and units, and keep those from `first` to `end` − 1."""
        values, images, labels = self._early()
        finite = values.isfinite()
        nothing = values.new_full((1, self.units), torch.inf)
        low = torch.cat([values.masked_fill(~finite, torch.inf), nothing]).amin(0)
        high = torch.cat([values.masked_fill(~finite, -torch.inf), -nothing]).amax(0)
        none = low > high  # no finite value at all
        low, high = low.masked_fill(none, 0), high.masked_fill(none, 0)
        widest = (high - low).max()  # of the layer: an estimate for units that have not varied yet
        widest = torch.where(widest > 0, widest, low.abs().clamp(min=1))
        self.edges = torch.stack([low, torch.where(high > low, high, low + widest)], 1)
        self.bins = torch.zeros(self.units, BINS + 2, dtype=torch.int32)
        self.sums = torch.zeros(self.units, dtype=torch.int64)
        if bool(self.correlated):
            self.products = torch.zeros(self.units, self.units, dtype=torch.int64)
            self.product_sums = torch.zeros(self.units, dtype=torch.int64)
        own = (images >= first) & (images < end)
        self._waiting = [(values[own], images[own], labels[own])]
        self.flush()

    def _early(self) -> tuple[Tensor, Tensor, Tensor]:
        nothing = torch.empty(0, self.units), *2 * [torch.empty(0, dtype=torch.int64)]
        values, images, labels = map(torch.cat, zip(nothing, *self._waiting, strict=True))
        return values, images, labels

    def _count(self, values: Tensor, labels: Tensor) -> None:
        if not len(values):
            return
        finite = values.isfinite()
        whole = finite.all(1)
        exact = values.double()
        if not bool(whole.all()):
            self.counts[:, 1] += (~finite).sum(0)
            exact = exact.masked_fill(~finite, 0)
        self.low = torch.minimum(self.low, exact.masked_fill(~finite, torch.inf).amin(0).float())
        self.counts[:, 0] += finite.sum(0)
        self.counts[:, 2] += (values == 0).sum(0)
        low, high = self.edges.double().unbind(1)
        inside = ((exact - low) * (BINS / (high - low))).floor_().clamp_(0, BINS - 1).long() + 1
        inside.masked_fill_(exact < low, 0).masked_fill_(exact > high, BINS + 1)
        self.bins.scatter_add_(1, inside.T, finite.T.to(self.bins.dtype))
        rounded = (exact * self.scale).round_().clamp_(-_VALUE_LIMIT, _VALUE_LIMIT)
        self.sums += rounded.sum(0).long()
        self.complete += whole.sum()
        known = labels >= 0
        if bool(known.any()):
            self._widen(int(labels.max()) + 1)
            self.class_sums.index_add_(0, labels[known], rounded[known].long())
            self.class_counts.index_add_(0, labels[known], finite[known].long())
        if bool(self.correlated):
            centred = (exact - (low + high) / 2) * self.steps
            centred = centred.round_().clamp_(-_RANGE_LIMIT, _RANGE_LIMIT)[whole]
            self.products += (centred.T @ centred).long()
            self.product_sums += centred.sum(0).long()

    @property
    def scale(self) -> Tensor:
        """Per unit, (units,) float64, what values are multiplied with before they are rounded and added up."""
        largest = self.edges.double().abs().amax(1)
        return torch.ldexp(torch.ones_like(largest), _VALUE_BITS - torch.frexp(largest).exponent)

    @property
    def steps(self) -> Tensor:
        """Per unit, (units,) float64, what values are multiplied with for the correlations: steps of its range."""
        low, high = self.edges.double().unbind(1)
        steps: Tensor = 2 ** (_RANGE_BITS + 1) / (high - low)
        return steps

    def merge(self, other: Tally) -> None:
        """Add what another tally has of other images. Raises ValueError if the first images gave it other units."""
        if not torch.equal(self.edges, other.edges):
            raise ValueError("the first images gave different values: were the parts made on different machines?")
        self.largest.merge(other.largest)
        self.low = torch.minimum(self.low, other.low)
        self._widen(len(other.class_counts))
        for name in ("counts", "bins", "sums", "complete", "products", "product_sums"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.class_sums[: len(other.class_sums)] += other.class_sums
        self.class_counts[: len(other.class_counts)] += other.class_counts

    def _widen(self, classes: int) -> None:
        more = max(0, classes - len(self.class_counts))
        self.class_sums = torch.cat([self.class_sums, self.class_sums.new_zeros(more, self.units)])
        self.class_counts = torch.cat([self.class_counts, self.class_counts.new_zeros(more, self.units)])

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name, for a file; what waits has been flushed."""
        early = {} if self.settled else dict(zip(_EARLY, self._early(), strict=True))
        return self.largest.tensors() | early | {name: getattr(self, name) for name in _KEPT}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Tally:
        """From what `tensors` gave."""
        tally = cls(*tensors["value"].shape)
        tally.largest = Largest.of(tensors)
        for name in _KEPT:
            setattr(tally, name, tensors[name])
        if not tally.settled:
            values, images, labels = (tensors[name] for name in _EARLY)
            tally._waiting.append((values, images, labels))
        return tally


_EARLY = ("early", "early_images", "early_labels")
_KEPT = ("correlated", "low", "counts", "edges", "bins", "sums", "class_sums", "class_counts", "products",
         "product_sums", "complete")  # fmt: skip
