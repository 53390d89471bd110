"""What is climbed: neurons f_α and regularisers R_i, one term a file."""

from .discriminator import Discriminator
from .l2 import L2

__all__ = ["L2", "Discriminator"]
