"""The live widgets, Jupyter's entry point."""

from .atlas_view import AtlasView
from .live import LDAM
from .side_by_side import Compare, compare, compare_checkpoints
from .toolbox import Toolbox
from .watching import Watch, watch

__all__ = ["LDAM", "AtlasView", "Compare", "Toolbox", "Watch", "compare", "compare_checkpoints", "watch"]
