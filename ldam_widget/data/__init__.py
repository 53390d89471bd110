"""The user's images."""

from .real_images import RealImages

__all__ = ["RealImages"]
