"""Detect modules with hooks, which must be run as they are."""

from __future__ import annotations

from torch import nn


def hooked(module: nn.Module) -> bool:
    """Whether a module has hooks of any kind, which a replacement module would not call."""
    return any(
        getattr(module, f"_{kind}_hooks", None) for kind in ("forward", "forward_pre", "backward", "backward_pre")
    )
