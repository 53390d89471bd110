"""Where tasks run: in this process, in processes of this machine, or on a Dask cluster."""

from .outcome import EngineError, Outcome, UnsendableError
from .processes import in_processes
from .serial import in_turn

__all__ = ["EngineError", "Outcome", "UnsendableError", "in_processes", "in_turn"]
