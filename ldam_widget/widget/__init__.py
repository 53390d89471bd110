"""The live widgets. Jupyter starts here."""

from .live import LDAM
from .side_by_side import Compare, compare, compare_checkpoints

__all__ = ["LDAM", "Compare", "compare", "compare_checkpoints"]
