"""What all engines have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

# Makes what runs tasks, once in a worker. It is called with what all tasks have in common, and is a function at the top
# level of a module, so that it can be sent.
Make = Callable[[Any], Callable[[Any], Any]]


class Outcome(NamedTuple):
    """How a task went."""

    task: Any
    result: Any = None
    lost: str = ""  # why there is no result: the worker died; "": there is one


class EngineError(RuntimeError):
    """No worker can run any task."""


class UnsendableError(EngineError):
    """What the tasks have in common cannot be sent to other processes."""
