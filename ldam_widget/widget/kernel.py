"""What the widget asks of the kernel it runs in: whether a cell runs, and to go on hearing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from comm import get_comm_manager


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
    """A function that tells whether a cell runs: silence then proves nothing. Always False outside IPython."""
    global _watch
    shell = _shell()
    if shell is None:
        return lambda: False
    if _watch is None or _watch.events is not shell.events:
        _watch = _Watch(shell.events)
        shell.events.register("pre_run_cell", _watch.before)
        shell.events.register("post_run_cell", _watch.after)
    watch = _watch
    return lambda: watch.running


def patch_shell_socket() -> None:
    """Mend ipykernel 7.0 to 7.3, which our traffic would deafen within seconds.

    They send replies past the stream that reads requests from the same socket. A request that arrives at that moment
    is never noticed, nor is any after it: cells hang until the kernel is restarted (ipykernel #1529, #1554). A page
    that answers dozens of frames a second makes that a matter of a few cells. Sending through the stream is what 7.4
    does, too.
    """
    kernel = getattr(_shell(), "kernel", None)
    with contextlib.suppress(AttributeError, AssertionError):  # another kernel, or another thread than it allows
        manager = kernel.shell_channel_thread.manager  # type: ignore[union-attr]
        if hasattr(manager, "_shell_socket"):
            manager._shell_socket = kernel.shell_stream  # type: ignore[union-attr]


def honour_requested_subshell(comm: Any) -> None:
    """Let a comm's messages go to the subshell that the page names, also in ipykernel 7.4.

    7.4 takes them to the shell that the comm has last sent from instead. For a widget that is made and shown in a cell
    that goes on running, as one that watches a training, that is the main one, where nothing is heard until it ends.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked: asked


def survive_page_reload(comm: Any, on_close: Callable[[], None]) -> None:
    """Call `on_close` when a page closes the comm, and keep it: a reloaded page, or another one, can then go on.

    The kernel would forget it, and the widget would go on playing for a page that it can no longer hear.
    """
    if _shell() is None:
        return

    def reopen(_message: Any) -> None:
        comm._closed = False
        get_comm_manager().register_comm(comm)
        on_close()

    comm.on_close(reopen)


def _shell() -> Any:
    """IPython's shell, or None outside."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()
