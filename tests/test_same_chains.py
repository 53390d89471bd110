"""The same seed gives the same chains from one version to the next, kernel by kernel.

`python -m tests.test_same_chains` rewrites the arrays: for a change that is meant to change the chains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews

from .conftest import UNSCALED

FILE = Path(__file__).parent / "data" / "chains.safetensors"
STEPS = 30

CASES: dict[str, dict[str, Any]] = {
    "Algorithm1": {"kernel": Algorithm1()},
    "Algorithm1 mixed": {"kernel": Algorithm1(), "pixel_range": (0, 1), "l2": 0.1},
    "BAOAB": {"kernel": BAOAB(step_size=0.05), "pixel_range": (0, 1), "l2": 0.2, **UNSCALED},
    "BAOAB frozen": {
        "kernel": BAOAB(step_size=0.05),
        "pixel_range": (-1, 1),
        "warm_up": 10,
        "scale": "frozen",
        "temperature": 1.0,
    },
    "GHMC": {"kernel": GHMC(), "l2": 0.2, "warm_up": 12, **UNSCALED},
    # with walls, steps that are found would let rounding grow until a proposal is accepted on one processor alone
    "MALA": {"kernel": MALA(step_size=0.05), "pixel_range": (0, 1), "l2": 0.2, **UNSCALED},
    "ULA": {"kernel": ULA(), "pixel_range": (0, 1), "scale": "none", "temperature": 0.5},
    "LeimkuhlerMatthews": {"kernel": LeimkuhlerMatthews(), "pixel_range": (0, 1), "scale": "none", "temperature": 0.5},
    "ladder": {"kernel": BAOAB(step_size=0.05), "pixel_range": (0, 1), "ladder": (1, 2, 4), **UNSCALED},
    "natural": {"prior": "natural", "channels": 3, "pixel_range": (0, 1), "warm_up": 10},
    "natural goal": {"prior": "natural", "channels": 3, "pixel_range": (0, 1), "goal": 1.2, "warm_up": 16},
    "natural MALA jittered": {
        "kernel": MALA(),
        "prior": "natural",
        "channels": 3,
        "pixel_range": (0, 1),
        "transforms": ldam.Jitter(1),
    },
}


def network(channels: int) -> nn.Module:
    """Weights by formula: torch's random numbers may change between versions."""
    conv, linear = nn.Conv2d(channels, 6, 3), nn.Linear(6 * 14 * 14, 4)
    with torch.no_grad():
        for parameter in (*conv.parameters(), *linear.parameters()):
            count = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(((count + 1) * 1.618).sin().view_as(parameter) / parameter.shape[-1] ** 0.5)
    return nn.Sequential(conv, nn.Softplus(), nn.Flatten(), linear).eval()


def chains(name: str) -> Tensor:
    settings = dict(CASES[name])
    channels = settings.pop("channels", 1)
    regularizers = [ldam.L2(settings.pop("l2", 0.0))]
    sampler = ldam.Sampler(
        network(channels), input_shape=(channels, 16, 16), neurons=[0, 2], chains=2, seed=7, execution="plain",
        device="cpu", regularizers=regularizers, **settings,
    )  # fmt: skip
    sampler.step(STEPS)
    return torch.stack([sampler.images, sampler.average_images])


@pytest.mark.parametrize("name", CASES)
def test_the_same_chains_as_before(name: str) -> None:
    # 1e-3: other processors round otherwise, and thirty steps let it grow
    torch.testing.assert_close(chains(name), load_file(FILE)[name], atol=1e-3, rtol=1e-3)


if __name__ == "__main__":
    save_file({name: chains(name).contiguous() for name in CASES}, FILE)
