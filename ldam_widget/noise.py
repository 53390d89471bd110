"""Random numbers that depend on (seed, neuron, chain, step) alone.

Every chain has a generator of its own, so chain 0 of 4 sees the numbers of chain 0 of 64, and two models sampled with
one seed see the same noise (common random numbers): what differs between their pictures is the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Numbers of several steps are drawn in one call a chain: the call costs more than its 784 numbers. The block length
# depends on the image size alone, never on the number of chains, else chains would not be reproducible one by one.
_BLOCK_NUMBERS = 2**14
_BLOCK_STEPS = 16


Mark = tuple[list[Tensor], int]


class ChainNoise:
    """Streams of normal numbers for (neuron, chain) pairs.

    Args:
        seed: non-negative integer.
        neurons, chains: how many of each; the batch axis counts neurons × chains, neuron first.
        shape: of one image.
        device: where the numbers are drawn. CPU and CUDA streams differ.
    """

    def __init__(self, seed: int, neurons: int, chains: int, shape: Sequence[int], device: torch.device) -> None:
        self.shape = tuple(shape)
        self.device = device
        self._generators = [
            torch.Generator(device).manual_seed(_stream(seed, neuron, chain))
            for neuron in range(neurons)
            for chain in range(chains)
        ]
        numbers = int(np.prod(self.shape))
        self._block = max(1, min(_BLOCK_STEPS, _BLOCK_NUMBERS // numbers))
        self._before: list[Tensor] = []  # states of the generators before they drew the block in use
        self._buffer = torch.empty(0)
        self._next = self._block

    def start(self) -> Tensor:
        """Standard normal start images (chain, *shape); drawn once, before the first step."""
        return self._draw((len(self._generators), *self.shape))

    def normal(self) -> Tensor:
        """Standard normal numbers of the next step, (chain, *shape); a view that later calls leave alone."""
        if self._next == self._block:
            self._fill()
        numbers = self._buffer[self._next]
        self._next += 1
        return numbers

    def mark(self) -> Mark:
        """The present step, for `rewind`."""
        if self._next == self._block:
            self._fill()
        return self._before, self._next

    def rewind(self, mark: Mark) -> None:
        """Go back to a marked step, whose numbers come again: steps that were not taken do not use any up."""
        before, step = mark
        if before is not self._before:
            for generator, state in zip(self._generators, before, strict=True):
                generator.set_state(state)
            self._fill()
        self._next = step

    def _fill(self) -> None:
        self._before = [generator.get_state() for generator in self._generators]
        # a fresh tensor each time: a state may still hold a view of the last block
        drawn = self._draw((len(self._generators), self._block, *self.shape))
        self._buffer = drawn.transpose(0, 1).contiguous()  # each step's numbers in one piece
        self._next = 0

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        out = torch.empty(shape, dtype=torch.float32, device=self.device)
        for row, generator in zip(out, self._generators, strict=True):
            row.normal_(generator=generator)
        return out


def _stream(seed: int, neuron: int, chain: int) -> int:
    """Well-mixed 63-bit seed of one chain: neighbouring seeds must not give neighbouring streams."""
    return int(np.random.SeedSequence((seed, neuron, chain)).generate_state(1, np.uint64)[0] >> np.uint64(1))
