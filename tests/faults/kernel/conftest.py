"""Kernels and views as in `tests/kernel`, and what else a page may do to a kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ...kernel.client import KernelClient
from ...kernel.conftest import kernel, kernels, shared, start, view

__all__ = ["NEWEST", "close_comm", "kernel", "kernels", "pid_of", "runs", "shared", "start", "view"]

# For what has nothing to do with the version of ipykernel.
NEWEST = pytest.mark.parametrize("shared", ["7.4.0"], indirect=True)


def close_comm(client: KernelClient, comm_id: str) -> None:
    """As a page does that discards its widgets."""
    message = client._session.msg("comm_close", {"comm_id": comm_id, "data": {}})
    if client._subshell is not None:
        message["header"]["subshell_id"] = client._subshell
    client._outbox.put(("shell", message))


def begun(client: KernelClient, code: str) -> Any:
    """Start a cell and wait until it runs: it must print something first."""
    cell = client.start(code)
    client.wait(lambda: cell.outputs, complaint="the cell did not begin")
    return cell


def interrupt(client: KernelClient, cell: Any) -> str:
    """Interrupt a cell as the stop button does; returns the name of the exception that ended it."""
    client.manager.interrupt_kernel()
    reply = client.finish(cell).reply
    assert reply is not None
    assert reply["status"] == "error", "the cell ended by itself"
    cell.outputs.clear()  # the traceback is expected
    return str(reply["ename"])


def pid_of(client: KernelClient) -> int:
    """Process of the kernel."""
    return int(client.value("__import__('os').getpid()"))


def runs(pid: int) -> bool:
    """Is there such a process?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(client: KernelClient, expression: str, expected: Any, tries: int = 100) -> None:
    """Ask the kernel until the expression has this value."""
    found: list[Any] = []
    ask: Callable[[], Any] = lambda: client.value(expression)  # noqa: E731
    for _ in range(tries):
        found = [ask()]
        if found == [expected]:
            return
        client.run("time.sleep(0.1)")
    raise AssertionError(f"{expression} is {found[0]!r}, not {expected!r} (ipykernel {client.version})")
