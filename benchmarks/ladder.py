"""How chains agree on a ladder that places its own rungs, for shipped networks: `python benchmarks/ladder.py mnist 5`.

One thread. The natural prior of the training images, and the defaults otherwise. For every neuron on its own, from the
end of burn-in on: the factors and swap rates found, how many copies travelled the ladder, and R-hat of the activation
and of three projections of the pictures, over chains that started apart; below 1.1 they agree. With --plain the same
number of gradients goes into chains without a ladder, as many as there are copies.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import time

import torch

import ldam_widget as ldam


def numbers(values: list[float], form: str = ".3g") -> str:
    return " ".join(format(value, form) for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["mnist", "cifar"])
    parser.add_argument("neurons", type=int, nargs="+")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--rungs", type=int, default=24)
    parser.add_argument("--top", type=float, default=100)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000, help="after the warm-up")
    parser.add_argument("--kernel", choices=["BAOAB", "GHMC"], default="BAOAB", help="with steps that each chain finds")
    parser.add_argument("--temperature", type=float, help="default: the sampler's")
    parser.add_argument("--goal", type=float, help="mean activation, for which T is found")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="the same number of chains, without a ladder")
    a = parser.parse_args()
    torch.set_num_threads(1)
    demo = getattr(ldam.demo, a.network)("final")
    for neuron in a.neurons:
        kernel = ldam.kernels.GHMC(friction=1.0) if a.kernel == "GHMC" else None
        began = time.process_time()
        ladder = None if a.plain else ldam.Ladder.auto(a.rungs, a.top, every=a.every)
        s = ldam.Sampler(
            demo.model, neurons=[neuron], prior=demo.prior, kernel=kernel, transforms=None, seed=a.seed,
            warm_up=a.warm_up, chains=a.chains, ladder=ladder, goal=a.goal,
            temperature=a.temperature, **demo.settings,
        )  # fmt: skip
        s.step(a.warm_up)
        for part in range(1, 5):
            s.step(a.steps // 4)
            tell(s, part * (a.steps // 4), time.process_time() - began)


def tell(s: ldam.Sampler, steps: int, seconds: float) -> None:
    d = s.diagnostics()
    print(
        f"{s.neurons[0].label}, {steps} steps, {seconds:.0f} s of CPU: T {d.temperature.asked:.3g}, measured "
        f"{d.temperature.ratio[0]:.3f} of it, activation {float(s.recorded().activation.mean()):.1f}; R-hat "
        f"{d.r_hat[0]:.2f}, projections {numbers(d.projections.r_hat[0], '.2f')}; effective samples {d.ess[0]:.0f}, "
        f"projections {numbers(d.projections.ess[0], '.0f')}; burned in at {s.burn_in_step}"
    )
    if d.ladder is not None:
        print(f"  factors {numbers(d.ladder.factors[0])}\n  swap rates {numbers(d.ladder.swap_acceptance, '.2f')}")
        print(f"  arrivals {d.ladder.arrivals}, round trips {d.ladder.round_trips}", flush=True)


if __name__ == "__main__":
    main()
