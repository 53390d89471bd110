"""`Combination`: weighted sums over several places of a network, whose weights a live parameter can move.

Column n is f_n = Σ_r f_nr, one summand for each reader r: `Linear` readers give ⟨w, a⟩ and `Cosines` ⟨w, a⟩/|a|, where
a is the output at the reader's place. Weights are (1 − t)·start + t·end with the live parameter t = `interpolation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..core.parameters import Parameter
from ..network.readout import Readout

Tensors = tuple[Tensor, ...]

INTERPOLATION = Parameter(
    "interpolation", 0, 1, 0.0, "Of neurons written a → b: f = (1 − t)·a + t·b. 0 is a, 1 is b.", unit="",
)  # fmt: skip


class Reader(Protocol):
    """One summand of every column, read at one place."""

    @property
    def place(self) -> int:
        """Index of its output."""
        ...

    @property
    def bytes_each(self) -> int: ...

    def given(self, part: slice, t: float) -> Tensor:
        """The weights of some chains, (chain, …)."""
        ...

    def seed(self, output: Tensor, given: Tensor) -> Tensor:
        """The gradient with respect to the output; like the output."""
        ...

    def read(self, output: Tensor, part: slice, t: float) -> Tensor:
        """(chain,) float32."""
        ...

    def read_all(self, output: Tensor, t: float) -> Tensor:
        """(images, columns) float32."""
        ...


@dataclass(frozen=True)
class Linear:
    """⟨w, a⟩ of every column.

    Attributes:
        place: index of the output.
        start: weights at t = 0; columns that do not read this place have none.
        change: weights at t = 1 minus those at t = 0; None: they do not depend on t.
    """

    place: int
    start: Readout
    change: Readout | None = None

    @property
    def bytes_each(self) -> int:
        return self.start.bytes_each

    def given(self, part: slice, t: float) -> Tensor:
        (seed,) = self.start.given(part)
        return seed if self.change is None else seed.add(self.change.given(part)[0], alpha=t)

    def seed(self, output: Tensor, given: Tensor) -> Tensor:
        return given

    def read(self, output: Tensor, part: slice, t: float) -> Tensor:
        value = self.start.read((output,), part)
        return value if self.change is None else value.add(self.change.read((output,), part), alpha=t)

    def read_all(self, output: Tensor, t: float) -> Tensor:
        values = self.start.read_all((output,))
        return values if self.change is None else values.add(self.change.read_all((output,)), alpha=t)


@dataclass(frozen=True)
class Cosines:
    """⟨w, a⟩/|a| of every column; 0 where a = 0.

    Attributes:
        place: index of the output.
        region: index into (units, *positions): the part of the output that is a.
        start: directions of length 1, times the factor of each column at t = 0, (columns, numbers in a).
        change: those at t = 1 minus those at t = 0.
        chains: per column.
    """

    place: int
    region: tuple[slice | int, ...]
    start: Tensor
    change: Tensor
    chains: int

    @property
    def bytes_each(self) -> int:
        return self.start[0].nbytes

    def given(self, part: slice, t: float) -> Tensor:
        chains = torch.arange(len(self.start) * self.chains, device=self.start.device)[part]
        return self.start.add(self.change, alpha=t)[chains // self.chains]

    def seed(self, output: Tensor, given: Tensor) -> Tensor:
        a, length = self._seen(output)
        slope = (given - (given * a).sum(1, keepdim=True) * a / length.square()) / length
        seed = torch.zeros_like(output)
        inside = seed[self._of_batch]
        inside.copy_(slope.view(inside.shape))
        return seed

    def read(self, output: Tensor, part: slice, t: float) -> Tensor:
        a, length = self._seen(output)
        return ((self.given(part, t) * a).sum(1) / length.squeeze(1)).float()

    def read_all(self, output: Tensor, t: float) -> Tensor:
        a, length = self._seen(output)
        return (a @ self.start.add(self.change, alpha=t).T / length).float()

    @property
    def _of_batch(self) -> tuple[slice | int, ...]:
        return (slice(None), *self.region)

    def _seen(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """a (image, numbers) and |a| (image, 1), infinite where a = 0."""
        a = output[self._of_batch].flatten(1).to(self.start.dtype)
        length = torch.linalg.vector_norm(a, dim=1, keepdim=True)
        return a, torch.where(length == 0, torch.inf, length)


@dataclass(frozen=True)
class Combination:
    """The `objective.Scalars` of columns that add up what several readers give.

    Attributes:
        readers: at least one.
        places: how many outputs they read; every one is read.
        count: chains.
        device: of the weights.
        t: value of `interpolation`.
    """

    readers: Sequence[Reader]
    places: int
    count: int
    device: torch.device
    t: float = INTERPOLATION.default

    def at(self, t: float) -> Combination:
        return replace(self, t=t)

    @property
    def bytes_each(self) -> int:
        return sum(reader.bytes_each for reader in self.readers)

    def given(self, part: slice) -> Tensors:
        return tuple(reader.given(part, self.t) for reader in self.readers)

    def seeds(self, outputs: Tensors, given: Tensors) -> Tensors:
        seeds: list[Tensor | None] = [None] * self.places
        for reader, own in zip(self.readers, given, strict=True):
            seed, before = reader.seed(outputs[reader.place], own), seeds[reader.place]
            seeds[reader.place] = seed if before is None else before + seed
        return tuple(seed for seed in seeds if seed is not None)

    def read(self, outputs: Tensors, part: slice) -> Tensor:
        return _sum([reader.read(outputs[reader.place], part, self.t) for reader in self.readers])

    def read_all(self, outputs: Tensors) -> Tensor:
        return _sum([reader.read_all(outputs[reader.place], self.t) for reader in self.readers])


def _sum(values: list[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
