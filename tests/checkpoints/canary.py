"""Notices whatever Python does while a file is read: imports, code, processes, files opened for writing, sockets."""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_watching: list[Path] = []  # the file that is being read, if any
_seen: list[str] = []
_installed = False

# what reading a file may do: open it, map it, look at it
_HARMLESS = {"object.__getattr__", "sys._getframe", "mmap.__new__", "os.fspath", "cpython._PySys_ClearAuditHooks",
             "builtins.id", "gc.get_objects", "sys._current_frames"}  # fmt: skip


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event in _HARMLESS:
        return
    if event == "open" and Path(str(arguments[0])) == _watching[0] and str(arguments[1] or "r") in ("r", "rb"):
        return
    _seen.append(f"{event} {arguments!r:.200}")


@contextlib.contextmanager
def nothing_runs(file: Path) -> Iterator[None]:
    """Fail if anything happens within but reading `file`."""
    global _installed
    if not _installed:  # a hook stays until the process ends
        for text in ("raw_unicode_escape", "unicode_escape", "latin-1", "ascii"):  # of texts in pickles
            codecs.lookup(text)
        sys.addaudithook(_hook)
        _installed = True
    _seen.clear()
    _watching.append(file)
    modules = set(sys.modules)
    try:
        yield
    finally:
        _watching.clear()
    assert _seen == [], _seen
    assert set(sys.modules) == modules, set(sys.modules) - modules
