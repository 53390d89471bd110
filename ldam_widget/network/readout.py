"""What chains read from one layer's output: a few weighted elements each, or all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .units import Neuron

Read = tuple[Tensor, Tensor]  # flat indices into one image's output, and their weights; both may be empty

ALL = slice(None)
_SMALL = 2**20  # bytes: seeds of a whole batch up to this size are cached to save time


class Readout:
    """Reads neurons from a layer's output (chain, units, *positions), and seeds the backward pass there.

    The simplest `objectives.objective.Scalars`: one place, linear.

    Only the positions read are stored. The seed, which is as large as the output and mostly zero, is built for as many
    chains as are computed at once, then freed.

    Args:
        neurons: chains are ordered neuron by neuron; or what they read.
        shape: (units, *positions), of one image.
        chains: per neuron.
        device, dtype: of the output.
    """

    def __init__(
        self,
        neurons: Sequence[Neuron | Read],
        shape: tuple[int, ...],
        chains: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.count, self._chains = len(neurons) * chains, chains
        self._shape, self._size, self.dtype = shape, math.prod(shape), dtype
        reads = [read_by(neuron, shape) if isinstance(neuron, Neuron) else neuron for neuron in neurons]
        places, weights = _padded(reads, self._size)
        self._single = places.shape[1] == 1 and bool((weights == 1).all())  # its value needs no multiplication
        self._whole = places.shape[1] == self._size > 1  # the places are all elements, in order
        self._places, self._weights = places.to(device), weights.to(device, dtype)
        self._owner = torch.arange(len(neurons), device=device).repeat_interleave(chains)
        if not self._whole:  # each chain's places in the whole batch, and their weights
            first = self._size * torch.arange(self.count, device=device)
            self._index = self._places[self._owner] + first.unsqueeze(1)
            if self._single:
                self._index = self._index.squeeze(1)  # one number per chain
            self._each = self._weights[self._owner]
        self._kept: Tensor | None = None
        if self.count * self.bytes_each <= _SMALL:
            self._kept = self._seed(ALL)

    @property
    def device(self) -> torch.device:
        return self._weights.device

    @property
    def bytes_each(self) -> int:
        """Bytes of one chain's seed."""
        return self._size * self.dtype.itemsize

    def given(self, part: slice = ALL) -> tuple[Tensor]:
        """The seed of some chains: the gradient of their neurons with respect to the output; like the output."""
        if self._kept is not None:
            return (self._kept if part is ALL else self._kept[part],)
        return (self._seed(part),)

    def seeds(self, outputs: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Independent of the outputs."""
        return given

    def _seed(self, part: slice) -> Tensor:
        if self._whole:
            return self._weights[self._owner[part]].view(-1, *self._shape)
        weights = self._each[part]
        seed = torch.zeros(len(weights), *self._shape, device=weights.device, dtype=self.dtype)
        seed.view(-1).index_copy_(0, self._index_of(part).flatten(), weights.flatten())
        return seed

    def read(self, outputs: tuple[Tensor, ...], part: slice = ALL) -> Tensor:
        """Activations (chain,) float32, from the output of some chains."""
        (output,) = outputs
        if self._single:
            return output.take(self._index_of(part)).float()
        wide = torch.promote_types(output.dtype, torch.float32)  # half precision rounds a map's sum to three digits
        if self._whole:
            return (output.to(wide) * self.given(part)[0].to(wide)).flatten(1).sum(1).float()
        return (output.take(self._index_of(part)).to(wide) * self._each[part].to(wide)).sum(1).float()

    def read_all(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """Output for any images -> activation of every neuron, (images, N) float32."""
        (output,) = outputs
        flat = output.flatten(1)
        if self._single:
            return flat[:, self._places[:, 0]].float()
        wide = torch.promote_types(output.dtype, torch.float32)
        if self._whole:
            return (flat.to(wide) @ self._weights.to(wide).T).float()
        pairs = zip(self._places, self._weights.to(wide), strict=True)
        return torch.stack([flat[:, places].to(wide) @ weights for places, weights in pairs], 1).float()

    def _index_of(self, part: slice) -> Tensor:
        """Places within the output of only these chains."""
        return self._index if part is ALL else self._index[part] - part.start * self._size


def read_by(neuron: Neuron, shape: tuple[int, ...]) -> Read:
    """What a neuron reads; not an expression."""
    if isinstance(neuron.readout, Tensor):
        weights = neuron.readout.flatten()
        places = weights.nonzero().flatten()
        return places, weights[places]
    places = torch.arange(math.prod(shape)).view(shape)[neuron.readout].flatten()
    return places, torch.full((len(places),), 1 / len(places))


def _padded(read: Sequence[Read], size: int) -> tuple[Tensor, Tensor]:
    """Both as (N, longest); neurons that read fewer places are padded with other places of weight 0."""
    most = max(len(places) for places, _ in read)
    if 2 * most > size:  # all places in order need no index
        most = size
    rows, shares = torch.empty(len(read), most, dtype=torch.int64), torch.zeros(len(read), most)
    for row, share, (places, weights) in zip(rows, shares, read, strict=True):
        if most == size:
            row.copy_(torch.arange(size))
            share[places] = weights
            continue
        row[: len(places)], share[: len(places)] = places, weights
        if len(places) < most:
            free = torch.ones(size, dtype=torch.bool)
            free[places] = False
            row[len(places) :] = free.nonzero().flatten()[: most - len(places)]
    return rows, shares
