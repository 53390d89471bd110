"""Starts builders of an atlas without importing torch for each: it forks, and tells how they end.

Lines of stdin, with tabs: "start", folder, engine, file for errors -> process; "poll" or "wait", process -> exit code.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

import ldam_widget as ldam
from tests.atlas.networks import QUICK, small


def started(out: str, engine: str, errors: str) -> int:
    process = os.fork()
    if process:
        os.setpgid(process, process)
        return process
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells switch off in the background
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT)
        nothing = os.open(os.devnull, os.O_RDWR)
        for theirs, mine in ((nothing, 0), (nothing, 1), (handle, 2)):
            os.dup2(theirs, mine)
        ldam.atlas(small, out=out, engine=engine, workers=2, **QUICK)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(process: int, wait: bool) -> int | None:
    found, code = os.waitpid(process, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(code) if found else None


if __name__ == "__main__":
    ldam.atlas  # noqa: B018  # imported now, once
    codes: dict[int, int] = {}
    for line in sys.stdin:
        deed, *rest = line.rstrip("\n").split("\t")
        if deed == "start":
            print(started(*rest), flush=True)
            continue
        process = int(rest[0])
        if process not in codes:
            code = ended(process, deed == "wait")
            if code is not None:
                codes[process] = code
        print(codes.get(process), flush=True)
