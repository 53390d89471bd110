"""The live widgets, Jupyter's entry point."""

from .atlas_view import AtlasView
from .layer_page import LayerPage
from .live import LDAM
from .scatter import Scatter
from .side_by_side import Compare, compare, compare_checkpoints
from .toolbox import Toolbox
from .unit_page import UnitPage
from .watching import Watch, watch

__all__ = [
    "LDAM",
    "AtlasView",
    "Compare",
    "LayerPage",
    "Scatter",
    "Toolbox",
    "UnitPage",
    "Watch",
    "compare",
    "compare_checkpoints",
    "watch",
]
