"""Tasks on a Dask cluster; needs the extra `cluster`.

What the tasks have in common travels once to each worker, also to those that join later, as a worker plugin. A worker
runs one task at a time, however many threads it has. If a worker dies, Dask gives its task to another one.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from asyncio import CancelledError
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from distributed import Client, KilledWorker, Worker, WorkerPlugin, as_completed, get_worker

from .outcome import EngineError, Make, Outcome

_RETRIES = 2  # of a task with an error


def on_cluster(make: Make, common: Any, tasks: Sequence[Any], client: Client) -> Generator[Outcome, None, None]:
    """Run tasks on the workers of a client; outcomes come as they are ready.

    Args:
        make: a function at the top level of a module that workers can import.
        common, tasks: anything that can be pickled; of small size, for tasks.
        client: connected, not asynchronous.

    Raises:
        EngineError: the connection to the scheduler is lost.
        Exception: an error of a task, such as of a worker that does not see the folder.
        TypeError: the client is asynchronous.
    """
    if client.asynchronous:
        raise TypeError("engine is an asynchronous Dask client; connect one with asynchronous=False")
    if client.status != "running":
        raise EngineError(f"the Dask client is {client.status}; connect another one, and the same call goes on")
    name = f"ldam-{uuid.uuid4().hex}"
    futures: list[Any] = []
    try:
        with _told_of_the_connection():
            client.register_plugin(_Common(make, common), name=name)
            futures = client.map(_run, list(tasks), plugin=name, pure=False, retries=_RETRIES)
        of = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        for future in as_completed(futures):
            yield _outcome(of[future.key], future)
    finally:
        _leave(client, futures, name)


def _outcome(task: Any, future: Any) -> Outcome:
    """How a task went. Raises its error, or EngineError if nobody knows."""
    with _told_of_the_connection():
        if future.status == "finished":
            return Outcome(task, future.result())
        if future.status != "error":
            raise OSError(f"a task is {future.status}")
        error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(task, lost=f"the workers died at it ({error})")
    raise error


@contextlib.contextmanager
def _told_of_the_connection() -> Iterator[None]:
    try:
        yield
    except (OSError, CancelledError) as error:
        raise EngineError(
            f"the connection to the Dask scheduler is lost ({error}); connect to another one, and the same call goes on"
        ) from error


def _leave(client: Client, futures: list[Any], name: str) -> None:
    """Take back what is left; nothing to do if the scheduler is gone."""
    try:
        if client.status == "running":
            client.cancel(futures)
            client.unregister_worker_plugin(name)
    except Exception:
        pass


class _Common(WorkerPlugin):  # type: ignore[misc]  # distributed is untyped
    """What the tasks have in common, on a worker."""

    def __init__(self, make: Make, common: Any) -> None:
        self._make, self._common = make, common
        self._run: Any = None

    def setup(self, worker: Worker) -> None:
        """Called when the worker gets it; what takes long waits for the first task."""
        self._one_at_a_time = threading.Lock()

    def run(self, task: Any) -> Any:
        with self._one_at_a_time:
            if self._run is None:
                self._run = self._make(self._common)
            return self._run(task)


def _run(task: Any, plugin: str) -> Any:
    return get_worker().plugins[plugin].run(task)
