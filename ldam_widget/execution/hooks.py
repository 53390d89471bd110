"""Has somebody hung something onto a module? Then it is run as it is."""

from __future__ import annotations

from torch import nn


def hooked(module: nn.Module) -> bool:
    """Is there a hook of any kind, which another module in its place would not call?"""
    return any(
        getattr(module, f"_{kind}_hooks", None) for kind in ("forward", "forward_pre", "backward", "backward_pre")
    )
