"""Transition kernels, one a file."""

from .algorithm1 import Algorithm1

__all__ = ["Algorithm1"]
