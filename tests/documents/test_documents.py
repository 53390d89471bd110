"""Every code block of README.md and of the documentation runs, page by page, from top to bottom.

Shell blocks are run line by line (`commands.py`). A block that cannot run here has the comment "# not run by the
tests: …", which readers see, too.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import ldam_widget as ldam

from . import reader
from .blocks import ROOT, Block, blocks_of, pages
from .commands import run_line

WITH_CODE = [page for page in pages() if any(block.language in ("python", "sh") for block in blocks_of(page))]
OTHERS = {"text", "json", "toml", "yaml"}  # nothing to run
FEWEST, MOST_EXCUSED = 60, 15


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).with_suffix("").as_posix())
def test_every_code_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader.files(tmp_path, page.read_text(encoding="utf-8"))
    reader.cut_short(monkeypatch)
    scope: dict[str, Any] = {"__name__": "__main__", "ldam": ldam, "torch": torch, **reader.names()}
    try:
        for block in blocks_of(page):
            if block.excuse is None:
                run(block, scope)
    finally:
        for value in scope.values():
            if isinstance(value, ldam.LDAM | ldam.Compare | ldam.Toolbox):
                value.close()


def run(block: Block, scope: dict[str, Any]) -> None:
    """An error names the page and the line."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        if block.language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ldam.LDAMWarning)  # of tiny networks and short runs
                exec(compile("\n" * (block.line - 1) + block.code, str(block.page), "exec"), scope)
        elif block.language == "sh":
            for number, line in enumerate(block.code.splitlines()):
                try:
                    run_line(line)
                except Exception as error:
                    raise AssertionError(f"{block.page}:{block.line + number}: {line}") from error


def test_every_block_says_its_language() -> None:
    blocks = [block for page in pages() for block in blocks_of(page)]
    assert [block.place for block in blocks if block.language not in {"python", "sh", *OTHERS}] == []


def test_few_blocks_are_excused() -> None:
    """The bounds only keep the other tests from looking at nothing."""
    blocks = [block for page in pages() for block in blocks_of(page) if block.language in ("python", "sh")]
    assert len(blocks) >= FEWEST
    assert len([block for block in blocks if block.excuse]) <= MOST_EXCUSED
    assert [block.place for block in blocks if "not run" in block.code and not block.excuse] == []
