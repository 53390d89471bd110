"""Load checkpoints from training scripts into a copy of the user's model, and average several of them.

Files are only ever read as tensors; a file that would run code on loading is rejected. A file passes through
`reading`, `matching`, `fitting`, `values` and `loading`; `averaging` builds on these.
"""

from .averaging import average_checkpoints
from .fitting import CheckpointError
from .loading import load_checkpoint

__all__ = ["CheckpointError", "average_checkpoints", "load_checkpoint"]
