"""A kernel process with a notebook page in front of it, without a browser.

`KernelClient` speaks the Jupyter protocol as JupyterLab does: one connection for everything, and widget messages sent
to a subshell where the kernel has subshells (JupyterLab ≥ 4.4 by default; VS Code and older ones do not). `View` does
what our front end does in the page: hello, an answer to every frame, a heartbeat.
"""

from __future__ import annotations

import itertools
import json
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from .environments import environment

REPOSITORY = Path(__file__).parents[2]
VIEW_TYPE = "application/vnd.jupyter.widget-view+json"
# Seconds for what must happen. Only a failure takes as long, so that a busy machine is given time.
PATIENCE = 60.0
BEAT = 1.0  # seconds without a frame after which a page answers the last one once more


class Message(NamedTuple):
    """A custom message of a widget."""

    at: float  # time.monotonic() of its arrival
    content: dict[str, Any]
    buffers: list[bytes]


@dataclass
class Cell:
    """An execution and its outputs."""

    outputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # message type, content
    reply: dict[str, Any] | None = None
    replied_at: float = 0.0
    idle: bool = False

    @property
    def done(self) -> bool:
        return self.reply is not None and self.idle

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(c["text"] for kind, c in self.outputs if kind == "stream" and c["name"] == "stdout")

    @property
    def shown(self) -> list[str]:
        """Ids of the widgets that it displayed so far."""
        return [str(c["data"][VIEW_TYPE]["model_id"]) for _, c in self.outputs if VIEW_TYPE in c.get("data", {})]

    @property
    def model_id(self) -> str:
        """Of the widget that it displayed."""
        return self.shown[-1]


class KernelClient:
    """Starts a kernel of the given ipykernel version.

    Args:
        version: of ipykernel.
        subshells: send widget messages to a subshell, if the kernel can.
    """

    def __init__(self, version: str, subshells: bool = True) -> None:
        self.version = version
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._views: dict[str, list[View]] = {}
        self._cells: dict[str, Cell] = {}
        self._replies: dict[str, dict[str, Any]] = {}
        self._stray: list[tuple[str, dict[str, Any]]] = []  # outputs of no cell: of callbacks and threads
        self._outbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.changed = threading.Condition()  # guards everything that the page's thread fills
        self._subscribed = self._stop = False

        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            env={"PYTHONPATH": f"{environment(version)}:{REPOSITORY}", "PYTHONSAFEPATH": "1"},
        )
        self.manager.start_kernel(stderr=self.stderr)
        self._session = self.manager.session
        # A page's JSON has no NaN, but a hostile client's may: let it through as Python's own would.
        self._session.pack = lambda content: json.dumps(content, default=str).encode()
        # A page never waits for room to send: meanwhile it would not read, and the kernel would throw messages away.
        self.manager.context.sndhwm = self.manager.context.rcvhwm = 0
        identity = self._session.bsession
        self._sockets = {
            "iopub": self.manager.connect_iopub(),
            "shell": self.manager.connect_shell(identity=identity),
            "control": self.manager.connect_control(identity=identity),
        }
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        info = self._greet()
        assert self.value("__import__('ipykernel').__version__") == version
        self._subshell: str | None = None
        if subshells and "kernel subshells" in info.get("supported_features", []):
            # one for all comms of a target, as JupyterLab's default `perCommTarget` does
            self._subshell = self.ask("control", "create_subshell_request", {})["subshell_id"]
        self.noise()  # remarks about debuggers and encryption

    @property
    def handles_while_busy(self) -> bool:
        """Are widget messages processed while a cell occupies the main thread?"""
        return self._subshell is not None

    @property
    def handles_while_awaiting(self) -> bool:
        """Are widget messages processed while a cell awaits something?"""
        return self._subshell is not None or self.version >= "7.4"

    # ---- cells -----------------------------------------------------------------------------------------------------

    def start(self, code: str, *, name: str | None = None) -> Cell:
        """Execute a cell; returns at once. `name`: the notebook's id of the cell; a new one if None."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        message = self._session.msg("execute_request", content | {"allow_stdin": False, "stop_on_error": True})
        message["metadata"] = {"deletedCells": [], "recordTiming": False, "cellId": name or f"cell-{len(self._cells)}"}
        with self.changed:
            cell = self._cells[message["header"]["msg_id"]] = Cell()
        self._outbox.put(("shell", message))
        return cell

    def finish(self, cell: Cell, timeout: float = PATIENCE) -> Cell:
        """Wait for the end of a cell."""
        self.wait(lambda: cell.done, timeout, "the cell did not end")
        return cell

    def run(self, code: str, timeout: float = PATIENCE, *, name: str | None = None) -> Cell:
        """Execute a cell that must not fail."""
        cell = self.finish(self.start(code, name=name), timeout)
        assert cell.reply is not None
        assert cell.reply["status"] == "ok", "\n".join(cell.reply.get("traceback", [str(cell.reply)]))
        return cell

    def value(self, expression: str) -> Any:
        """Value of an expression of JSON types in the kernel."""
        return json.loads(self.run(f"import json; print(json.dumps({expression}))").text)

    def wait(self, condition: Callable[[], Any], timeout: float = PATIENCE, complaint: str = "waited in vain") -> Any:
        """Wait until the condition is true, checked whenever something arrives and now and then; returns its value."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not (result := condition()) and time.monotonic() < deadline:
                self.changed.wait(0.2)
        assert result, f"{complaint} (ipykernel {self.version}, {timeout} s)"
        return result

    # ---- comms -----------------------------------------------------------------------------------------------------

    def send(self, comm_id: str, data: Mapping[str, Any]) -> None:
        """A comm message, by way of the subshell if there is one."""
        message = self._session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        if self._subshell is not None:
            message["header"]["subshell_id"] = self._subshell
        self._outbox.put(("shell", message))

    def ask(self, channel: str, kind: str, content: dict[str, Any], timeout: float = PATIENCE) -> dict[str, Any]:
        """Any request; returns the content of its reply."""
        message = self._session.msg(kind, content)
        self._outbox.put((channel, message))
        key = message["header"]["msg_id"]
        return dict(self.wait(lambda: self._replies.get(key), timeout, f"no answer to {kind}"))

    def attach(self, view: View) -> None:
        with self.changed:
            self._views.setdefault(view.comm_id, []).append(view)

    def detach(self, view: View) -> None:
        with self.changed:
            self._views[view.comm_id].remove(view)

    def turn_page(self) -> None:
        """All views disappear without a message."""
        with self.changed:
            self._views.clear()

    # ---- what went wrong -------------------------------------------------------------------------------------------

    def noise(self) -> str:
        """Whatever the kernel wrote to stderr, as an error, or outside of cells, since this was last asked."""
        with self.changed:
            of_cells = [output for cell in self._cells.values() for output in cell.outputs]
            outputs, self._stray = [*of_cells, *self._stray], []
            for cell in self._cells.values():
                cell.outputs = []
        bad = [o for o in outputs if o[0] == "error" or (o[0] == "stream" and o[1]["name"] == "stderr")]
        self.stderr.seek(0)
        text = self.stderr.read()
        self.stderr.seek(0)
        self.stderr.truncate()
        text += "\n".join(str(content.get("text") or content.get("traceback")) for _, content in bad)
        # of answers that crossed the closing of a widget
        return "\n".join(line for line in text.splitlines() if line.strip() and "No such comm" not in line)

    # ---- life ------------------------------------------------------------------------------------------------------

    def shut_down(self, timeout: float = PATIENCE) -> None:
        """Ask the kernel to stop, as shutdown and restart both do, and wait until it has."""
        deadline = time.monotonic() + timeout
        self.manager.request_shutdown(restart=True)
        while self.manager.is_alive():
            assert time.monotonic() < deadline, f"ipykernel {self.version} hangs after a request to shut down"
            time.sleep(0.05)

    def _greet(self) -> dict[str, Any]:
        """Wait until the kernel answers on both ways: what it publishes before the page has subscribed is lost."""
        for _ in range(60):
            try:
                info = self.ask("shell", "kernel_info_request", {}, timeout=1)
                self.wait(lambda: self._subscribed, 0.2)
            except AssertionError:
                assert self.manager.is_alive(), self.noise()
            else:
                return info
        raise AssertionError(f"ipykernel {self.version} did not start: {self.noise()}")

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.manager.shutdown_kernel(now=True)
        self.stderr.close()

    # ---- the page's thread: it alone touches the sockets -----------------------------------------------------------

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in self._sockets.values():
            poller.register(socket, zmq.POLLIN)
        while not self._stop:
            for socket, _ in poller.poll(5):  # ms
                _, message = self._session.recv(socket)
                if message is not None:
                    with self.changed:
                        self._receive(message)
                        self.changed.notify_all()
            with self.changed:
                for view in itertools.chain.from_iterable(self._views.values()):
                    view.beat(time.monotonic())
            while not self._outbox.empty():
                channel, message = self._outbox.get()
                self._session.send(self._sockets[channel], message)
        for socket in self._sockets.values():
            socket.close(linger=0)

    def _receive(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        parent = message["parent_header"].get("msg_id", "")
        cell = self._cells.get(parent)
        if kind == "comm_msg" and content["data"].get("method") == "custom":
            custom = Message(time.monotonic(), content["data"]["content"], [bytes(b) for b in message["buffers"]])
            for view in self._views.get(content["comm_id"], ()):
                view.receive(custom)
        elif kind == "comm_close":
            self._views.pop(content["comm_id"], None)
        elif kind in {"stream", "error", "display_data", "execute_result"}:
            (self._stray if cell is None else cell.outputs).append((kind, content))
        elif kind == "status":
            self._subscribed = True
            if cell is not None:
                cell.idle = content["execution_state"] == "idle"
        elif kind == "execute_reply" and cell is not None:
            cell.reply, cell.replied_at = content, time.monotonic()
        elif kind.endswith("_reply"):
            self._replies[parent] = content


class View:
    """One view of a widget in the page.

    Args:
        visible: whether it reports that it is visible.
        answers: acknowledge frames and beat.
    """

    _numbers = itertools.count()

    def __init__(self, client: KernelClient, model_id: str, *, visible: bool = True, answers: bool = True) -> None:
        self.client, self.comm_id = client, model_id
        self.name = f"view{next(self._numbers)}"
        self.visible, self.answers = visible, answers
        self.messages: list[Message] = []
        self._last_seq = 0
        self._last_frame_at = time.monotonic()
        self._revision = 0
        client.attach(self)
        self.say(kind="hello")

    # ---- to the kernel ---------------------------------------------------------------------------------------------

    def send(self, content: Any) -> None:
        """Any content at all."""
        self.client.send(self.comm_id, {"method": "custom", "content": content})

    def say(self, **content: Any) -> None:
        self.send({"view": self.name, **content})

    def set(self, **params: Any) -> int:
        """Move sliders; returns the revision that the answer will carry."""
        self._revision += 1
        self.say(kind="set", rev=self._revision, params=params)
        return self._revision

    def do(self, what: str) -> None:
        self.say(kind="do", what=what)

    def close(self) -> None:
        """As when the output is cleared."""
        self.say(kind="bye")
        self.client.detach(self)

    # ---- from the kernel -------------------------------------------------------------------------------------------

    def of(self, kind: str, since: float = 0.0) -> list[Message]:
        """Messages of one kind that arrived after `since`."""
        return [m for m in tuple(self.messages) if m.content["kind"] == kind and m.at > since]

    def next(
        self, kind: str, where: Callable[[dict[str, Any]], Any] = bool, since: float = 0.0, timeout: float = PATIENCE
    ) -> Message:
        """The first such message after `since`, waited for if need be."""

        def found() -> Message | None:
            return next((m for m in self.of(kind, since) if where(m.content)), None)

        return self.client.wait(found, timeout, f"no {kind} came")  # type: ignore[no-any-return]

    def rate(self, start: float, end: float) -> float:
        """Frames a second between two times."""
        return len([m for m in self.of("frame", start) if m.at <= end]) / (end - start)

    def flows(self, timeout: float = PATIENCE) -> None:
        """Wait for a second in which pictures come at full speed; keep-alives alone, 4 a second, never make one.

        How soon it comes is the machine's affair, so that only its coming is asked for.
        """
        begin = time.monotonic()

        def fast() -> bool:
            now = time.monotonic()
            return now - begin >= 1 and self.rate(now - 1, now) >= 8

        self.client.wait(fast, timeout, "pictures do not flow")

    # ---- on the page's thread --------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        self.messages.append(message)
        if message.content["kind"] == "frame":
            self._last_seq, self._last_frame_at = message.content["seq"], message.at
            self._acknowledge()

    def beat(self, now: float) -> None:
        if now - self._last_frame_at >= BEAT:
            self._last_frame_at = now
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self.answers:
            self.say(kind="ack", seq=self._last_seq, visible=self.visible)
