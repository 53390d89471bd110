"""Tasks in processes of this machine.

The processes are started anew (spawn), which is safe beside threads and GPUs. What the tasks have in common is sent to
each once. A process that dies costs the task that it was at, which another one then tries once more.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from .outcome import EngineError, Make, Outcome, UnsendableError

_TRIES = 2  # of a task whose worker dies
_READY, _DONE, _BROKEN, _UNKNOWN = "ready", "done", "broken", "unknown"


def in_processes(
    make: Make, common: Any, tasks: Sequence[Any], workers: int, *, threads: int = 1, devices: int = 0
) -> Generator[Outcome, None, None]:
    """Run tasks, each in one of several processes; outcomes come as they are ready.

    Args:
        make: a function at the top level of a module; called with `common` in each process.
        common, tasks: anything that can be pickled.
        workers: how many processes.
        threads: CPU threads of each.
        devices: CUDA devices, shared out; 0: none are assigned.

    Raises:
        UnsendableError: `make` or `common` cannot be sent, e.g. a class that is defined in a notebook.
        EngineError: the processes fail at the start; in a script, often for want of
            ``if __name__ == "__main__":``.
        Exception: an error of a task.
    """
    try:
        content = pickle.dumps((make, common))
    except Exception as error:
        raise UnsendableError(f"{type(error).__name__}: {error}") from error
    pool = _Pool(content, list(tasks), min(workers, len(tasks)), threads, devices)
    try:
        yield from pool.run()
    finally:
        pool.stop()


class _Worker:
    """A process, and what it is at."""

    def __init__(self, number: int, content: bytes, threads: int, devices: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number, self.ready = number, False
        self.task: Any = None
        self.connection, theirs = context.Pipe()
        device = visible(number % devices) if devices else None
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, threads, device), daemon=True)
        self.process.start()
        theirs.close()
        self._content = content

    def send(self, task: Any) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it has died, which `wait` tells
            self.connection.send(task)

    def welcome(self) -> None:
        """Send what all tasks have in common; returns once the process has read a large one."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(self._content)

    def end(self) -> None:
        self.connection.close()
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(5)
            if self.process.is_alive():
                self.process.kill()
        self.process.join()


class _Pool:
    def __init__(self, content: bytes, tasks: list[Any], workers: int, threads: int, devices: int) -> None:
        self._content, self._threads, self._devices = content, threads, devices
        self._left: deque[tuple[Any, int]] = deque((task, 1) for task in tasks)
        self._tries: dict[int, int] = {}  # of the task that a worker is at
        self._workers: dict[int, _Worker] = {}
        self._count, self._open = workers, len(tasks)
        self._ever_ready, self._failed_starts = False, 0  # the latter since a worker was ready

    def _start(self, number: int) -> _Worker:
        worker = _Worker(number, self._content, self._threads, self._devices)
        self._workers[number] = worker
        return worker

    def run(self) -> Iterator[Outcome]:
        for number in range(self._count):
            self._start(number)
        for worker in self._workers.values():  # only now, as each reads it when it has started
            worker.welcome()
        while self._open:
            by = {worker.connection: worker for worker in self._workers.values()}
            for connection in wait(list(by)):
                assert isinstance(connection, Connection)
                worker = by[connection]
                try:
                    kind, content = connection.recv()
                except (EOFError, OSError):
                    yield from self._died(worker)
                    continue
                if kind == _UNKNOWN:
                    raise UnsendableError(content)
                if kind == _BROKEN:
                    raise content
                task, worker.task = worker.task, None
                if kind == _DONE:
                    self._open -= 1
                worker.ready = self._ever_ready = True
                self._failed_starts = 0
                if self._left:
                    task_next, self._tries[worker.number] = self._left.popleft()
                    worker.send(task_next)
                if kind == _DONE:
                    yield Outcome(task, content)

    def _died(self, worker: _Worker) -> Iterator[Outcome]:
        worker.process.join(5)
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        self._failed_starts += not worker.ready
        if not self._ever_ready or self._failed_starts > self._count:
            raise EngineError(
                f"the worker processes stop at their start ({how}). In a script, build under "
                '`if __name__ == "__main__":`, or use engine="serial"'
            )
        worker.end()
        task = worker.task
        if task is not None:
            tries = self._tries[worker.number]
            if tries < _TRIES:
                self._left.appendleft((task, tries + 1))
            else:
                self._open -= 1
                yield Outcome(task, lost=f"the worker process died twice at it ({how}; out of memory?)")
        if self._left:
            self._start(worker.number).welcome()
        else:
            del self._workers[worker.number]

    def stop(self) -> None:
        for worker in self._workers.values():
            worker.end()


def visible(device: int) -> str:
    """The name by which the environment knows one of the CUDA devices that this process sees."""
    chosen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return chosen[device] if device < len(chosen) else str(device)


def _work(connection: Connection, threads: int, device: str | None) -> None:
    """A worker: gets what tasks have in common, then tasks, until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # nobody listens any more
        content = connection.recv_bytes()
        try:
            make, common = pickle.loads(content)
        except Exception as error:
            connection.send((_UNKNOWN, f"{type(error).__name__}: {error}"))
            return
        run = _told(connection, make, common, _READY)
        while run is not None:
            if _told(connection, run, connection.recv(), _DONE) is None:
                return


def _end_with_parent() -> None:
    """However the first process ends, nobody would take what is done after that."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _told(connection: Connection, function: Callable[[Any], Any], argument: Any, kind: str) -> Any:
    """Call a function and tell how it went; None: it failed."""
    try:
        result = function(argument)
    except Exception as error:
        connection.send((_BROKEN, _sendable(error)))
        return None
    connection.send((kind, result if kind == _DONE else None))
    return result


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return EngineError(f"{type(error).__name__}: {error}")
    return error
