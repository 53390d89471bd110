"""One thread that runs a sampler for a front end: newest parameters in, frames out.

Developer notes. The thread owns the state of the chains: everything that moves them (stepping, restarting, choosing
other neurons) runs on it, passed in by `submit`. Parameters need no hand-over, since `Sampler.set` replaces them in one
assignment. The thread knows nothing of Jupyter: it calls `publish`, which sends, and never touches a widget's traits.
It lives only while there is work; a paused or resting loop has no thread at all, and the next `submit` starts one.
It rests while no view is visible: `Pacer` (`pacer.py`) decides when.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import torch

from ..execution import cpu_threads
from .meter import Meter
from .pacer import Pacer
from .turns import short_turns

T = TypeVar("T")
Clock = Callable[[], float]

FRAME_PERIOD = 1 / 60  # seconds; no display shows more
CHORE_TIME = 0.05  # seconds that a chore may take between two frames, not counting the unit in progress
EARLIER = 6  # pictures sent along with a frame at most: on slow links, a few messages carry all pictures
PIECE = 0.02  # seconds of sampling between checks for changes
GRACE = 0.05  # seconds allowed for an announced change to arrive
LINGER = 2.0  # seconds for which the thread of a paused loop waits for more work


class Runs(Protocol):
    """What the loop can run: a `Sampler`, or several in step."""

    @property
    def steps(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def params(self) -> dict[str, float]:
        """Live parameters, including "steps_per_frame"."""
        ...

    def step(self, n: int) -> object: ...


class Loop:
    """Runs `sampler` on a daemon thread.

    Args:
        sampler: what to run.
        publish: called on the thread with a sequence number for every frame to be sent; encodes and sends it, and
            returns the number of bytes.
        on_fault: called on the thread with an exception that stopped the run.
        cell_running: whether the kernel is executing a cell.
        clock: seconds, monotonic.
        keep: called on the thread for a picture that was not sent because the window was full, just before the next
            one is made; its result waits in `earlier` to be sent with the next frame. None: nothing is kept.
    """

    def __init__(
        self,
        sampler: Runs,
        publish: Callable[[int], int],
        on_fault: Callable[[BaseException], None],
        cell_running: Callable[[], bool] = lambda: False,
        clock: Clock = time.monotonic,
        keep: Callable[[], Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self.playing = False
        self.closed = False
        self.pacer = Pacer(clock())
        self.observers: list[Callable[[], None]] = []  # called on the thread after every frame, sent or not
        self.on_idle: Callable[[], None] | None = None  # called on the thread before it ends, paused or at rest
        self.chore: Callable[[], None] | None = None  # work in small units, on the thread between frames, seen or not
        self.earlier: deque[Any] = deque(maxlen=EARLIER)  # pictures to send with the next frame, read by `publish`
        self._publish, self._on_fault, self._cell_running, self._clock = publish, on_fault, cell_running, clock
        self._keep = keep
        self._commands: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        # guards whether there is a thread that will still look at the queue; garbage collection may close us anywhere
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._process = 0  # of the thread; `is_alive`, if interrupted, reports a thread as dead forever
        self._next_frame = clock()
        self._held_until = -math.inf
        self._unsent = False  # the current picture was held back because the window was full
        self._waiting: set[Callable[[], Any]] = set()  # commands in the queue that need to be there only once
        self._overtaken = False  # something has changed since the frame in progress started
        self._hasty = False  # make the next picture after fewer steps than usual
        self._rest = 0, 0, 0  # present step, step of the unfinished picture, steps per picture
        self._step_time = 0.0  # seconds, smoothed
        self._serving: Future[Any] | None = None  # of the command in progress
        self._given_up: Future[Any] | None = None  # its waiting caller was interrupted
        self._meter = Meter(clock())

    # ---- from any thread -------------------------------------------------------------------------------------------

    def submit(self, command: Callable[[], T]) -> Future[T]:
        """Run `command` between two frames; returns at once. An exception is set on the future only."""
        future: Future[T] = Future()
        with self._lock:
            if self.closed:
                future.set_exception(_closed())
                return future
            self._commands.put((command, future))
            if self._thread is None or self._process != os.getpid():  # a fork has no threads
                self._spawn()
        return future

    def _submit_once(self, command: Callable[[], Any]) -> None:
        """`submit`, unless the command is already in the queue."""
        if command in self._waiting:
            return
        try:
            self._waiting.add(command)
            self.submit(command)
        except BaseException:  # interrupted, perhaps before it was put into the queue
            self._waiting.discard(command)
            raise

    def call(self, command: Callable[[], T]) -> T:
        """`submit` and wait for the result; directly if already on the thread."""
        if threading.current_thread() is self._thread:
            return command()
        future = self.submit(command)
        try:
            return future.result()
        except BaseException:
            if not future.done() and not future.cancel():  # the waiting caller was interrupted
                self._given_up = future
            raise

    def play(self) -> None:
        """Start or resume sampling, even from a rest."""
        self.pacer.wake(self._clock())
        self.playing = not self.closed
        self.submit(_nothing)

    def pause(self) -> None:
        """Stop after the frame in progress; returns when it has stopped."""
        self.playing = False
        if self._thread is not None and not self.closed:
            self.call(_nothing)

    def hold(self, seconds: float) -> None:
        """Suspend sampling while playing, until `release` or for at most `seconds`."""
        self._held_until = self._clock() + seconds

    def release(self) -> None:
        """Resume after `hold`."""
        self._held_until = -math.inf
        if self.playing and not self.closed:
            self.submit(_nothing)

    def acknowledge(self, seq: int, visible: bool) -> None:
        """A front end has painted a frame, or signals that it is alive."""
        now = self._clock()
        asleep = self._thread is None or self.pacer.resting(now, self._cell_running())
        self.pacer.on_acknowledge(seq, visible, now)
        if self.playing and visible and not self.closed:
            if asleep:
                self.submit(_nothing)
            elif self._unsent:  # a picture was held back: send it without waiting for the next one
                self._submit_once(self._send_late)

    def leave(self) -> None:
        """The last view has gone: rest at once, until play is pressed or another view appears."""
        self.pacer.leave()
        if self.playing and self._thread is not None:
            self.submit(_nothing)

    def send_now(self) -> None:
        """Send the current picture regardless of the window: after a step, a pause or a change of contrast."""
        self._send(self._clock())

    def show(self) -> None:
        """`send_now` on the thread, soon; multiple requests are merged."""
        self._submit_once(self.send_now)

    def overtake(self) -> None:
        """What is sampled is about to change: abandon the frame in progress, so that the change comes first."""
        self._overtaken = True

    def hurry(self) -> None:
        """The user has changed something: make the next picture at once, and do not send earlier ones."""
        self.pacer.on_change(self._clock())
        self._overtaken = True
        self._unsent = False
        if threading.current_thread() is self._thread:
            self._make_haste()
        elif self.playing and not self.closed and self._thread is not None:
            self._submit_once(self._make_haste)

    def close(self) -> None:
        """End the thread and release the sampler; waits up to a second for the step in progress."""
        with self._lock:
            self.closed = True
            self.playing = False
            self.chore = None
            thread = self._thread
            self._commands.put((_nothing, Future()))
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1.0)

    @property
    def held(self) -> bool:
        """Whether `hold` has suspended sampling."""
        return self._clock() < self._held_until

    @property
    def alive(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    @property
    def stats(self) -> dict[str, float]:
        """steps/s, frames/s (pictures sent), bytes/frame and round trip in ms, smoothed over about a second."""
        return self._meter.read(self._clock()) | {"round_trip_ms": self.pacer.round_trip * 1e3}

    # ---- on the thread ---------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        try:
            self._thread = threading.Thread(target=self._run, name="ldam-loop", daemon=True)
            self._process = os.getpid()
            self._thread.start()
        except BaseException:  # interrupted: if it started anyway, it sees that it is not wanted
            self._thread = None
            raise

    def _run(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return
        # half the processors: the browser, the kernel and the user's own cell need the others
        with short_turns(), cpu_threads(max(1, torch.get_num_threads() // 2)):
            while self._turn():
                pass

    def _turn(self) -> bool:
        """Do what is due, then wait for the next due time or command. Returns False to end the thread."""
        now = self._clock()
        if self._active(now) and now >= self._next_frame:
            self._frame(now)
        self._do_chore()
        now = self._clock()
        active = self._active(now)
        # a paused loop is likely to be used again soon; one without viewers is not
        wait = self._next_frame - now if active else self._held_until - now if self.playing else LINGER
        wait = 0.0 if self.chore is not None else max(0.0, wait)
        try:
            command, future = self._commands.get(timeout=wait) if wait else self._commands.get_nowait()
        except queue.Empty:
            if not active and self.chore is None and self.on_idle is not None and not self.closed:
                with contextlib.suppress(Exception):  # the thread must end properly
                    self.on_idle()
            return active or self._stay()
        if self.closed:
            _refuse(future)
            self._end()
            return False
        self._waiting.discard(command)  # first: later requests must be queued again
        if command != self._send_late:
            self.earlier.clear()  # a request: earlier pictures would delay the answer
        if future.set_running_or_notify_cancel():
            self._serving = future
            try:
                future.set_result(command())
            except BaseException as error:
                future.set_exception(_closed() if self.closed else error)  # closed meanwhile: the sampler is gone
            finally:
                self._serving = None
        return True

    def _do_chore(self) -> None:
        until = self._clock() + CHORE_TIME
        while self.chore is not None and not self.closed and self._commands.empty():
            try:
                self.chore()
            except BaseException as error:
                self.chore = None
                self._stop_for(error)
            if self._clock() >= until:
                return

    def _stay(self) -> bool:
        with self._lock:
            held = self.playing and self.held
            if not self._commands.empty() or held or self._active(self._clock()) or self.chore is not None:
                return True
            self._thread = None
            return False

    def _end(self) -> None:
        with self._lock:
            self._thread = None
            while not self._commands.empty():  # no caller may wait forever
                _refuse(self._commands.get()[1])

    def _active(self, now: float) -> bool:
        return self.playing and not self.held and not self.closed and not self.pacer.resting(now, self._cell_running())

    def _frame(self, now: float) -> None:
        slow = self.pacer.slow(now)
        period = self.pacer.KEEP_ALIVE if slow else FRAME_PERIOD
        # a late frame delays the later ones, without catching up
        self._next_frame = max(self._next_frame + period, now)
        self._overtaken = False
        try:
            # on a saturated link, more pictures would only arrive later
            if self._unsent and self._keep is not None and not slow and self.pacer.has_room(now):
                kept = self._keep()
                if kept is not None:
                    self.earlier.append(kept)
            hasty = self._make(now)
            now = self._clock()
            if hasty:
                self._next_frame = now  # make up for the missing steps
            if self._overtaken and not slow:
                self._next_frame = now + GRACE  # at the latest: `hurry` follows soon
                if not self.pacer.long_silent(now) or not self.pacer.may_send_old(now):
                    return
            self._unsent = not (slow or self.pacer.may_send(now))
            if not self.closed and not self._unsent:
                self._send(now)
        except BaseException as error:  # also a model that calls sys.exit(), which would end the thread silently
            self._stop_for(error)

    def _make(self, now: float) -> bool:
        """Advance to the next picture, in pieces short enough that a change does not wait long.

        Returns:
            Whether it was made early, after a single step.
        """
        sampler, steps = self.sampler, int(self.sampler.params["steps_per_frame"])
        hasty, self._hasty = self._hasty and self.pacer.eager(now), False
        at, goal, every = self._rest
        if (sampler.steps, steps) != (at, every) or goal <= at:  # no unfinished picture, or the sampler was restarted
            goal = sampler.steps + steps
        while sampler.steps < goal and not self.closed and not self._overtaken:
            piece = 1 if hasty else max(1, int(PIECE / self._step_time)) if self._step_time else steps
            before, began = sampler.steps, self._clock()
            self._step(min(piece, goal - before))
            done = sampler.steps - before
            took = (self._clock() - began) / max(1, done)
            self._step_time = 0.8 * self._step_time + 0.2 * took if self._step_time else took
            if hasty or not done:
                break
        self._rest = sampler.steps, goal, steps
        self._tell_observers()
        return hasty

    def _stop_for(self, error: BaseException) -> None:
        """An error in the model or in our code: stop, report it, keep the averages."""
        if self.closed:
            return  # closed during a long step: the sampler is gone, and no view is left to notify
        self.playing = False
        with contextlib.suppress(Exception):  # if sending failed, the page cannot be notified
            self._on_fault(error)

    def advance(self, steps: int) -> None:
        """Step the sampler and notify the observers; on the thread only. Stops early if its caller has given up."""
        self._step(steps)
        self._tell_observers()

    def _step(self, steps: int) -> None:
        sampler = self.sampler
        before = sampler.steps
        goal = before + steps
        while sampler.steps < goal and not self.closed and not self._abandoned():
            sampler.step(min(goal - sampler.steps, int(sampler.params["steps_per_frame"])))
        self._meter.steps += sampler.steps - before

    def _tell_observers(self) -> None:
        for observer in tuple(self.observers):
            observer()

    def _abandoned(self) -> bool:
        return self._serving is not None and self._serving is self._given_up

    def _make_haste(self) -> None:
        now = self._clock()
        if not self.pacer.slow(now):
            self._next_frame = min(self._next_frame, now)
            self._hasty = True

    def _send_late(self) -> None:
        now = self._clock()
        if self._unsent and self.playing and self.pacer.may_send(now):
            self._unsent = False
            self._send(now)

    def _send(self, now: float) -> None:
        self._unsent = False
        if self.pacer.full:  # a keep-alive: send no extra pictures to a page that has not answered
            self.earlier.clear()
        pictures = 1 + len(self.earlier)
        seq = self.pacer.on_send(now, answers=not self._overtaken)
        size = self._publish(seq)  # reads the meter, so it is counted afterwards
        self.earlier.clear()
        self._meter.bytes += size
        self._meter.frames += pictures


def _closed() -> RuntimeError:
    return RuntimeError("the widget is closed; make a new one")


def _refuse(future: Future[Any]) -> None:
    """Reject a command that will not run; one whose caller was interrupted needs no answer."""
    if future.set_running_or_notify_cancel():
        future.set_exception(_closed())


def _nothing() -> None:
    """A command that only wakes the thread."""
