"""Is the kernel executing a cell? While it is, silence of the front end proves nothing."""

from __future__ import annotations

from collections.abc import Callable


class _Watch:
    """Follows IPython's cell events; one for the process."""

    def __init__(self, events: object) -> None:
        self.running = True  # it is made within a cell
        self.events = events

    def before(self, *_: object) -> None:
        self.running = True

    def after(self, *_: object) -> None:
        self.running = False


_watch: _Watch | None = None


def cell_running() -> Callable[[], bool]:
    """A function that tells whether a cell runs; always False outside IPython."""
    global _watch
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return lambda: False
    shell = get_ipython()
    if shell is None:
        return lambda: False
    if _watch is None or _watch.events is not shell.events:
        _watch = _Watch(shell.events)
        shell.events.register("pre_run_cell", _watch.before)
        shell.events.register("post_run_cell", _watch.after)
    watch = _watch
    return lambda: watch.running
