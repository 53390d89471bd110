"""Nearest neighbours by matrix products: exact, or within inverted lists for many points."""

from __future__ import annotations

import importlib.util
import math
from typing import Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

Method = Literal["auto", "exact", "lists", "faiss"]
METHODS = ("auto", "exact", "lists", "faiss")

MOST_EXACT = {"cpu": 200_000}  # points; more are searched in lists, unless method="exact"
_MOST_EXACT_ELSEWHERE = 3_000_000
_BLOCK = {"cpu": 1 << 22}  # distances held at once
_BLOCK_ELSEWHERE = 1 << 28
_QUERIES = 128  # compared with a block of points at once
_GROUP = 32  # distances of which only the smallest is looked at first
_CANDIDATES = 8192  # points compared with each query in lists, at least
_ROUNDS = 6  # of k-means
_PER_LIST = 64  # points a list that k-means looks at


def nearest(
    points: Tensor,
    k: int,
    queries: Tensor | None = None,
    *,
    method: Method = "auto",
    seed: int = 0,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """The k nearest points, nearest first.

    Args:
        points: (n, d) float32, centred; d small (≤ 100 or so).
        k: from 1 to n, or to n − 1 without `queries`.
        queries: (m, d); None: the points themselves, none of them its own neighbour.
        method: "exact": matrix products, n² d operations. "lists": k-means groups the points, and each is compared
            with those in the groups nearest to its own, at least 8,192. "faiss": the same with faiss, on the CPU.
            "auto": exact for queries and up to 200,000 points on a CPU or 3 million on a GPU, beyond that faiss if it
            is installed, else lists.
        seed: of k-means.
        progress: show a bar.

    Returns:
        indices (m, k) int64 and distances (m, k) float32.

    Raises:
        ValueError: an unknown method.
        ImportError: method="faiss" without faiss.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}")
    if method == "auto":
        few = queries is not None or len(points) <= MOST_EXACT.get(points.device.type, _MOST_EXACT_ELSEWHERE)
        method = "exact" if few else "faiss" if importlib.util.find_spec("faiss") else "lists"
    if queries is not None:
        found = _among(points, k, queries)
    elif method == "exact":
        found = _exact(points, k, progress)
    else:
        found = _with_faiss(points, k, seed) if method == "faiss" else _in_lists(points, k, seed, progress)
    return _measured(points, points if queries is None else queries, found)


def _exact(points: Tensor, k: int, progress: bool) -> Tensor:
    """Of the points themselves."""
    squares = points.square().sum(1)
    found = torch.empty(len(points), k, dtype=torch.int64, device=points.device)
    block = max(1, _block(points) // len(points))
    for first in tqdm(range(0, len(points), block), "neighbours", unit="block", disable=not progress):
        some = points[first : first + block]
        squared = torch.addmm(squares, some, points.T, alpha=-2)  # less |query|², the same for a whole row
        squared.diagonal(first).fill_(math.inf)
        found[first : first + block] = smallest(squared, k)
    return found


def _among(points: Tensor, k: int, queries: Tensor) -> Tensor:
    """Of others: a few queries at a time with blocks of points, in one piece of memory that stays in the cache."""
    found = torch.empty(len(queries), k, dtype=torch.int64, device=points.device)
    block = max(k, _block(points) // _QUERIES // 2)
    squares = points.square().sum(1)
    for first in range(0, len(queries), _QUERIES):
        some, values, columns = queries[first : first + _QUERIES], [], []
        room = points.new_empty(len(some) * min(block, len(points)))
        for start in range(0, len(points), block):
            others = points[start : start + block]
            squared = room[: len(some) * len(others)].view(len(some), len(others))
            torch.addmm(squares[start : start + block], some, others.T, alpha=-2, out=squared)
            best = smallest(squared, min(k, len(others)))
            values.append(squared.gather(1, best))
            columns.append(best + start)
        best = torch.cat(values, 1).topk(k, 1, largest=False, sorted=False).indices
        found[first : first + _QUERIES] = torch.cat(columns, 1).gather(1, best)
    return found


def smallest(values: Tensor, k: int) -> Tensor:
    """Columns of the k smallest values of each row, in no particular order: (rows, columns) -> (rows, k).

    The k smallest lie in the k groups with the smallest minima, so that only those groups have to be sorted.
    """
    groups = values.shape[1] // _GROUP
    if groups < 4 * k:
        return values.topk(k, 1, largest=False, sorted=False).indices
    whole = groups * _GROUP
    minima = values[:, :whole].view(-1, _GROUP, groups).amin(1)
    best = minima.topk(k, 1, largest=False, sorted=False).indices
    columns = (best.unsqueeze(1) + groups * torch.arange(_GROUP, device=values.device).view(1, -1, 1)).flatten(1)
    if whole < values.shape[1]:
        rest = torch.arange(whole, values.shape[1], device=values.device)
        columns = torch.cat([columns, rest.expand(len(columns), -1)], 1)
    return columns.gather(1, values.gather(1, columns).topk(k, 1, largest=False, sorted=False).indices)


def _measured(points: Tensor, queries: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbours nearest first, with distances from differences: products of vectors lose those that are small."""
    distances = torch.empty(found.shape, dtype=torch.float32, device=points.device)
    block = max(1, _block(points) // (found.shape[1] * points.shape[1]))
    for first in range(0, len(found), block):
        rows = slice(first, first + block)
        apart = (points[found[rows]] - queries[rows].unsqueeze(1)).square_().sum(2).sqrt_()
        distances[rows], order = apart.sort(1)
        found[rows] = found[rows].gather(1, order)
    return found, distances


def _block(points: Tensor) -> int:
    return _BLOCK.get(points.device.type, _BLOCK_ELSEWHERE)


def _in_lists(points: Tensor, k: int, seed: int, progress: bool) -> Tensor:
    """Inverted lists; each is a cell of k-means, of about √n / 4 points."""
    n = len(points)
    centres = _k_means(points, max(1, min(n, int(4 * math.sqrt(n)))), seed)
    cell = _nearest_centre(points, centres)
    order = cell.argsort(stable=True)
    sizes = torch.bincount(cell, minlength=len(centres))
    ends = sizes.cumsum(0).tolist()
    members = [order[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
    enough = min(n, max(_CANDIDATES, 4 * k + 1))
    found = torch.empty(n, k, dtype=torch.int64, device=points.device)
    for own, centre in zip(tqdm(members, "neighbours", unit="list", disable=not progress), centres, strict=True):
        if not len(own):
            continue
        closest = (centres - centre).square().sum(1).argsort()
        last = int(torch.searchsorted(sizes[closest].cumsum(0), enough)) + 1
        candidates = torch.cat([members[i] for i in closest[:last].tolist()])
        others = points[candidates]
        squares = others.square().sum(1)
        for some in torch.split(own, max(1, _block(points) // len(candidates))):
            squared = torch.addmm(squares, points[some], others.T, alpha=-2)
            squared[candidates == some.unsqueeze(1)] = math.inf
            found[some] = candidates[smallest(squared, k)]
    return found


def _k_means(points: Tensor, count: int, seed: int) -> Tensor:
    own = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(points), generator=own)[: _PER_LIST * count].to(points.device)
    some = points[chosen]
    centres = some[:count].clone()
    for _ in range(_ROUNDS):
        cell = _nearest_centre(some, centres)
        sizes = torch.bincount(cell, minlength=count).unsqueeze(1)
        sums = torch.zeros_like(centres).index_add_(0, cell, some)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    return centres


def _nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    squares = centres.square().sum(1)
    block = max(1, _block(points) // len(centres))
    return torch.cat([torch.addmm(squares, some, centres.T, alpha=-2).argmin(1) for some in torch.split(points, block)])


def _with_faiss(points: Tensor, k: int, seed: int) -> Tensor:
    import faiss

    own = points.cpu().numpy()
    lists = max(1, min(len(own), int(4 * math.sqrt(len(own)))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(own.shape[1]), own.shape[1], lists)
    index.cp.seed = seed
    index.nprobe = max(1, math.ceil(_CANDIDATES * lists / len(own)))
    index.train(own)
    index.add(own)
    _, found = index.search(own, k + 1)
    return _without_itself(torch.from_numpy(found), k).to(points.device)


def _without_itself(found: Tensor, k: int) -> Tensor:
    """k neighbours of k + 1, without the point itself; if it is not among them, without the last."""
    itself = found == torch.arange(len(found)).unsqueeze(1)
    itself[:, -1] |= ~itself.any(1)
    return found[~itself].view(-1, k)
