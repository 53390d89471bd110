"""t-SNE of MNIST beside openTSNE: time, cost and quality of the map, and how new points are placed.

    pip install openTSNE scikit-learn
    OMP_NUM_THREADS=1 python benchmarks/embedding.py mnist/ --points 5000 20000
    python benchmarks/embedding.py mnist/ --points 60000 --alone
    python benchmarks/embedding.py mnist/ --points 20000 --alone --layer fc2

Both get the same 50 principal components. Cost is the exact KL divergence of both maps from openTSNE's affinities, with
Z by direct sums in double precision. Ten nearest neighbours on the map vote for the label.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ldam_widget as ldam
from ldam_widget.data.mnist import load_mnist
from ldam_widget.demo.lenet import preprocess
from ldam_widget.embedding.quality import quality
from ldam_widget.embedding.space import Space

HELD_OUT = 1000
CHAINS = 100


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def exact_cost(affinities: Any, points: np.ndarray) -> float:
    """KL(P‖Q) for a sparse P that sums to 1."""
    y = torch.from_numpy(np.asarray(points, np.float64))
    z = -float(len(y))
    for some in y.split(1000):
        z += float((1 / (1 + torch.cdist(some, y, compute_mode="donot_use_mm_for_euclid_dist").square())).sum())
    p = affinities.tocoo()
    apart = (y[p.row] - y[p.col]).square().sum(1)
    weights = torch.from_numpy(p.data.astype(np.float64))
    return float(torch.special.xlogy(weights, weights * (1 + apart)).sum() + np.log(z))


def accuracy(
    points: np.ndarray, labels: torch.Tensor, among: np.ndarray | None = None, own: Any = None, k: int = 10
) -> float:
    """How often the k nearest points of `among` (itself: without the point) have the label."""
    y = torch.from_numpy(np.asarray(points, np.float32))
    known, names = (y, labels) if among is None else (torch.from_numpy(among), own)
    right = 0
    for first in range(0, len(y), 1000):
        near = torch.cdist(y[first : first + 1000], known).topk(k + 1, largest=False).indices
        near = near[:, 1:] if among is None else near[:, :k]
        right += int((names[near].mode(1).values == labels[first : first + 1000]).sum())
    return right / len(y)


def beside(features: torch.Tensor, labels: torch.Tensor) -> None:
    import openTSNE

    space = Space.of(features)
    pcs = space.points.numpy()

    def theirs() -> Any:
        return openTSNE.TSNE(n_jobs=1, random_state=0, negative_gradient_method="fft").fit(pcs)

    ours, cpu, wall = timed(lambda: ldam.embed(features=pcs, progress=False))
    map_, cpu2, wall2 = timed(theirs)
    p = openTSNE.affinity.PerplexityBasedNN(pcs, perplexity=30, method="exact", n_jobs=1).P
    print("| points | | CPU s | wall s | KL | trust(15) | kept | label |\n|---|---|---|---|---|---|---|---|")
    for name, points, seconds, waited in (
        ("ours", ours.points, cpu, wall),
        ("openTSNE", np.asarray(map_), cpu2, wall2),
    ):
        found = quality(space.points, torch.from_numpy(points.astype(np.float32)))
        print(
            f"| {len(pcs):,} | {name} | {seconds:.1f} | {waited:.1f} | {exact_cost(p, points):.4f} | "
            f"{found.trust:.4f} | {found.kept:.3f} | {accuracy(points, labels):.4f} |",
            flush=True,
        )
    print(f"CPU time: {cpu / cpu2:.2f} of openTSNE's\n", flush=True)


def alone(features: torch.Tensor, labels: torch.Tensor) -> ldam.Embedding:
    e, cpu, wall = timed(lambda: ldam.embed(features=features, progress=False))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(features):,} points: {cpu:.0f} CPU s, {wall:.0f} s; peak memory {memory:.0f} MB; KL {e.kl:.3f}, "
        f"trust {e.trust:.4f}, kept {e.kept:.3f}, label {accuracy(e.points, labels):.4f}",
        flush=True,
    )
    return e


def placing(e: ldam.Embedding, labels: torch.Tensor, features: torch.Tensor, own: torch.Tensor) -> None:
    """1,000 digits that the map has not seen, and the time of a frame of 100 chains."""
    placed = e.place(features)
    chains, last = features[:CHAINS], placed.positions[:CHAINS]
    e.place(chains, start=last)
    times = [timed(lambda: e.place(chains, start=last))[1:] for _ in range(20)]
    noise = e.place(torch.rand(HELD_OUT, features.shape[1], generator=torch.Generator().manual_seed(0)))
    mixed = e.place((features + features.roll(1, 0)) / 2)
    cpu, wall = (1000 * float(np.median(part)) for part in zip(*times, strict=True))
    right, nearest = (accuracy(placed.positions, own, e.points, labels, k) for k in (10, 1))
    known = float((labels[torch.from_numpy(placed.neighbours[:, 0])] == own).float().mean())
    print(f"placed among {len(e.points):,}: label {right:.3f} of {HELD_OUT:,} by ten neighbours, {nearest:.3f} by one")
    print(f"  (by one among the features {known:.3f}); {CHAINS} chains, a frame:")
    print(f"  {cpu:.1f} ms CPU, {wall:.1f} ms wall")
    for name, found in (("digits", placed), ("means of two digits", mixed), ("uniform noise", noise)):
        print(
            f"  {name}: {found.solid.mean():.0%} solid, median distance {np.median(found.distance):.2f}, "
            f"spread {np.median(found.spread):.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of MNIST's idx files")
    parser.add_argument("--points", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--alone", action="store_true", help="without openTSNE")
    parser.add_argument("--layer", help="map what a layer of the shipped LeNet-5 makes of the digits, such as fc2")
    asked = parser.parse_args()
    images, labels = load_mnist(asked.data)
    unseen, own = (part[:HELD_OUT] for part in load_mnist(asked.data, "test"))
    pixels, held_out = (part.unsqueeze(1).float() / 255 for part in (images[: max(asked.points)], unseen))
    if asked.layer:
        model, layer = ldam.demo.mnist().model, asked.layer
        pixels, held_out = (ldam.activations(model, preprocess(part), layer)[layer] for part in (pixels, held_out))
    pixels, held_out = pixels.flatten(1), held_out.flatten(1)
    for count in asked.points:
        if not asked.alone:
            beside(pixels[:count], labels[:count])
        placing(alone(pixels[:count], labels[:count]), labels[:count], held_out, own)


if __name__ == "__main__":
    main()
