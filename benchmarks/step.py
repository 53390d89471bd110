"""Cost of one step, as a ratio to the plain torch floor measured in the same round: `python benchmarks/step.py`.

LeNet-5, ten logits, one image each. Contenders are interleaved in shuffled order; the floor is timed at both ends of
every round; process-CPU time; the median over rounds is reported with its range. One CPU thread for all.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from shims import torchvision_without_its_operators

import ldam_widget as ldam

torchvision_without_its_operators()
try:
    from lucent.optvis import objectives, param, render
except ImportError as error:
    print(f"lucent is not measured: {error}")
    objectives = None

STEPS = 200  # in a measurement
Run = Callable[[], None]


def floor(model: torch.nn.Module, preprocess: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    """Frozen network, gradient with respect to x alone, noise into a reused buffer, update in place."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x, noise, ten = torch.randn(10, 1, 28, 28), torch.empty(10, 1, 28, 28), torch.arange(10)

    def run() -> None:
        for _ in range(STEPS):
            x.requires_grad_(True)
            (grad,) = torch.autograd.grad(model(preprocess(x))[ten, ten].sum(), x)
            x.requires_grad_(False)
            x.add_(grad, alpha=0.01).add_(noise.normal_(), alpha=0.01)

    return run


def ours(normalize: str) -> Run:
    """The whole step: noise, L2, EMA, burn-in, clamp, a picture at every step."""
    demo = ldam.demo.mnist("final")
    sampler = ldam.Sampler(
        demo.model,
        neurons=range(10),
        kernel=ldam.kernels.Algorithm1(normalize=normalize),
        regularizers=[ldam.L2(0.1)],
        average=ldam.EMA(0.99),
        steps_per_frame=1,
        **demo.settings,
    )

    def run() -> None:
        for _ in sampler.frames(STEPS):
            pass

    return run


def lucent(model: torch.nn.Module) -> Run | None:
    """lucent's own loop: pixel parametrisation, no transforms, its default optimiser, one logit an image."""
    if objectives is None:
        return None
    wanted = objectives.channel("fc3", 0, batch=0)
    for k in range(1, 10):
        wanted += objectives.channel("fc3", k, batch=k)

    def run() -> None:
        render.render_vis(
            model, wanted, lambda: param.image(28, channels=1, batch=10, fft=False, decorrelate=False),
            preprocess=False, fixed_image_size=28, thresholds=(STEPS,), show_image=False, transforms=[], progress=False,
        )  # fmt: skip

    return run


def cpu_ms(run: Run) -> float:
    """Process-CPU milliseconds a step."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / STEPS * 1e3


def measure(rounds: int) -> dict[str, list[float]]:
    """Ratio to the floor of the same round, for every contender."""
    demo = ldam.demo.mnist("final")
    base = floor(demo.model, demo.settings["preprocess"])
    contenders: dict[str, Run | None] = {
        "ours, normalize=unit": ours("unit"),
        "ours, normalize=none": ours("none"),
        "ours, normalize=rms": ours("rms"),
        "lucent, pixel, weights frozen": lucent(demo.model),
        "lucent, pixel": lucent(ldam.demo.mnist("final").model),
    }
    there = {name: run for name, run in contenders.items() if run is not None}
    for run in [base, *there.values()]:
        run()
    ratios: dict[str, list[float]] = {name: [] for name in there}
    floors = []
    for _ in range(rounds):
        before = cpu_ms(base)
        times = {name: cpu_ms(there[name]) for name in random.sample(list(there), len(there))}
        around = (before + cpu_ms(base)) / 2
        floors.append(around)
        for name, value in times.items():
            ratios[name].append(value / around)
    print(f"floor: {statistics.median(floors):.2f} ms a step, {1e3 / statistics.median(floors):.0f} steps/s")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    ratios = measure(parser.parse_args().rounds)
    print("\n| LeNet-5, batch 10 | ÷ floor, median | range |\n|---|---|---|")
    for name, values in ratios.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f}–{max(values):.2f} |")


if __name__ == "__main__":
    main()
