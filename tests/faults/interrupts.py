"""An interrupt at every place where Python may take one, one after another."""

from __future__ import annotations

import dis
import functools
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

OURS = "/ldam_widget/"
_PATIENCE = 20  # seconds that another thread may take


@functools.cache
def _takes_interrupts(code: CodeType) -> frozenset[tuple[int, int]]:
    """Offsets of the instructions after which Python looks for signals, calls, beginnings and loops, and of the next.

    The exception belongs to the first of them: there are none where another handler begins with the second.
    """
    bytecode = dis.Bytecode(code)

    def handler(offset: int) -> int | None:
        return next((e.target for e in bytecode.exception_entries if e.start <= offset < e.end), None)

    return frozenset(
        (one.offset, two.offset)
        for one, two in itertools.pairwise(bytecode)
        if one.opname.startswith(("CALL", "RESUME")) and handler(one.offset) == handler(two.offset)
    )


class _Strike:
    """A trace function that raises once, at place number `wanted`."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.places = wanted, itertools.count()
        self.at: str | None = None
        self._last: dict[FrameType, int] = {}

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if OURS not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "return":
            self._last.pop(frame, None)
        elif event == "opcode":
            before, self._last[frame] = self._last.get(frame), frame.f_lasti
            due = self.at is None and (before, frame.f_lasti) in _takes_interrupts(frame.f_code)
            if due and next(self.places) == self.wanted:
                self.at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self


def interrupted_everywhere(act: Callable[[], object], stride: int = 1) -> Iterator[str]:
    """Act again and again, with a KeyboardInterrupt `stride` places further on in our own code each time.

    Yields where it was, after each; ends when nothing was left to interrupt. The places are a few more than the real
    ones: Python does not look after a call of a function of its own.
    """
    for wanted in itertools.count(0, stride):
        strike, former = _Strike(wanted), sys.gettrace()
        sys.settrace(strike)
        try:
            act()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(former)
        if strike.at is None:
            return
        yield strike.at


def from_another_thread(act: Callable[[], object]) -> None:
    """Run it as another thread would; fails if it hangs or raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    assert not thread.is_alive(), "it waits for ever"
    if errors:
        raise errors[0]
