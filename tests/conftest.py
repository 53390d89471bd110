"""Shared by all tests: tiny models, the seed of a run, real data."""

from __future__ import annotations

import gc
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SEED = 20251121  # of every normal run; any number would do
# A run with a seed of its own draws other examples, too.
hypothesis.settings.register_profile("same examples", derandomize="LDAM_TEST_SEED" not in os.environ)
hypothesis.settings.load_profile("same examples")


# The bound of a statistical statement, in standard errors of its known distribution: a normal number leaves it with
# probability 3.8e-8. The 850 statements of a run then make one false alarm in 30,000 runs; heavier tails, as sums of
# skewed numbers have, may triple that and still leave it below one in 10,000.
SIGMAS = 5.5


# E itself at T = 1: for samplers of pixels with calibrated kernels whose law a formula or another implementation gives.
# Without it gradients are divided by frozen scales, which take a warm-up, and T suits those.
UNSCALED: dict[str, Any] = {"scale": "none", "temperature": 1.0}


def run_seed() -> int:
    """What tests marked `statistical` draw from: the same in every run, unless LDAM_TEST_SEED or `--seeds` says
    another."""
    return int(os.environ.get("LDAM_TEST_SEED") or SEED)


def pytest_report_header() -> str:
    return f"statistical tests draw from seed {run_seed()} (LDAM_TEST_SEED={run_seed()} repeats this run)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=0, help="run the statistical tests with so many seeds")


def pytest_collection_finish() -> None:
    """Imports are done: what they have made stays, and need not be searched at every garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    count = metafunc.config.getoption("seeds")
    if count and metafunc.definition.get_closest_marker("statistical"):
        # a thousand apart: some tests draw from run_seed() + 1, too
        seeds = [run_seed() + 1000 * i for i in range(count)]
        metafunc.parametrize("another_seed", seeds, ids=[f"seed{seed}" for seed in seeds], indirect=True)


@pytest.fixture(autouse=True)
def another_seed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(request, "param"):
        monkeypatch.setenv("LDAM_TEST_SEED", str(request.param))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """With `--seeds`: how often each test failed."""
    if config.getoption("seeds"):
        failed, passed = (
            Counter(re.sub("-?seed\\d+-?", "", report.nodeid) for report in terminalreporter.getreports(outcome))
            for outcome in ("failed", "passed")
        )
        terminalreporter.section("false alarms")
        for test in sorted(failed | passed):
            terminalreporter.line(f"{failed[test]:4} of {failed[test] + passed[test]}  {test.replace('[]', '')}")


# Marks of whole folders and files, by how their paths begin. `make check` leaves all of them out.
MARKS = {
    "law": ("law/",),
    "planted": ("law/test_planted",),
    "slow": (
        "checkpoints/", "demo/", "documents/", "embedding/", "faults/", "survey/", "test_banded", "test_belief",
        "test_callbacks",
        "test_change", "test_cli", "test_comparison", "test_dead_neurons", "test_discriminator_training",
        "test_execution", "test_exploration", "test_expressions_work_with", "test_figures", "test_garbage",
        "test_goal", "test_judge", "test_kernels", "test_ladder", "test_natural_works_with", "test_notebooks",
        "test_odd_models", "test_packed", "test_placement", "test_recordings", "test_tables", "test_thermometer",
        "test_third_party", "test_threads", "test_untouched", "test_warm_up", "widget/test_as_shown",
        "widget/test_belief", "widget/test_compare", "widget/test_live", "widget/test_loop", "widget/test_prior",
        "widget/test_protocol", "widget/test_replay", "widget/test_toolbox", "widget/test_training",
        "widget/test_watch", "zoo/", "atlas/test_engines",
    ),
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(folder).as_posix()
        for mark, beginnings in MARKS.items():
            if path.startswith(beginnings):
                item.add_marker(mark)
    # Browser tests last: Playwright keeps an event loop running, beside which `asyncio.run` refuses to work.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test draws from the global generators does not depend on the tests before it."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    random.seed(SEED)


class TinyCnn(nn.Module):
    """(N, 3, 6, 8) -> (N, 5): colour, not square, with a block that is no leaf. Smooth, so that gradients are dense."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 4 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.softplus(self.conv2(self.layer1(x))).flatten(1))


TINY_SHAPE = (3, 6, 8)


def with_fixed_weights(build: Callable[[], nn.Module], seed: int = 1) -> nn.Module:
    """`build()` in eval mode with the same weights every time; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler takes a CUDA device if there is one; tests compare with tensors of the CPU, unless marked `cuda`."""
    if "cuda" not in request.keywords:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def tiny_cnn() -> nn.Module:
    return with_fixed_weights(TinyCnn)


@pytest.fixture
def linear() -> nn.Module:
    """(N, 6) -> (N, 4), no bias."""
    return with_fixed_weights(lambda: nn.Linear(6, 4, bias=False))


@pytest.fixture
def data_folder() -> Path:
    """Real data and third-party weights; the test is skipped where there are none."""
    root = os.environ.get("LDAM_DATA")
    if not root:
        pytest.skip("LDAM_DATA is not set: it names the folder of the real data")
    return Path(root)
