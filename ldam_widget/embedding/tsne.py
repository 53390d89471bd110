"""t-SNE: a map of points in two dimensions that keeps their neighbours together.

van der Maaten & Hinton, JMLR 9 (2008), with the start and schedule of Kobak & Berens, "The art of using t-SNE for
single-cell transcriptomics", Nature Communications 10 (2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..core.notes import Notes
from .affinities import conditional, symmetric
from .arguments import array, between, chosen_device, whole
from .forces import Attraction, Repulsion, is_sparse, partition
from .neighbours import Method, nearest
from .space import Space, distinct

_EARLY = 12.0  # exaggeration of the attraction in the first third of the steps
_MOMENTUM = (0.5, 0.8)  # in the first third, and later
_START = 1e-4  # standard deviation of the first positions
_JITTER = 0.01  # of them, so that no two are the same
_LONGEST = 5.0  # a point moves in a step
_MOST_SUMMED = 10_000  # points of a layout from elsewhere, whose cost is summed over all pairs
_FEWEST = 4  # points with a choice: three have one map


class TSNE:
    """t-SNE as an iterator: every step gives positions, all of them valid, so it can be stopped at any moment.

        run = ldam.TSNE(features)
        for positions in run:
            ...
        e = ldam.Embedding.of(run)  # finished or not

    The same code runs on CPUs and GPUs, in single precision. The same seed gives the same map on the same CPU; on a
    GPU sums are in no fixed order, so maps differ in details. Points that are equal share one place. The user's random
    numbers are left alone.

    Memory, beside that of the features: at most 8 kB a point at a perplexity of 30, in proportion to it (0.5 GB for
    60,000 points, 10 GB for 1.2 million), and 0.2 kB × (area of the map, in its own units) for the grid, at most 1 GB.

    Args:
        features: (n, d) array, tensor or list; (n, …) is flattened. Reduced to 50 principal components if d > 50.
        perplexity: effective number of neighbours of each point, 1…1000. With fewer than 3 · perplexity + 1 points it
            is lowered to a third of n − 1, with a warning.
        exaggeration: of the attraction at the end: 1 is t-SNE, up to 4 gives tighter clusters, more like UMAP's.
        steps: ≥ 1; the first third with an exaggeration of 12.
        seed: ≥ 0, of the noise added to the start, and of approximate neighbours.
        start: (n, 2) array, such as the `points` of another map: positions to begin with, scaled down, so that this map
            is arranged like that one. None: the first two principal components.
        method: of finding neighbours, see `neighbours.nearest`.
        device: None: CUDA if available, else the CPU.
        progress: show a bar while neighbours are found.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range; features with NaN or infinite values, or
            all the same.
    """

    def __init__(
        self,
        features: Any,
        *,
        perplexity: float = 30.0,
        exaggeration: float = 1.0,
        steps: int = 750,
        seed: int = 0,
        start: Any = None,
        method: Method = "auto",
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        on = chosen_device(device)
        self.space = features if isinstance(features, Space) else Space.of(array("features", features, on), seed=seed)
        self.exaggeration = between("exaggeration", exaggeration, 0.1, 100)
        self.perplexity = between("perplexity", perplexity, 1, 1000)
        self.steps, self.done, self.seed = whole("steps", steps, 1), 0, whole("seed", seed, 0)
        first, self._place = distinct(self.space.points)  # of each distinct point; and which of them every point is
        rows = self.space.points[first]
        begin = rows[:, :2] if start is None else _given(start, len(self.space.points), on)[first]
        self._y = _first_positions(begin, self.seed, few=len(rows) < _FEWEST)
        self._update, self._gains = torch.zeros_like(self._y), torch.ones_like(self._y)
        self._attraction = self._entropy = None
        if len(rows) < _FEWEST:
            self.steps = 0
            return
        self.perplexity = _possible(self.perplexity, len(rows))
        self._attraction = _attraction(rows, self.perplexity, method, self.seed, progress)
        self._repulsion = Repulsion()

    def __len__(self) -> int:
        """Steps to go."""
        return self.steps - self.done

    def __iter__(self) -> Iterator[Tensor]:
        """Positions (n, 2) after each further step; each is a tensor of its own."""
        while self.done < self.steps:
            self._step()
            yield self.points

    @property
    def points(self) -> Tensor:
        """Positions (n, 2) now."""
        return self._y.T[self._place].contiguous()

    @property
    def kl(self) -> float:
        """Kullback-Leibler divergence KL(P‖Q) of the map as it is now, in nats; 0 for fewer than four points."""
        if self._attraction is None:
            return 0.0
        return self._attraction.cost(self._y) + float(self._repulsion(self._y)[1].log())

    def _step(self) -> None:
        assert self._attraction is not None, "without forces there are no steps"
        early = self.done < self.steps // 3
        if self.done == self.steps // 3:
            self._gains.fill_(1)
        exaggeration, momentum = (_EARLY, _MOMENTUM[0]) if early else (self.exaggeration, _MOMENTUM[1])
        force, z = self._repulsion(self._y)
        gradient = self._attraction(self._y).mul_(exaggeration).sub_(force / z)
        with_it = (gradient > 0) == (self._update > 0)  # an overshoot; the update points down
        gains = torch.where(with_it, self._gains * 0.8, self._gains + 0.2).clamp_(min=0.01)
        rate = self._y.shape[1] / exaggeration
        update = momentum * self._update - rate * gains * gradient
        update *= (_LONGEST / update.square().sum(0).sqrt()).clamp_(max=1)
        y = self._y + update
        # one after the other, each complete: an interrupt in between leaves positions that are valid
        self._y, self._update, self._gains = y - y.mean(1, keepdim=True), update, gains
        self.done += 1


def cost(space: Space, points: Tensor, perplexity: float) -> float:
    """KL(P‖Q) of any positions (n, 2), in nats; of points that are equal, the first counts. As `TSNE.kl`."""
    first, _ = distinct(space.points)
    if len(first) < _FEWEST:
        return 0.0
    y = points[first].T.contiguous()
    attraction = _attraction(space.points[first], min(perplexity, (len(first) - 1) / 3), "auto", 0, False)
    exact = len(first) <= _MOST_SUMMED or is_sparse(y)  # unlike t-SNE's, such a map may have any scale
    z = partition(y) if exact else Repulsion()(y)[1]
    return attraction.cost(y) + float(z.log())


def _attraction(rows: Tensor, perplexity: float, method: Method, seed: int, progress: bool) -> Attraction:
    k = min(len(rows) - 1, round(3 * perplexity))
    found, distances = nearest(rows, k, method=method, seed=seed, progress=progress)
    return Attraction(symmetric(found, conditional(distances, perplexity)))


def _first_positions(begin: Tensor, seed: int, few: bool) -> Tensor:
    """(n, 1 or 2) -> (2, n), centred; small, and no two of them the same, unless they are few, which do not move."""
    y = torch.zeros(2, len(begin), dtype=torch.float32, device=begin.device)
    y[: begin.shape[1]] = (begin - begin.mean(0)).T
    y /= y.std(1, correction=0).max().clamp(min=1e-12)
    if few:
        return y
    own = torch.Generator().manual_seed(seed)
    return _START * (y + _JITTER * torch.randn(y.shape, generator=own, dtype=torch.float32).to(y.device))


def _given(start: Any, count: int, device: torch.device) -> Tensor:
    begin = array("start", start, device)
    if begin.shape != (count, 2):
        raise ValueError(f"start must be the positions of all {count} points, ({count}, 2); got {tuple(begin.shape)}")
    return begin


def _possible(perplexity: float, count: int) -> float:
    most = (count - 1) / 3
    if perplexity <= most:
        return perplexity
    Notes().tell(
        f"perplexity={perplexity:g} needs at least {round(3 * perplexity) + 1} distinct points; with {count} it is "
        f"lowered to {most:.3g}"
    )
    return most
