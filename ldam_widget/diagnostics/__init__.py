"""Pure functions of arrays: how well the chains mix, and their temperature."""

from .mixing import History, mixing
from .modes import modes, moves
from .projections import principal, spread, switches, thumbnails
from .report import report
from .results import Diagnostics, Samples, TemperatureReport, Verdict
from .thermometer import Thermometer, virial

__all__ = [
    "Diagnostics",
    "History",
    "Samples",
    "TemperatureReport",
    "Thermometer",
    "Verdict",
    "mixing",
    "modes",
    "moves",
    "principal",
    "report",
    "spread",
    "switches",
    "thumbnails",
    "virial",
]
