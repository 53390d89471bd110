"""Shared by all tests: tiny models, the seed of the day, real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Statistical tests draw from another seed every day: a tuned seed would hide a wrong law, and a tolerance that fails
# by chance would show itself. `LDAM_TEST_SEED=20251121 pytest …` repeats the run of a day.
SEED_OF_THE_DAY = int(os.environ.get("LDAM_TEST_SEED") or f"{datetime.now(timezone.utc):%Y%m%d}")
os.environ["LDAM_TEST_SEED"] = str(SEED_OF_THE_DAY)  # of all processes, also past midnight


def pytest_report_header() -> str:
    return f"seed of the day: {SEED_OF_THE_DAY} (LDAM_TEST_SEED repeats a day)"


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: Playwright keeps an event loop running, beside which `asyncio.run` refuses to work."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
