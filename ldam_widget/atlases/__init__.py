"""Pictures and numbers of every unit of a network, in a folder."""

from .reading import Atlas

__all__ = ["Atlas"]
