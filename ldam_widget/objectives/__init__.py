"""Terms of the objective: neurons f_α and regularisers R_i, one term per file."""

from .discriminator import Discriminator
from .l2 import L2

__all__ = ["L2", "Discriminator"]
