"""Random numbers that depend on (seed, neuron, chain, step) alone.

Every chain has a generator of its own, so chain 0 of 4 sees the numbers of chain 0 of 64, and two models sampled with
one seed see the same noise (common random numbers): what differs between their pictures is the weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Numbers of several steps are drawn in one call a chain: the call costs more than its 784 numbers. The block length
# depends on the image size alone, never on the number of chains, else chains would not be reproducible one by one.
_BLOCK_NUMBERS = 2**14
_BLOCK_STEPS = 16


Mark = tuple["_Mark", "_Mark | None", "_Mark | None"]
_Mark = tuple[list[Tensor], int]
_NORMAL, _UNIFORM, _CHANGES = 0, 1, 100  # streams of a chain


class ChainNoise:
    """Streams of normal and of uniform numbers for (neuron, chain) pairs.

    Args:
        seed: non-negative integer.
        neurons, chains: how many of each; the batch axis counts neurons × chains, neuron first.
        shape: of one image.
        device: where the numbers are drawn. CPU and CUDA streams differ.
    """

    def __init__(self, seed: int, neurons: int, chains: int, shape: Sequence[int], device: torch.device) -> None:
        self.shape = tuple(shape)
        self.device = device
        self._seed, self._chains = seed, chains
        self._numbers = list(range(neurons))  # of the neurons' streams
        self._next_number = neurons
        self._seeds = [(seed, neuron, chain) for neuron in self._numbers for chain in range(chains)]
        self._normal = _Stream(self._seeds, _NORMAL, self.shape, device)
        self._uniform: _Stream | None = None  # made on first use: not every kernel asks for one
        self._changes: _Stream | None = None

    def start(self, attempt: int = 0) -> Tensor:
        """Standard normal start images (chain, *shape); attempt 0 is drawn once, before the first step.

        Other attempts have streams of their own: a chain's numbers do not depend on whether another had to try again.
        """
        stream = _Stream(self._seeds, _UNIFORM + attempt, self.shape, self.device) if attempt else self._normal
        return stream.draw((len(self._seeds), *self.shape))

    def normal(self) -> Tensor:
        """The next standard normal numbers, (chain, *shape); a view that later calls leave alone."""
        return self._normal.next()

    def uniform(self) -> Tensor:
        """The next numbers uniform on [0, 1), (chain,) float64."""
        if self._uniform is None:
            self._uniform = _Stream(self._seeds, _UNIFORM, (), self.device)
        return self._uniform.next()

    def changes(self, count: int) -> Tensor:
        """The next numbers uniform on [0, 1) that tell how a picture is changed, (chain, count) float64."""
        if self._changes is None or self._changes.shape != (count,):
            self._changes = _Stream(self._seeds, _CHANGES, (count,), self.device)
        return self._changes.next()

    def of_neurons(self, places: Sequence[int | None]) -> ChainNoise:
        """Streams for other neurons, at the same step; these ones stay as they are.

        Args:
            places: for each neuron wanted, which of the present ones it is; None: it is new, and gets streams that no
                neuron has had before.
        """
        other = copy.copy(self)
        other._numbers = []
        for place in places:
            other._numbers.append(other._next_number if place is None else self._numbers[place])
            other._next_number += place is None
        other._seeds = [(self._seed, number, chain) for number in other._numbers for chain in range(self._chains)]
        rows = [None if p is None else p * self._chains + c for p in places for c in range(self._chains)]
        other._normal = self._normal.of_rows(rows, other._seeds)
        for name in ("_uniform", "_changes"):
            stream = getattr(self, name)
            setattr(other, name, None if stream is None else stream.of_rows(rows, other._seeds))
        return other

    def mark(self) -> Mark:
        """The present place, for `rewind`."""
        uniform, changes = (None if stream is None else stream.mark() for stream in (self._uniform, self._changes))
        return self._normal.mark(), uniform, changes

    def rewind(self, mark: Mark) -> None:
        """Go back to a marked place, whose numbers come again: steps that were not taken do not use any up."""
        normal, uniform, changes = mark
        self._normal.rewind(normal)
        self._uniform = _rewound(self._uniform, uniform)
        self._changes = _rewound(self._changes, changes)


class _Stream:
    """One kind of numbers, a generator a chain."""

    def __init__(
        self, seeds: Sequence[tuple[int, int, int]], kind: int, shape: tuple[int, ...], device: torch.device
    ) -> None:
        self.kind, self.shape, self.device = kind, shape, device
        self._generators = [self._generator(seed) for seed in seeds]
        self._block = max(1, min(_BLOCK_STEPS, _BLOCK_NUMBERS // max(1, math.prod(shape))))
        self._before: list[Tensor] = []  # states of the generators before they drew the block in use
        self._buffer = torch.empty(0)
        self._next = self._block

    def _generator(self, seed: tuple[int, int, int]) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(_mixed(seed, self.kind))

    def of_rows(self, rows: Sequence[int | None], seeds: Sequence[tuple[int, int, int]]) -> _Stream:
        """A copy for other chains; None: a new one, of this seed."""
        other = copy.copy(self)
        other._generators = [self._generator(seed) for seed in seeds]
        if self._next == self._block:  # the next block is drawn when it is asked for
            for row, generator in zip(rows, other._generators, strict=True):
                if row is not None:
                    generator.set_state(self._generators[row].get_state())
            return other
        for row, generator in zip(rows, other._generators, strict=True):
            if row is not None:
                generator.set_state(self._before[row])
        other._fill()
        other._next = self._next
        return other

    def next(self) -> Tensor:
        if self._next == self._block:
            self._fill()
        numbers = self._buffer[self._next]
        self._next += 1
        return numbers

    def mark(self) -> _Mark:
        if self._next == self._block:
            self._fill()
        return self._before, self._next

    def rewind(self, mark: _Mark) -> None:
        before, place = mark
        if before is not self._before:
            for generator, state in zip(self._generators, before, strict=True):
                generator.set_state(state)
            self._fill()
        self._next = place

    def _fill(self) -> None:
        self._before = [generator.get_state() for generator in self._generators]
        # a fresh tensor each time: a state may still hold a view of the last block
        drawn = self.draw((len(self._generators), self._block, *self.shape))
        self._buffer = drawn.transpose(0, 1).contiguous()  # each step's numbers in one piece
        self._next = 0

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        # an acceptance of 1 − 1e-8 is not 1: what is compared with a probability has double precision
        uniform = self.kind in (_UNIFORM, _CHANGES)
        out = torch.empty(shape, dtype=torch.float64 if uniform else torch.float32, device=self.device)
        for row, generator in zip(out, self._generators, strict=True):
            row.uniform_(generator=generator) if uniform else row.normal_(generator=generator)
        return out


def _rewound(stream: _Stream | None, mark: _Mark | None) -> _Stream | None:
    if stream is not None and mark is not None:
        stream.rewind(mark)
    return stream if mark is not None else None  # had not been used: begins anew


def _mixed(seed: tuple[int, int, int], kind: int) -> int:
    """Well-mixed 63-bit seed of one stream: neighbouring seeds must not give neighbouring streams."""
    entropy = seed if kind == _NORMAL else (*seed, kind)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
