"""What the loop of a widget runs that plays nothing: it only answers and works off what it is given."""

from __future__ import annotations

import torch


class Idle:
    """A runner without steps.

    Args:
        device: of the network that the widget uses.
    """

    steps = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.params = {"steps_per_frame": 1.0}

    def step(self, n: int) -> object:
        """Nothing to do."""
        return None
