"""Double precision where the device has it. Apple's GPUs (MPS) have none: there, sums are of single precision."""

from __future__ import annotations

import torch
from torch import Tensor


def has_double(device: torch.device) -> bool:
    return device.type != "mps"


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices without it."""
    return torch.float64 if has_double(device) else torch.float32


def double(x: Tensor) -> Tensor:
    """`x.double()`, or `x.float()` on devices without it."""
    return x.to(widest(x.device))
