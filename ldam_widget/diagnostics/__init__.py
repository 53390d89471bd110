"""Pure functions of arrays: how well the chains mix, and what temperature they have."""

from .mixing import History, mixing

__all__ = ["History", "mixing"]
