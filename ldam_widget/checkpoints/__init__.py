"""Weights from files: whatever a training script wrote, put into a copy of the user's model; and means of several.

A file is only ever read as tensors. One that would run code while it is loaded is refused. The way of a file:
`reading`, `matching`, `fitting`, `values`, `loading`; `averaging` stands above them.
"""

from .averaging import average_checkpoints
from .fitting import CheckpointError
from .loading import load_checkpoint

__all__ = ["CheckpointError", "average_checkpoints", "load_checkpoint"]
