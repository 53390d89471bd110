"""Pure functions of arrays: how well the chains mix, and what temperature they have."""

from .mixing import History, mixing
from .projections import principal, spread, switches, thumbnails
from .report import Samples, Verdict, report
from .thermometer import Thermometer, virial

__all__ = [
    "History",
    "Samples",
    "Thermometer",
    "Verdict",
    "mixing",
    "principal",
    "report",
    "spread",
    "switches",
    "thumbnails",
    "virial",
]
