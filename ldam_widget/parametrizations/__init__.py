"""Between chain coordinates z and pictures x: where kernels move, and what the network sees."""

from .coordinates import Coordinates, Pixels
from .natural import Natural
from .transforms import Jitter, Robust, Transforms

__all__ = ["Coordinates", "Jitter", "Natural", "Pixels", "Robust", "Transforms"]
