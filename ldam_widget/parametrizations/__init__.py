"""Parametrizations: maps between the chain coordinates z that kernels move and the pictures x the network sees."""

from ..core.target import Coordinates
from .natural import Natural
from .pixels import Pixels
from .transforms import Blur, Jitter, Robust, Transforms

__all__ = ["Blur", "Coordinates", "Jitter", "Natural", "Pixels", "Robust", "Transforms"]
