"""Between chain coordinates z and pictures x: where kernels move, and what the network sees."""

from ..core.target import Coordinates
from .natural import Natural
from .pixels import Pixels
from .transforms import Jitter, Robust, Transforms

__all__ = ["Coordinates", "Jitter", "Natural", "Pixels", "Robust", "Transforms"]
