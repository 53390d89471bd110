"""Regularisers R_i, one term a file."""

from .l2 import L2

__all__ = ["L2"]
