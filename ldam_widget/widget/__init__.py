"""The live widget. Jupyter starts here."""

from .live import LDAM

__all__ = ["LDAM"]
