"""The live widgets, Jupyter's entry point."""

from .layer_page import LayerPage
from .live import LDAM
from .side_by_side import Compare, compare, compare_checkpoints
from .toolbox import Toolbox
from .watching import Watch, watch

__all__ = ["LDAM", "Compare", "LayerPage", "Toolbox", "Watch", "compare", "compare_checkpoints", "watch"]
