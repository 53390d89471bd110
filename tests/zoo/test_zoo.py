"""Networks of torchvision, timm and transformers with random weights: each is sampled rightly, or refused with reason.

The quick ones, at least one of each kind, are part of `make test`; `make zoo` runs all. `python -m tests.zoo.table`
writes docs/networks.md.
"""

from __future__ import annotations

import os

import pytest

from . import of_timm, of_torchvision, of_transformers
from .examination import examine
from .own_model import Network
from .packages import package

ALL = "LDAM_ZOO" in os.environ  # set by `make zoo`
HOMES = {"torchvision": of_torchvision, "timm": of_timm, "transformers": of_transformers}
NETWORKS = [(home, network) for home, module in HOMES.items() for network in module.networks()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("home", "network"),
    [pair for pair in NETWORKS if ALL or pair[1].quick],
    ids=[f"{home}-{network.name}" for home, network in NETWORKS if ALL or network.quick],
)
def test_it_is_sampled_rightly_or_refused(home: str, network: Network) -> None:
    package(home)
    if network.refused:
        with pytest.raises(ValueError, match=network.refused):
            examine(network)
    else:
        # another way of running the network than as written is tried with the quick ones
        examine(network, "auto" if network.quick else "plain")


def test_there_are_enough() -> None:
    names = [(home, network.name) for home, network in NETWORKS]
    assert len(set(names)) == len(names) >= 120
    refused = [network.name for _, network in NETWORKS if network.refused]
    assert len(refused) <= 0.05 * len(names)


def test_the_examination_sees_faults() -> None:
    """A network whose images influence each other only where nothing checks; and one that is not the user's own."""
    import torch
    from torch import nn

    class Swapped(nn.Module):
        """Gives other numbers to whoever looks from outside."""

        def __init__(self) -> None:
            super().__init__()
            self.fc, self.outside = nn.Linear(12, 5), False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.flatten(1)) * (2.0 if torch.is_grad_enabled() else 1.0)

    with pytest.raises(AssertionError, match="off by"):
        examine(Network("swapped", Swapped, (3, 2, 2)))
