"""One task after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from .outcome import Make, Outcome


def in_turn(make: Make, common: Any, tasks: Sequence[Any]) -> Generator[Outcome, None, None]:
    """Run tasks in order. An error of a task ends them."""
    run = make(common)
    for task in tasks:
        yield Outcome(task, run(task))
