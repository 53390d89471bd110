"""Load checkpoints from training scripts into a copy of the user's model, and average several of them.

Files are only ever read as tensors and plain data: nothing in them is imported or called. `archive` finds the pickle in
a file, `pickles` interprets it, `calls` makes tensors and numbers, and all else becomes a stub (`inert`). What
`reading` gives passes through `matching`, `fitting`, `values` and `loading`; `averaging` builds on these.
"""

from .averaging import average_checkpoints
from .fitting import CheckpointError
from .loading import load_checkpoint

__all__ = ["CheckpointError", "average_checkpoints", "load_checkpoint"]
