"""Random numbers that depend only on (seed, neuron, chain, step).

Every chain has its own generator, so chain 0 of 4 sees the same numbers as chain 0 of 64, and two models sampled with
the same seed see the same noise (common random numbers): their pictures differ only because their weights do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .precision import widest
from .target import NEURON

# The numbers of several steps are drawn in one call per chain: the call costs more than its 784 numbers. The block
# length depends only on the image size, never on the number of chains; otherwise single chains would not be
# reproducible.
_BLOCK_NUMBERS = 2**14
_BLOCK_STEPS = 16

_Mark = tuple[list[Tensor], int]


class _Kind(NamedTuple):
    """Identifies one of a chain's streams."""

    entropy: tuple[int, ...]  # distinguishes it from the other streams
    uniform: bool


_NORMAL, _UNIFORM = _Kind((), uniform=False), _Kind((1,), uniform=True)


class Mark(NamedTuple):
    """A position in all streams of a run."""

    normal: _Mark
    uniform: dict[_Kind, _Mark]


class ChainNoise:
    """Streams of normal and uniform numbers for (neuron, chain) pairs.

    Args:
        seed: non-negative integer.
        neurons: how many; or the number, ≥ 0, of the stream of each.
        chains: of each neuron; the batch axis is neurons × chains, neuron-major.
        shape: of one image.
        device: where the numbers are drawn. CPU and CUDA streams differ.
    """

    def __init__(
        self, seed: int, neurons: int | Sequence[int], chains: int, shape: Sequence[int], device: torch.device
    ) -> None:
        self.shape = tuple(shape)
        self.device = device
        self._seed, self._chains = seed, chains
        self._numbers = list(range(neurons) if isinstance(neurons, int) else neurons)  # stream number of each neuron
        self._next_number = max(self._numbers, default=-1) + 1
        self._seeds = [(seed, neuron, chain) for neuron in self._numbers for chain in range(chains)]
        self._normal = _Stream(self._seeds, _NORMAL, self.shape, device)
        self._uniform: dict[_Kind, _Stream] = {}  # created on first use: not every kernel needs one

    def start(self, attempt: int = 0) -> Tensor:
        """Standard normal start images (chain, *shape); attempt 0 is drawn once, before the first step.

        Later attempts use separate streams, so that a chain's numbers do not depend on whether another chain retried.
        """
        other = _Kind((1 + attempt,), uniform=False)
        stream = _Stream(self._seeds, other, self.shape, self.device) if attempt else self._normal
        return stream.draw((len(self._seeds), *self.shape))

    def normal(self) -> Tensor:
        """The next standard normal numbers, (chain, *shape); a view that later calls do not overwrite."""
        return self._normal.next()

    def uniform(self) -> Tensor:
        """The next numbers uniform on [0, 1), (chain,) float64."""
        return self._next(_UNIFORM, ())

    def of_term(self, name: str, count: int) -> Tensor:
        """The next uniform numbers on [0, 1) for a stochastic term, (chain, count) float64, from the term's stream."""
        return self._next(_kind_of(name), (count,))

    def of_neurons(self, places: Sequence[int | None]) -> ChainNoise:
        """Streams for another set of neurons, at the same step; this object is unchanged.

        Args:
            places: for each neuron wanted, its index among the present ones; None: it is new, and gets streams that
                no neuron has used before.
        """
        other = copy.copy(self)
        other._numbers = []
        for place in places:
            other._numbers.append(other._next_number if place is None else self._numbers[place])
            other._next_number += place is None
        other._seeds = [(self._seed, number, chain) for number in other._numbers for chain in range(self._chains)]
        rows = [None if p is None else p * self._chains + c for p in places for c in range(self._chains)]
        other._normal = self._normal.of_rows(rows, other._seeds)
        other._uniform = {kind: stream.of_rows(rows, other._seeds) for kind, stream in self._uniform.items()}
        return other

    def mark(self) -> Mark:
        """The current position, for `rewind`."""
        return Mark(self._normal.mark(), {kind: stream.mark() for kind, stream in self._uniform.items()})

    def rewind(self, mark: Mark) -> None:
        """Go back to a marked position and repeat its numbers, so that abandoned steps use none up."""
        self._normal.rewind(mark.normal)
        # streams not yet in use at the mark start afresh
        self._uniform = {kind: stream for kind, stream in self._uniform.items() if kind in mark.uniform}
        for kind, stream in self._uniform.items():
            stream.rewind(mark.uniform[kind])

    def _next(self, kind: _Kind, shape: tuple[int, ...]) -> Tensor:
        stream = self._uniform.get(kind)
        if stream is None or stream.shape != shape:
            stream = self._uniform[kind] = _Stream(self._seeds, kind, shape, self.device)
        return stream.next()


class _Stream:
    """One kind of numbers, with one generator per chain."""

    def __init__(
        self, seeds: Sequence[tuple[int, int, int]], kind: _Kind, shape: tuple[int, ...], device: torch.device
    ) -> None:
        self.kind, self.shape, self.device = kind, shape, device
        self._generators = [self._generator(seed) for seed in seeds]
        self._block = max(1, min(_BLOCK_STEPS, _BLOCK_NUMBERS // max(1, math.prod(shape))))
        self._before: list[Tensor] = []  # generator states before the current block was drawn
        self._buffer = torch.empty(0)
        self._next = self._block

    def _generator(self, seed: tuple[int, int, int]) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(_mixed(seed, self.kind))

    def of_rows(self, rows: Sequence[int | None], seeds: Sequence[tuple[int, int, int]]) -> _Stream:
        """A copy for other chains; a row of None is a new chain, started from its seed."""
        other = copy.copy(self)
        other._generators = [self._generator(seed) for seed in seeds]
        if self._next == self._block:  # the next block is drawn on demand
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
        self._buffer = drawn.transpose(0, 1).contiguous()  # each step's numbers contiguous
        self._next = 0

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        # an acceptance of 1 − 1e-8 is not 1: numbers compared with a probability need double precision
        uniform = self.kind.uniform
        kind = widest(torch.device(self.device)) if uniform else torch.float32
        out = torch.empty(shape, dtype=kind, device=self.device)
        for row, generator in zip(out, self._generators, strict=True):
            row.uniform_(generator=generator) if uniform else row.normal_(generator=generator)
        return out


def _kind_of(term: str) -> _Kind:
    """The term's stream, independent of which other terms exist."""
    return _Kind((100,) if term == NEURON else (100, *term.encode()), uniform=True)


def _mixed(seed: tuple[int, int, int], kind: _Kind) -> int:
    """Well-mixed 63-bit seed of one stream: neighbouring seeds must not give correlated streams."""
    entropy = (*seed, *kind.entropy)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
