"""Pictures and numbers of every unit of a network, in a folder."""

from .building import atlas
from .reading import Atlas

__all__ = ["Atlas", "atlas"]
