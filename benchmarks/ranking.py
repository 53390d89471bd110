"""Does `most_changed` repeat? Rank correlations between seeds, and what weights that hardly differ are said to have.

`python benchmarks/ranking.py --layer fc2 --chains 4 --seeds 2`
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from torch import nn

import ldam_widget as ldam
from ldam_widget.analysis.ranking import rank
from ldam_widget.diagnostics.agreement import Agreement


def ranked(other: nn.Module, seed: int, given: argparse.Namespace) -> list[Agreement]:
    final = ldam.demo.mnist("final")
    comparison = ldam.Comparison(
        {"final": final.model, "other": other}, layer=given.layer, neurons=[0], seed=seed, execution="plain",
        **{name: value for name, value in final.settings.items() if name != "layer"},
    )  # fmt: skip
    began = time.process_time()
    rows = sorted(rank(comparison, given.steps, chains=given.chains, seeds=given.seeds), key=lambda row: int(row.key))
    print(f"{len(rows)} neurons, seed {seed}: {time.process_time() - began:.0f} s of CPU time", flush=True)
    return rows


def correlation(a: list[float], b: list[float]) -> float:
    """Spearman's, without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def noisy(model: nn.Module) -> nn.Module:
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 1e-4 * torch.randn(weight.shape, generator=generator)
    return other


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layer", default="fc2")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    first, second = (ranked(ldam.demo.mnist("epoch1").model, seed, given) for seed in (0, 1))
    for name in ("change", "difference", "gap"):
        values = [[abs(getattr(row, name)) for row in rows] for rows in (first, second)]
        print(f"rank correlation between two seeds, {name}: {correlation(*values):.2f}")
    top = [{row.key for row in sorted(rows, key=lambda row: -row.change)[:10]} for rows in (first, second)]
    print(f"ten most changed: {len(top[0] & top[1])} in common")
    print("within the noise:", *(sum(row.within_noise for row in rows) for rows in (first, second)))
    print(f"median change {np.median([row.change for row in first]):.4f}, "
          f"error {np.median([row.error for row in first]):.4f}, "
          f"noise {np.median([row.noise for row in first]):.4f}")  # fmt: skip
    same = ranked(noisy(ldam.demo.mnist("final").model), 0, given)
    print(f"weights + 1e-4 noise: {sum(not row.within_noise for row in same)} of {len(same)} beyond the noise; "
          f"median change {np.median([row.change for row in same]):.4f}, "
          f"difference {np.median([row.difference for row in same]):.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
