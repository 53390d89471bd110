"""Effective samples per gradient and per second, ours beside torch-sgld and posteriors: `python benchmarks/mixing.py`.

Two targets of 784 pixels at T = 1, unbounded: a Gaussian of condition number 81 (28×28 torus, L2 and smoothness), and a
logit of the shipped LeNet-5 with L2 0.1. 16 chains from one and the same start, which a long run of BAOAB has made
stationary. Every method has a few step sizes; all of them run in one process on one thread, in turns of shuffled order,
and are charged their process-CPU time. Of each method the step with most effective samples of the activation a gradient
counts, among those whose thermometer T̂/T = −⟨(x − c)·∇E⟩/(784 T) is within 5 % of 1. A method without such a step is
given with the one that comes nearest, and no numbers.

ESS is rank-normalised bulk ESS (Vehtari et al. 2021) over all chains. Projections are the three directions of largest
variance of 8×8 thumbnails in the run that made the start: the same three functions of the picture for all methods.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.notes import Notes
from ldam_widget.core.target import NEURON, Kernel, Target
from ldam_widget.diagnostics import mixing, thumbnails
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons
from ldam_widget.parametrizations import Pixels

warnings.filterwarnings("ignore", category=FutureWarning)  # posteriors on import, of tensordict
try:
    from torch_sgld import SGLD
except ImportError as error:
    print(f"torch-sgld is not measured: {error}")
    SGLD = None
try:
    from posteriors import sgmcmc
except ImportError as error:
    print(f"posteriors is not measured: {error}")
    sgmcmc = None

CHAINS, SHAPE, L2, TEMPERATURE = 16, (1, 28, 28), 0.1, 1.0
THIN = 2  # steps between two draws
PILOT = 800  # steps of BAOAB before the start, and as many that are looked at
TURN = 50  # steps before another method's turn
TOLERANCE = 0.05  # of the thermometer
FRICTION = 0.3  # of every method with velocities that takes one
GAMMA = 0.9  # momentum of Algorithm 1, whose noise is calibrated: σ = √(2(1 − γ)T/β)

Chain = Iterator[Tensor]  # yields the images after every step


class SmoothNeuron(nn.Module):
    """f(x) = w·x − ½ Σ (x_i − x_j)² over neighbours on a torus: with L2, a Gaussian of curvatures λ to λ + 8."""

    def __init__(self) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
        self.weight = nn.Parameter(torch.sin(rows * math.tau / 28) * torch.sin(columns * math.tau / 14))

    def forward(self, x: Tensor) -> Tensor:
        roughness = sum((x - x.roll(1, axis)).square().flatten(1).sum(1) for axis in (-1, -2))
        return ((x * self.weight).flatten(1).sum(1) - roughness / 2)[:, None]


@dataclass
class Problem:
    """A neuron to sample, and what is looked at."""

    name: str
    observed: str
    model: nn.Module
    neuron: int
    preprocess: Callable[[Tensor], Tensor] | None
    observe: Callable[[Tensor], Tensor] | None  # images -> (chain,); None: the activation
    curvature: float  # roughly the largest of −E
    longer: int  # runs than of the other problem, as a gradient costs less
    steps: dict[str, tuple[float, ...]]  # method -> step sizes

    def __post_init__(self) -> None:
        self.model.requires_grad_(False)

    def activation(self, x: Tensor) -> Tensor:
        return self.model(x if self.preprocess is None else self.preprocess(x))[:, self.neuron]

    def energy(self, x: Tensor) -> Tensor:
        """E(x), (chain,): what the others are given."""
        return self.activation(x) - L2 / 2 * x.square().flatten(1).sum(1)

    def target(self, kernel: Kernel) -> Target:
        """The same for our kernels, as `Sampler` makes it."""
        view = private_view(self.model, None, Notes())
        neurons = Neurons(
            view, None, [self.neuron], chains=CHAINS, input_shape=SHAPE, preprocess=self.preprocess, notes=Notes()
        )
        weights = {NEURON: 1.0, "l2": L2}
        return Target(
            {NEURON: neurons, "l2": ldam.L2(L2)}, weights, TEMPERATURE, Pixels(None), energy_needed=kernel.needs_energy
        )


def gaussian() -> Problem:
    underdamped, overdamped, damped = (0.3, 0.5, 0.65), (0.01, 0.02, 0.04), (0.02, 0.04, 0.1)
    return Problem(
        "Gaussian, condition number 81", "mean brightness", SmoothNeuron(), 0, None, lambda x: x.flatten(1).mean(1),
        8.1, 3,
        {
            "BAOAB": underdamped, "GHMC": (0.1, 0.15, 0.2), "LeimkuhlerMatthews": (0.1, 0.2, 0.24),
            "ULA": overdamped, "MALA": (0.01, 0.02, 0.03), "Algorithm1 none": damped, "Algorithm1 unit": (0.1,),
            "Algorithm1 rms": (0.1,), "torch-sgld": overdamped, "torch-sgld, momentum": damped,
            "posteriors sgld": overdamped, "posteriors sghmc": (0.005, 0.0075, 0.01), "posteriors baoa": underdamped,
        },
    )  # fmt: skip


def lenet() -> Problem:
    demo = ldam.demo.mnist("final")
    underdamped, overdamped, damped = (1.0, 1.5, 2.0), (0.15, 0.4, 0.7), (0.2, 0.5, 1.0)
    return Problem(
        'LeNet-5, logit "four", L2 0.1', "activation", demo.model, 4, demo.settings["preprocess"], None,
        0.25, 1,
        {
            "BAOAB": underdamped, "GHMC": (0.2, 0.35, 0.6), "LeimkuhlerMatthews": (0.5, 1.0, 2.0),
            "ULA": overdamped, "MALA": (0.02, 0.05, 0.1), "Algorithm1 none": damped, "Algorithm1 unit": (0.1,),
            "Algorithm1 rms": (0.1,), "torch-sgld": overdamped, "torch-sgld, momentum": damped,
            "posteriors sgld": overdamped, "posteriors sghmc": (0.1, 0.2, 0.4), "posteriors baoa": underdamped,
        },
    )  # fmt: skip


# ---- methods: (problem, start, step size) -> chain -----------------------------------------------------------------


def ours(make: Callable[[float], Kernel]) -> Callable[[Problem, Tensor, float], Chain]:
    def chain(problem: Problem, x: Tensor, step_size: float) -> Chain:
        kernel = make(step_size)
        target = problem.target(kernel)
        noise = ChainNoise(1, 1, CHAINS, SHAPE, x.device)
        state = kernel.init(x, target)
        while True:
            state, _ = kernel.step(state, target, noise)
            yield state.x

    return chain


def calibrated(step_size: float) -> Kernel:
    noise = math.sqrt(2 * (1 - GAMMA) * TEMPERATURE / step_size)
    return ldam.kernels.Algorithm1(step_size, noise, GAMMA, normalize="none")


def torch_sgld(momentum: float) -> Callable[[Problem, Tensor, float], Chain]:
    """Its `momentum` is 1 − γ: a friction."""

    def chain(problem: Problem, x: Tensor, step_size: float) -> Chain:
        x = x.clone().requires_grad_()
        optimizer = SGLD([x], lr=step_size, momentum=momentum, temperature=TEMPERATURE)
        while True:
            optimizer.zero_grad()
            (-problem.energy(x).sum()).backward()
            optimizer.step()
            yield x.detach()

    return chain


def posteriors(
    name: str, friction: Callable[[float, float], float] | None
) -> Callable[[Problem, Tensor, float], Chain]:
    """`friction`: of step size and curvature."""

    def chain(problem: Problem, x: Tensor, step_size: float) -> Chain:
        def log_posterior(images: Tensor, batch: None) -> tuple[Tensor, Tensor]:
            return problem.energy(images).sum(), torch.zeros(())

        given = {} if friction is None else {"alpha": friction(step_size, problem.curvature)}
        build = getattr(sgmcmc, name).build
        transform = build(log_posterior, lr=step_size, temperature=TEMPERATURE, **given)
        state = transform.init(x.clone())
        while True:
            state, _ = transform.update(state, None)
            yield state.params

    return chain


def methods() -> dict[str, Callable[[Problem, Tensor, float], Chain]]:
    kernels = ldam.kernels
    found = {
        "BAOAB": ours(lambda h: kernels.BAOAB(h, FRICTION)),
        "GHMC": ours(lambda h: kernels.GHMC(h, FRICTION)),
        "LeimkuhlerMatthews": ours(kernels.LeimkuhlerMatthews),
        "ULA": ours(kernels.ULA),
        "MALA": ours(kernels.MALA),
        "Algorithm1 none": ours(calibrated),
        "Algorithm1 unit": ours(lambda h: kernels.Algorithm1(h, normalize="unit")),
        "Algorithm1 rms": ours(lambda h: kernels.Algorithm1(h, normalize="rms")),
    }
    if SGLD is not None:
        found |= {"torch-sgld": torch_sgld(0), "torch-sgld, momentum": torch_sgld(1 - GAMMA)}
    if sgmcmc is not None:
        found |= {
            "posteriors sgld": posteriors("sgld", None),
            # an explicit Euler step: stable, and near the temperature, only with much friction
            "posteriors sghmc": posteriors("sghmc", lambda h, curvature: math.sqrt(10 * curvature * h)),
            "posteriors baoa": posteriors("baoa", lambda h, curvature: FRICTION),
        }
    return found


# ---- measuring -----------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One method with one step size, and what came of it."""

    method: str
    step_size: float
    chain: Chain
    seconds: float = 0.0
    steps: int = 0
    lost: bool = False
    draws: list[Tensor] = field(default_factory=list)  # (chain, 4): observed, and three projections
    virial: list[Tensor] = field(default_factory=list)  # one number a draw

    def turn(self, steps: int, record: Callable[[Tensor], tuple[Tensor, Tensor]] | None) -> None:
        """Take steps, and record the pictures unless this is burn-in."""
        for _ in range(steps // THIN):
            if self.lost:
                return
            began = time.process_time()
            for _ in range(THIN):
                x = next(self.chain)
            if record is None:
                continue
            self.seconds += time.process_time() - began
            self.steps += THIN
            drawn, virial = record(x)
            self.lost = not bool(drawn.isfinite().all()) or float(x.abs().max()) > 1e4
            self.draws.append(drawn)
            self.virial.append(virial)

    @property
    def temperature(self) -> float:
        return math.inf if self.lost else float(torch.stack(self.virial).mean()) / TEMPERATURE

    @property
    def sound(self) -> bool:
        return abs(self.temperature - 1) <= TOLERANCE

    def ess(self) -> tuple[float, float]:
        """Of what is observed, and of the worst projection."""
        draws = torch.stack(self.draws).permute(0, 2, 1).numpy()  # (draw, 4, chain)
        found = mixing(draws)["ess"]
        return float(found[0]), float(np.nanmin(found[1:]))


def stationary(problem: Problem) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Images to start from, and what to record of images: draws (chain, 4), and the virial."""
    x = torch.randn(CHAINS, *SHAPE, generator=torch.Generator().manual_seed(0))
    chain = methods()["BAOAB"](problem, x, problem.steps["BAOAB"][0])
    seen = []
    for step in range(2 * PILOT):
        x = next(chain)
        if step >= PILOT and step % 5 == 0:
            seen.append(x)
    pictures = torch.cat(seen)
    centre = pictures.mean(0)
    small = thumbnails(pictures, 3).double()
    directions = torch.linalg.eigh(torch.cov(small.T)).eigenvectors[:, -3:]

    def record(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            activation = problem.activation(x)
            (gradient,) = torch.autograd.grad(activation.sum(), x)
        x = x.detach()
        observed = activation.detach() if problem.observe is None else problem.observe(x)
        drawn = torch.cat([observed.double()[:, None], thumbnails(x, 3).double() @ directions], 1)
        return drawn, -((x - centre) * (gradient - L2 * x)).mean(dtype=torch.float64)

    return x, record


def measure(problem: Problem, steps: int) -> list[Run]:
    start, record = stationary(problem)
    there = methods()
    runs = [
        Run(name, size, there[name](problem, start, size))
        for name, sizes in problem.steps.items()
        if name in there
        for size in sizes
    ]
    for burn_in in (True, False):
        for _ in range(math.ceil(problem.longer * steps / (8 if burn_in else 1) / TURN)):
            for run in random.sample(runs, len(runs)):
                run.turn(TURN, None if burn_in else record)
    return runs


def table(problem: Problem, runs: list[Run]) -> None:
    print(f"\n**{problem.name}**, {CHAINS} chains, {max(run.steps for run in runs)} steps\n")
    print(f"| method | step | T̂/T | ESS / 1000 gradients, {problem.observed} | worst of 3 projections | ", end="")
    print(f"ESS/s, {problem.observed} | worst of 3 projections |\n|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == name]
        sound = [(run, *run.ess()) for run in mine if run.sound]
        if not sound:
            nearest = min(mine, key=lambda run: abs(run.temperature - 1))
            temperature = "lost" if nearest.lost else f"{nearest.temperature:.3g}"
            print(f"| {name} | {nearest.step_size:g} | {temperature} | – | – | – | – |")
            continue
        best, observed, worst = max(sound, key=lambda item: item[1])
        spent = best.steps * CHAINS / 1000
        per_gradient = f"{observed / spent:.3g} | {worst / spent:.3g}"
        per_second = f"{observed / best.seconds:.3g} | {worst / best.seconds:.3g}"
        print(f"| {name} | {best.step_size:g} | {best.temperature:.3f} | {per_gradient} | {per_second} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps",
        type=int,
        default=1000,
        help="counted steps of every run on LeNet-5; three times as many on the Gaussian",
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps: does it run at all?")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    for problem in (gaussian(), lenet()):
        table(problem, measure(problem, arguments.steps // 10 if arguments.quick else arguments.steps))


if __name__ == "__main__":
    main()
