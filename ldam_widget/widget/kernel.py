"""Interaction with the kernel: detecting whether a cell is running, and working around its communication bugs."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from comm import get_comm_manager

RESULT = re.compile(r"_{1,3}|_\d+")  # IPython's names for what cells returned


class Listener(Protocol):
    """What wants to know when a cell has ended."""

    def cell_ended(self) -> None: ...


class _Watch:
    """Tracks IPython's cell events; one per process."""

    def __init__(self, events: object) -> None:
        self.running = True  # it is created within a cell
        self.events = events
        self.listeners: weakref.WeakSet[Listener] = weakref.WeakSet()

    def before(self, *_: object) -> None:
        self.running = True

    def after(self, *_: object) -> None:
        self.running = False
        for listener in list(self.listeners):
            listener.cell_ended()


_watch: _Watch | None = None


def _cells() -> _Watch | None:
    """The watch of this shell, made on the first call; None outside IPython."""
    global _watch
    shell = _shell()
    if shell is None:
        return None
    if _watch is None or _watch.events is not shell.events:
        _watch = _Watch(shell.events)
        shell.events.register("pre_run_cell", _watch.before)
        shell.events.register("post_run_cell", _watch.after)
    return _watch


def cell_running() -> Callable[[], bool]:
    """A function that returns whether a cell is running (silence then proves nothing); always False outside IPython."""
    watch = _cells()
    return (lambda: False) if watch is None else lambda: watch.running


def on_cell_end(listener: Listener) -> None:
    """Call `listener.cell_ended()` at the end of every cell, as long as the listener lives."""
    watch = _cells()
    if watch is not None:
        watch.listeners.add(listener)


def current_cell() -> tuple[str, int] | None:
    """The cell that runs, by the notebook's name for it or else by its code, and its execution count."""
    shell = _shell()
    kernel = getattr(shell, "kernel", None)
    if shell is None or kernel is None:
        return None
    parent = kernel.get_parent() or {}
    name = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")
    return (str(name), shell.execution_count) if name else None


def forget_result(value: object) -> None:
    """Remove a value from IPython's history of results (`Out`, `_`, `_3`), which keeps everything that cells return."""
    shell = _shell()
    if shell is None:
        return
    outputs, hook = shell.user_ns.get("_oh", {}), shell.displayhook
    for count in [count for count, result in outputs.items() if result is value]:
        del outputs[count]
    for names in (shell.user_ns, shell.user_ns_hidden):
        for name in [name for name, kept in names.items() if kept is value and RESULT.fullmatch(name)]:
            if name[-1] == "_":
                names[name] = None
            else:
                del names[name]
    for name in ("_", "__", "___"):
        if getattr(hook, name, None) is value:
            setattr(hook, name, None)


def publish(bundle: dict[str, str], display_id: str, *, update: bool) -> bool:
    """Add an output to the cell that runs, or replace an earlier one, from any thread. Returns whether there is a
    kernel to do it."""
    shell = _shell()
    kernel = getattr(shell, "kernel", None)
    if kernel is None or not hasattr(kernel, "iopub_socket"):
        return False
    if not update:
        shell.display_pub.publish(bundle, transient={"display_id": display_id})
        return True
    # not through `display_pub`: at this moment it may be collecting the outputs of a cell of the user's
    content = {"data": bundle, "metadata": {}, "transient": {"display_id": display_id}}
    kernel.session.send(kernel.iopub_socket, "update_display_data", content, parent=kernel.get_parent())
    return True


def patch_shell_socket() -> None:
    """Work around a bug in ipykernel 7.0 to 7.3 that our traffic would trigger within seconds.

    They send replies directly on the socket, bypassing the stream that reads requests from it. A request that arrives
    at that moment is missed, and so are all later ones: cells hang until the kernel is restarted (ipykernel #1529,
    #1554). With a page that acknowledges dozens of frames per second, this happens within a few cells. Like 7.4, this
    sends through the stream instead.
    """
    kernel = getattr(_shell(), "kernel", None)
    with contextlib.suppress(AttributeError, AssertionError):  # another kernel, or a disallowed thread
        manager = kernel.shell_channel_thread.manager  # type: ignore[union-attr]
        if hasattr(manager, "_shell_socket"):
            manager._shell_socket = kernel.shell_stream  # type: ignore[union-attr]


def honour_requested_subshell(comm: Any) -> None:
    """Route a comm's messages to the subshell that the page names, also in ipykernel 7.4.

    7.4 routes them to the shell that the comm last sent from instead. For a widget created and shown in a long-running
    cell, such as one that watches a training run, that is the main shell, which handles nothing until the cell ends.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked: asked


def survive_page_reload(comm: Any, on_close: Callable[[], None]) -> None:
    """Call `on_close` when a page closes the comm, but keep the comm, so that a reloaded or another page can continue.

    The kernel would forget it, and the widget would keep playing for a page whose messages no longer arrive.
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
